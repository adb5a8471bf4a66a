"""A prompt that begins with what was read before gives what it gives alone: tokens and acceptance.

On the stock matrix library, where a row's bits don't depend on how many rows are computed at once.
Every kind of cache has its model: plain, rotating, gated delta, latent, and a chain of heads.
"""

from __future__ import annotations

import numpy as np
import pytest
from mlx_lm.models.cache import ArraysCache, KVCache

from engine.model.cache import Cache, leaves_of
from engine.model.load import LoadedModel, load
from engine.model.sliding import SlidingCache
from engine.prefix.cache import PrefixCache
from engine.protocol import (
    CycleDone,
    Event,
    Generate,
    Mode,
    PrefixReused,
    RequestDone,
    Reread,
    Sampling,
)
from engine.request import Request
from tests.fakes import checkpoints, tiny

BIG = 2**30
KINDS = {
    "plain": "mimo",
    "rotating": "exaone_moe",
    "gated delta": "qwen3_5",
    "chain": "mimo_v2_flash",
    "recurrent": "nemotron_h",
}
ROUNDING = {"recurrent": 1e-5}
"""By kind: how far states may be apart. mlx-lm reads several rows of a Mamba layer at once in
another order of sums than one row, so there bits depend on where a chunk ends."""
TEXT = tuple((7 * i * i + 3 * i) % 250 for i in range(400))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedModel]:
    folder = tmp_path_factory.mktemp("families")
    made = {
        kind: load(kind, checkpoints.write(folder / name, name), folder, lambda *_: None)
        for kind, name in KINDS.items()
    }
    assert all(model.head is not None for model in made.values())
    made["demo"] = tiny.loaded(tiny.vocabulary_of_bytes())
    return made


def asked(ids: tuple[int, ...], **options: object) -> Generate:
    given: dict[str, object] = {
        "seed": 5,
        "depth": 3,
        "mode": Mode.SEEDED,
        "max_tokens": 12,
        "sampling": Sampling(1, 1, 0),
        **options,
    }
    return Generate("r", (), prompt_ids=ids, **given)  # ty: ignore[invalid-argument-type] - options


class Told(list[Event]):
    """The events of a request, and the state it ended in."""

    state: tuple[list[np.ndarray], ...]


def run(model: LoadedModel, command: Generate, prefixes: PrefixCache | None) -> Told:
    request = Request(command, model, prefixes=prefixes)
    events = Told()
    while not request.is_over:
        events += request.advance()
    request.close(is_whole=True)
    stream = vars(request)["_stream"]
    stream.prime()
    events.state = tuple(leaves(cache) for cache in stream.caches())
    return events


def leaves(cache: Cache) -> list[np.ndarray]:
    """Return what a cache holds of its committed positions."""
    found = [np.array(row) for row in cache.waiting_rows() if row is not None]
    for leaf in leaves_of(cache.layers):
        if isinstance(leaf, KVCache):
            rows = [part for part in (leaf.keys, leaf.values) if part is not None]
            found += [np.array(part[..., : leaf.offset, :]) for part in rows]
        elif isinstance(leaf, SlidingCache):
            found += [np.array(rows) for rows in leaf.keys_and_values()]
        else:
            assert isinstance(leaf, ArraysCache)
            found += [np.array(part) for part in leaf.cache if part is not None]
    return found


def same(warm: Told, cold: Told, kind: str) -> None:
    """Hold what a hit gave against a cold start: cycles, and every bit of the state they left."""
    most = ROUNDING.get(kind, 0.0)
    assert story(warm) == story(cold), reuse_of(warm)
    for ours, theirs in zip(warm.state, cold.state, strict=True):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert one.shape == other.shape
            assert np.abs(one - other).max(initial=0) <= most, (reuse_of(warm), one.shape)


def story(events: list[Event]) -> list[tuple[object, ...]]:
    """Return what cycles drafted, accepted and emitted."""
    cycles = [event for event in events if isinstance(event, CycleDone)]
    return [(cycle.drafted, cycle.accepted, cycle.emitted) for cycle in cycles]


def emitted(events: list[Event]) -> tuple[int, ...]:
    cycles = [event for event in events if isinstance(event, CycleDone)]
    return tuple(token for cycle in cycles for token in cycle.emitted)


def reuse_of(events: list[Event]) -> PrefixReused:
    (event,) = (event for event in events if isinstance(event, PrefixReused))
    return event


ALL = [*KINDS, "demo"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALL)
def test_a_hit_at_every_cut_around_a_boundary_gives_what_a_cold_start_gives(
    models: dict[str, LoadedModel], kind: str
) -> None:
    """The boundary is the end of a prompt; later ones part from it before, at and behind it."""
    model, boundary = models[kind], 140
    prefixes = PrefixCache(BIG)
    first = run(model, asked(TEXT[:boundary]), prefixes)
    answer = emitted(first)
    whole = TEXT[:boundary] + answer
    hits = 0
    for cut in range(boundary - 6, boundary + len(answer) + 1):
        other = (251 + cut) % 256
        for text in ((*whole[:cut], other, 9, 8), whole[:cut]):
            command = asked(text)
            warm = run(model, command, prefixes)
            cold = run(model, command, None)
            same(warm, cold, kind)
            hits += reuse_of(warm).reused > 0
            assert reuse_of(warm).reused < len(text)
            assert reuse_of(cold).why is Reread.OFF
    assert hits > len(answer)


@pytest.mark.parametrize("kind", ALL)
def test_trap_28_a_hit_brings_the_heads_rows_with_the_trunks(
    models: dict[str, LoadedModel], kind: str
) -> None:
    model, prefixes = models[kind], PrefixCache(BIG)
    answer = emitted(run(model, asked(TEXT[:140]), prefixes))
    request = Request(asked((*TEXT[:140], *answer, 9, 8)), model, prefixes=prefixes)
    events: list[Event] = []
    while not story(events):
        events += request.advance()
    assert reuse_of(events).reused >= 140
    stream = request._stream
    assert stream.head_cache is not None
    assert stream.head_cache.length + stream.pending_rows == stream.trunk_cache.length > 140
    assert stream.head_cache.length > 130
    request.close(is_whole=False)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("depth", [0, 2, 8])
def test_a_second_turn_reads_its_new_tokens_alone(
    models: dict[str, LoadedModel], kind: str, depth: int
) -> None:
    model, prefixes = models[kind], PrefixCache(BIG)
    first = run(model, asked(TEXT[:200], depth=depth, max_tokens=30), prefixes)
    text = TEXT[:200] + emitted(first)
    second = asked((*text, *TEXT[300:330]), depth=depth)
    warm = run(model, second, prefixes)
    least = len(text) - 2 if kind in ("plain", "demo") else len(text) - 1
    assert reuse_of(warm).reused in (least, len(text) - 1)
    assert reuse_of(warm).why is Reread.APPENDED
    same(warm, run(model, second, None), kind)


@pytest.mark.parametrize("kind", ALL)
def test_what_is_held_does_not_change_while_others_decode_from_it(
    models: dict[str, LoadedModel], kind: str
) -> None:
    model, prefixes = models[kind], PrefixCache(BIG)
    owner = Request(asked(TEXT[:150], max_tokens=60), model, prefixes=prefixes)
    while not prefixes.places:
        owner.advance()
    before = held_arrays(prefixes)
    borrowers = [
        Request(asked((*TEXT[:150], 3 + i), max_tokens=40, depth=i), model, prefixes=prefixes)
        for i in range(3)
    ]
    while running := [each for each in (owner, *borrowers) if not each.is_over]:
        for each in running:
            each.advance()
    after = held_arrays(prefixes)
    assert before
    assert all(np.array_equal(before[key], after[key]) for key in before)


def held_arrays(prefixes: PrefixCache) -> dict[tuple[int, ...], np.ndarray]:
    found = {}
    for place in prefixes.places:
        assert place.held is not None
        state = place.held.state
        assert state is not None
        parts = [part for part in (state.trunk, state.head) if part is not None]
        arrays = [a for part in parts for leaf in (*part.arrays, part.waiting) for a in leaf]
        for index, array in enumerate([*arrays, state.boundary]):
            if array is not None:
                found[id(place), index] = np.array(array)
    return found


@pytest.mark.parametrize("kind", ALL)
def test_siblings_behind_one_place_give_what_they_give_alone_in_turns(
    models: dict[str, LoadedModel], kind: str
) -> None:
    model, prefixes = models[kind], PrefixCache(BIG)
    run(model, asked(TEXT[:150]), prefixes)
    commands = [asked((*TEXT[:149], 3 + i, 7), max_tokens=20, seed=i) for i in range(3)]
    requests = [Request(command, model, prefixes=prefixes) for command in commands]
    told: list[list[Event]] = [[] for _ in requests]
    while any(not each.is_over for each in requests):
        for request, events in zip(requests, told, strict=True):
            if not request.is_over:
                events += request.advance()
    for command, events in zip(commands, told, strict=True):
        assert reuse_of(events).reused >= 64 or kind not in ("plain", "demo")
        assert story(events) == story(run(model, command, None))


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("mode", list(Mode))
def test_the_same_prompt_again_draws_the_same_in_every_mode(
    models: dict[str, LoadedModel], kind: str, mode: Mode
) -> None:
    model, prefixes = models[kind], PrefixCache(BIG)
    command = asked(TEXT[:130], mode=mode, max_tokens=24, seed=11)
    first, again = (run(model, command, prefixes) for _ in range(2))
    assert reuse_of(again).reused == len(command.prompt_ids) - 1
    cold = run(model, command, None)
    same(first, cold, kind)
    same(again, cold, kind)
    assert isinstance(again[-1], RequestDone)


@pytest.mark.parametrize("kind", ["plain", "gated delta"])
def test_a_prompt_cancelled_while_it_is_read_is_read_on_later(
    models: dict[str, LoadedModel], kind: str
) -> None:
    model, prefixes = models[kind], PrefixCache(BIG)
    command = asked(TEXT[:390])
    request = Request(command, model, prefixes=prefixes)
    request.advance()
    request.cancel()
    request.close(is_whole=True)
    again = run(model, command, prefixes)
    assert 100 < reuse_of(again).reused < 140
    same(again, run(model, command, None), kind)
