"""`graft`: a head of the original release drafts for a converted trunk; what does not fit is told."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from engine.model.heads.pair import PairHead
from engine.model.load import LoadedModel, load
from engine.verdict.headers import check_safetensors
from mtplx_tui.cli import main
from tests.fakes import checkpoints
from tests.fakes.checkpoints import Weights

Captured = pytest.CaptureFixture[str]
NAMES = ("qwen3_5", "qwen3_5_moe", "deepseek_v3", "nemotron_h", "mimo_v2_flash", "ernie4_5_moe")


def opened(folder: Path) -> LoadedModel:
    return load(folder.name, folder, folder, lambda *_: None)


def lowered(weights: Weights) -> Weights:
    return {k: v - 1 if v.ndim == 1 else v for k, v in weights.items()}


def drafts(model: LoadedModel) -> np.ndarray:
    assert model.head is not None, model.info.head_note
    hidden = mx.random.normal((1, 6, checkpoints.WIDTH), key=mx.random.key(2))
    rows = model.head.forward(hidden, mx.array([1, 2, 3, 4, 5, 6]), model.head.make_cache())
    return np.array(model.head.logits(rows))


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
    assert not (bare / "mtp.safetensors").exists()
    assert main(["inspect", str(out)]) == 0


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
