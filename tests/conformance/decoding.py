"""Whole sequences through the production engine on a tiny model: prompt, cycles, caches, noise."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import mlx.core as mx
import numpy as np

from engine.model.cache import Cache, LayerCache
from engine.model.head import Head
from engine.model.trunk import Trunk
from engine.protocol import Mode, Sampling
from engine.speculation.cycle import CycleResult, read_prompt, run_cycle
from engine.speculation.sampling import target_distribution
from engine.speculation.stream import Stream

Model = tuple[Trunk, Head]
PROMPT, LAST = [1, 2, 3], 4
VOCABULARY = 8
SAMPLING = Sampling(temperature=0.8, top_p=1, top_k=0)

DEPTHS: dict[str, Callable[[int], int]] = {
    **{str(depth): (lambda _, depth=depth: depth) for depth in (1, 2, 3, 4, 5, 6, 8)},
    "changing": lambda number: number % 5,
    "parked, then 3": lambda number: 3 if number > 20 else 0,
}
"""Depth by cycle number."""


def begun(model: Model, seed: int) -> Stream:
    """Return a stream that has read the prompt."""
    trunk, head = model
    stream = Stream(trunk.make_cache(), head, seed)
    read_prompt(trunk, stream, PROMPT, LAST)
    return stream


def cycles(
    model: Model,
    stream: Stream,
    tokens: int,
    depth: Callable[[int], int],
    *,
    mode: Mode = Mode.TOKEN,
    sampling: Sampling = SAMPLING,
) -> list[CycleResult]:
    """Return the cycles that emit at least so many tokens."""
    results: list[CycleResult] = []
    count = 0
    while count < tokens:
        result = run_cycle(model[0], stream, depth(stream.cycle), sampling, mode)
        results.append(result)
        count += len(result.emitted)
        assert stream.position == len(PROMPT) + count
    return results


def decoded(
    model: Model,
    tokens: int,
    depth: Callable[[int], int],
    *,
    seed: int = 0,
    mode: Mode = Mode.TOKEN,
    sampling: Sampling = SAMPLING,
) -> list[int]:
    """Return the first emitted tokens of a seed."""
    results = cycles(model, begun(model, seed), tokens, depth, mode=mode, sampling=sampling)
    return [token for result in results for token in result.emitted][:tokens]


def teacher_forced(trunk: Trunk, length: int) -> np.ndarray:
    """Return the plain law of all sequences of a length, from one pass over each but its end."""
    cells = []
    for sequence in itertools.product(range(VOCABULARY), repeat=length - 1):
        tokens = mx.array([*PROMPT, LAST, *sequence])
        logits = trunk.forward(tokens, trunk.make_cache()).logits
        rows = np.array(target_distribution(logits, SAMPLING), np.float64)[len(PROMPT) :]
        cells.append(np.prod([rows[i, token] for i, token in enumerate(sequence)]) * rows[-1])
    return np.concatenate(cells)


def state(cache: Cache) -> list[np.ndarray]:
    """Return keys and values of all layers, committed positions only."""
    return [array[..., : cache.length, :] for layer in cache.layers for array in arrays(layer)]


def arrays(layer: LayerCache) -> list[np.ndarray]:
    keys, values, *_ = layer.state
    return [np.array(keys), np.array(values)]


def distance(one: Cache, other: Cache) -> float:
    """Return how far two caches of one length are apart, at most."""
    assert one.length == other.length
    pairs = zip(state(one), state(other), strict=True)
    return max(float(np.abs(a - b).max(initial=0)) for a, b in pairs)
