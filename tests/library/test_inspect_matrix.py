"""`inspect --json` of checkpoints made as real files: the right tier and the right exit code."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from engine.errors import ModelError
from engine.model.load import load
from mtplx_tui.cli import main
from tests.fakes import checkpoints, families
from tests.fakes.checkpoints import Weights
from tests.fakes.hub import FakeHub

Captured = pytest.CaptureFixture[str]
Edit = Callable[[Weights], Weights]
EXITS = {"compatible": 0, "no-mtp": 3, "unsupported": 4, "error": 1}


def same(weights: Weights) -> Weights:
    return weights


@dataclass(frozen=True)
class Case:
    """One checkpoint of the matrix."""

    name: str
    tier: str
    says: str = ""
    """In the summary, or on standard error."""
    edit: Edit = same
    head: str | None = "model.safetensors"
    config: dict[str, Any] = field(default_factory=dict)
    after: Callable[[Path], object] = lambda _: None
    """Done to the folder once it is written."""


def without(ending: str) -> Edit:
    return lambda weights: {k: v for k, v in weights.items() if not k.endswith(ending)}


def changed(ending: str, change: Callable[[mx.array], mx.array]) -> Edit:
    return lambda weights: {k: change(v) if k.endswith(ending) else v for k, v in weights.items()}


def added(name: str) -> Edit:
    return lambda weights: {**weights, name: mx.zeros((4, 4))}


def bare(weights: Weights) -> Weights:
    return {k.removeprefix("mtp."): v for k, v in weights.items()}


def packed(weights: Weights) -> Weights:
    found: Weights = {}
    for name, value in weights.items():
        stem, _, kind = name.rpartition(".")
        if kind != "weight" or value.ndim != 2 or value.shape[1] % 32:
            found[name] = value
            continue
        parts = mx.quantize(value, group_size=32, bits=8 if stem.endswith("fc") else 4)
        found |= dict(
            zip((f"{stem}.{k}" for k in ("weight", "scales", "biases")), parts, strict=True)
        )
    return found


def one_by_one(weights: Weights) -> Weights:
    """Bring experts to the numbered layout that they are published in."""
    found: Weights = {}
    for name, value in weights.items():
        stem, _, part = name.partition("switch_mlp.")
        names = [f"{stem}experts.{index}.{part}" for index in range(len(value))]
        found |= dict(zip(names, value, strict=True)) if part else {name: value}
    return found


def fused(weights: Weights) -> Weights:
    stem = "mtp.layers.0.mlp"
    parts = [weights[f"{stem}.switch_mlp.{kind}_proj.weight"] for kind in ("gate", "up", "down")]
    return {
        **{k: v for k, v in weights.items() if "switch_mlp" not in k},
        f"{stem}.experts.gate_up_proj": mx.concatenate(parts[:2], axis=1),
        f"{stem}.experts.down_proj": parts[2],
    }


def joined(weights: Weights) -> Weights:
    """Bring a latent projection back to the one matrix that is published."""
    found: Weights = {}
    for name, value in weights.items():
        if name.endswith("embed_q.weight"):
            low = weights[name.replace("embed_q", "unembed_out")]
            both = mx.concatenate([value.swapaxes(-1, -2), low], axis=1)
            found[name.replace("embed_q", "kv_b_proj")] = both.reshape(-1, both.shape[-1])
        elif not name.endswith("unembed_out.weight"):
            found[name] = value
    return found


def half_shifted(weights: Weights) -> Weights:
    return {k: v - 1 if k.endswith("layernorm.weight") else v for k, v in weights.items()}


def doubled(weights: Weights) -> Weights:
    return {k: mx.concatenate([v, v], axis=-1) for k, v in weights.items()}


def again(name: str) -> Callable[[Path], object]:
    def copy(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes((folder / "mtp.safetensors").read_bytes())

    return copy


def written(name: str, content: str | bytes) -> Callable[[Path], object]:
    raw = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(raw)


def header(tensors: dict[str, Any], data: int = 0) -> bytes:
    raw = json.dumps(tensors).encode()
    return struct.pack("<Q", len(raw)) + raw + bytes(data)


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def bomb(raw: bytes) -> bytes:
    return struct.pack("<Q", len(raw)) + raw


def overlapping() -> bytes:
    one = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    other = {"dtype": "F32", "shape": [4], "data_offsets": [8, 24]}
    return header({"a": one, "b": other}, 24)


def unnamed_shard(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"mtp.fc.weight": "model-00002-of-00002.safetensors"}}), "utf-8"
    )


QWEN = "qwen3_5"
APART = "mtp.safetensors"
LAYER_0 = "mtp.layers.0."
HEALTHY = {name: Case(name, "compatible") for name in checkpoints.DONORS}
LAYOUTS = {
    "packed in sizes of its own": Case(QWEN, "compatible", edit=packed),
    "experts one by one": Case("qwen3_5_moe", "compatible", edit=one_by_one),
    "experts fused": Case("qwen3_5_moe", "compatible", edit=fused),
    "latents joined": Case("deepseek_v3", "compatible", edit=joined),
    "published as a whole": Case("glm4_moe_lite", "compatible", edit=lambda w: one_by_one(joined(w))),
    "norms mixed, which only values tell": Case(QWEN, "compatible", edit=half_shifted),
    "without copies of the trunk's": Case(
        "glm4_moe", "compatible", edit=lambda w: without("embed_tokens.weight")(without("head.weight")(w))
    ),
    "in a sidecar": Case(QWEN, "compatible", head=APART),
    "in a sidecar, bare": Case(QWEN, "compatible", head=APART, edit=bare),
    "in a folder": Case(QWEN, "compatible", head="mtp/weights.safetensors", edit=bare),
    "in a sidecar of many names": Case(QWEN, "compatible", head="model-mtp.safetensors"),
}  # fmt: skip
DROPPED = {
    f"dropped {name}": Case(name, "no-mtp", "dropped", head=None, config={"num_nextn_predict_layers": 1})
    for name in ("qwen3_5", "deepseek_v3", "mimo", "nemotron_h")
}  # fmt: skip
DAMAGED = {
    "no projection": Case(QWEN, "no-mtp", "fc is missing", edit=without("mtp.fc.weight")),
    "no final norm": Case(QWEN, "no-mtp", "norm is missing", edit=without("mtp.norm.weight")),
    "no q_proj": Case(QWEN, "no-mtp", "q_proj is missing", edit=without("q_proj.weight")),
    "no mlp": Case(
        QWEN, "no-mtp", "layers.0.mlp is missing",
        edit=lambda w: {k: v for k, v in w.items() if ".mlp." not in k},
    ),
    "no layer": Case(
        QWEN, "no-mtp", "layers none",
        edit=lambda w: {k: v for k, v in w.items() if not k.startswith(LAYER_0)},
    ),
    "no norm of a layer": Case(QWEN, "no-mtp", "input_layernorm is missing", edit=without("input_layernorm.weight")),
    "no expert": Case("qwen3_5_moe", "no-mtp", "switch_mlp.up_proj is missing", edit=without("switch_mlp.up_proj.weight")),
    "an expert lost": Case(
        "qwen3_5_moe", "no-mtp", "switch_mlp.up_proj",
        edit=lambda w: without("experts.2.up_proj.weight")(one_by_one(w)),
    ),
    "no hnorm": Case("deepseek_v3", "no-mtp", "hnorm is missing", edit=without("hnorm.weight")),
    "half a latent": Case("deepseek_v3", "no-mtp", "kv_b_proj is missing", edit=without("embed_q.weight")),
    "no enorm in ernie": Case("ernie4_5_moe", "no-mtp", "emb_norm.0 is missing", edit=without("emb_norm.0.weight")),
    "no second layer": Case(
        "nemotron_h", "no-mtp", "not 2 of them",
        edit=lambda w: {k: v for k, v in w.items() if not k.startswith("mtp.layers.1.m") and not k.startswith("mtp.layers.1.norm")},
    ),
    "more layers promised": Case("nemotron_h", "no-mtp", "not 3 of them", config={"mtp_hybrid_override_pattern": "M*E"}),
    "a gap in the heads": Case(
        "mimo_v2_flash", "no-mtp", "numbered 0, 2",
        edit=lambda w: {k: v for k, v in w.items() if ".layers.1." not in k},
    ),
    "fc of half a width": Case(QWEN, "no-mtp", "[32, 32], not [32, 64]", edit=changed("fc.weight", lambda w: w[:, :32])),
    "k_proj of fewer rows": Case(QWEN, "no-mtp", "k_proj has the shape", edit=changed("k_proj.weight", lambda w: w[:8])),
    "experts of another width": Case("glm4_moe", "no-mtp", "down_proj has the shape", edit=changed("switch_mlp.down_proj.weight", lambda w: w[..., :8])),
    "a gain of another width": Case("mimo", "no-mtp", "token_layernorm has the shape", edit=changed("token_layernorm.weight", lambda w: w[:8])),
    "a copy of another vocabulary": Case("deepseek_v3", "no-mtp", "embed_tokens has the shape", edit=changed("embed_tokens.weight", lambda w: w[:100])),
    "another size throughout": Case(QWEN, "no-mtp", "has the shape", edit=doubled),
    "packed in a way not known": Case(QWEN, "no-mtp", "fc.weight_scale_inv is not known", edit=added("mtp.fc.weight_scale_inv")),
    "a layer too many": Case(QWEN, "no-mtp", "layers 0, 1, not 1", edit=added("mtp.layers.1.self_attn.q_proj.weight")),
    "a tensor too many": Case(QWEN, "no-mtp", "extra is not known", edit=added("mtp.extra")),
    "a strange contract": Case(QWEN, "no-mtp", "unknown key", after=written("mtp_contract.json", '{"depth": 3}')),
    "in two sidecars": Case(QWEN, "no-mtp", "more than once", head=APART, after=again("model-mtp.safetensors")),
    "a config that lies of its layers": Case("deepseek_v3", "no-mtp", "is missing", after=lambda folder: edited(folder, num_hidden_layers=1)),
}  # fmt: skip
OTHERS = {
    "a trunk alone": Case("kimi_linear", "no-mtp", "no head", head=None, config={"num_nextn_predict_layers": 0}),
    "a family without heads here": Case("longcat_flash", "unsupported", "mlx-lm has no layer", head=None, after=lambda f: grown(f, "model.mtp.layers.0.eh_proj.weight")),
    "heads named not for certain": Case("step3p5", "unsupported", "not known for certain", head=None, after=lambda f: grown(f, "model.layers.3.eh_proj.weight")),
    "no trunk for it": Case(QWEN, "unsupported", "no trunk", after=lambda f: edited(f, model_type="qwen4_exp")),
    "stages under its prefix": Case(QWEN, "unsupported", "DSpark", after=lambda f: edited(f, model_type="deepseek_v41")),
    "a type not known": Case(QWEN, "unsupported", "not known here", after=lambda f: edited(f, model_type="dots9")),
    "a drafter for others": Case(QWEN, "unsupported", "can't run alone", after=lambda f: edited(f, model_type="gemma4_assistant")),
    "another family's names": Case(QWEN, "no-mtp", "enorm is missing", after=lambda f: edited(f, model_type="glm4_moe", text_config=None)),
}  # fmt: skip
BROKEN = {
    "cut short": Case(QWEN, "error", "model.safetensors", after=cut),
    "a header of 32 MB and more": Case(QWEN, "error", "model.safetensors", after=written("model.safetensors", struct.pack("<Q", 2**40) + b"{}" * 9)),
    "a header of nothing but brackets": Case(QWEN, "error", "model.safetensors", after=written("model.safetensors", bomb(b"[" * 2**20))),
    "a header of 100,000 names": Case(QWEN, "error", "model.safetensors", after=written("model.safetensors", bomb(b"{" + b'"a":{},' * 100_000 + b'"b":{}}'))),
    "no safetensors": Case(QWEN, "error", "model.safetensors", after=written("model.safetensors", b"\xff" * 99)),
    "overlapping": Case(QWEN, "error", "model.safetensors", after=written("model.safetensors", overlapping())),
    "an index of a file that is gone": Case(QWEN, "error", "is missing", after=unnamed_shard),
    "no config": Case(QWEN, "error", "config.json", after=lambda folder: (folder / "config.json").unlink()),
    "a config that is a list": Case(QWEN, "error", "config.json", after=written("config.json", "[]")),
    "a nested config": Case(QWEN, "error", "config.json", after=written("config.json", "[" * 9999)),
    "a sidecar cut short": Case(QWEN, "error", "mtp.safetensors", head=APART, after=lambda f: halved(f / APART)),
    "impossible sizes": Case(QWEN, "error", "vocab_size", after=lambda f: edited(f, vocab_size=2**40)),
}  # fmt: skip
MATRIX = {**HEALTHY, **LAYOUTS, **DROPPED, **DAMAGED, **OTHERS, **BROKEN}


def edited(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")


def halved(path: Path) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])


def grown(folder: Path, name: str) -> None:
    """Put one more tensor beside the model's."""
    mx.save_safetensors(str(folder / "model-00002.safetensors"), {name: mx.zeros((32, 64))})


def test_the_matrix_is_wide() -> None:
    assert len(MATRIX) >= 40
    assert {case.name for case in MATRIX.values()} == set(families.CONFIGS)


def made(folder: Path, case: Case) -> Path:
    checkpoints.write(folder, case.name, head=case.head, edit=case.edit, **case.config)
    case.after(folder)
    return folder


@pytest.mark.parametrize("title", MATRIX)
def test_inspect_tells_tier_and_exit_code(tmp_path: Path, capsys: Captured, title: str) -> None:
    case = MATRIX[title]
    folder = made(tmp_path / "m", case)
    code = main(["inspect", str(folder), "--json"])
    out, err = capsys.readouterr()
    assert code == EXITS[case.tier], out + err
    if case.tier == "error":
        assert out == ""
        assert err.count("\n") == 1
        assert case.says in err
        return
    report = json.loads(out)
    assert report["tier"] == case.tier
    assert case.says in report["summary"]
    assert (case.tier == "compatible") == all(reason["ok"] for reason in report["reasons"])


@pytest.mark.parametrize("title", MATRIX)
def test_a_hub_is_judged_alike_and_sends_no_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured, title: str
) -> None:
    case = MATRIX[title]
    folder = made(tmp_path / "m", case)
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with FakeHub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.add("org/tiny", {name: path.read_bytes() for name, path in files.items()})
        code = main(["inspect", "org/tiny", "--json"])
        assert hub.weight_bytes == 0
        assert len(hub.asked) <= 12
    out, err = capsys.readouterr()
    assert code == EXITS[case.tier], out + err
    assert case.tier == "error" or json.loads(out)["tier"] == case.tier


@pytest.mark.parametrize("title", [*HEALTHY, *LAYOUTS, *DROPPED, *DAMAGED])
def test_the_engine_finds_what_inspect_foretold(tmp_path: Path, title: str) -> None:
    case = MATRIX[title]
    folder = made(tmp_path / "m", case)
    try:
        model = load(title, folder, folder, lambda *_: None)
    except ModelError:
        assert title == "a config that lies of its layers"
        return
    assert (model.head is not None) == (case.tier == "compatible"), model.info.head_note


@pytest.mark.parametrize(("name", "heads"), [("qwen3_5", 1), ("mimo", 1), ("mimo_v2_flash", 3)])
def test_heads_are_counted_in_the_files_not_in_the_config(
    tmp_path: Path, capsys: Captured, name: str, heads: int
) -> None:
    folder = checkpoints.write(tmp_path / "m", name)
    edited(folder, num_nextn_predict_layers=5)
    assert main(["inspect", str(folder), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["mtp"]["layers"] == heads
    assert "5 head layers" in report["reasons"][0]["detail"]
