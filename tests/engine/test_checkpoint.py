"""A checkpoint folder is judged by its files; whoever reads the reason knows what to do."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from engine.errors import ModelFileError
from engine.verdict.checkpoint import check_folder
from engine.verdict.families import DEMO, FAMILIES, head_note

CONFIG: dict[str, Any] = {"model_type": "llama", "num_hidden_layers": 2, "vocab_size": 64}
INDEX = "model.safetensors.index.json"


def shard(*names: str) -> bytes:
    entries = {
        name: {"dtype": "F32", "shape": [2], "data_offsets": [8 * i, 8 * i + 8]}
        for i, name in enumerate(names)
    }
    header = json.dumps(entries).encode()
    return struct.pack("<Q", len(header)) + header + bytes(8 * len(names))


def make(folder: Path, files: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        (folder / name).write_bytes(raw)
    return folder


def good(folder: Path, **changes: Any) -> Path:
    return make(
        folder, {"config.json": {**CONFIG, **changes}, "model.safetensors": shard("a", "b")}
    )


def test_a_plain_checkpoint(tmp_path: Path) -> None:
    facts = check_folder(good(tmp_path))
    assert facts.model_type == "llama"
    assert facts.config == CONFIG
    assert facts.tensor_names == {"a", "b"}
    assert facts.weights_bytes == 16
    assert facts.head_note == "no head: the checkpoint has no MTP tensors"


def test_shards_named_by_an_index(tmp_path: Path) -> None:
    weight_map = {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}
    files = {
        "config.json": CONFIG,
        INDEX: {"weight_map": weight_map},
        "model-1-of-2.safetensors": shard("a"),
        "model-2-of-2.safetensors": shard("b", "c"),
    }
    facts = check_folder(make(tmp_path, files))
    assert facts.tensor_names == {"a", "b", "c"}
    assert facts.weights_bytes == 24


WEIGHTS = {"model.safetensors": shard("a")}


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "no config.json"),
        (WEIGHTS, "no config.json"),
        ({"config.json": b"{", **WEIGHTS}, "no valid JSON"),
        ({"config.json": b"\xff", **WEIGHTS}, "no valid JSON"),
        ({"config.json": b"[]", **WEIGHTS}, "no JSON object"),
        ({"config.json": b"[" * 100_000, **WEIGHTS}, "nested too deep"),
        ({"config.json": b" " * 2**21, **WEIGHTS}, "larger than"),
        ({"config.json": {}, **WEIGHTS}, "model_type"),
        ({"config.json": {"model_type": 3}, **WEIGHTS}, "model_type"),
        ({"config.json": {"model_type": "../evil"}, **WEIGHTS}, "model_type"),
        ({"config.json": {**CONFIG, "vocab_size": 2**40}, **WEIGHTS}, "vocab_size"),
        ({"config.json": {**CONFIG, "num_hidden_layers": 0}, **WEIGHTS}, "num_hidden_layers"),
        (
            {"config.json": {**CONFIG, "text_config": {"hidden_size": -1}}, **WEIGHTS},
            "hidden_size",
        ),
        ({"config.json": CONFIG}, "no model*.safetensors"),
        ({"config.json": CONFIG, "model.safetensors": b"xx"}, "malformed"),
        ({"config.json": CONFIG, INDEX: {"weight_map": {"a": "gone.safetensors"}}}, "gone"),
        ({"config.json": CONFIG, INDEX: {"weight_map": {"a": "../x.safetensors"}}}, "names"),
        ({"config.json": CONFIG, INDEX: {"weight_map": {"a": 3}}}, "names"),
        ({"config.json": CONFIG, INDEX: {"weight_map": []}}, "weight_map"),
        ({"config.json": CONFIG, INDEX: b"{", **WEIGHTS}, "no valid JSON"),
        (
            {"config.json": CONFIG, "model-1.safetensors": shard("a"), **WEIGHTS},
            "tensor a is in two files",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path, files: dict[str, Any], says: str
) -> None:
    with pytest.raises(ModelFileError, match=r".") as caught:
        check_folder(make(tmp_path, files))
    assert says in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError):
        check_folder(tmp_path / "absent")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_link_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    elsewhere = good(tmp_path / "elsewhere")
    folder = good(tmp_path / "model")
    (folder / name).unlink()
    (folder / name).symlink_to(elsewhere / name)
    with pytest.raises(ModelFileError, match="outside its folder"):
        check_folder(folder)


def test_a_link_to_nowhere_is_refused(tmp_path: Path) -> None:
    folder = good(tmp_path / "model")
    (folder / "model-2.safetensors").symlink_to(tmp_path / "gone")
    with pytest.raises(ModelFileError, match="leads nowhere"):
        check_folder(folder)


def test_a_hub_snapshot_links_to_its_own_blobs(tmp_path: Path) -> None:
    repository = tmp_path / "models--a--b"
    blobs = good(repository / "blobs")
    snapshot = repository / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (snapshot / name).symlink_to(f"../../blobs/{name}")
    assert check_folder(snapshot).weights_bytes == 16
    foreign = tmp_path / "models--c--d" / "blobs"
    foreign.mkdir(parents=True)
    (blobs / "config.json").rename(foreign / "config.json")
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to(foreign / "config.json")
    with pytest.raises(ModelFileError, match="outside its folder"):
        check_folder(snapshot)


NO_HEAD = "no head: the checkpoint has no MTP tensors"
DROPPED = "its config promises an MTP head, but the tensors were dropped in conversion"


@pytest.mark.parametrize(
    ("config", "names", "note"),
    [
        ({"model_type": "llama"}, ["model.layers.0.w"], NO_HEAD),
        ({"model_type": "x", "num_nextn_predict_layers": 0}, ["model.w"], NO_HEAD),
        ({"model_type": "x", "mtp_num_hidden_layers": True}, ["model.w"], NO_HEAD),
        ({"model_type": "qwen3_5", "mtp_num_hidden_layers": 1}, ["model.w"], DROPPED),
        (
            {"model_type": "qwen3_5", "text_config": {"mtp_num_hidden_layers": 1}},
            ["model.w"],
            DROPPED,
        ),
        (
            {"model_type": "qwen3_5", "mtp_num_hidden_layers": 1},
            ["model.w", "mtp.fc.weight"],
            "it has an MTP head (qwen3_5) that this version cannot run yet",
        ),
        (
            {"model_type": "mimo"},
            ["model.mtp_layers.0.w"],
            "it has an MTP head (mimo) that this version cannot run yet",
        ),
        (
            {"model_type": "deepseek_v3", "num_nextn_predict_layers": 1, "num_hidden_layers": 61},
            ["model.layers.60.w", "model.layers.61.eh_proj.weight"],
            "it has an MTP head (deepseek_v3) that this version cannot run yet",
        ),
        (
            {"model_type": "deepseek_v3", "num_nextn_predict_layers": 1, "num_hidden_layers": 61},
            ["model.layers.60.w"],
            DROPPED,
        ),
    ],
)
def test_the_note_on_the_head(config: dict[str, Any], names: list[str], note: str) -> None:
    assert head_note(config, names) == note


def test_the_demo_head_is_in_the_table() -> None:
    assert DEMO in FAMILIES
    assert (DEMO.concat, DEMO.hidden, DEMO.recycle, DEMO.norm) == (
        "embedding,hidden",
        "pre",
        "pre",
        "plain",
    )
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
