"""Draft, verify, accept, commit: one cycle, and the reading of the prompt before the first.

A GPU runs ahead: draft, verification and verdict are all handed to it before the host waits
for the first of them, so waiting for each in turn tells their times at no cost. On a CPU host and
work share the cores, so there each is built when the one before it is done, or its time would be
told as the other's. The host waits once more where a grammar has to see the drafts before their rows
can be judged.

A plain cycle's token is all that the trunk's next pass needs, and it need not leave the device for
that. So where the next cycle is plain too, that pass is handed over before the host waits for the
token: the host builds it while the GPU runs the present one. Only the pass is ahead; what bends and
draws its row belongs to the next cycle, which knows the token.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx

from engine.model.arrays import integers, reals
from engine.model.cache import evaluate
from engine.model.steps import graphs_built
from engine.model.trunk import Trunk, TrunkOutput
from engine.protocol import MAX_DEPTH, Ended, Mode, Sampling
from engine.speculation.acceptance import Verdict, block_rule, seeded_rule, token_rule
from engine.speculation.draft import Draft, draft
from engine.speculation.noise import CycleNoise
from engine.speculation.on_device import distribution, verdict
from engine.speculation.sampling import likeliest, log_probabilities, target_distribution
from engine.speculation.stream import PENDING_LIMIT, Stream
from engine.speculation.xray import WindowNumbers, WindowXray
from kernels.distribution import Distribution

__all__ = ["CycleResult", "Keep", "RowLogprobs", "Ruling", "read_prompt", "run_cycle"]

Keep = Callable[[tuple[int, ...]], int]
"""Told a cycle's emitted tokens, says how many of them stay, 1 or more: a stop cuts the rest."""
Ruling = Callable[[Verdict], Verdict]
"""Told what a window's drafts were judged to be, says what counts: the same, but in a measurement."""


@dataclass(frozen=True, slots=True)
class RowLogprobs:
    """What the trunk itself gave an emitted token, and the likeliest ones in its place."""

    logprob: float
    top_ids: tuple[int, ...]
    top_logprobs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class CycleResult:
    """What a cycle came to, in plain numbers."""

    cycle: int
    depth: int
    drafted: tuple[int, ...]
    accepted: int
    emitted: tuple[int, ...]
    """The accepted drafts and one more, as far as they were kept."""
    ended: Ended
    """PLAIN, BONUS or RESIDUAL."""
    draft_s: float
    """Until the drafts were there; 0 where none were asked for."""
    verify_s: float
    """From then on until the window's logits were there; with the building of the next cycle's pass
    where that was handed over, and without that of its own where the cycle before did so."""
    accept_s: float
    """From then on until the verdict was there."""
    total_s: float
    """From the call to the end, whatever was done in it: the cycles of an answer add up to its time."""
    ran_ahead: bool
    """Whether its pass was handed over in the cycle before, or the next one's in this: its seconds
    are not those of a cycle by itself."""
    logprobs: tuple[RowLogprobs, ...]
    """Beside `emitted`; empty unless the stream asks for them."""
    caught_up: int
    """Rows the head took in, where they are more than one cycle leaves; else 0."""
    numbers: WindowNumbers | None
    """What the window was judged by; None unless the stream asks for it."""
    graphs_built: int
    """Passes of trunk and head that were built as graphs; 0 once all were."""


def read_prompt(trunk: Trunk, stream: Stream, tokens: list[int], following: int) -> None:
    """Take the next chunk of a prompt into the caches of trunk and head.

    Args:
        trunk: the model.
        stream: of the request.
        tokens: the chunk; all of the prompt but its last token goes through here.
        following: the prompt's token after the chunk; it becomes the stream's last.
    """
    stream.give_up_ahead()
    if tokens:
        output = trunk.forward(mx.array(tokens), stream.trunk_cache)
        stream.trunk_cache.commit(len(tokens))
        stream.add_pending(output.hidden, mx.array([*tokens[1:], following]))
        stream.prime()
        evaluate(*stream.caches())
    stream.last = following


def _upheld(verdict: Verdict) -> Verdict:
    return verdict


def run_cycle(  # noqa: PLR0913 - what a cycle is made from, each decided by someone else
    trunk: Trunk,
    stream: Stream,
    depth: int,
    sampling: Sampling,
    mode: Mode,
    keep: Keep = len,
    ruling: Ruling = _upheld,
    *,
    is_plain_next: bool = False,
) -> CycleResult:
    """Draft, verify, accept and commit once.

    Args:
        trunk: the model.
        stream: of the request; its prompt was read. Changed in place.
        depth: how many tokens to draft; taken as 0 where the stream can't draft.
        sampling: what plain decoding would draw from.
        mode: how drafts are judged.
        keep: decides where a stop cuts; the caches are rolled back to the last kept token.
        ruling: what counts of the verdict; a text of a ruling other than its own is not exact.
        is_plain_next: whether another cycle of depth 0 is to follow, as far as is known; then a plain
            cycle hands its pass over. Where it comes otherwise that pass is undone.

    Raises:
        Exception: what a pass raises, the one that the cycle before handed over among them.
    """
    begin, graphs_before = time.perf_counter(), graphs_built()
    depth = depth if stream.can_draft else 0
    if depth:
        stream.give_up_ahead()
    number, waiting = stream.cycle, stream.pending_rows
    law = _Law(sampling, mode, CycleNoise(stream.seed, number, stream.position + 1, depth), ruling)

    drafted = draft(stream, depth, sampling, mode, law.noise)
    mx.async_eval(drafted.tokens)
    after_draft = None if stream.runs_beside_host else _time_of(drafted.tokens)
    ahead = stream.take_ahead()
    output = ahead or _verify(trunk, stream, drafted)
    judged = _judge(stream, output.logits, drafted, law)
    hands_over = depth == 0 and is_plain_next and stream.can_run_ahead
    if hands_over:
        stream.run_ahead(trunk, judged.token)

    after_draft = _time_of(drafted.tokens) if after_draft is None else after_draft
    after_verify = _time_of(output.logits)
    after_accept = _time_of(*judged.arrays)
    accepted, token = integers(judged.outcome)
    drafted_ids = integers(drafted.tokens)
    emitted = (*drafted_ids[:accepted], token)
    emitted = emitted[: keep(emitted)]
    numbers = judged.xray.read(accepted) if judged.xray else None
    _commit(stream, output, emitted, has_run_ahead=hands_over)
    return CycleResult(
        cycle=number,
        depth=depth,
        drafted=drafted_ids,
        accepted=accepted,
        emitted=emitted,
        ended=_ending(depth, accepted),
        draft_s=after_draft - begin if depth else 0.0,
        verify_s=after_verify - (after_draft if depth else begin),
        accept_s=after_accept - after_verify,
        total_s=time.perf_counter() - begin,
        ran_ahead=hands_over or ahead is not None,
        logprobs=judged.report.rows(len(emitted)),
        caught_up=_caught_up(stream, waiting + len(emitted)),
        numbers=numbers,
        graphs_built=graphs_built() - graphs_before,
    )


class _Report:
    """Log-probabilities of a window's emitted tokens, computed beside the verdict.

    Args:
        logits: [depth + 1, vocabulary], raw.
        drafted: of the window.
        verdict: of the window.
        count: likeliest tokens a row; None makes the report empty.
    """

    def __init__(
        self, logits: mx.array, drafted: Draft, verdict: Verdict, count: int | None
    ) -> None:
        self.arrays: tuple[mx.array, ...] = ()
        """Nothing, or: log-probability a row; ids and log-probabilities of the likeliest."""
        self._count = count or 0
        if count is None:
            return
        rows = mx.arange(logits.shape[0])
        drafts = mx.concatenate([drafted.tokens, mx.zeros((1,), mx.uint32)])
        window = mx.where(rows == verdict.accepted, verdict.token, drafts)
        logprobs = log_probabilities(logits)
        ids = likeliest(logits.astype(mx.float32), count) if count else mx.zeros((1,), mx.int32)
        top = mx.take_along_axis(logprobs, ids, axis=-1) if count else mx.zeros((1,))
        own = mx.take_along_axis(logprobs, window[:, None], axis=-1)
        self.arrays = (own.reshape(-1), ids.reshape(-1), top.reshape(-1))

    def rows(self, kept: int) -> tuple[RowLogprobs, ...]:
        """Return the report of the first `kept` rows."""
        if not self.arrays:
            return ()
        own, ids, top = reals(self.arrays[0]), integers(self.arrays[1]), reals(self.arrays[2])
        spans = [slice(row * self._count, (row + 1) * self._count) for row in range(kept)]
        return tuple(RowLogprobs(own[i], ids[at], top[at]) for i, at in enumerate(spans))


@dataclass(frozen=True, slots=True)
class _Law:
    """What a window's logits become a verdict by."""

    sampling: Sampling
    mode: Mode
    noise: CycleNoise
    ruling: Ruling


@dataclass(frozen=True, slots=True)
class _Judged:
    """A window's verdict and what is told beside it, still on the device."""

    token: mx.array
    """uint32 []: of the verdict."""
    outcome: mx.array
    """uint32 [2]: how many drafts were accepted, and `token`."""
    report: _Report
    xray: WindowXray | None

    @property
    def arrays(self) -> tuple[mx.array, ...]:
        """All that the host waits for."""
        return (self.outcome, *self.report.arrays, *(self.xray.arrays if self.xray else ()))


def _verify(trunk: Trunk, stream: Stream, drafted: Draft) -> TrunkOutput:
    """Run the trunk over the window: the last token and the drafts."""
    window = mx.concatenate([mx.array([stream.last], mx.uint32), drafted.tokens])
    return trunk.forward(window, stream.trunk_cache)


def _judge(stream: Stream, logits: mx.array, drafted: Draft, law: _Law) -> _Judged:
    """Make a verdict of a window's logits, and what the stream asks for beside it; hand both over."""
    rules = stream.rules(drafted.tokens)
    rows = distribution(logits, law.sampling, rules)
    target_probs = rows.probs if rows else target_distribution(logits, law.sampling, rules)
    if stream.witness is not None:
        stream.witness(target_probs, drafted.probs)
    ruled = law.ruling(_verdict_of(rows or target_probs, drafted, law, is_told=stream.has_xray))
    outcome = ruled.pair
    if outcome is None:
        outcome = mx.stack([ruled.accepted.astype(mx.uint32), ruled.token])
    report = _Report(logits, drafted, ruled, stream.logprobs)
    xray = None
    if stream.has_xray:
        is_seeded = law.mode is Mode.SEEDED
        xray = WindowXray(target_probs, drafted, ruled, law.noise, is_seeded=is_seeded)
    judged = _Judged(ruled.token, outcome, report, xray)
    if stream.runs_beside_host:
        mx.async_eval(logits)
        mx.async_eval(*judged.arrays)
    return judged


def _verdict_of(
    target: Distribution | mx.array, drafted: Draft, law: _Law, *, is_told: bool
) -> Verdict:
    """Return the verdict; of the kernel where there is one and the rule has numbers to draw by."""
    target_probs = target.probs if isinstance(target, Distribution) else target
    depth = drafted.tokens.shape[0]
    if law.mode is Mode.SEEDED:
        vocabulary = target_probs.shape[-1]
        rows = [law.noise.gumbel(index, vocabulary) for index in range(depth + 1)]
        return seeded_rule(target_probs, drafted.tokens, mx.concatenate(rows))
    is_block = law.mode is Mode.BLOCK and depth > 1 and drafted.is_drawn
    draft = None if drafted.probs is None else (drafted.probs, drafted.tokens)
    numbers = law.noise.judging()
    found = verdict(target, draft, numbers, is_block=is_block, is_told=is_told)
    if found is not None:
        return found
    draft_probs = target_probs[:0] if drafted.probs is None else drafted.probs
    rule = block_rule if is_block else token_rule
    return rule(target_probs, draft_probs, drafted.tokens, numbers[:depth], numbers[depth:])


def _commit(
    stream: Stream, output: TrunkOutput, kept: tuple[int, ...], *, has_run_ahead: bool
) -> None:
    """Commit what is kept of the window, undo the rest, and bound what waits for the head.

    Args:
        stream: of the cycle.
        output: of the window.
        kept: emitted tokens.
        has_run_ahead: whether the next pass was handed over, and with it the window's row committed.
    """
    end_cycle = stream.follow if has_run_ahead else stream.commit
    end_cycle(output.hidden, kept)
    if stream.pending_rows > PENDING_LIMIT and stream.head_cache is not None:
        stream.prime()
        evaluate(stream.head_cache)


def _caught_up(stream: Stream, rows: int) -> int:
    """Return how many of so many rows the head took in, where they are more than one cycle leaves; else 0."""
    taken = rows - stream.pending_rows if stream.head else 0
    return taken if taken > MAX_DEPTH + 1 else 0


def _time_of(*arrays: mx.array) -> float:
    """Wait for arrays; return the time at which they are there."""
    mx.eval(*arrays)
    return time.perf_counter()


def _ending(depth: int, accepted: int) -> Ended:
    if depth == 0:
        return Ended.PLAIN
    return Ended.BONUS if accepted == depth else Ended.RESIDUAL
