"""`graft --head owner/name`: the head's bytes alone are fetched from the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.verdict.headers import check_safetensors
from mtplx_tui.cli import main
from tests.fakes import checkpoints
from tests.fakes.hub import FakeHub, Fault
from tests.library.graft.parts import content, drafts, head_bytes, lowered, opened, sharded

Captured = pytest.CaptureFixture[str]


@pytest.mark.parametrize("name", ["qwen3_5", "deepseek_v3", "mimo_v2_flash"])
def test_no_byte_of_the_trunk_is_fetched(
    hub: FakeHub, tmp_path: Path, capsys: Captured, name: str
) -> None:
    whole = sharded(checkpoints.write(tmp_path / "whole", name))
    bare = checkpoints.write(tmp_path / "bare", name, head=None)
    commit = hub.add("org/release", content(whole))
    assert main(["graft", str(bare), "--head", "org/release"]) == 0
    assert hub.weight_bytes == head_bytes(whole)
    assert not any(path.endswith("00001-of-00003.safetensors") for path in hub.paths())
    assert np.array_equal(drafts(opened(bare)), drafts(opened(whole)))
    metadata = check_safetensors(bare / "mtp.safetensors").metadata
    assert metadata["source"] == f"org/release@{commit}"
    assert not list((tmp_path / "home").rglob("head-*"))
    assert not (tmp_path / "hub").exists()
    assert "fetching the head of org/release" in capsys.readouterr().err


@pytest.mark.parametrize("file", ["mtp.safetensors", "mtp/weights.safetensors"])
def test_a_sidecar_is_fetched_with_its_contract(hub: FakeHub, tmp_path: Path, file: str) -> None:
    whole = checkpoints.write(
        tmp_path / "whole", "qwen3_5", head=file, edit=lowered,
        contract={"norm_encoding": "one_plus"},
    )  # fmt: skip
    bare = checkpoints.write(tmp_path / "bare", "qwen3_5", head=None, contract={})
    hub.add("org/release", content(whole))
    assert main(["graft", str(bare), "--head", "org/release"]) == 0
    plain = checkpoints.write(tmp_path / "plain", "qwen3_5")
    assert np.abs(drafts(opened(bare)) - drafts(opened(plain))).max() < 1e-4


def test_a_connection_that_breaks_is_taken_up(hub: FakeHub, tmp_path: Path) -> None:
    whole = sharded(checkpoints.write(tmp_path / "whole", "mimo"))
    bare = checkpoints.write(tmp_path / "bare", "mimo", head=None)
    hub.add("org/release", content(whole))
    for shard in ("2", "3"):
        hub.plan(f"*-0000{shard}-of-00003.safetensors", *[Fault()] * 2, Fault(drop_after=9))
    assert main(["graft", str(bare), "--head", "org/release"]) == 0
    assert np.array_equal(drafts(opened(bare)), drafts(opened(whole)))


@pytest.mark.parametrize(
    ("repository", "changes", "says"),
    [
        ("org/none", {}, "org/none is not on the hub, or not open to you"),
        ("org/release", {"vocab_size": 300}, "vocab_size is 257, not 300"),
        ("org/headless", {}, "dropped in conversion"),
        ("org/empty", {}, "has no config.json"),
        ("org/gated", {}, "gated"),
    ],
)
def test_what_cant_be_had_is_told_before_a_weight_is_fetched(
    hub: FakeHub, tmp_path: Path, capsys: Captured,
    repository: str, changes: dict[str, Any], says: str,
) -> None:  # fmt: skip
    whole = content(checkpoints.write(tmp_path / "whole", "mimo"))
    bare = checkpoints.write(tmp_path / "bare", "mimo", head=None, **changes)
    hub.add("org/release", whole)
    hub.add("org/headless", content(bare) | {"config.json": whole["config.json"]})
    hub.add("org/empty", {"README.md": b"# Nothing"})
    hub.add("org/gated", whole, is_gated=True)
    before = content(tmp_path)
    assert main(["graft", str(bare), "--head", repository]) == 1
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert hub.weight_bytes == 0
    assert content(tmp_path) == before


def test_a_hub_that_gives_no_parts_is_told(
    hub: FakeHub, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtplx_tui.library.header.MAX_SKIPPED", 2**14)
    whole = checkpoints.write(tmp_path / "whole", "mimo")
    bare = checkpoints.write(tmp_path / "bare", "mimo", head=None)
    hub.add("org/release", content(whole))
    hub.plan("*/model.safetensors", *[Fault(ignores_range=True)] * 9)
    assert main(["graft", str(bare), "--head", "org/release"]) == 1
    assert "as a whole only; pull the repository" in capsys.readouterr().err


def test_a_trunk_with_a_head_asks_for_nothing(
    hub: FakeHub, tmp_path: Path, capsys: Captured
) -> None:
    whole = checkpoints.write(tmp_path / "whole", "mimo")
    assert main(["graft", str(whole), "--head", "org/release"]) == 1
    assert "has a head already" in capsys.readouterr().err
    assert hub.asked == []


def test_the_hubs_cache_is_never_grafted_into(
    hub: FakeHub, tmp_path: Path, capsys: Captured
) -> None:
    whole = checkpoints.write(tmp_path / "whole", "mimo")
    bare = checkpoints.write(tmp_path / "bare", "mimo", head=None)
    hub.add("org/bare", content(bare))
    assert main(["pull", "org/bare"]) == 0
    before = content(tmp_path / "hub")
    (snapshot,) = (tmp_path / "hub").glob("models--*/snapshots/*")
    inside = str(snapshot.parent / "new")
    for words in (["org/bare"], [str(snapshot)], ["org/bare", "--out", inside]):
        assert main(["graft", *words, "--head", str(whole)]) == 2
    assert capsys.readouterr().err.count("the hub's cache is not written to") == 3
    out = tmp_path / "out"
    assert main(["graft", "org/bare", "--head", str(whole), "--out", str(out)]) == 0
    assert content(tmp_path / "hub") == before
    assert np.array_equal(drafts(opened(out)), drafts(opened(whole)))
