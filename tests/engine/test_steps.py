"""Passes that are repeated as graphs: they give what passes built anew give, and are bounded."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Mapping
from pathlib import Path

import mlx.core as mx
import pytest

from engine.model import steps, stretches
from engine.model.arrays import reals
from engine.model.cache import Cache
from engine.model.heads.chain import ChainHead
from engine.model.heads.pair import PairHead
from engine.model.load import LoadedModel, load
from engine.model.steps import MAX_ROWS, graphs_built
from engine.model.stretches import stretches_of
from engine.model.trunk import Trunk
from tests.engine.test_family_heads import decoded
from tests.fakes import checkpoints, families
from tests.fakes.unfused import unfused

NO_GRAPHS = (
    "deepseek_v32",
    "glm_moe_dsa",
    "mimo_v2_flash",
    "step3p5",
    "longcat_flash",
    "exaone_moe",
)
"""Their caches slide, or are lists."""
IN_ONE_GO = ("kimi_k3", "nemotron_h")
"""More than one array goes from layer to layer, or not every layer has a cache."""


def apart(one: mx.array, other: mx.array) -> float:
    return max(reals(mx.abs(one - other).reshape(-1)))


def grown(trunk: Trunk, passes: list[tuple[int, int]]) -> tuple[mx.array, Cache]:
    cache = trunk.make_cache()
    rows = []
    for count, kept in passes:
        rows.append(trunk.forward(mx.arange(7, 7 + count), cache).logits)
        cache.commit(kept)
    return mx.concatenate(rows), cache


@pytest.mark.parametrize("first", [1, 64], ids=["in stretches", "in one go"])
@pytest.mark.parametrize("name", families.CONFIGS)
def test_graphs_leave_what_ordinary_passes_do(
    monkeypatch: pytest.MonkeyPatch, name: str, first: int
) -> None:
    monkeypatch.setattr(stretches, "_FIRST", first)
    trunk = Trunk(families.build(families.config(name)))
    trunk.tap()
    passes = [(20, 20), (1, 1), (4, 2), (9, 9), (2, 0), (1, 1)]
    plain, ordinary = grown(trunk, passes)
    with unfused():
        trunk.compile_steps()
        compiled, cache = grown(trunk, passes)
    assert trunk.steps_note == ""
    assert (trunk._steps is None) == (name in NO_GRAPHS)
    if trunk._steps is not None:
        layers = 1 if name in IN_ONE_GO else len(cache.layers)
        parts = {len(graph) for graph in trunk._steps._graphs.values()}
        assert parts == {len(stretches_of(layers))}
    assert apart(compiled, plain) < 1e-3
    assert cache.length == ordinary.length == 33


def test_stretches_have_every_layer_once() -> None:
    for layers in range(1, 100):
        found = stretches_of(layers)
        assert [index for stretch in found for index in stretch] == list(range(layers))
    assert [len(stretch) for stretch in stretches_of(64)] == [4, 8, 16, 36]
    assert len(stretches_of(8)) == 1


def test_what_stands_in_for_a_layer_is_of_its_kind() -> None:
    layer = Trunk(families.build(families.config("qwen3_5"))).model.layers[3]
    standing = stretches._Before(layer, [])
    assert isinstance(standing, type(layer))
    assert standing.is_linear == layer.is_linear
    assert standing(7, "anything") == 7


def test_a_length_beyond_the_bucket_builds_one_graph_more() -> None:
    trunk = Trunk(families.build(families.config("mimo")))
    plain, _ = grown(trunk, [(200, 200), *[(9, 9)] * 8])
    with unfused():
        trunk.compile_steps()
        before = graphs_built()
        compiled, cache = grown(trunk, [(200, 200), *[(9, 9)] * 8])
    assert graphs_built() - before == 1
    assert cache.layers[0].state[0].shape[2] == 512
    assert apart(compiled, plain) < 1e-3


def test_beyond_where_attention_pays_passes_are_built_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    trunk = Trunk(families.build(families.config("mimo")))
    passes = [(200, 200), (4, 4), (4, 4), (4, 2), (1, 1)]
    plain, _ = grown(trunk, passes)
    monkeypatch.setattr(steps, "_FARTHEST", 205)
    ran: list[int] = []
    run = steps.Replay.run

    def counted(
        own: steps.Replay, inputs: list[mx.array], rows: int, layers: list[object]
    ) -> object:
        ran.append(rows)
        return run(own, inputs, rows, layers)

    with unfused():
        trunk.compile_steps()
        monkeypatch.setattr(steps.Replay, "run", counted)
        compiled, cache = grown(trunk, passes)
    assert ran == [4]
    assert cache.length == 211
    assert apart(compiled, plain) < 1e-3


def test_passes_that_differ_or_cannot_be_traced_are_told_and_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from engine.model import steps as module

    class Shifted(module.OpenKV):
        @property
        def offset(self) -> mx.array:
            return super().offset + 1

    class Broken(module.OpenKV):
        def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
            raise ValueError("no such axis")

    for stand_in, word in ((Shifted, "off by"), (Broken, "no such axis")):
        trunk = Trunk(families.build(families.config("mimo")))
        monkeypatch.setattr(module, "OpenKV", stand_in)
        with unfused():
            trunk.compile_steps()
        assert word in trunk.steps_note
        assert grown(trunk, [(5, 2), (1, 1)])[0].shape == (6, families.VOCABULARY)


def test_graphs_of_every_row_count_are_built_beforehand() -> None:
    trunk = Trunk(families.build(families.config("qwen3_5")))
    told: list[tuple[str, int, int]] = []
    with unfused():
        trunk.compile_steps(lambda *stage: told.append(stage))
        before = graphs_built()
        grown(trunk, [(20, 20), *[(rows, 1) for rows in range(1, MAX_ROWS + 1)]])
    assert graphs_built() == before
    assert told[-1] == ("building graphs of steps", MAX_ROWS - 1, MAX_ROWS)


def test_graphs_are_bounded_and_one_that_went_is_built_and_counted_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trunk = Trunk(families.build(families.config("mimo")))
    with unfused():
        trunk.compile_steps()
        monkeypatch.setattr(steps, "MAX_GRAPHS", 2)
        before = graphs_built()
        passes = [(20, 20), (1, 1), (2, 2), (1, 1), (3, 3), (1, 1), (2, 2)]
        graphs, _ = grown(trunk, passes)
    assert trunk._steps is not None
    assert len(trunk._steps._graphs) == 2
    assert graphs_built() - before == 3
    assert apart(graphs, grown(Trunk(trunk.model), passes)[0]) < 1e-3


def test_a_model_with_graphs_goes_when_it_is_let_go_of(tmp_path: Path) -> None:
    model = load("mimo", checkpoints.write(tmp_path / "mimo", "mimo"), tmp_path, lambda *_: None)
    assert isinstance(model.head, PairHead)
    with unfused():
        model.trunk.compile_steps()
        model.head.replay_passes()
    held = weakref.ref(model.trunk.model), weakref.ref(model.head)
    gc.disable()
    try:
        del model
        assert [each() for each in held] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("name", checkpoints.DONORS)
def test_text_is_the_same_with_graphs_of_trunk_and_head(
    models: Mapping[str, LoadedModel], name: str
) -> None:
    model = models[name]
    head = model.head
    assert isinstance(head, (PairHead, ChainHead))
    plain = decoded(model, 16, 0)
    try:
        with unfused():
            model.trunk.compile_steps()
            assert head.replay_passes() == model.trunk.steps_note == ""
            before = graphs_built()
            for depth in (0, 1, 3):
                assert decoded(model, 16, depth) == plain, depth
        assert graphs_built() == before
    finally:
        model.trunk._steps = None
        for each in head.heads if isinstance(head, ChainHead) else [head]:
            each._passes = None
