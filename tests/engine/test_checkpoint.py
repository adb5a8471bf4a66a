"""A checkpoint folder is judged by its files; whoever reads the reason knows what to do."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from engine.errors import ModelFileError
from engine.verdict.checkpoint import check_folder
from engine.verdict.contract import CONTRACT_FILE
from engine.verdict.family_table import DEMO, FAMILIES, family_of
from engine.verdict.head_files import SIDECARS

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
            {"model_type": "mimo"},
            ["model.mtp_layers.0.w"],
            "its head is incomplete: input_proj.weight missing",
        ),
        (
            {"model_type": "hy_v3", "num_nextn_predict_layers": 1, "num_hidden_layers": 80},
            ["model.layers.80.eh_proj.weight"],
            "it has an MTP head (hy_v3), but mlx-lm has no trunk for it",
        ),
        (
            {"model_type": "hy_v3", "num_nextn_predict_layers": 1, "num_hidden_layers": 80},
            ["model.layers.79.w"],
            DROPPED,
        ),
        (
            {"model_type": "unheard_of"},
            ["mtp.fc.weight"],
            "it has an MTP head (unheard_of) of a family not known here",
        ),
        (
            {"model_type": "deepseek_v41"},
            ["mtp.0.w"],
            "it has an MTP head (deepseek_v41), but what it ships under mtp. are DSpark stages, "
            "not an MTP head",
        ),
        (
            {"model_type": "deepseek_v3", "num_nextn_predict_layers": 1, "num_hidden_layers": 61},
            ["model.layers.60.w"],
            DROPPED,
        ),
    ],
)
def test_the_note_on_the_head(
    tmp_path: Path, config: dict[str, Any], names: list[str], note: str
) -> None:
    files = {"config.json": config, "model.safetensors": shard(*names)}
    facts = check_folder(make(tmp_path, files))
    assert facts.head is None
    assert facts.head_note == note


HEADS: list[tuple[dict[str, Any], list[str], str]] = [
    ({"model_type": "qwen3_5"}, ["model.w", "mtp.fc.weight", "mtp.norm.weight"], "norm.weight"),
    ({"model_type": "qwen3_5"}, ["language_model.mtp.fc.weight"], "fc.weight"),
    (
        {"model_type": "deepseek_v3", "num_hidden_layers": 61},
        ["model.layers.60.w", "model.layers.61.eh_proj.weight"],
        "eh_proj.weight",
    ),
]


@pytest.mark.parametrize(("config", "names", "expected"), HEADS)
def test_a_head_is_found_by_its_names_in_the_family(
    tmp_path: Path, config: dict[str, Any], names: list[str], expected: str
) -> None:
    files = {"config.json": config, "model.safetensors": shard(*names)}
    facts = check_folder(make(tmp_path, files))
    assert facts.head is not None
    assert facts.head_note == ""
    assert expected in facts.head.tensors
    assert not facts.head.is_apart


@pytest.mark.parametrize("name", SIDECARS)
def test_a_head_is_found_beside_the_model(tmp_path: Path, name: str) -> None:
    """With its prefix or without."""
    good(tmp_path, model_type="qwen3_5")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(shard("mtp.fc.weight", "norm.weight"))
    facts = check_folder(tmp_path)
    assert facts.head is not None
    assert facts.head.is_apart
    assert set(facts.head.tensors) == {"fc.weight", "norm.weight"}


def test_a_head_that_an_index_names_is_found(tmp_path: Path) -> None:
    weight_map = {"a": "model.safetensors", "mtp.fc.weight": "extra-1.safetensors"}
    files = {INDEX: {"weight_map": weight_map}, "extra-1.safetensors": shard("mtp.fc.weight")}
    facts = check_folder(make(good(tmp_path, model_type="qwen3_5"), files))
    assert facts.head is not None
    assert facts.head.tensors["fc.weight"].path.name == "extra-1.safetensors"


def test_two_heads_beside_a_model_are_one_too_many(tmp_path: Path) -> None:
    good(tmp_path, model_type="qwen3_5")
    for name in SIDECARS[:2]:
        (tmp_path / name).write_bytes(shard(f"{name}.fc.weight"))
    assert "more than once" in check_folder(tmp_path).head_note


def test_a_sidecar_that_links_elsewhere_is_refused(tmp_path: Path) -> None:
    elsewhere = make(tmp_path / "elsewhere", {"x.safetensors": shard("mtp.fc.weight")})
    folder = good(tmp_path / "model", model_type="qwen3_5")
    (folder / "mtp.safetensors").symlink_to(elsewhere / "x.safetensors")
    with pytest.raises(ModelFileError, match="outside its folder"):
        check_folder(folder)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"norm_encoding": "shifted"}, "norm_encoding 'shifted'"),
        ({"hiden": "pre"}, "unknown key 'hiden'"),
        ({"concat": "separate"}, "concat"),
    ],
)
def test_a_contract_that_means_nothing_keeps_the_head_off(
    tmp_path: Path, content: dict[str, str], says: str
) -> None:
    files = {CONTRACT_FILE: content, "model-head.safetensors": shard("mtp.fc.weight")}
    facts = check_folder(make(good(tmp_path, model_type="qwen3_5"), files))
    assert facts.head is None
    assert says in facts.head_note


MODEL_TYPES = [
    ("qwen3_5", "qwen3_5", []),
    ("qwen3_5_moe_text", "qwen3_5", []),
    ("qwen4_exp", "qwen4_exp", []),
    ("deepseek_v4", "deepseek_v4", []),
    ("deepseek_v41", "deepseek_v41", []),
    ("bailing_hybrid", "bailing_hybrid", ["BailingMoeV2_5ForCausalLM"]),
    ("bailing_hybrid", "bailing_moe_v3", ["BailingMoeV3ForCausalLM"]),
    ("kimi_k2", "deepseek_v3", []),
]


@pytest.mark.parametrize(("model_type", "name", "architectures"), MODEL_TYPES)
def test_trap_26_a_family_is_found_by_model_type_alone(
    model_type: str, name: str, architectures: list[str]
) -> None:
    config = {"model_type": model_type, "architectures": architectures, "_name_or_path": "Qwen3.8"}
    family = family_of(config)
    assert family is not None
    assert family.name == name


def test_no_two_families_share_a_model_type_without_an_architecture() -> None:
    bare = [kind for f in FAMILIES if not f.architectures for kind in f.model_types]
    assert len(bare) == len(set(bare))


PINNED = {
    "qwen3_5": ("embedding,hidden", "post", "post", "one_plus"),
    "qwen3_next": ("embedding,hidden", "post", "post", "one_plus"),
    "deepseek_v3": ("embedding,hidden", "post", "post", "plain"),
    "deepseek_v32": ("embedding,hidden", "post", "post", "plain"),
    "glm4_moe": ("embedding,hidden", "post", "post", "plain"),
    "glm4_moe_lite": ("embedding,hidden", "post", "post", "plain"),
    "glm_moe_dsa": ("embedding,hidden", "post", "post", "plain"),
    "mimo": ("hidden,embedding", "pre", "pre", "plain"),
    "mimo_v2": ("embedding,hidden", "post", "pre", "plain"),
    "step3p5": ("embedding,hidden", "pre", "pre", "one_plus"),
    "hy_v3": ("embedding,hidden", "post", "post", "plain"),
    "nemotron_h": ("embedding,hidden", "post", "post", "plain"),
    "bailing_hybrid": ("embedding,hidden", "post", "post", "plain"),
    "bailing_moe_v3": ("embedding,hidden", "post", "post", "plain"),
    "kimi_k3": ("embedding,hidden", "pre", "pre", "plain"),
    "ernie4_5_moe": ("embedding,hidden", "post", "post", "plain"),
    "longcat_flash": ("embedding,hidden", "post", "post", "plain"),
    "exaone_moe": ("embedding,hidden", "post", "post", "plain"),
}


@pytest.mark.parametrize("name", PINNED)
def test_trap_4_5_6_each_familys_contract_is_pinned(name: str) -> None:
    (family,) = [family for family in FAMILIES if family.name == name]
    assert (family.concat, family.hidden, family.recycle, family.norm) == PINNED[name]


def test_the_demo_head_is_in_the_table() -> None:
    assert DEMO in FAMILIES
    assert (DEMO.concat, DEMO.hidden, DEMO.recycle, DEMO.norm) == (
        "embedding,hidden",
        "pre",
        "pre",
        "plain",
    )
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
