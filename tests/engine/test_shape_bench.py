"""Random weights of a shape, and cycles whose accepted counts are replayed."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from engine import examining
from engine.blas import BlasInUse
from engine.errors import ModelError
from engine.model.arrays import weights_bytes
from engine.model.random_weights import fill, unfilled_model
from engine.protocol import Mode, Sampling
from engine.shape_bench import models
from engine.shape_bench.contexts import own_cache, stock_cache, stream_at
from engine.shape_bench.cycles import BLOCK, CycleBench
from engine.shape_bench.models import Both, cache_bytes, made
from engine.shape_bench.pace import Pace
from engine.shape_bench.passes import host_times, pass_times, window
from engine.speculation.acceptance import Verdict
from engine.speculation.cycle import run_cycle
from engine.verdict.shape_costs import Plan, replayed
from engine.verdict.shapes import shape_of
from kernels import dispatch

CONTEXT = 40


def pace() -> Pace:
    return Pace(2, 0, lambda _: None)


@pytest.fixture(scope="module", params=["tiny", "tiny-experts"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def both(name: str, tmp_path_factory: pytest.TempPathFactory) -> Both:
    return made(Plan(name), tmp_path_factory.mktemp("cache"), lambda _: None)


@pytest.mark.parametrize(
    ("size", "gigabytes"),
    [("27b", 15.13), ("9b", 5.04), ("4b", 2.37), ("35b-a3b", 19.51)],
)
def test_real_shapes_are_as_large_as_conversions_of_them(size: str, gigabytes: float) -> None:
    """Nothing of it comes into memory."""
    before = mx.get_active_memory()
    shape = shape_of(size)
    model = unfilled_model(shape.config(shape.layers), mx.bfloat16)
    assert weights_bytes(model) / 1e9 == pytest.approx(gigabytes, abs=0.01)
    assert mx.get_active_memory() - before < 10_000_000


def test_packed_words_are_uniform_in_every_place() -> None:
    model = unfilled_model(shape_of("tiny").config(4), mx.float32)
    fill(model, 0)
    words = np.array(model.language_model.lm_head.weight).reshape(-1)
    for place in range(0, 32, 4):
        counts = np.bincount((words >> place) & 15, minlength=16)
        expected = len(words) / 16
        assert float(((counts - expected) ** 2 / expected).sum()) < 45  # 15 degrees, p 0.0001


def test_the_same_seed_gives_the_same_weights() -> None:
    made_twice = []
    for seed in (3, 3, 4):
        model = unfilled_model(shape_of("tiny").config(4), mx.float32)
        fill(model, seed)
        made_twice.append(dict(tree_flatten(model.parameters())))
    first, again, other = made_twice
    assert all(mx.array_equal(first[name], again[name]).item() for name in first)
    assert not all(mx.array_equal(first[name], other[name]).item() for name in first)


def test_stock_says_what_ours_says(both: Both) -> None:
    """They have the same weights; so its times are those of the same work."""
    own, theirs = both.own.trunk.make_cache(), None
    logits = both.own.trunk.forward(window(7), own).logits
    stock = both.stock(window(7)[None], cache=theirs)[0]
    assert np.array(stock).std() == pytest.approx(1, abs=0.5)
    assert np.array(logits) == pytest.approx(np.array(stock), abs=1e-3)


def test_caches_hold_the_context_that_was_asked_for(both: Both) -> None:
    cache, theirs = own_cache(both, CONTEXT), stock_cache(both, CONTEXT)
    assert cache.length == CONTEXT
    assert cache_bytes(cache.layers) == cache_bytes(theirs)
    assert {layer.offset for layer in theirs if hasattr(layer, "offset")} == {CONTEXT}
    both.own.trunk.forward(window(4), cache)
    cache.commit(2)
    assert {layer.offset for layer in cache.layers if hasattr(layer, "offset")} == {CONTEXT + 2}


@pytest.mark.parametrize("accepted", [0, 1, 2, 3])
def test_an_overruled_cycle_commits_what_the_table_says(
    both: Both, name: str, accepted: int
) -> None:
    """Its drafts are true ones, and the caches are where that many tokens leave them."""
    assert both.own.head is not None
    stream = stream_at(both, both.own.head, CONTEXT, 1)
    bench = CycleBench(both, Plan(name, contexts=(CONTEXT,)))
    result = bench._cycle(stream, 3, accepted)
    assert result.accepted == accepted
    assert result.emitted[:accepted] == result.drafted[:accepted]
    assert len(result.emitted) == accepted + 1
    assert stream.position == CONTEXT + accepted + 1
    assert stream.pending_rows == accepted + 1


def test_an_overruled_cycle_has_worked_out_its_own_verdict(both: Both, name: str) -> None:
    """The token after the drafts is drawn from the true verdict."""
    assert both.own.head is not None
    seen: list[Verdict] = []

    def ruling(verdict: Verdict) -> Verdict:
        seen.append(verdict)
        return verdict

    results = []
    for accepted in (None, 3):
        stream = stream_at(both, both.own.head, CONTEXT, 5)
        if accepted is None:
            results.append(
                run_cycle(both.own.trunk, stream, 3, Sampling(), Mode.TOKEN, ruling=ruling)
            )
        else:
            bench = CycleBench(both, Plan(name, contexts=(CONTEXT,)))
            results.append(bench._cycle(stream, 3, accepted))
    own, overruled = results
    assert own.accepted == seen[0].accepted.item()
    assert overruled.drafted == own.drafted
    assert overruled.emitted[-1] == own.emitted[-1]


def test_rounds_have_a_block_of_everything(both: Both, name: str) -> None:
    plan = Plan(name, acceptance=((0.9, 0.5), (0.2,)), contexts=(CONTEXT,))
    times, stock = CycleBench(both, plan).run(pace(), 1)
    assert [(each.table, each.depth) for each in times] == [
        *((0, depth) for depth in range(3)),
        *((1, depth) for depth in range(1, 3)),
    ]
    assert all(len(each.ms) == 2 for each in times)
    assert len(stock.step_ms) == len(stock.loop_ms) == 2
    deep = times[2]
    wanted = [1 + replayed((0.9, 0.5), 2, cycle) for cycle in range(2 * BLOCK)]
    assert deep.tokens == (sum(wanted[:BLOCK]) / BLOCK, sum(wanted[BLOCK:]) / BLOCK)


def test_a_block_of_plain_cycles_runs_ahead_within_itself(both: Both, name: str) -> None:
    """Its passes are as many as its cycles, so the next block's have the device to themselves."""
    bench = CycleBench(both, Plan(name, acceptance=((0.5,),), contexts=(CONTEXT,)))
    for depth, expected in ((0, True), (1, False)):
        stream = bench._streams[depth]
        stream.runs_beside_host = True
        cycles = bench._block(0, depth, bench._found[0, depth])
        assert [each.ran_ahead for each in cycles] == [expected] * BLOCK
        assert stream.trunk_cache.open == 0
        assert stream.position == CONTEXT + sum(len(each.emitted) for each in cycles)


def test_passes_are_timed_in_pairs(both: Both) -> None:
    times, facts = pass_times(both, CONTEXT, {"own": (1, 2), "stock": ()}, pace(), 1)
    assert {(each.who, each.rows): len(each.ms) for each in times} == dict.fromkeys(
        (("own", 1), ("own", 2), ("own", 4), ("stock", 1), ("stock", 4)), 2
    )
    kv, state = cache_bytes(own_cache(both, CONTEXT).layers)
    assert (facts.kv_bytes, facts.state_bytes) == (CONTEXT * kv, 2 * state)
    host = host_times(both, CONTEXT, pace(), 1)
    assert [(each.who, len(each.wait_ms)) for each in host] == [("stock", 2), ("own", 2)] * 2


def test_too_little_memory_is_told_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "fill", lambda *_: pytest.fail("something was made"))
    monkeypatch.setattr(models, "_room", lambda: 16_000_000_000)
    with pytest.raises(ModelError, match=r"27b needs \d\d\.\d GB here, and there are 16\.0"):
        made(Plan("27b"), tmp_path, lambda _: None)


def test_rounds_end_when_the_time_is_over_but_each_figure_has_a_spread() -> None:
    said: list[str] = []
    assert list(Pace(5, 1e-9, said.append).rounds(0.5)) == [0, 1]
    assert said == ["2 rounds of 5: no more time"]
    assert list(Pace(5, 3600, said.append).rounds(0.5)) == [0, 1, 2, 3, 4]
    assert list(Pace(5, 0, said.append).rounds(0.5)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("process", ["bench", "doctor"])
def test_what_is_compiled_is_kept_before_anything_is(
    process: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Asked(Exception):
        pass

    def keep(folder: Path) -> None:
        raise Asked(folder)

    monkeypatch.setattr(dispatch, "keep_compiled", keep)
    monkeypatch.setattr(models, "keep_compiled", keep)
    begin = {
        "bench": lambda: made(Plan("4b"), tmp_path, lambda _: None),
        "doctor": lambda: examining._found(BlasInUse("stock", ""), tmp_path),
    }
    with pytest.raises(Asked, match="kernels"):
        begin[process]()
