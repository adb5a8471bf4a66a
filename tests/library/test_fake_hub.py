"""The fake hub against the real client: what it says is what the client understands."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from http.client import HTTPConnection
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import huggingface_hub
import pytest
from huggingface_hub import HfApi, scan_cache_dir, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.fakes.hub import FakeHub, Fault, noise, safetensors_bytes

SHARD = safetensors_bytes({"model.w": ("BF16", (1024, 6144))}, metadata={"format": "mlx"})
FILES = {"config.json": b"{}", "model.safetensors": SHARD, "README.md": b"# Hello\n"}


@pytest.fixture
def hub() -> Generator[FakeHub]:
    with FakeHub(page=2) as hub:
        yield hub


@pytest.fixture
def api(hub: FakeHub) -> HfApi:
    return HfApi(endpoint=hub.url, token=False)


def pull(hub: FakeHub, cache: Path, name: str = "org/tiny") -> Path:
    return Path(
        snapshot_download(name, cache_dir=cache, endpoint=hub.url, token=False, max_workers=2)
    )


def test_search_pages_filters_and_sorts(hub: FakeHub, api: HfApi) -> None:
    for index in range(5):
        hub.add(f"org/mtp-{index}", FILES, downloads=index * 7, tags=["mlx"])
    hub.add("other/mtp", FILES, downloads=3)
    found = [model.id for model in api.list_models(search="MTP", author="org", filter="mlx")]
    assert found == [f"org/mtp-{index}" for index in (4, 3, 2, 1, 0)]
    assert len(hub.asked) == 3


def test_one_model_tells_sizes_and_hashes(hub: FakeHub, api: HfApi) -> None:
    commit = hub.add("org/tiny", FILES)
    info = api.model_info("org/tiny", files_metadata=True)
    assert info.sha == commit
    sizes = {sibling.rfilename: sibling.size for sibling in info.siblings or ()}
    assert sizes == {name: len(data) for name, data in FILES.items()}
    large = [sibling.lfs for sibling in info.siblings or () if sibling.lfs is not None]
    assert [lfs.size for lfs in large] == [len(SHARD)]


def test_header_only_metadata_sends_no_weights_but_what_a_range_covers(
    hub: FakeHub, api: HfApi
) -> None:
    hub.add("org/tiny", FILES)
    metadata = api.get_safetensors_metadata("org/tiny")
    assert list(metadata.files_metadata["model.safetensors"].tensors) == ["model.w"]
    assert 0 < hub.weight_bytes <= 100_001


def test_a_snapshot_lands_whole_and_verified(hub: FakeHub, api: HfApi, tmp_path: Path) -> None:
    hub.add("org/tiny", FILES)
    folder = pull(hub, tmp_path)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    checked = api.verify_repo_checksums("org/tiny", cache_dir=tmp_path)
    assert checked.mismatches == []
    assert scan_cache_dir(tmp_path).warnings == []


def test_a_cut_connection_is_resumed_by_range(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/tiny", FILES)
    hub.plan("*/model.safetensors", Fault(drop_after=11_000_000))
    assert (pull(hub, tmp_path) / "model.safetensors").read_bytes() == SHARD
    assert "bytes=10485760-" in [asked.range for asked in hub.asked]


def test_a_flipped_byte_is_sent_and_seen_by_checksums(
    hub: FakeHub, api: HfApi, tmp_path: Path
) -> None:
    hub.add("org/tiny", FILES)
    hub.plan("*/model.safetensors", Fault(flip_at=500_000))
    pull(hub, tmp_path)
    checked = api.verify_repo_checksums("org/tiny", cache_dir=tmp_path)
    assert [mismatch["path"] for mismatch in checked.mismatches] == ["model.safetensors"]


def test_a_wrong_size_is_refused_by_the_client(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/tiny", FILES)
    wrong = Fault(size=len(SHARD) + 5)
    hub.plan("*/model.safetensors", wrong, method="HEAD")
    with pytest.raises(OSError, match="Consistency"):
        pull(hub, tmp_path)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("org/gated", GatedRepoError),
        ("org/private", RepositoryNotFoundError),
        ("org/no", RepositoryNotFoundError),
    ],
)
def test_refusals_are_told_apart(
    hub: FakeHub, tmp_path: Path, name: str, error: type[Exception]
) -> None:
    hub.add("org/gated", FILES, is_gated=True)
    hub.add("org/private", FILES, is_private=True)
    with pytest.raises(error):
        huggingface_hub.hf_hub_download(
            name, "config.json", cache_dir=tmp_path, endpoint=hub.url, token=False
        )


def test_what_is_missing_is_told_apart(hub: FakeHub, api: HfApi, tmp_path: Path) -> None:
    hub.add("org/tiny", FILES)
    with pytest.raises(RevisionNotFoundError):
        api.model_info("org/tiny", revision="v9")
    with pytest.raises(RemoteEntryNotFoundError):
        huggingface_hub.hf_hub_download(
            "org/tiny", "no.json", cache_dir=tmp_path, endpoint=hub.url, token=False
        )


def test_503_is_an_error_at_once(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/tiny", FILES)
    hub.plan("*/model.safetensors", Fault(status=503))
    with pytest.raises(HfHubHTTPError):
        pull(hub, tmp_path)


def test_a_token_opens_what_is_gated_and_stays_off_the_cdn(tmp_path: Path) -> None:
    with FakeHub(has_cdn=True) as hub:
        hub.add("org/gated", FILES, is_gated=True)
        snapshot_download("org/gated", cache_dir=tmp_path, endpoint=hub.url, token=hub.token)
        assert any(asked.has_token for asked in hub.asked if not asked.is_cdn)
        assert [asked.has_token for asked in hub.asked if asked.is_cdn] == [False]


def test_a_renamed_repository_redirects(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/old", FILES)
    hub.rename("org/old", "org/new")
    assert (pull(hub, tmp_path, "org/old") / "config.json").read_bytes() == b"{}"


def test_a_commit_may_move_between_two_requests(hub: FakeHub, api: HfApi) -> None:
    first = hub.add("org/tiny", FILES)

    def move() -> None:
        hub.add("org/tiny", {**FILES, "config.json": b'{"a": 1}'})

    hub.plan("*/config.json", Fault(first=move))
    path = f"{hub.url}/org/tiny/resolve/{first}/config.json"
    assert huggingface_hub.utils.get_session().get(path).content == b"{}"
    assert api.model_info("org/tiny").sha != first


@pytest.mark.parametrize("step", ["get_request", "finish_request"])
def test_a_count_begun_anew_leaves_out_a_connection_of_before(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Also one that is accepted, or whose thread begins, only after the count was asked for."""
    delays, take = iter([0.3]), getattr(ThreadingHTTPServer, step)

    def late(*arguments: object) -> object:
        time.sleep(next(delays, 0.0))
        return take(*arguments)

    url = f"{hub.url}/org/tiny/resolve/{hub.add('org/tiny', FILES)}/README.md"
    monkeypatch.setattr(ThreadingHTTPServer, step, late)
    with closing(HTTPConnection(urlsplit(url).netloc)) as before:
        before.request("GET", urlsplit(url).path)
        hub.forget()
        assert before.getresponse().read() == FILES["README.md"]
    assert hub.bytes_sent == 0
    with urlopen(url) as answer:
        assert answer.read() == FILES["README.md"]
    assert hub.bytes_sent == len(FILES["README.md"])


def test_noise_does_not_repeat() -> None:
    assert noise(64, 1)[:32] != noise(64, 1)[32:]
    assert noise(64, 1) != noise(64, 2)
