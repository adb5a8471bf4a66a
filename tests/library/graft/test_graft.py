"""`graft`: a head of the original release drafts for a converted trunk; what does not fit is told."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from engine.model.heads.pair import PairHead
from engine.verdict.checkpoint import check_folder
from engine.verdict.contract import CONTRACT_FILE
from engine.verdict.headers import check_safetensors
from mtplx_tui.cli import main
from tests.fakes import checkpoints
from tests.fakes.checkpoints import Weights
from tests.library.graft.parts import content, drafts, lowered, opened

Captured = pytest.CaptureFixture[str]
NAMES = ("qwen3_5", "qwen3_5_moe", "deepseek_v3", "nemotron_h", "mimo_v2_flash", "ernie4_5_moe")


@pytest.mark.parametrize("name", NAMES)
def test_a_grafted_head_drafts_as_the_one_it_was(
    tmp_path: Path, capsys: Captured, name: str
) -> None:
    whole = checkpoints.write(tmp_path / "whole", name)
    bare = checkpoints.write(tmp_path / "bare", name, head=None)
    out = tmp_path / "out"
    words = ["graft", str(bare), "--head", str(whole), "--out", str(out), "--json"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["path"] == str(out / "mtp.safetensors")
    assert np.array_equal(drafts(opened(out)), drafts(opened(whole)))
    heads = check_folder(out).head, check_folder(whole).head
    assert heads[0] is not None
    assert heads[1] is not None
    assert heads[0].tensors.keys() == heads[1].tensors.keys()
    assert not (bare / "mtp.safetensors").exists()
    assert main(["inspect", str(out)]) == 0


def test_what_a_killed_graft_left_in_a_folder_is_cleared_by_the_next(tmp_path: Path) -> None:
    whole = checkpoints.write(tmp_path / "whole", "qwen3_5")
    bare = checkpoints.write(tmp_path / "bare", "qwen3_5", head=None)
    gone = _pid_of_nobody()
    left = bare / f".{gone}-mtp.safetensors"
    others = [bare / f".{gone}-notes.txt", bare / f".{os.getppid()}-mtp.safetensors"]
    for file in (left, *others):
        file.write_text("half")
    assert main(["graft", str(bare), "--head", str(whole)]) == 0
    assert not left.exists()
    assert all(file.exists() for file in others)


def _pid_of_nobody() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        return gone.pid


def test_gains_are_written_as_they_multiply_and_say_so(tmp_path: Path) -> None:
    raw = checkpoints.write(
        tmp_path / "raw", "qwen3_5", edit=lowered, contract={"norm_encoding": "one_plus"}
    )
    bare = checkpoints.write(tmp_path / "bare", "qwen3_5", head=None, contract={})
    assert main(["graft", str(bare), "--head", str(raw)]) == 0
    metadata = check_safetensors(bare / "mtp.safetensors").metadata
    assert metadata["norm_encoding"] == "plain"
    assert metadata["source"] == str(raw)
    assert len(metadata["source_sha256"]) == 64
    plain = checkpoints.write(tmp_path / "plain", "qwen3_5")
    assert np.abs(drafts(opened(bare)) - drafts(opened(plain))).max() < 1e-4


def test_gains_that_were_brought_over_are_never_shifted_again(tmp_path: Path) -> None:
    """Whatever the trunk's folder declares of the head that it lost."""
    raw = checkpoints.write(
        tmp_path / "raw", "qwen3_5", edit=lowered, contract={"norm_encoding": "one_plus"}
    )
    bare = checkpoints.write(
        tmp_path / "bare", "qwen3_5", head=None, contract={"norm_encoding": "one_plus"}
    )
    assert main(["graft", str(bare), "--head", str(raw)]) == 0
    plain = checkpoints.write(tmp_path / "plain", "qwen3_5")
    assert np.abs(drafts(opened(bare)) - drafts(opened(plain))).max() < 1e-4


def test_how_a_release_says_its_head_is_fed_goes_with_the_head(tmp_path: Path) -> None:
    declared = {"concat": "hidden,embedding", "hidden": "pre", "recycle": "pre"}
    whole = checkpoints.write(
        tmp_path / "whole", "qwen3_5", contract={**declared, "norm_encoding": "plain"}
    )
    bare = checkpoints.write(tmp_path / "bare", "qwen3_5", head=None, contract={})
    assert main(["graft", str(bare), "--head", str(whole)]) == 0
    assert check_folder(bare).contract.told() == declared
    assert np.array_equal(drafts(opened(bare)), drafts(opened(whole)))
    (bare / CONTRACT_FILE).write_text('{"concat": "embedding,hidden"}', "utf-8")
    assert check_folder(bare).contract.told() == declared | {"concat": "embedding,hidden"}


def test_a_sidecar_that_declares_nonsense_drafts_nothing(tmp_path: Path) -> None:
    whole = checkpoints.write(tmp_path / "whole", "mimo")
    bare = checkpoints.write(tmp_path / "bare", "mimo", head=None, contract={})
    assert main(["graft", str(bare), "--head", str(whole)]) == 0
    sidecar = bare / "mtp.safetensors"
    weights = checkpoints.read(sidecar)
    mx.save_safetensors(str(sidecar), weights, metadata={"hidden": "sideways"})
    model = opened(bare)
    assert model.head is None
    assert "sideways" in model.info.head_note


def test_a_head_can_be_quantised(tmp_path: Path) -> None:
    whole = checkpoints.write(tmp_path / "whole", "qwen3_5")
    bare = checkpoints.write(tmp_path / "bare", "qwen3_5", head=None)
    words = ["graft", str(bare), "--head", str(whole), "--bits", "8", "--group-size", "32"]
    assert main(words) == 0
    model = opened(bare)
    assert isinstance(model.head, PairHead), model.info.head_note
    assert "scales" in model.head.projection
    assert np.corrcoef(drafts(model).ravel(), drafts(opened(whole)).ravel())[0, 1] > 0.99


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("qwen3_5", {"vocab_size": 300}, ["vocab_size is 257, not 300"]),
        ("mimo", {}, ["model_type is qwen3_5, not mimo"]),
        ("qwen3_5", {"hidden_size": 64, "head_dim": 8}, ["head_dim is 16, not 8", "hidden_size is 32, not 64"]),
    ],
)  # fmt: skip
def test_what_differs_is_listed_and_nothing_is_written(
    tmp_path: Path, capsys: Captured, name: str, changes: dict[str, int], says: list[str]
) -> None:
    whole = checkpoints.write(tmp_path / "whole", "qwen3_5")
    bare = checkpoints.write(tmp_path / "bare", name, head=None)
    config = json.loads((bare / "config.json").read_text("utf-8"))
    config.get("text_config", config).update(changes)
    (bare / "config.json").write_text(json.dumps(config), "utf-8")
    before = sorted(tmp_path.rglob("*"))
    assert main(["graft", str(bare), "--head", str(whole)]) == 1
    assert main(["graft", str(bare), "--head", str(whole), "--out", str(tmp_path / "o")]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 2
    assert all(word in err for word in says)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_damaged_head_leaves_nothing_behind(tmp_path: Path, capsys: Captured) -> None:
    def cut(weights: Weights) -> Weights:
        return {k: v for k, v in weights.items() if not k.endswith("q_proj.weight")}

    whole = checkpoints.write(tmp_path / "whole", "qwen3_5", edit=cut)
    bare = checkpoints.write(tmp_path / "bare", "qwen3_5", head=None)
    before = sorted(tmp_path.rglob("*"))
    assert main(["graft", str(bare), "--head", str(whole)]) == 1
    assert "incomplete" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_trunk_with_a_head_is_left_alone(tmp_path: Path, capsys: Captured) -> None:
    whole = checkpoints.write(tmp_path / "whole", "qwen3_5")
    assert main(["graft", str(whole), "--head", str(whole)]) == 1
    assert "has a head already" in capsys.readouterr().err
    assert main(["graft", "demo", "--head", str(whole)]) == 2


def test_the_engines_own_process_does_the_work(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    whole = checkpoints.write(tmp_path / "whole", "mimo")
    bare = checkpoints.write(tmp_path / "bare", "mimo", head=None)
    assert main(["graft", str(bare), "--head", str(whole)]) == 0
    assert "a head of the family mimo" in capsys.readouterr().out
    assert check_folder(bare).head is not None


def test_an_engine_that_dies_is_told(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(sys, "executable", "/bin/false")
    whole = checkpoints.write(tmp_path / "whole", "mimo")
    bare = checkpoints.write(tmp_path / "bare", "mimo", head=None)
    assert main(["graft", str(bare), "--head", str(whole)]) == 1
    assert "the engine's process ended with 1" in capsys.readouterr().err


def test_the_source_is_told_by_a_hash_of_what_was_released(tmp_path: Path) -> None:
    whole = checkpoints.write(tmp_path / "whole", "qwen3_5", head="model-mtp.safetensors")
    bare = checkpoints.write(tmp_path / "bare", "qwen3_5", head=None)
    assert main(["graft", str(bare), "--head", str(whole)]) == 0
    released = checkpoints.read(whole / "model-mtp.safetensors")
    digest = hashlib.sha256()
    for name in sorted(released):
        digest.update(name.removeprefix("mtp.").encode())
        digest.update(np.array(released[name]).tobytes())
    metadata = check_safetensors(bare / "mtp.safetensors").metadata
    assert metadata["source_sha256"] == digest.hexdigest()


def test_routers_are_not_quantised(tmp_path: Path) -> None:
    whole = checkpoints.write(tmp_path / "whole", "qwen3_5_moe")
    bare = checkpoints.write(tmp_path / "bare", "qwen3_5_moe", head=None)
    words = ["graft", str(bare), "--head", str(whole), "--bits", "4", "--group-size", "32"]
    assert main(words) == 0
    names = set(checkpoints.read(bare / "mtp.safetensors"))
    assert "layers.0.self_attn.q_proj.scales" in names
    assert not any(name.endswith("gate.scales") for name in names)


class TestNewFolder:
    """`--out`: trunk and head in a folder of their own."""

    def test_weights_are_linked_and_what_one_may_edit_is_copied(self, tmp_path: Path) -> None:
        whole = checkpoints.write(tmp_path / "whole", "mimo")
        bare = checkpoints.write(tmp_path / "bare", "mimo", head=None)
        out = tmp_path / "out"
        assert main(["graft", str(bare), "--head", str(whole), "--out", str(out)]) == 0
        for name in ("model.safetensors", "config.json"):
            is_linked = (out / name).samefile(bare / name)
            assert is_linked == name.endswith(".safetensors")

    def test_a_disk_without_links_gets_copies(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refused(*_: str) -> None:
            raise OSError

        monkeypatch.setattr(os, "link", refused)
        whole = checkpoints.write(tmp_path / "whole", "mimo")
        bare = checkpoints.write(tmp_path / "bare", "mimo", head=None)
        out = tmp_path / "out"
        assert main(["graft", str(bare), "--head", str(whole), "--out", str(out)]) == 0
        assert not (out / "model.safetensors").samefile(bare / "model.safetensors")
        assert opened(out).head is not None

    def test_what_is_there_is_left_alone(self, tmp_path: Path, capsys: Captured) -> None:
        whole = checkpoints.write(tmp_path / "whole", "mimo")
        bare = checkpoints.write(tmp_path / "bare", "mimo", head=None)
        (bare / "mtp.safetensors").write_bytes(b"mine")
        before = content(tmp_path)
        assert main(["graft", str(bare), "--head", str(whole)]) == 1
        assert main(["graft", str(bare), "--head", str(whole), "--out", str(whole)]) == 1
        assert capsys.readouterr().err.count("is there already") == 2
        assert content(tmp_path) == before


def test_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half_written(path: str, *_: object, **__: object) -> None:
        Path(path).write_bytes(b"half")
        raise RuntimeError("no space left")

    whole = checkpoints.write(tmp_path / "whole", "mimo")
    bare = checkpoints.write(tmp_path / "bare", "mimo", head=None)
    before = content(tmp_path)
    monkeypatch.setattr(mx, "save_safetensors", half_written)
    assert main(["graft", str(bare), "--head", str(whole)]) == 1
    assert main(["graft", str(bare), "--head", str(whole), "--out", str(tmp_path / "o")]) == 1
    assert capsys.readouterr().err.count("no space left") == 2
    assert content(tmp_path) == before


def test_a_disk_that_is_full_for_the_trunks_files_is_told(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    whole = checkpoints.write(tmp_path / "whole", "mimo")
    bare = checkpoints.write(tmp_path / "bare", "mimo", head=None)
    before = content(tmp_path)
    out = bare / "in" / "itself"
    out.parent.mkdir()
    words = ["graft", str(bare), "--head", str(whole), "--out", str(out)]
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", full)
        assert main(words) == 1
    assert (
        capsys.readouterr().err == f"mtplx-tui: {out} can't be written: No space left on device\n"
    )
    assert content(tmp_path) == before
    assert main(words) == 0
    assert (out / "config.json").read_bytes() == (bare / "config.json").read_bytes()


def test_a_folder_of_the_trunk_that_cant_be_read_is_told(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = os.scandir

    def refused(place: str) -> object:
        if Path(place).name == "secret":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), place)
        return look(place)

    whole = checkpoints.write(tmp_path / "whole", "mimo")
    bare = checkpoints.write(tmp_path / "bare", "mimo", head=None)
    (bare / "secret").mkdir()
    before = content(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", refused)
        out = tmp_path / "out"
        assert main(["graft", str(bare), "--head", str(whole), "--out", str(out)]) == 1
    assert capsys.readouterr().err.endswith("Permission denied\n")
    assert content(tmp_path) == before
