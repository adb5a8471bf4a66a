"""Draft, verify, accept, commit: one cycle, and the reading of the prompt before the first.

A GPU runs ahead: draft, verification and verdict are all handed to it before the host waits
for the first of them, so waiting for each in turn tells their times at no cost. On a CPU
handing over is the work itself, so there each is handed over when its turn comes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import mlx.core as mx

from engine.model.arrays import integers
from engine.model.cache import evaluate
from engine.model.trunk import Trunk, TrunkOutput
from engine.protocol import Ended, Mode, Sampling
from engine.speculation.acceptance import Verdict, seeded_rule, token_rule
from engine.speculation.draft import Draft, draft
from engine.speculation.noise import CycleNoise
from engine.speculation.sampling import target_distribution
from engine.speculation.stream import PENDING_LIMIT, Stream

__all__ = ["CycleResult", "read_prompt", "run_cycle"]


@dataclass(frozen=True, slots=True)
class CycleResult:
    """What a cycle came to, in plain numbers."""

    cycle: int
    depth: int
    drafted: tuple[int, ...]
    accepted: int
    emitted: tuple[int, ...]
    """The accepted drafts and one more."""
    ended: Ended
    """PLAIN, BONUS or RESIDUAL."""
    draft_s: float
    verify_s: float
    accept_s: float
    total_s: float


def read_prompt(trunk: Trunk, stream: Stream, tokens: list[int], following: int) -> None:
    """Take the next chunk of a prompt into the caches of trunk and head.

    Args:
        trunk: the model.
        stream: of the request.
        tokens: the chunk; all of the prompt but its last token goes through here.
        following: the prompt's token after the chunk; it becomes the stream's last.
    """
    if tokens:
        output = trunk.forward(mx.array(tokens), stream.trunk_cache)
        stream.trunk_cache.commit(len(tokens))
        stream.add_pending(output.hidden, mx.array([*tokens[1:], following]))
        stream.prime()
        evaluate(*stream.caches())
    stream.last = following


def run_cycle(
    trunk: Trunk, stream: Stream, depth: int, sampling: Sampling, mode: Mode
) -> CycleResult:
    """Draft, verify, accept and commit once.

    Args:
        trunk: the model.
        stream: of the request; its prompt was read. Changed in place.
        depth: how many tokens to draft; taken as 0 where the stream can't draft.
        sampling: what plain decoding would draw from.
        mode: how drafts are judged.
    """
    begin = time.perf_counter()
    depth = depth if stream.can_draft else 0
    noise = CycleNoise(stream.seed, stream.cycle, stream.position + 1)
    drafted = draft(stream, depth, sampling, mode, noise)
    mx.async_eval(drafted.tokens)
    output = _verify(trunk, stream, drafted)
    target_probs = target_distribution(output.logits, sampling)
    verdict = _judge(target_probs, drafted, mode, noise)
    outcome = mx.stack([verdict.accepted.astype(mx.uint32), verdict.token])
    if mx.default_device() != mx.cpu:
        mx.async_eval(output.logits)
        mx.async_eval(outcome)
    mx.eval(drafted.tokens)
    after_draft = time.perf_counter()
    mx.eval(output.logits)
    after_verify = time.perf_counter()
    accepted, token = integers(outcome)
    after_accept = time.perf_counter()
    drafted_ids = integers(drafted.tokens)
    emitted = (*drafted_ids[:accepted], token)
    number = stream.cycle
    _commit(stream, output.hidden, emitted)
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
    )


def _verify(trunk: Trunk, stream: Stream, drafted: Draft) -> TrunkOutput:
    """Run the trunk over the window: the last token and the drafts."""
    window = mx.concatenate([mx.array([stream.last], mx.uint32), drafted.tokens])
    return trunk.forward(window, stream.trunk_cache)


def _judge(target_probs: mx.array, drafted: Draft, mode: Mode, noise: CycleNoise) -> Verdict:
    depth = drafted.tokens.shape[0]
    if mode is Mode.SEEDED:
        vocabulary = target_probs.shape[-1]
        rows = [noise.gumbel(index, vocabulary) for index in range(depth + 1)]
        return seeded_rule(target_probs, drafted.tokens, mx.concatenate(rows))
    draft_probs = target_probs[:0] if drafted.probs is None else drafted.probs
    following = noise.following(depth)
    return token_rule(target_probs, draft_probs, drafted.tokens, noise.accept(depth), following)


def _commit(stream: Stream, hidden: mx.array | None, emitted: tuple[int, ...]) -> None:
    """Keep the window's true positions, undo the rest, and go on to the next cycle."""
    kept = len(emitted)
    stream.trunk_cache.commit(kept)
    if hidden is not None:
        stream.add_pending(hidden[:, :kept], mx.array(emitted))
        if stream.pending_rows > PENDING_LIMIT:
            stream.prime()
            evaluate(*stream.caches())
    stream.last = emitted[-1]
    stream.cycle += 1


def _ending(depth: int, accepted: int) -> Ended:
    if depth == 0:
        return Ended.PLAIN
    return Ended.BONUS if accepted == depth else Ended.RESIDUAL
