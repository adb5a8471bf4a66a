from __future__ import annotations

import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from huggingface_hub import scan_cache_dir, snapshot_download

from mtplx_tui.library import parts
from mtplx_tui.library.download import Stopped
from mtplx_tui.library.fetching import FileFetch, FileState
from mtplx_tui.library.hub import Hub, HubError
from mtplx_tui.library.hub_cache import CacheRefused, RepoFile, RepoFolder
from mtplx_tui.library.progress import Limiter, Pace, Progress, State
from tests.fakes.hub import FakeHub, Fault
from tests.library.pulls import (
    CODE,
    FILES,
    FIRST,
    NAME,
    PART,
    QUICK,
    SHARD,
    InBackground,
    contents,
    download,
    pull,
)

NOTE = 64
"""Bytes; a journal's entry is shorter."""


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "hub"


@pytest.fixture
def hub() -> Generator[FakeHub]:
    with FakeHub() as hub:
        hub.add(NAME, {**FILES, **CODE})
        yield hub


def refused(hub: FakeHub, cache: Path, name: str = NAME) -> HubError | CacheRefused:
    """Pull, have it refused, and check that a person can read why."""
    with pytest.raises((HubError, CacheRefused)) as caught:
        pull(hub, cache, name=name)
    for line in (caught.value.message, caught.value.remedy):
        assert line
        assert line.isprintable()
    return caught.value


def leftovers(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*incomplete*"))


class TestWhole:
    def test_the_files_arrive_and_no_code(self, hub: FakeHub, cache: Path) -> None:
        assert contents(pull(hub, cache)) == FILES
        assert leftovers(cache) == []

    def test_other_programs_find_it(self, hub: FakeHub, cache: Path) -> None:
        folder = pull(hub, cache)
        scanned = scan_cache_dir(cache)
        assert scanned.warnings == []
        assert [repo.repo_id for repo in scanned.repos] == [NAME]
        hub.forget()
        theirs = snapshot_download(
            NAME,
            cache_dir=cache,
            endpoint=hub.url,
            token=False,
            ignore_patterns=list(CODE),
        )
        assert Path(theirs) == folder
        assert hub.bytes_sent == 0

    def test_what_is_here_is_not_fetched_again(self, hub: FakeHub, cache: Path) -> None:
        pull(hub, cache)
        hub.forget()
        pull(hub, cache)
        assert [asked.path for asked in hub.asked] == [f"/api/models/{NAME}/revision/main"]

    def test_what_others_brought_is_not_fetched_again(self, hub: FakeHub, cache: Path) -> None:
        snapshot_download(NAME, cache_dir=cache, endpoint=hub.url, token=False)
        hub.forget()
        assert contents(pull(hub, cache)).items() >= FILES.items()
        assert hub.bytes_sent == 0

    def test_every_byte_is_sent_once(self, hub: FakeHub, cache: Path) -> None:
        pull(hub, cache)
        assert hub.bytes_sent == sum(map(len, FILES.values()))

    def test_a_revision_is_kept_under_its_name(self, hub: FakeHub, cache: Path) -> None:
        first = hub.add(NAME, FILES)
        hub.add(NAME, {**FILES, "config.json": b"{}"})
        folder = download(hub, cache, revision=first).run(lambda _: None)
        assert folder.name == first
        assert contents(folder) == FILES

    def test_progress_ends_at_the_total(self, hub: FakeHub, cache: Path) -> None:
        seen: list[Progress] = []
        download(hub, cache).run(seen.append)
        total = sum(map(len, FILES.values()))
        assert [seen[0].state, seen[-1].state] == [State.ASKING, State.DONE]
        assert (seen[-1].done_bytes, seen[-1].total_bytes) == (total, total)
        assert {file.path: file.size for file in seen[-1].files} == {
            path: len(data) for path, data in FILES.items()
        }

    def test_the_token_goes_to_the_hub_alone(self, cache: Path) -> None:
        with FakeHub(has_cdn=True) as hub:
            hub.add(NAME, FILES, is_gated=True)
            download(hub, cache, token=hub.token).run(lambda _: None)
            assert {asked.has_token for asked in hub.asked if asked.is_cdn} == {False}
            assert all(asked.has_token for asked in hub.asked if not asked.is_cdn)
            assert hub.token not in repr(vars(Hub(hub.url, hub.token)))


class TestFaults:
    def test_a_drop_in_mid_file_is_gone_on_with(self, hub: FakeHub, cache: Path) -> None:
        hub.plan(FIRST, Fault(drop_after=300_000), Fault(drop_after=700_000))
        assert contents(pull(hub, cache)) == FILES
        assert hub.bytes_sent == sum(map(len, FILES.values()))

    def test_drops_without_end_end_it(self, hub: FakeHub, cache: Path) -> None:
        hub.plan(FIRST, *[Fault(drop_after=0)] * 12)
        assert "check the network" in refused(hub, cache).remedy
        assert contents(pull(hub, cache)) == FILES

    def test_a_flipped_byte_is_found_and_the_file_fetched_again(
        self, hub: FakeHub, cache: Path
    ) -> None:
        hub.plan(FIRST, Fault(flip_at=700))
        assert contents(pull(hub, cache)) == FILES

    def test_bytes_flipped_every_time_are_refused(self, hub: FakeHub, cache: Path) -> None:
        hub.plan(FIRST, *[Fault(flip_at=len(SHARD) - 1)] * 20)
        error = refused(hub, cache)
        assert "arrived damaged" in error.message
        assert not (cache / "models--org--tiny" / "refs" / "main").exists()

    @pytest.mark.parametrize("by", [-5, 5])
    def test_a_wrong_size_is_refused(self, hub: FakeHub, cache: Path, by: int) -> None:
        hub.plan(FIRST, *[Fault(size=len(SHARD) + by)] * 9)
        assert "content is another" in refused(hub, cache).message

    def test_429_is_waited_out(self, hub: FakeHub, cache: Path) -> None:
        hub.plan(FIRST, *[Fault(status=429, retry_after="0")] * 2)
        assert contents(pull(hub, cache)) == FILES

    def test_429_says_how_long_it_waits(self, hub: FakeHub, cache: Path) -> None:
        hub.plan(FIRST, Fault(status=429, retry_after="3000"))
        work = download(hub, cache, pace=Pace(workers=1))
        waiting = InBackground(work)
        assert waiting.until(lambda p: bool(p.note)).note == "the hub answered 429; again in 3000 s"
        work.stop()
        waiting.end()
        assert isinstance(waiting.error, Stopped)

    def test_429_without_end_says_what_to_do(self, hub: FakeHub, cache: Path) -> None:
        hub.plan("*", *[Fault(status=429, retry_after="0")] * 30)
        assert "wait five minutes" in refused(hub, cache).remedy

    def test_503_is_tried_again(self, hub: FakeHub, cache: Path) -> None:
        hub.plan(FIRST, Fault(status=503), Fault(status=500))
        assert contents(pull(hub, cache)) == FILES

    def test_gated_says_where_to_agree(self, hub: FakeHub, cache: Path) -> None:
        hub.add("org/gated", FILES, is_gated=True)
        error = refused(hub, cache, "org/gated")
        assert f"{hub.url}/org/gated" in error.remedy
        assert "hf auth login" in error.remedy

    @pytest.mark.parametrize("name", ["org/private", "org/nothing"])
    def test_private_and_absent_say_so(self, hub: FakeHub, cache: Path, name: str) -> None:
        hub.add("org/private", FILES, is_private=True)
        assert "not on the hub" in refused(hub, cache, name).message

    def test_a_revision_that_is_not_there_says_so(self, hub: FakeHub, cache: Path) -> None:
        with pytest.raises(HubError, match="no such revision"):
            download(hub, cache, revision="v9").run(lambda _: None)

    def test_a_range_ignored_is_read_from_the_start(self, hub: FakeHub, cache: Path) -> None:
        hub.plan(FIRST, *[Fault(ignores_range=True)] * 40)
        assert contents(pull(hub, cache)) == FILES

    def test_another_range_than_asked_is_never_written(self, hub: FakeHub, cache: Path) -> None:
        hub.plan(FIRST, Fault(shifts_range=7), Fault(shifts_range=1))
        assert contents(pull(hub, cache)) == FILES
        asked = [path for path in hub.paths() if path.endswith(FIRST[1:])]
        assert len(asked) == -(-len(SHARD) // PART) + 2

    def test_a_body_without_end_is_cut(self, hub: FakeHub, cache: Path) -> None:
        hub.plan("*/config.json", Fault(is_endless=True, ignores_range=True))
        assert contents(pull(hub, cache)) == FILES

    def test_another_content_under_the_same_name_is_refused(
        self, hub: FakeHub, cache: Path
    ) -> None:
        hub.plan(FIRST, *[Fault(etag="0" * 64)] * 9)
        assert "content is another" in refused(hub, cache).message

    def test_a_redirect_to_another_path_is_followed(self, hub: FakeHub, cache: Path) -> None:
        hub.rename(NAME, "org/new")
        assert contents(pull(hub, cache)) == FILES

    def test_redirects_in_a_circle_end(self, hub: FakeHub, cache: Path) -> None:
        here = f"/{NAME}/resolve/main/config.json"
        hub.plan("*/config.json", *[Fault(location=here)] * 40)
        assert "redirects again and again" in refused(hub, cache).message

    @pytest.mark.parametrize(
        "target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "javascript:alert(1)"]
    )
    def test_a_redirect_elsewhere_is_not_followed(
        self, hub: FakeHub, cache: Path, target: str
    ) -> None:
        hub.plan("*/config.json", *[Fault(location=target)] * 9)
        assert "redirects to" in refused(hub, cache).message

    def test_a_commit_that_moves_on_mixes_nothing(self, hub: FakeHub, cache: Path) -> None:
        moved = {**FILES, "config.json": b"{}", "README.md": b"moved"}
        hub.plan("*/README.md", Fault(first=lambda: hub.add(NAME, moved)))
        assert contents(pull(hub, cache)) == FILES
        assert contents(pull(hub, cache)) == moved

    def test_a_repository_deleted_on_the_way_says_so(self, hub: FakeHub, cache: Path) -> None:
        hub.plan(FIRST, Fault(first=lambda: hub.delete(NAME)))
        assert "not on the hub" in refused(hub, cache).message

    def test_an_old_address_is_renewed(self, cache: Path) -> None:
        with FakeHub(has_cdn=True) as hub:
            hub.add(NAME, FILES)
            hub.plan(FIRST, Fault(), Fault(), Fault(status=403))
            assert contents(pull(hub, cache, pace=Pace(workers=1, part_bytes=PART))) == FILES
            first = [asked.is_cdn for asked in hub.asked if asked.path.endswith(FIRST[1:])]
            assert first[:5] == [False, True, True, False, True]

    def test_nobody_there_says_so(self, cache: Path) -> None:
        with FakeHub() as hub:
            url = hub.url
        with pytest.raises(HubError) as caught:
            Hub(url, "").listing(NAME)
        assert caught.value.message == "the hub can't be reached"

    def test_offline_by_wish_asks_nothing(
        self, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(HubError, match="HF_HUB_OFFLINE"):
            Hub(hub.url, "")
        assert hub.asked == []

    def test_a_slow_line_can_be_stopped_at_once(self, hub: FakeHub, cache: Path) -> None:
        stuck = threading.Event()
        hub.plan(FIRST, *[Fault(between=lambda: stuck.wait(30))] * 9)
        work = download(hub, cache)
        running = InBackground(work)
        running.until(lambda p: p.done_bytes > 0)
        work.stop()
        running.end()
        stuck.set()
        assert isinstance(running.error, Stopped)
        assert contents(pull(hub, cache)) == FILES


class TestDisk:
    def test_too_little_space_is_told_before_the_first_byte(
        self, hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usage = shutil.disk_usage(cache.parent)._replace(free=600 * 2**20 - 2**26)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
        pull(hub, cache)
        hub.add(NAME, {**FILES, "big.safetensors": SHARD * 20})
        hub.forget()
        assert "HF_HUB_CACHE" in refused(hub, cache).remedy
        assert hub.bytes_sent == 0

    def test_a_disk_that_fills_keeps_what_is_there(
        self, hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        left, one_at_a_time, pwrite = [len(SHARD)], threading.Lock(), os.pwrite

        def write(descriptor: int, data: bytes, at: int) -> int:
            if len(data) < NOTE:
                return pwrite(descriptor, data, at)  # a journal's entry takes no more room
            with one_at_a_time:
                if left[0] == 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                written = pwrite(descriptor, data[: left[0]], at)
                left[0] -= written
                return written

        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", write)
            error = refused(hub, cache)
        assert "is full" in error.message
        kept = sum(parts.counted_bytes(path) for path in cache.rglob("*.parts.incomplete"))
        assert kept > 0
        hub.forget()
        assert contents(pull(hub, cache)) == FILES
        assert hub.bytes_sent <= sum(map(len, FILES.values())) - kept

    def test_a_folder_that_can_not_be_written_says_so(self, hub: FakeHub, cache: Path) -> None:
        cache.write_text("a file")
        assert "can't be written" in refused(hub, cache).message

    def test_a_part_is_seen_whole_last(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever sees the last part whole closes the files; another may have their numbers then."""
        file = parts.PartFile(tmp_path / "data", tmp_path / "journal", 8)
        (part,) = file.parts
        pwrite, seen = os.pwrite, []

        def write(descriptor: int, data: bytes, at: int) -> int:
            seen.append((len(data), part.done))
            return pwrite(descriptor, data, at)

        monkeypatch.setattr(os, "pwrite", write)
        file.write(part, b"12345678")
        file.close()
        assert seen == [(8, 0), (12, 0)]
        assert part.is_whole
        assert parts.counted_bytes(tmp_path / "journal") == 8


class TestResume:
    def test_stopped_it_goes_on_byte_by_byte(self, hub: FakeHub, cache: Path) -> None:
        asked = threading.Event()
        hub.plan(FIRST, *[Fault(between=lambda: asked.wait(30))] * 3)
        work = download(hub, cache)
        running = InBackground(work)
        running.until(lambda p: p.done_bytes > 3 * PART // 8)
        work.stop()
        asked.set()
        running.end()
        kept = sum(parts.counted_bytes(path) for path in cache.rglob("*.parts.incomplete"))
        assert kept > 0
        hub.forget()
        assert contents(pull(hub, cache)) == FILES
        assert hub.bytes_sent <= sum(map(len, FILES.values())) - kept

    def test_data_that_was_lost_is_fetched_again(self, hub: FakeHub, cache: Path) -> None:
        """As after a power cut: the journal is there, the data behind it is not."""
        hub.plan(FIRST, *[Fault(drop_after=100_000)] * 30)
        with pytest.raises(HubError):
            pull(hub, cache, pace=Pace(workers=1, part_bytes=PART, tries=1))
        for journal in cache.rglob("*.parts.incomplete"):
            data = journal.with_name(journal.name.replace(".parts", ""))
            data.write_bytes(bytes(data.stat().st_size))
        with FakeHub() as sound:
            sound.add(NAME, FILES)
            assert contents(pull(sound, cache)) == FILES
            assert sound.bytes_sent <= sum(map(len, FILES.values()))

    @pytest.mark.parametrize("spoil", [b"", b"x" * 8, b"\xff" * 4000])
    def test_a_spoiled_journal_costs_only_time(
        self, hub: FakeHub, cache: Path, spoil: bytes
    ) -> None:
        hub.plan(FIRST, *[Fault(drop_after=100_000)] * 30)
        with pytest.raises(HubError):
            pull(hub, cache, pace=Pace(workers=1, part_bytes=PART, tries=1))
        for journal in cache.rglob("*.parts.incomplete"):
            journal.write_bytes(spoil)
        with FakeHub() as sound:
            sound.add(NAME, FILES)
            assert contents(pull(sound, cache)) == FILES


class Watched(FileFetch):
    """A file, in which something else happens in the moment that somebody looks at its state."""

    meanwhile: Callable[[], object] | None = None

    @property
    def state(self) -> FileState:
        seen, meanwhile = self._state, self.meanwhile
        if meanwhile is not None:
            self.meanwhile = None
            meanwhile()
        return seen

    @state.setter
    def state(self, state: FileState) -> None:
        self._state = state


@pytest.mark.parametrize("look", [lambda f: f.done, lambda f: f.is_fetched, lambda f: f.take()])
def test_a_file_may_be_put_away_while_others_look_at_it(
    cache: Path, look: Callable[[FileFetch], object]
) -> None:
    """One thread puts it away; those that fetch, and the one that tells of it, don't wait for that."""
    content = b"0123456789"
    file = RepoFile("w.txt", len(content), hashlib.sha256(content).hexdigest())
    folder = RepoFolder(cache, NAME)
    folder.prepare()
    fetch = Watched(folder, file, "http://unused", PART)
    assert fetch.open()
    part = fetch.take()
    assert part is not None
    fetch._open_parts.write(part, content)
    fetch.give_back(part)
    while fetch.hash_next():
        pass
    fetch.meanwhile = lambda: fetch.finish("0" * 40)
    assert look(fetch) in (len(content), True, None)
    assert (fetch.state, fetch.done) == (FileState.DONE, len(content))
    fetch.close()


def test_a_branch_that_could_not_be_noted_spoils_nothing(
    hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's own client takes any file among the branches for one."""
    folder = pull(hub, cache)
    refs = folder.parent.parent / "refs"
    before = contents(refs)

    def full(*_: object) -> None:
        # What is there at this moment is what a kill would leave.
        assert contents(refs) == before
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space"):
        RepoFolder(cache, NAME).point("main", "1" * 40)
    monkeypatch.undo()
    assert contents(refs) == before
    assert leftovers(cache) == []
    assert scan_cache_dir(cache).warnings == []


class TestSeveral:
    def test_two_of_the_same_share_the_work(self, hub: FakeHub, cache: Path) -> None:
        both = [InBackground(download(hub, cache)) for _ in range(2)]
        for one in both:
            one.end()
            assert one.error is None
            assert one.path is not None
            assert contents(one.path) == FILES
        assert hub.bytes_sent == sum(map(len, FILES.values()))

    def test_one_that_waits_says_so_and_follows(self, hub: FakeHub, cache: Path) -> None:
        go = threading.Event()
        hub.plan(FIRST, *[Fault(between=lambda: go.wait(30))] * 20)
        first = InBackground(download(hub, cache, pace=Pace(workers=1, part_bytes=PART)))
        first.until(lambda p: p.done_bytes > 2**17)
        second = InBackground(download(hub, cache))
        second.until(lambda p: p.state is State.WAITING)
        go.set()
        for one in (first, second):
            one.end()
            assert one.error is None
        assert hub.bytes_sent == sum(map(len, FILES.values()))

    def test_a_limit_holds(self) -> None:
        limiter = Limiter(bytes_per_s=1000)
        waits = [limiter.take(500) for _ in range(4)]
        assert waits == pytest.approx([0.5, 1.0, 1.5, 2.0], abs=0.05)
        limiter.bytes_per_s = None
        assert limiter.take(10**9) == 0.0


class TestHostile:
    @pytest.mark.parametrize(
        "path",
        [
            "../../evil.json", "/etc/evil.json", "a/../../evil.json", "a\\b.json", "a\nb.json",
            "a\x1b[31m.json", "a//b.json", "./a.json", "a\u202eb.json", "x" * 300 + ".json",
        ],
    )  # fmt: skip
    def test_names_that_lead_elsewhere_are_refused(
        self, hub: FakeHub, cache: Path, path: str
    ) -> None:
        hub.add("org/evil", {**FILES, path: b"{}"})
        hub.forget()
        error = refused(hub, cache, "org/evil")
        assert "leads out of its folder" in error.message
        assert hub.bytes_sent == 0
        assert list(cache.parent.rglob("*evil*")) == []

    def test_a_link_in_the_way_is_not_followed(self, hub: FakeHub, cache: Path) -> None:
        outside = cache.parent / "outside"
        outside.mkdir()
        for name in ("blobs", "snapshots"):
            repository = cache / "models--org--tiny"
            shutil.rmtree(repository, ignore_errors=True)
            repository.mkdir(parents=True)
            (repository / name).symlink_to(outside)
            assert "is a link" in refused(hub, cache).message
        assert list(outside.iterdir()) == []

    def test_a_link_inside_a_snapshot_is_not_followed(self, hub: FakeHub, cache: Path) -> None:
        outside = cache.parent / "outside"
        outside.mkdir()
        commit = hub.add(NAME, FILES)
        snapshot = cache / "models--org--tiny" / "snapshots" / commit
        snapshot.mkdir(parents=True)
        (snapshot / "mtp").symlink_to(outside)
        assert "is a link" in refused(hub, cache).message
        assert list(outside.iterdir()) == []

    def test_a_link_where_the_data_goes_is_not_followed(self, hub: FakeHub, cache: Path) -> None:
        victim = cache.parent / "victim"
        victim.write_text("mine")
        file = Hub(hub.url, "").listing(NAME).file("config.json")
        assert file is not None
        blobs = cache / "models--org--tiny" / "blobs"
        blobs.mkdir(parents=True)
        (blobs / f"{file.etag}.mtplx.incomplete").symlink_to(victim)
        assert "is a link" in refused(hub, cache).message
        assert victim.read_text() == "mine"

    def test_a_file_where_a_folder_should_be_is_told(self, hub: FakeHub, cache: Path) -> None:
        hub.add(
            "org/evil",
            {**FILES, "mtp": b"x" * 20, "mtp.json": b"{}", "a.json": b"1", "a.json/b.json": b"{}"},
        )
        assert refused(hub, cache, "org/evil").message

    def test_weights_of_another_kind_are_refused(self, hub: FakeHub, cache: Path) -> None:
        hub.add("org/gguf", {"config.json": b"{}", "model.gguf": b"GGUF"})
        assert "no safetensors" in refused(hub, cache, "org/gguf").message

    @pytest.mark.parametrize(
        "name", ["tiny", "a/b/c", "../x", "a--b/c", "org/..", "o rg/x", "-a/b", ""]
    )
    def test_names_of_no_repository_are_refused(self, hub: FakeHub, cache: Path, name: str) -> None:
        with pytest.raises(CacheRefused):
            download(hub, cache, name=name)
        assert hub.asked == []


def test_quick_is_quick() -> None:
    assert QUICK.most_wait_s < 0.1
