"""A head that is damaged, strange or in doubt stays off with its reason; the trunk still runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from engine.errors import HeadError, ModelError
from engine.model.heads.pair import PairHead
from engine.model.load import LoadedModel, load
from engine.model.norms import as_multiplied
from tests.fakes import checkpoints, families
from tests.fakes.checkpoints import Weights

Edit = Callable[[Weights], Weights]


def opened(folder: Path) -> LoadedModel:
    return load(folder.name, folder, folder, lambda *_: None)


def without(ending: str) -> Edit:
    return lambda weights: {k: v for k, v in weights.items() if not k.endswith(ending)}


def changed(ending: str, change: Callable[[mx.array], mx.array]) -> Edit:
    return lambda weights: {k: change(v) if k.endswith(ending) else v for k, v in weights.items()}


def added(name: str) -> Edit:
    return lambda weights: {**weights, name: mx.zeros((4, 4))}


BAD: list[tuple[str, Edit, str]] = [
    ("qwen3_5", without("mtp.fc.weight"), "incomplete: fc.weight missing"),
    ("qwen3_5", without("mtp.norm.weight"), "incomplete: norm.norm.weight missing"),
    ("qwen3_5", without("q_proj.weight"), "incomplete: layers.0.self_attn.q_proj.weight missing"),
    ("qwen3_5", without("layernorm.weight"), "input_layernorm.weight"),
    ("qwen3_5", changed("fc.weight", lambda w: w[:, :32]), "shape [32, 32], not [32, 64]"),
    ("qwen3_5", changed("k_proj.weight", lambda w: w[:8]), "k_proj.weight of its head has the"),
    ("qwen3_5", added("mtp.layers.1.self_attn.q_proj.weight"), "not known here: layers.1"),
    ("qwen3_5", added("mtp.fc.weight_scale_inv"), "not known here: projection.weight_scale_inv"),
    ("qwen3_5", changed("fc.weight", mx.zeros_like), "all zeros"),
    ("qwen3_5", changed("fc.weight", lambda w: w * mx.nan), "no number"),
    ("qwen3_5", changed("o_proj.weight", lambda w: w * mx.inf), "self_attn.o_proj.weight of its head holds"),
    ("qwen3_5", changed("down_proj.weight", mx.zeros_like), "down_proj.weight of its head is all zeros"),
    ("deepseek_v3", changed("hnorm.weight", mx.zeros_like), "hidden_norm.weight of its head is all zeros"),
    ("glm4_moe", lambda weights: {k: mx.zeros_like(v) for k, v in weights.items()}, "all zeros"),
    ("qwen3_5_moe", without("switch_mlp.up_proj.weight"), "switch_mlp.up_proj.weight missing"),
    ("deepseek_v3", without("eh_proj.weight"), "eh_proj.weight missing"),
    ("deepseek_v3", without("hnorm.weight"), "hidden_norm.weight missing"),
    ("glm4_moe", without("k_proj.weight"), "k_proj.weight missing"),
    ("mimo", without("final_layernorm.weight"), "norm.weight missing"),
    ("nemotron_h", without("layers.1.norm.weight"), "layers.1.norm.weight missing"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "edit", "says"), BAD)
def test_trap_16_17_a_head_that_is_not_whole_and_exact_is_off(
    tmp_path: Path, name: str, edit: Edit, says: str
) -> None:
    model = opened(checkpoints.write(tmp_path / "m", name, edit=edit))
    assert model.head is None
    assert says in model.info.head_note
    assert model.info.head_note.isprintable()
    logits = model.trunk.forward(mx.array([1, 2, 3]), model.trunk.make_cache()).logits
    assert logits.shape == (3, families.VOCABULARY)


@pytest.mark.parametrize("name", checkpoints.DONORS)
def test_trap_16_a_head_dropped_in_conversion_is_missed(tmp_path: Path, name: str) -> None:
    folder = checkpoints.write(tmp_path / "m", name, head=None, num_nextn_predict_layers=1)
    model = opened(folder)
    assert model.head is None
    assert "dropped in conversion" in model.info.head_note


@pytest.mark.parametrize(
    "name", [name for name in families.CONFIGS if name not in checkpoints.DONORS]
)
def test_a_trunk_whose_heads_cant_run_decodes_plainly(tmp_path: Path, name: str) -> None:
    model = opened(checkpoints.write(tmp_path / "m", name, head=None))
    assert model.head is None
    assert model.info.head_note != ""
    logits = model.trunk.forward(mx.array([1, 2, 3]), model.trunk.make_cache()).logits
    assert mx.isfinite(logits).all()


def test_a_head_of_another_size_is_off(tmp_path: Path) -> None:
    def wide(weights: Weights) -> Weights:
        return {k: mx.concatenate([v, v], axis=-1) for k, v in weights.items()}

    model = opened(checkpoints.write(tmp_path / "m", "qwen3_5", edit=wide))
    assert model.head is None
    assert "shape" in model.info.head_note


PRE = "pre_fc_norm"


def gains(low: float, qk: float, pre: float, final: float, size: int = 64) -> Weights:
    """Return a head's gains with the means that published and converted checkpoints have."""
    means = {
        "layers.0.input_layernorm.weight": low,
        "layers.0.post_attention_layernorm.weight": low + 0.02,
        "layers.0.self_attn.q_norm.weight": qk,
        "layers.0.self_attn.k_norm.weight": qk + 0.01,
        "pre_fc_norm_embedding.weight": pre,
        "pre_fc_norm_hidden.weight": pre + 0.03,
        "norm.weight": final,
    }
    noise = 0.05 * mx.random.normal((size,), key=mx.random.key(1))
    return {name: mean + noise - noise.mean() for name, mean in means.items()}


RAW = gains(0.35, 0.74, 0.35, 1.58)
CONVERTED = {name: gain + 1 for name, gain in RAW.items()}


def same(one: Weights, other: Weights) -> bool:
    return all(np.allclose(np.array(one[k]), np.array(other[k]), atol=1e-6) for k in other)


def test_trap_2_gains_stored_as_offsets_get_their_one() -> None:
    assert same(as_multiplied(RAW, None, "norm.weight", final_is_raw=None), CONVERTED)


def test_trap_1_gains_that_have_their_one_never_get_another() -> None:
    once = as_multiplied(CONVERTED, None, "norm.weight", final_is_raw=None)
    assert same(once, CONVERTED)
    assert same(as_multiplied(once, None, "norm.weight", final_is_raw=False), CONVERTED)


def test_trap_3_in_a_mixed_pack_each_group_is_taken_as_it_is() -> None:
    """The trunk and the final norm were converted, the norms within the layer were not."""
    mixed = {**RAW, "norm.weight": CONVERTED["norm.weight"]}
    assert same(as_multiplied(mixed, None, "norm.weight", final_is_raw=False), CONVERTED)
    pre = {k: v for k, v in CONVERTED.items() if k.startswith(PRE)}
    assert same(as_multiplied({**mixed, **pre}, None, "norm.weight", final_is_raw=False), CONVERTED)


@pytest.mark.parametrize(
    ("doubtful", "says"),
    [
        (gains(0.35, 1.74, 0.35, 2), "some of its norms are shifted"),
        (gains(1.35, 0.74, 1.35, 2), "some of its norms are shifted"),
        (gains(0.7, 0.74, 0.35, 2), "input_layernorm is 0.71 on average"),
        (gains(0.35, 1.2, 0.35, 2), "q_norm is 1.2"),
        (gains(0.35, 0.74, 0.7, 2), "pre_fc_norm_embedding is 0.715 on average"),
        (gains(0.35, 0.74, 0.35, 2, size=32), "too short to tell"),
    ],
)
def test_gains_that_leave_a_doubt_are_not_guessed_at(doubtful: Weights, says: str) -> None:
    with pytest.raises(HeadError, match=says):
        as_multiplied(doubtful, None, "norm.weight", final_is_raw=None)


def test_what_is_declared_is_not_guessed_at() -> None:
    doubtful = gains(0.7, 1.2, 0.7, 2)
    plain = as_multiplied(doubtful, "plain", "norm.weight", final_is_raw=None)
    assert same(plain, doubtful)
    shifted = as_multiplied(doubtful, "one_plus", "norm.weight", final_is_raw=None)
    assert same(shifted, {k: v + 1 for k, v in doubtful.items()})


def norms_of(model: LoadedModel) -> Weights:
    head = model.head
    assert isinstance(head, PairHead), model.info.head_note
    weights = checkpoints.trunk_weights(head)
    return {k: v for k, v in weights.items() if k.endswith("norm.weight")}


def lowered(weights: Weights) -> Weights:
    return {k: v - 1 if v.ndim == 1 else v for k, v in weights.items()}


def test_a_declared_offset_is_undone_at_load(tmp_path: Path) -> None:
    plain = opened(checkpoints.write(tmp_path / "plain", "qwen3_5"))
    offset = checkpoints.write(
        tmp_path / "offset", "qwen3_5", edit=lowered, contract={"norm_encoding": "one_plus"}
    )
    assert same(norms_of(opened(offset)), norms_of(plain))


def test_undeclared_gains_of_a_random_head_are_probed_and_refused(tmp_path: Path) -> None:
    model = opened(checkpoints.write(tmp_path / "m", "qwen3_5", contract={}))
    assert model.head is None
    assert "too few to draft" in model.info.head_note


def test_a_contract_can_say_how_the_head_is_fed(tmp_path: Path) -> None:
    declared = {"norm_encoding": "plain", "hidden": "pre", "concat": "hidden,embedding"}
    usual = opened(checkpoints.write(tmp_path / "usual", "qwen3_5"))
    other = opened(checkpoints.write(tmp_path / "other", "qwen3_5", contract=declared))
    tokens = mx.array([1, 2, 3])
    rows = []
    for model in (usual, other):
        hidden = model.trunk.forward(tokens, model.trunk.make_cache()).hidden
        assert hidden is not None
        head = model.head
        assert head is not None
        rows.append(np.array(head.logits(head.forward(hidden, tokens, head.make_cache()))))
    assert np.abs(rows[0] - rows[1]).max() > 0.01


def published(weights: Weights) -> Weights:
    """Bring experts and latent projections of a head back to the layout they are published in."""
    out: Weights = {}
    for name, value in weights.items():
        stem, _, part = name.partition("switch_mlp.")
        if part:
            for index in range(value.shape[0]):
                out[f"{stem}experts.{index}.{part}"] = value[index]
        elif name.endswith("embed_q.weight"):
            low = weights[name.replace("embed_q", "unembed_out")]
            both = mx.concatenate([value.swapaxes(-1, -2), low], axis=1)
            out[name.replace("embed_q", "kv_b_proj")] = both.reshape(-1, both.shape[-1])
        elif not name.endswith("unembed_out.weight"):
            out[name] = value
    return out


@pytest.mark.parametrize(
    "name", ["deepseek_v3", "deepseek_v32", "glm4_moe", "glm4_moe_lite", "bailing_hybrid"]
)
def test_trap_17_published_experts_and_latents_become_the_trunks_layout(
    tmp_path: Path, name: str
) -> None:
    mine = opened(checkpoints.write(tmp_path / "mlx", name))
    theirs = opened(checkpoints.write(tmp_path / "published", name, edit=published))
    assert isinstance(mine.head, PairHead)
    assert isinstance(theirs.head, PairHead), theirs.info.head_note
    ours = checkpoints.trunk_weights(mine.head)
    for key, value in checkpoints.trunk_weights(theirs.head).items():
        assert mx.array_equal(value, ours[key]), key


def fused(weights: Weights) -> Weights:
    """Bring the experts of a Qwen3.5 head to the fused layout they are published in."""
    stem = "mtp.layers.0.mlp"
    rest = {k: v for k, v in weights.items() if "switch_mlp" not in k}
    parts = [weights[f"{stem}.switch_mlp.{kind}_proj.weight"] for kind in ("gate", "up", "down")]
    rest[f"{stem}.experts.gate_up_proj"] = mx.concatenate(parts[:2], axis=1)
    rest[f"{stem}.experts.down_proj"] = parts[2]
    return rest


@pytest.mark.parametrize(("name", "edit"), [("qwen3_5_moe", fused), ("qwen3_next", published)])
def test_trap_1_17_a_published_qwen_head_is_brought_over_once(
    tmp_path: Path, name: str, edit: Edit
) -> None:
    """Qwen3-Next's own conversion shifts norms when it sees experts one by one."""
    mine = opened(checkpoints.write(tmp_path / "mlx", name))
    theirs = opened(checkpoints.write(tmp_path / "published", name, edit=edit))
    assert same(norms_of(theirs), norms_of(mine))
    assert isinstance(theirs.head, PairHead)
    assert isinstance(mine.head, PairHead)
    assert same(checkpoints.trunk_weights(theirs.head), checkpoints.trunk_weights(mine.head))


def test_trap_1_a_head_in_the_files_leaves_the_trunk_as_it_is(tmp_path: Path) -> None:
    """Raw or converted is told by the convolutions' layout, not by the head's names."""
    for name in ("qwen3_5", "qwen3_5_moe", "qwen3_next"):
        bare = opened(checkpoints.write(tmp_path / f"{name}-bare", name, head=None))
        whole = opened(checkpoints.write(tmp_path / f"{name}-whole", name))
        assert whole.head is not None
        tokens = mx.array([1, 2, 3])
        one, other = (m.trunk.forward(tokens, m.trunk.make_cache()).logits for m in (bare, whole))
        assert mx.array_equal(one, other)


LIES: list[tuple[str, dict[str, Any]]] = [
    ("deepseek_v3", {"num_hidden_layers": 1}),
    ("deepseek_v3", {"num_hidden_layers": 3}),
    ("glm4_moe", {"num_hidden_layers": 1}),
    ("mimo", {"num_hidden_layers": 1}),
    ("mimo", {"num_attention_heads": 3}),
    ("nemotron_h", {"hybrid_override_pattern": "M?"}),
    ("deepseek_v3", {"kv_lora_rank": 0}),
    ("glm4_moe", {"hidden_size": 31}),
    ("mimo", {"num_hidden_layers": 3}),
    ("mimo", {"quantization": "yes"}),
]


@pytest.mark.parametrize(("name", "lie"), LIES)
def test_a_config_that_lies_of_its_shape_is_one_clear_error(
    tmp_path: Path, name: str, lie: dict[str, Any]
) -> None:
    folder = checkpoints.write(tmp_path / "m", name)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **lie}), "utf-8")
    with pytest.raises(ModelError) as caught:
        opened(folder)
    assert str(caught.value).isprintable()


def test_a_config_that_lies_of_its_head_alone_leaves_the_trunk(tmp_path: Path) -> None:
    folder = checkpoints.write(tmp_path / "m", "nemotron_h", mtp_hybrid_override_pattern="M*E")
    model = opened(folder)
    assert model.head is None
    assert "incomplete" in model.info.head_note
