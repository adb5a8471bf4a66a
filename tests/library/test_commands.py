"""pull, models, remove and inspect, from the command line, against the fake hub."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path

import pytest
from huggingface_hub import DeleteCacheStrategy

from mtplx_tui.cli import main
from mtplx_tui.config import find_places, save_settings
from mtplx_tui.library.hub_cache import RepoFolder
from mtplx_tui.library.progress import Limiter
from mtplx_tui.library.shelf import NotRemoved, plan_removal
from mtplx_tui.wording import duration, in_bytes, read_bytes
from tests.fakes.hub import FakeHub, Fault
from tests.library.pulls import FILES, FIRST, NAME, contents
from tests.library.test_catalog import MATRIX, WITH_HEAD, files

ROOT = Path(__file__).parents[2]
CLI = "import sys; from mtplx_tui.cli import main; sys.exit(main())"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[FakeHub]:
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    monkeypatch.setenv("MTPLX_TUI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    with FakeHub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.add(NAME, FILES)
        yield hub


Captured = pytest.CaptureFixture[str]


def failed_line(capsys: Captured) -> str:
    """Return the one line that went to standard error; nothing went to standard output."""
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = [line for line in err.splitlines() if line.startswith("mtplx-tui:")]
    return line


def pulling() -> subprocess.Popen[str]:
    """Pull in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-u", "-c", CLI, "pull", NAME],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


class TestPull:
    def test_it_prints_where_the_model_is(self, hub: FakeHub, capsys: Captured) -> None:
        assert main(["pull", NAME]) == 0
        out, err = capsys.readouterr()
        assert contents(Path(out.strip())) == FILES
        assert "done" in err

    def test_json_is_one_document(self, hub: FakeHub, capsys: Captured) -> None:
        commit = hub.add(NAME, FILES)
        assert main(["pull", f"{NAME}@{commit}", "--json", "--limit", "900MB"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert (result["name"], result["commit"]) == (NAME, commit)
        assert result["bytes"] == sum(map(len, FILES.values()))

    @pytest.mark.parametrize(
        ("words", "code"),
        [
            (["pull"], 2), (["pull", NAME, "--limit", "fast"], 2), (["pull", NAME, "--limit", "-1"], 2),
            (["pull", "tiny"], 1), (["pull", "org/none"], 1), (["pull", f"{NAME}@v7"], 1),
            (["pull", f"{NAME}@../x"], 1),
        ],
    )  # fmt: skip
    def test_what_is_wrong_is_one_line(
        self, hub: FakeHub, capsys: Captured, words: list[str], code: int
    ) -> None:
        assert main(words) == code
        assert failed_line(capsys)

    def test_signals_stop_it_and_it_goes_on(self, hub: FakeHub, tmp_path: Path) -> None:
        begun, go = threading.Event(), threading.Event()

        def hold() -> None:
            begun.set()
            go.wait(30)

        hub.plan(FIRST, *[Fault(between=hold)] * 9)
        child = subprocess.Popen(
            [sys.executable, "-c", CLI, "pull", NAME],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert begun.wait(30)
        child.send_signal(signal.SIGTERM)
        out, err = child.communicate(timeout=30)
        go.set()
        assert (child.returncode, out) == (130, "")
        assert "goes on from here" in err
        assert main(["pull", NAME]) == 0

    def test_a_second_process_shares_the_work_and_spoils_nothing(
        self, hub: FakeHub, tmp_path: Path
    ) -> None:
        begun, go = threading.Event(), threading.Event()

        def hold() -> None:
            begun.set()
            go.wait(60)

        hub.plan(FIRST, *[Fault(between=hold)] * 9)  # the first file waits half way
        children = [pulling()]
        assert begun.wait(30)
        children.append(pulling())
        second = children[1].stderr
        assert second is not None
        said = ""
        while "another process has it" not in said:
            line = second.readline()
            assert line, said
            said += line
        go.set()
        found = [child.communicate(timeout=60) for child in children]
        assert [child.returncode for child in children] == [0, 0], found
        assert found[0][0] == found[1][0]
        assert contents(Path(found[0][0].strip())) == FILES
        assert hub.bytes_sent == sum(map(len, FILES.values()))  # no byte came twice

    @pytest.mark.parametrize(("words", "limit"), [([], 9e8), (["--limit", "800MB"], 8e8)])
    def test_the_settings_limit_holds_unless_another_is_given(
        self, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, words: list[str], limit: float
    ) -> None:
        seen: list[float | None] = []

        class Seen(Limiter):
            def __init__(self, bytes_per_s: float | None = None) -> None:
                super().__init__(bytes_per_s)
                seen.append(bytes_per_s)

        monkeypatch.setattr("mtplx_tui.pull.Limiter", Seen)
        save_settings(find_places(), download_limit="900MB")
        assert main(["pull", NAME, *words]) == 0
        assert seen == [limit]

    def test_no_token_is_told_to_anyone(
        self, hub: FakeHub, capsys: Captured, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "0")
        monkeypatch.setenv("HF_TOKEN", "hf_other")
        hub.add("org/gated", FILES, is_gated=True)
        assert main(["pull", "org/gated"]) == 1
        out, err = capsys.readouterr()
        assert "hf_other" not in out + err


class TestModels:
    def test_what_is_pulled_is_listed_and_removed(self, hub: FakeHub, capsys: Captured) -> None:
        assert main(["pull", NAME]) == 0
        capsys.readouterr()
        assert main(["models", "--json"]) == 0
        models = json.loads(capsys.readouterr().out)["models"]
        (mine,) = [model for model in models if model["name"] == NAME]
        size = sum(map(len, FILES.values()))
        assert (mine["kind"], mine["size_bytes"], mine["refs"]) == ("hub", size, ["main"])
        assert main(["models"]) == 0
        assert NAME in capsys.readouterr().out
        assert main(["remove", NAME, "--yes", "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"name": NAME, "freed_bytes": size}
        assert main(["models"]) == 0
        assert NAME not in capsys.readouterr().out

    def test_the_demo_is_as_large_as_what_it_is_judged_by(
        self, hub: FakeHub, capsys: Captured
    ) -> None:
        assert main(["models", "--json"]) == 0
        models = json.loads(capsys.readouterr().out)["models"]
        (demo,) = [model for model in models if model["name"] == "demo"]
        assert main(["inspect", "demo", "--json"]) == 0
        judged = json.loads(capsys.readouterr().out)
        assert 0 <= demo["size_bytes"] - judged["weights_bytes"] < 100_000

    def test_one_revision_is_removed_alone(
        self, hub: FakeHub, capsys: Captured, tmp_path: Path
    ) -> None:
        old = hub.add(NAME, FILES)
        assert main(["pull", f"{NAME}@{old}"]) == 0
        hub.add(NAME, {**FILES, "config.json": b"{}"})
        assert main(["pull", NAME]) == 0
        capsys.readouterr()
        assert main(["remove", f"{NAME}@{old}", "--yes", "--json"]) == 0
        freed = json.loads(capsys.readouterr().out)["freed_bytes"]
        assert freed == len(FILES["config.json"])
        folder = RepoFolder(tmp_path / "hub", NAME)
        assert [path.name for path in folder.path.glob("snapshots/*")] != [old]
        assert (folder.path / "refs" / "main").exists()

    def test_what_is_half_here_is_listed_and_removed(
        self, hub: FakeHub, capsys: Captured, tmp_path: Path
    ) -> None:
        hub.plan(FIRST, Fault(drop_after=300_000), *[Fault(status=404)] * 3)
        assert main(["pull", NAME]) == 1
        assert "changed or was deleted" in failed_line(capsys)
        assert main(["models", "--json"]) == 0
        models = json.loads(capsys.readouterr().out)["models"]
        (mine,) = [model for model in models if model["name"] == NAME]
        assert mine["kind"] == "partial"
        assert mine["size_bytes"] >= 300_000
        assert main(["remove", NAME, "--yes"]) == 0
        assert not RepoFolder(tmp_path / "hub", NAME).path.exists()

    def test_what_is_being_downloaded_stays(
        self, hub: FakeHub, capsys: Captured, tmp_path: Path
    ) -> None:
        folder = RepoFolder(tmp_path / "hub", NAME)
        folder.prepare()
        etag = "0" * 64
        folder.partial(etag).write_bytes(b"x")
        lock = folder.lock(etag)
        assert lock is not None
        assert main(["remove", NAME, "--yes"]) == 1
        assert "being downloaded" in failed_line(capsys)
        lock.release()
        assert main(["remove", NAME, "--yes"]) == 0

    @pytest.mark.parametrize("ending", [".mtplx.incomplete", ".1a2b3c4d.incomplete"])
    def test_what_began_to_be_downloaded_before_the_yes_stays(
        self, hub: FakeHub, tmp_path: Path, ending: str
    ) -> None:
        """A question may be open for long; and other programs download to the same folder."""
        assert main(["pull", NAME]) == 0
        removal = plan_removal(NAME)
        folder = RepoFolder(tmp_path / "hub", NAME)
        etag = "0" * 64
        (folder.path / "blobs" / f"{etag}{ending}").write_bytes(b"x")
        lock = folder.lock(etag)
        assert lock is not None
        for remove in (removal.execute, lambda: plan_removal(NAME)):
            with pytest.raises(NotRemoved, match="being downloaded"):
                remove()
        assert folder.path.exists()
        lock.release()
        removal.execute()
        assert not folder.path.exists()

    def test_a_file_that_is_shared_since_the_question_stays(
        self, hub: FakeHub, tmp_path: Path
    ) -> None:
        assert main(["pull", NAME]) == 0
        removal = plan_removal(NAME)
        folder = RepoFolder(tmp_path / "hub", NAME)
        hub.add(NAME, {**FILES, "config.json": b'{"model_type": "other"}'})
        assert main(["pull", NAME]) == 0
        removal.execute()
        (left,) = folder.path.glob("snapshots/*")
        assert contents(left) == {**FILES, "config.json": b'{"model_type": "other"}'}

    def test_what_could_not_be_deleted_is_told(
        self, hub: FakeHub, capsys: Captured, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert main(["pull", NAME]) == 0
        capsys.readouterr()
        monkeypatch.setattr(DeleteCacheStrategy, "execute", lambda _: None)
        assert main(["remove", NAME, "--yes"]) == 1
        assert "can't be deleted: Permission denied" in failed_line(capsys)

    @pytest.mark.parametrize("name", ["demo", "org/none", "../x", "nothing", "."])
    def test_what_is_not_ours_to_delete_is_told(
        self, hub: FakeHub, capsys: Captured, name: str
    ) -> None:
        assert main(["remove", name, "--yes"]) == 1
        assert failed_line(capsys)

    def test_without_a_terminal_it_wants_a_yes(
        self, hub: FakeHub, capsys: Captured, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert main(["pull", NAME]) == 0
        capsys.readouterr()
        with Path(os.devnull).open() as nothing:
            monkeypatch.setattr(sys, "stdin", nothing)
            assert main(["remove", NAME]) == 2
        assert "--yes" in failed_line(capsys)


class TestInspect:
    @pytest.mark.parametrize("case", ["never there", "dropped", "unknown family"])
    def test_the_exit_code_is_the_tier(self, hub: FakeHub, capsys: Captured, case: str) -> None:
        tier, content = MATRIX[case]
        hub.add("org/model", content)
        code = main(["inspect", "org/model", "--json"])
        result = json.loads(capsys.readouterr().out)
        assert result["tier"] == tier
        assert code == {"no-mtp": 3, "unsupported": 4}[tier]
        assert hub.weight_bytes == 0
        keys = {"summary", "reasons", "family", "model_type", "mtp", "quantization", "parameters",
                "weights_bytes", "memory", "files"}  # fmt: skip
        assert keys <= result.keys()

    def test_the_demo_is_compatible(self, hub: FakeHub, capsys: Captured) -> None:
        assert main(["inspect", "demo", "--json"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert (result["tier"], result["family"]) == ("compatible", "smollm2-demo")
        assert hub.asked == []

    def test_what_was_pulled_is_judged_from_the_disk(self, hub: FakeHub, capsys: Captured) -> None:
        hub.add("org/model", MATRIX["dropped"][1])
        assert main(["pull", "org/model"]) == 0
        hub.forget()
        assert main(["inspect", "org/model"]) == 3
        assert hub.asked == []
        assert "dropped in conversion" in capsys.readouterr().out

    def test_a_card_is_for_reading(self, hub: FakeHub, capsys: Captured) -> None:
        hub.add("org/model", MATRIX["unknown family"][1], tags=["license:mit"])
        assert main(["inspect", "org/model"]) == 4
        out = capsys.readouterr().out
        for words in ("org/model: unsupported", "32,768 tokens", "mit", "head tensors are there"):
            assert words in out

    @pytest.mark.parametrize("name", ["org/none", "no such", "./x", "org/broken"])
    def test_what_can_not_be_read_is_an_error(
        self, hub: FakeHub, capsys: Captured, name: str
    ) -> None:
        hub.add("org/broken", {**files(WITH_HEAD, model={}), "model.safetensors": b"\xff" * 99})
        assert main(["inspect", name, "--json"]) == 1
        assert failed_line(capsys)


@pytest.mark.parametrize("command", ["pull", "models", "remove", "inspect"])
def test_help_has_an_example(command: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    assert left.value.code == 0
    assert f"mtplx-tui {command} " in capsys.readouterr().out.replace("\n", " ")


def test_figures_are_for_reading() -> None:
    assert [in_bytes(n) for n in (0, 999, 1_500, 12_345_678, 123e9)] == [
        "0 B", "999 B", "1.50 kB", "12.3 MB", "123 GB",
    ]  # fmt: skip
    assert [duration(s) for s in (3, 75, 3700)] == ["3 s", "1 min 15 s", "1 h 01 min"]
    assert [read_bytes(text) for text in ("20MB", "1.5g", "700 kB/s", "12")] == [
        2e7,
        1.5e9,
        7e5,
        12,
    ]
