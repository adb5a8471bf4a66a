"""Many sequences at once through the production functions: drafts, verdicts, residuals, bonus.

Nothing of the law is written here: distributions come from `target_distribution`, draws from
`draw`, verdicts from the rules of `engine.speculation.acceptance`, each looked up when it is
used, so that a fault put into one of them is run. `Process` says how drafts are made; its faulty
values are faults of a draft phase.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import mlx.core as mx
import numpy as np

from engine.protocol import Sampling
from engine.speculation import acceptance, sampling
from engine.speculation.sampling import RowRules
from tests.conformance.toys import START, Fit, Toy, fit, law

PLAIN = Sampling(1.0, 1.0, 0)
LENGTH = 3

Submitted = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""From draft rows [n, depth, V], drafts [n, depth] and n full depths to the depths submitted."""


def all_of_them(rows: np.ndarray, drafted: np.ndarray, full: np.ndarray) -> np.ndarray:
    return full


def sure_ones(rows: np.ndarray, drafted: np.ndarray, full: np.ndarray) -> np.ndarray:
    """Stop before the first draft whose distribution is flat: known before it is drawn."""
    return np.cumprod(rows.max(2) >= 0.45, axis=1).sum(1)


def up_to_an_unlikely_one(rows: np.ndarray, drafted: np.ndarray, full: np.ndarray) -> np.ndarray:
    """Stop after a draft that came out unlikely, which is still submitted."""
    chance = np.take_along_axis(rows, drafted[:, :, None], 2)[:, :, 0]
    go_on = np.cumprod(chance[:, :-1] >= 0.35, axis=1).sum(1)
    return 1 + go_on


@dataclass(frozen=True)
class Process:
    """How drafts are made. The distribution that is claimed is the one drawn from, unless faulty."""

    sampling: Sampling = PLAIN
    """The draft's own transforms."""
    masked: tuple[int, ...] = ()
    """Tokens the draft's vocabulary lacks."""
    claims_one_hot: bool = False
    """Claim the drawn token alone, which is exact for whatever law it was drawn from."""
    claimed: Sampling | None = None
    """Claim these transforms in place of the draft's own: a fault."""
    forgets_to_normalise: bool = False
    """Claim the untruncated probability of what survived truncation: a fault."""
    target: Sampling = PLAIN
    """The target's transforms; others than the law's are a fault."""
    submitted: Submitted = all_of_them
    noise_by_place: bool = False
    """Numbers keyed by position and not by cycle: a fault of the block rule."""


@dataclass(frozen=True)
class Run:
    """What came out."""

    sequences: np.ndarray
    """[N, LENGTH]."""
    first_cycle: np.ndarray
    """Tokens the first cycle of each sequence emitted, [N]."""

    def fit(self, toy: Toy) -> Fit:
        return fit(self.sequences, law(toy.target, LENGTH), toy.vocabulary)


CHUNK = 100_000


def run(
    toy: Toy,
    depth: int,
    samples: int,
    *,
    rule: str = "token_rule",
    process: Process | None = None,
    seed: int = 11,
) -> Run:
    """Return `samples` sequences drafted to a depth and judged by a production rule."""
    parts = []
    for index, begin in enumerate(range(0, samples, CHUNK)):
        batch = _Batch(toy, depth, min(CHUNK, samples - begin), process or Process(), rule)
        parts.append(batch.decoded(np.random.default_rng([seed, index])))
    return Run(
        np.concatenate([part.sequences for part in parts]),
        np.concatenate([part.first_cycle for part in parts]),
    )


class _Batch:
    def __init__(self, toy: Toy, depth: int, samples: int, process: Process, rule: str) -> None:
        self.depth, self.samples, self.process, self.rule = depth, samples, process, rule
        self.target = distribution(toy.target, process.target)
        self.draft = distribution(toy.draft, process.sampling, process.masked)
        claimed = process.sampling if process.claimed is None else process.claimed
        self.claimed = distribution(toy.draft, claimed, process.masked)
        if process.forgets_to_normalise:
            self.claimed = mx.where(self.claimed > 0, distribution(toy.draft, PLAIN), 0)

    def decoded(self, rng: np.random.Generator) -> Run:
        room = LENGTH + self.depth + 1
        out = np.zeros((self.samples, room), int)
        filled = np.zeros(self.samples, int)
        noise = _Noise(rng, self.samples, room + self.depth, self.process)
        last = np.full(self.samples, START)
        first_cycle = None
        while (active := np.flatnonzero(filled < LENGTH)).size:
            window, counts = self.cycle(last[active], noise.at(active, filled[active], self.depth))
            if first_cycle is None:
                first_cycle = counts + 1
            for place in range(self.depth + 1):
                kept = active[place <= counts]
                out[kept, filled[kept]] = window[place <= counts, place]
                filled[kept] += 1
            last[active] = window[np.arange(active.size), counts]
        assert first_cycle is not None
        return Run(out[:, :LENGTH], first_cycle)

    def cycle(
        self, last: np.ndarray, noise: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return windows [n, depth + 1] and how many drafts of each were accepted."""
        context, contexts, drafted = mx.array(last), [], []
        for place in range(self.depth):
            contexts.append(context)
            drawn = sampling.draw(self.draft[context], mx.array(noise["draft"][:, place]))
            context = drawn.astype(mx.int32)
            drafted.append(context)
        tokens, rows = mx.stack(drafted, 1), mx.stack([*contexts, context], 1)
        claimed = self.claimed[rows[:, :-1]]
        if self.process.claims_one_hot:
            claimed = (tokens[:, :, None] == mx.arange(claimed.shape[-1])).astype(mx.float32)
        window = np.concatenate([np.array(tokens), np.zeros((len(last), 1), int)], axis=1)
        full = np.full(len(last), self.depth)
        depths = self.process.submitted(np.array(self.draft[rows[:, :-1]]), window[:, :-1], full)
        counts = np.zeros(len(last), int)
        for depth in np.unique(depths):
            those = np.flatnonzero(depths == depth)
            at = mx.array(those)
            accepted, token = self.judged(
                int(depth),
                self.target[rows[at]],
                claimed[at],
                tokens[at],
                {name: mx.array(numbers[those]) for name, numbers in noise.items()},
            )
            counts[those] = accepted
            window[those, accepted] = token
        return window, counts

    def judged(
        self,
        depth: int,
        target: mx.array,
        claimed: mx.array,
        tokens: mx.array,
        noise: dict[str, mx.array],
    ) -> tuple[np.ndarray, np.ndarray]:
        name = self.rule if depth > 0 else "token_rule"
        rule = mx.vmap(lambda *window: _pair(getattr(acceptance, name)(*window)))
        following = mx.concatenate(
            [noise["residual"][:, :depth], noise["bonus"][:, depth : depth + 1]], axis=1
        )
        accepted, token = rule(
            target[:, : depth + 1],
            claimed[:, :depth],
            tokens[:, :depth].astype(mx.uint32),
            noise["accept"][:, :depth],
            following,
        )
        return np.array(accepted), np.array(token)


class _Noise:
    """Numbers in [0, 1) by purpose and place; new ones each cycle, unless the process is faulty."""

    PURPOSES = ("draft", "accept", "residual", "bonus")

    def __init__(
        self, rng: np.random.Generator, samples: int, places: int, process: Process
    ) -> None:
        self._rng = rng
        self._table = None
        if process.noise_by_place:
            shape = (samples, places)
            self._table = {name: rng.random(shape, np.float32) for name in self.PURPOSES}

    def at(self, active: np.ndarray, begin: np.ndarray, depth: int) -> dict[str, np.ndarray]:
        shape = (active.size, depth + 1)
        if self._table is None:
            return {name: self._rng.random(shape, np.float32) for name in self.PURPOSES}
        places = begin[:, None] + np.arange(depth + 1)
        return {name: table[active[:, None], places] for name, table in self._table.items()}


def distribution(rows: np.ndarray, transforms: Sampling, masked: tuple[int, ...] = ()) -> mx.array:
    """Return rows of probabilities after the production transforms."""
    allowed = np.ones(rows.shape, bool)
    allowed[:, list(masked)] = False
    rules = RowRules(allowed=mx.array(allowed)) if masked else None
    logits = mx.array(np.log(np.maximum(rows, 1e-30)), mx.float32)
    return sampling.target_distribution(logits, transforms, rules)


def greedy(process: Process) -> Process:
    """Return the process with the likeliest token as its draft."""
    return replace(process, sampling=Sampling(0.0, 1.0, 0))


def _pair(verdict: acceptance.Verdict) -> tuple[mx.array, mx.array]:
    return verdict.accepted, verdict.token
