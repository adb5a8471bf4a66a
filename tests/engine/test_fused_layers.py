"""Layers with fewer operations, their kernels played by their definitions: mlx-lm's numbers come out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.models.qwen3_next import Qwen3NextAttention

from engine.model import residuals, steps, stretches
from engine.model.cache import Cache
from engine.model.gated_attention import reads_written, use_gated_heads
from engine.model.heads.pair import PairHead
from engine.model.load import load
from engine.model.mixers import mixer_note
from engine.model.rebinding import modules
from engine.model.recurrent import RecurrentCache
from engine.model.snapshot import put, taken
from engine.model.trunk import Trunk, body_of
from engine.protocol import Mode, Sampling
from engine.speculation.cycle import read_prompt, run_cycle
from engine.speculation.stream import Stream
from kernels import cached_attention, delta_mixer, gated_heads, residual_norm, swiglu
from kernels.delta_mixer import MixerShape, MixerState
from kernels.dispatch import Backend
from tests.fakes import checkpoints, families
from tests.fakes.unfused import unfused

NAMES = ("qwen3_5", "qwen3_5_moe", "qwen3_next")
Passes = tuple[tuple[int, int], ...]
PASSES: Passes = ((20, 20), (1, 1), (4, 2), (9, 9), (2, 1), (3, 3), (1, 1))
"""Rows of a pass, and how many of them are kept."""
OURS = (cached_attention, delta_mixer, gated_heads, residual_norm, swiglu)
COUNTED = ("mixer", "fold", "sum", "swiglu", "split", "attend", "gate")


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Let the kernels be there, and count their calls."""
    calls = dict.fromkeys(COUNTED, 0)

    def counted(name: str) -> None:
        calls[name] += 1

    def mixer(_: Backend, *given: Any) -> object:
        counted("mixer")
        return delta_mixer.delta_mixer_plain(*given)

    def fold(_: Backend, shape: MixerShape, before: MixerState) -> object:
        counted("fold")
        return delta_mixer.folded_plain(shape, before)

    def total(_: Backend, rows: mx.array, summands: tuple[mx.array, ...], *rest: Any) -> object:
        counted("sum")
        total, normed = residual_norm.residual_norm_plain(rows, summands, *rest)
        return (total if len(summands) == 2 else None), normed

    def gated(_: Backend, product: mx.array) -> object:
        counted("swiglu")
        return swiglu.swiglu_plain(product)

    def split(_: Backend, *given: Any) -> object:
        counted("split")
        return gated_heads.split_heads_plain(*given)

    def attend(_: Backend, *given: Any) -> object:
        counted("attend")
        return cached_attention.cached_attention_plain(*given)

    def gate(_: Backend, *given: Any) -> object:
        counted("gate")
        return gated_heads.gate_heads_plain(*given)

    for module in OURS:
        monkeypatch.setattr(module, "backend_for", lambda _: Backend.CUDA)
        monkeypatch.setattr(module, "_note", lambda *_: "")
    monkeypatch.setattr(delta_mixer, "_fits", lambda _: True)
    monkeypatch.setattr(delta_mixer, "delta_mixer", mixer)
    monkeypatch.setattr(delta_mixer, "folded", fold)
    monkeypatch.setattr(residual_norm, "residual_norm", total)
    monkeypatch.setattr(swiglu, "swiglu", gated)
    monkeypatch.setattr(gated_heads, "split_heads", split)
    monkeypatch.setattr(gated_heads, "gate_heads", gate)
    monkeypatch.setattr(cached_attention, "cached_attention", attend)
    monkeypatch.setattr(cached_attention, "WIDTHS", (8, 16, 32))
    return calls


def fused(name: str) -> Trunk:
    model = families.build(families.config(name))
    assert use_gated_heads(model) == residuals.use_fused_mlps(model) == ""
    assert residuals.use_fused_sums(model) == ""
    return tapped(model)


def tapped(model: nn.Module) -> Trunk:
    trunk = Trunk(model)
    trunk.tap()
    return trunk


def run(trunk: Trunk, passes: Passes = PASSES) -> tuple[mx.array, mx.array, Cache]:
    cache = trunk.make_cache()
    logits, hidden = [], []
    for rows, kept in passes:
        output = trunk.forward(mx.arange(7, 7 + rows), cache)
        logits.append(output.logits)
        hidden.append(cast("mx.array", output.hidden)[0])
        cache.commit(kept)
    return mx.concatenate(logits), mx.concatenate(hidden), cache


def apart(one: mx.array, other: mx.array) -> float:
    return float(np.abs(np.array(one) - np.array(other)).max())


@pytest.mark.parametrize("name", NAMES)
def test_logits_and_hidden_rows_are_mlx_lms(name: str, played: dict[str, int]) -> None:
    right = run(fused(name))
    before = dict(played)
    plain = run(tapped(families.build(families.config(name))))
    assert before["mixer"] == 3 * (len(PASSES) - 1)
    assert before["fold"] == 0
    assert before["split"] == before["attend"] == before["gate"] == len(PASSES) - 1
    assert before["sum"] >= 2 * 4 * (len(PASSES) - 1)
    assert apart(right[0], plain[0]) < 1e-4
    assert apart(right[1], plain[1]) < 1e-4


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize("name", NAMES)
def test_trap_12_13_14_any_accepted_prefix_leaves_what_sequential_decoding_does(name: str) -> None:
    trunk = fused(name)
    tokens = mx.arange(11, 40)

    def left(passes: list[tuple[int, int]]) -> list[np.ndarray]:
        cache = trunk.make_cache()
        trunk.forward(tokens[:20], cache)
        cache.commit(20)
        for rows, kept in passes:
            trunk.forward(tokens[cache.length : cache.length + rows], cache)
            cache.commit(kept)
        layers = [layer for layer in cache.layers if isinstance(layer, RecurrentCache)]
        return [np.array(part) for layer in layers for part in layer.plain_slots()]

    for rows, kept in ((2, 1), (4, 1), (4, 3), (9, 5), (9, 9)):
        sequential = left([(1, 1)] * kept)
        for mine, right in zip(left([(rows, kept)]), sequential, strict=True):
            assert np.array_equal(mine, right), (rows, kept)


@pytest.mark.parametrize("name", NAMES)
def test_long_passes_and_undoing_go_between_windows(name: str, played: dict[str, int]) -> None:
    passes = ((20, 20), (4, 2), (12, 12), (3, 0), (12, 5), (2, 2), (11, 0), (4, 1), (1, 1))
    mine, _, cache = run(fused(name), passes)
    folds = played["fold"]
    plain, _, right = run(tapped(families.build(families.config(name))), passes)
    assert folds == 3 * 3
    assert apart(mine, plain) < 1e-4
    for one, other in zip(cache.layers, right.layers, strict=True):
        if isinstance(one, RecurrentCache) and isinstance(other, RecurrentCache):
            for part, same in zip(one.plain_slots(), other.plain_slots(), strict=True):
                assert apart(cast("mx.array", part), cast("mx.array", same)) < 1e-4


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize("name", NAMES)
def test_a_snapshot_of_mixed_layers_is_mlx_lms_and_is_gone_on_from(name: str) -> None:
    trunk = fused(name)
    cache = run(trunk)[2]
    snapshot = taken(cache, None)
    assert all(len(arrays) == 2 for arrays in snapshot.arrays)
    other = trunk.make_cache()
    put(other, [snapshot], snapshot.length)
    tokens = mx.arange(3, 7)
    one, same = (trunk.forward(tokens, each).logits for each in (cache, other))
    assert apart(one, same) < 1e-5


def test_a_head_of_fused_layers_drafts_and_text_is_that_of_plain_decoding(
    tmp_path: Path, played: dict[str, int]
) -> None:
    path = checkpoints.write(tmp_path / "qwen3_5", "qwen3_5")
    model = load("qwen3_5", path, tmp_path, lambda *_: None)
    assert isinstance(model.head, PairHead)
    assert isinstance(model.head.final_norm.norm, residuals._Norm)
    assert reads_written(model.head.body, model.head.make_cache().layers)

    def text(depth: int) -> list[int]:
        stream = Stream(model.trunk.make_cache(), model.head, 3)
        read_prompt(model.trunk, stream, list(range(5, 25)), 50)
        out: list[int] = []
        while len(out) < 12:
            sampling = Sampling(1, 1, 0)
            out += run_cycle(model.trunk, stream, depth, sampling, Mode.SEEDED).emitted
        return out[:12]

    plain = text(0)
    before = dict(played)
    assert text(3) == plain
    assert played["split"] > before["split"]


def test_two_passes_of_a_window_are_undone_whole_or_not_at_all(played: dict[str, int]) -> None:
    trunk = fused("qwen3_5")
    cache = run(trunk)[2]
    right = [np.array(part) for layer in mixed(cache) for part in layer.plain_slots()]
    trunk.forward(mx.arange(4), cache)
    trunk.forward(mx.arange(2), cache)
    with pytest.raises(ValueError, match="can't undo 3 of 6 rows"):
        cache.commit(3)
    for layer in mixed(cache):
        layer.trim(6)
    mine = [np.array(part) for layer in mixed(cache) for part in layer.plain_slots()]
    assert all(np.array_equal(a, b) for a, b in zip(mine, right, strict=True))


def mixed(cache: Cache) -> list[RecurrentCache]:
    return [layer for layer in cache.layers if isinstance(layer, RecurrentCache)]


@pytest.mark.parametrize("name", NAMES)
def test_a_trunk_that_is_tapped_anew_keeps_its_mixers(name: str, played: dict[str, int]) -> None:
    model = fused(name).model
    played.update(dict.fromkeys(COUNTED, 0))
    run(tapped(model))
    assert played["mixer"] == 3 * (len(PASSES) - 1)


@pytest.mark.usefixtures("played")
def test_passes_are_compiled_over_fused_layers_too() -> None:
    trunk = fused("qwen3_5")
    plain = run(trunk)[0]
    with unfused():
        trunk.compile_steps()
        assert trunk.steps_note == ""
        assert apart(run(trunk)[0], plain) < 1e-3


@pytest.mark.usefixtures("played")
def test_stretches_hand_on_what_is_still_to_be_added_bit_for_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logits = []
    for first, parts in ((64, 1), (1, 2)):
        monkeypatch.setattr(stretches, "_FIRST", first)
        trunk = fused("qwen3_5")
        with unfused():
            trunk.compile_steps()
            logits.append(run(trunk)[0])
        assert trunk._steps is not None
        assert {len(graph) for graph in trunk._steps._graphs.values()} == {parts}
    whole, parted = logits
    assert mx.array_equal(whole, parted).item()


@pytest.mark.usefixtures("played")
def test_a_graph_is_built_where_all_rows_of_a_window_like_its_own_were_kept() -> None:
    passes = ((250, 250), *((4, 4),) * 4, (2, 2), (2, 2))
    trunk = fused("qwen3_5")
    plain = run(trunk, passes)[0]
    with unfused():
        trunk.compile_steps()
        graphs = trunk.compiled_graphs
        assert apart(run(trunk, passes)[0], plain) < 1e-3
    assert trunk.compiled_graphs == graphs + 2


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize("off", [0, 1, 2], ids=["of the kernel", "one is plain", "all are plain"])
def test_only_where_all_layers_attend_by_the_kernel_a_far_pass_is_a_graph(
    monkeypatch: pytest.MonkeyPatch, off: int
) -> None:
    config = families.config("qwen3_5")
    config["text_config"]["num_hidden_layers"] = 8
    model = families.build(config)
    assert use_gated_heads(model) == ""
    layers = [each for each in modules(model) if isinstance(each, Qwen3NextAttention)]
    assert len(layers) == 2
    for layer in layers[:off]:
        layer.__class__ = type(layer).__mro__[1]
    monkeypatch.setattr(steps, "_FARTHEST", 25)
    repeated: list[int] = []
    repeat = steps.Replay.run

    def counted(own: steps.Replay, inputs: Any, rows: int, layers: Any) -> object:
        repeated.append(rows)
        return repeat(own, inputs, rows, layers)

    passes = ((20, 20), (4, 4), (4, 4), (1, 1))
    trunk = tapped(model)
    plain = run(trunk, passes)[0]
    with unfused():
        trunk.compile_steps()
        monkeypatch.setattr(steps.Replay, "run", counted)
        assert apart(run(trunk, passes)[0], plain) < 1e-3
    assert trunk.steps_note == ""
    assert repeated == ([4] if off else [4, 4, 1])


@pytest.mark.usefixtures("played")
def test_a_graph_goes_on_behind_a_long_pass_that_was_not_committed() -> None:
    trunk = fused("qwen3_5")

    def passed() -> mx.array:
        cache = run(trunk, ((20, 20),))[2]
        trunk.forward(mx.arange(12), cache)
        trunk.forward(mx.arange(2), cache)
        cache.commit(14)
        return trunk.forward(mx.arange(3), cache).logits

    plain = passed()
    with unfused():
        trunk.compile_steps()
        assert trunk.steps_note == ""
        assert apart(passed(), plain) < 1e-3


def test_what_is_seen_of_a_pending_sum_is_the_sum() -> None:
    rows, added = mx.ones((1, 2, 4)), mx.full((1, 2, 4), 2.0)
    pending = residuals._Pending(Backend.CUDA, rows) + added
    assert pending.shape == (1, 2, 4)
    twice, thrice = pending + added, pending + added + added
    assert mx.array_equal(thrice.astype(mx.float32), rows + 3 * added)
    assert mx.array_equal(residuals.settled(twice), rows + 2 * added)
    assert mx.array_equal(pending.astype(mx.float32), rows + added)
    assert mx.array_equal(residuals.settled(pending + added), rows + 2 * added)
    assert residuals.settled(rows) is rows


def test_nothing_is_changed_without_a_gpu() -> None:
    if mx.default_device() != mx.cpu:
        pytest.skip("there is a GPU")
    model = families.build(families.config("qwen3_5"))
    kinds = [type(each) for each in modules(model)]
    assert use_gated_heads(model) == residuals.use_fused_mlps(model) == ""
    assert residuals.use_fused_sums(model) == ""
    assert mixer_note(model) == ""
    assert [type(each) for each in modules(model)] == kinds
    assert type(body_of(model).layers[0]).__module__ == "mlx_lm.models.qwen3_5"


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize("is_compiled", [False, True])
def test_a_pass_ahead_is_taken_and_undone_over_rows_still_to_be_added(*, is_compiled: bool) -> None:
    """Through graphs that are repeated too, and over the end of a bucket."""
    trunk = fused("qwen3_5")
    with unfused():
        if is_compiled:
            trunk.compile_steps()
        texts, states = [], []
        for is_beside in (False, True):
            stream = Stream(trunk.make_cache(), None, 3)
            stream.runs_beside_host = is_beside
            read_prompt(trunk, stream, [n % families.VOCABULARY for n in range(245)], 5)
            results = []
            for number in range(20):
                results.append(
                    run_cycle(trunk, stream, 0, Sampling(1, 1, 0), Mode.SEEDED, is_plain_next=True)
                )
                if number % 3 == 2:
                    stream.give_up_ahead()
            assert all(each.ran_ahead == is_beside for each in results)
            texts.append([each.emitted for each in results])
            stream.give_up_ahead()
            states.append(trunk.forward(mx.arange(4), stream.trunk_cache).logits)
    assert bool(trunk.compiled_graphs) == is_compiled
    assert texts[0] == texts[1]
    assert mx.array_equal(*states).item()
