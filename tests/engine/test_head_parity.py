"""Every family's head gives, teacher-forced, what equations written without it give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from engine.model.heads.chain import ChainHead
from engine.model.heads.pair import PairHead
from engine.model.load import LoadedModel, load
from tests.fakes import checkpoints, families, reference_heads
from tests.fakes.reference import Array, Weights, rms_norm
from tests.fakes.reference_heads import HEADS

TOKENS = [(37 * index + index * index) % families.VOCABULARY for index in range(40)]
ROUNDING = 1e-4
GROUPED = {"n_group": 2, "topk_group": 1}
SPARSE = {"index_topk": 8, "index_n_heads": 8}
"""So few keys that most are left out; so many index heads that no two keys tie."""
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in checkpoints.DONORS},
    "deepseek_v3, experts in groups": ("deepseek_v3", GROUPED),
    "deepseek_v32, most keys left out": ("deepseek_v32", {**GROUPED, **SPARSE}),
    "glm_moe_dsa, most keys left out": ("glm_moe_dsa", SPARSE),
}
ENDS = {
    "embedding": ("embed_tokens.weight", "word_embeddings.weight", "embeddings.weight"),
    "lm_head": ("lm_head.weight",),
    "norm": ("model.norm.weight", "backbone.norm_f.weight"),
}
"""What the trunk's ends are called."""


@dataclass(frozen=True)
class Case:
    """A tiny checkpoint: as the production loader reads it, and as plain numbers."""

    name: str
    model: LoadedModel
    config: dict[str, Any]
    """Of the text."""
    weights: Weights
    """Of the head, by their published names; of the trunk its ends."""

    def names(self, number: int) -> dict[str, str]:
        """Return what the parts of head `number` are called."""
        layers = str(self.config["num_hidden_layers"])
        return {
            role: text.replace("{N}", layers).replace("{h}", str(number))
            for role, text in checkpoints.NAMES[self.name].items()
        }


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, models: Mapping[str, LoadedModel], tmp_path: Path) -> Case:
    name, changes = CASES[request.param]
    model = models[name]
    if changes:
        folder = checkpoints.write(tmp_path / "m", name, **changes)
        model = load(name, folder, tmp_path, lambda *_: None)
    settings = {**families.config(name), **changes}
    config = {**settings, **settings.get("text_config", {})}
    built = families.build(settings)
    trunk = checkpoints.trunk_weights(built)
    found = checkpoints.head_weights(name, built, settings)
    for end, names in ENDS.items():
        (found[end],) = [value for key, value in trunk.items() if key.endswith(names)]
    plain = {usual_name(name, key): np.array(value, np.float64) for key, value in found.items()}
    return Case(name, model, config, plain)


def usual_name(name: str, key: str) -> str:
    for usual, published in checkpoints.RENAMED.get(name, {}).items():
        if key.endswith(published):
            return key.removesuffix(published) + usual
    return key


def close(mine: mx.array, right: Array) -> None:
    assert np.abs(np.array(mine) - right).max() < ROUNDING


def test_the_table_names_every_family() -> None:
    assert set(HEADS) == set(checkpoints.DONORS)


def test_trap_4_a_head_is_fed_the_trunks_row_from_its_familys_side(case: Case) -> None:
    made = HEADS[case.name]
    output = case.model.trunk.forward(mx.array(TOKENS), case.model.trunk.make_cache())
    assert output.hidden is not None
    rows = np.array(output.hidden[0], np.float64)
    if made.trunk_row == "pre":
        rows = rms_norm(rows, case.weights["norm"], case.config[made.eps])
    close(output.logits, rows @ case.weights["lm_head"].T)


def test_trap_5_6_a_head_gives_what_its_equations_give(case: Case) -> None:
    """On a trunk's rows, then on the rows of the head before: its own, or of the head it was."""
    hidden = np.array(mx.random.normal((len(TOKENS), checkpoints.WIDTH), key=mx.random.key(4)))
    head = case.model.head
    chain = head.heads if isinstance(head, ChainHead) else [head, head]
    for depth, one in enumerate(chain):
        assert isinstance(one, PairHead), case.model.info.head_note
        number = depth if isinstance(head, ChainHead) else 0
        right = reference_heads.head(
            case.name, case.names(number), hidden, TOKENS, case.weights, case.config
        )
        rows = one.forward(mx.array(hidden)[None], mx.array(TOKENS), one.make_cache())
        close(one.logits(rows), right.logits)
        hidden = right.before if HEADS[case.name].recycled == "pre" else right.after
        close(rows[0], hidden)
        hidden = hidden.astype(np.float32)
