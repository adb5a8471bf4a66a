"""Cycles whose drafts, verification, judgement and rollback are real, and whose accepted counts are a table's.

A random head is never right, so a cycle's own verdict is worked out in full and then overruled by what
the table says. Blocks of cycles take turns with blocks of stock's plain steps, and of its own loop.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace

import mlx.core as mx
from mlx_lm.generate import generate_step

from engine.errors import ModelError
from engine.model.head import Head
from engine.protocol import Mode, Sampling
from engine.shape_bench.contexts import stock_cache, stream_at
from engine.shape_bench.models import Both, held_bytes
from engine.shape_bench.pace import Pace
from engine.shape_bench.passes import window
from engine.speculation.acceptance import Verdict
from engine.speculation.cycle import CycleResult, run_cycle
from engine.speculation.stream import Stream
from engine.verdict.shape_costs import CycleTimes, Plan, replayed

__all__ = ["HOW", "CycleBench", "StockTimes"]

BLOCK = 8
"""Cycles, steps or tokens that follow one another."""
_SAMPLING, _MODE = Sampling(), Mode.TOKEN
HOW = (
    f"temperature {_SAMPLING.temperature:g}, top_p {_SAMPLING.top_p:g}, top_k {_SAMPLING.top_k}, "
    f"mode {_MODE}"
)
"""What cycles draw and judge by, in words."""


@dataclass(frozen=True, slots=True)
class StockTimes:
    """Of stock's model, a block's mean each; milliseconds."""

    step_ms: tuple[float, ...]
    loop_ms: tuple[float, ...]


@dataclass(slots=True)
class _Found:
    """What one table's cycles at one depth came to so far."""

    blocks: list[list[CycleResult]] = field(default_factory=list)
    done: int = 0
    """Cycles that were replayed of the table."""


class CycleBench:
    """One stream a depth.

    Args:
        both: the models.
        plan: says which tables, and how deep.
    """

    def __init__(self, both: Both, plan: Plan) -> None:
        self._both = both
        self._plan = plan
        head = both.own.head
        if head is None:
            raise ModelError("a head is needed")
        self._streams = [self._stream(head, depth) for depth in range(plan.deepest + 1)]
        self._found = {
            (table, depth): _Found()
            for table in range(len(plan.acceptance))
            for depth in range(1 if table else 0, plan.deepest + 1)  # plain decoding has no table
        }

    def _stream(self, head: Head, depth: int) -> Stream:
        return stream_at(self._both, head, self._plan.contexts[0], depth)

    @property
    def caches_bytes(self) -> int:
        """What all streams' caches hold."""
        return sum(held_bytes(cache) for stream in self._streams for cache in stream.caches())

    def warm(self, depth: int) -> None:
        """Run a depth with all its drafts accepted, none, and one less than all."""
        for accepted in dict.fromkeys((depth, 0, max(0, depth - 1))):
            self._cycle(self._streams[depth], depth, accepted)

    def run(self, pace: Pace, share: float) -> tuple[list[CycleTimes], StockTimes]:
        """Measure in rounds; each has a block of everything."""
        layers = stock_cache(self._both, self._plan.contexts[0])
        tokens = self._loop()
        steps, loops = [], []
        for _ in pace.rounds(share):
            steps.append(self._stock_block(layers))
            loops.append(_loop_block(tokens))
            for (table, depth), found in self._found.items():
                found.blocks.append(self._block(table, depth, found))
        tokens.close()
        times = [_times(table, depth, found) for (table, depth), found in self._found.items()]
        for each in times:
            ms = statistics.median(each.ms)
            pace.tell(f"table {each.table + 1}, depth {each.depth}: {ms:.2f} ms a cycle")
        pace.tell(f"stock: {statistics.median(steps):.2f} ms, loop {statistics.median(loops):.2f}")
        return times, StockTimes(tuple(steps), tuple(loops))

    def _block(self, table: int, depth: int, found: _Found) -> list[CycleResult]:
        """Run cycles; of plain ones each hands over the next one's pass, as in an answer, but the last.

        So a block has its own passes alone, all of them, and the one after it begins with an idle GPU.
        """
        done = []
        for left in reversed(range(BLOCK)):
            accepted = replayed(self._plan.acceptance[table], depth, found.done)
            is_plain_next = depth == 0 and left > 0
            done.append(
                self._cycle(self._streams[depth], depth, accepted, is_plain_next=is_plain_next)
            )
            found.done += 1
        return done

    def _cycle(
        self, stream: Stream, depth: int, accepted: int, *, is_plain_next: bool = False
    ) -> CycleResult:
        def ruling(verdict: Verdict) -> Verdict:
            # The token was drawn from the true verdict, so that is worked out all the same.
            return replace(verdict, accepted=mx.array(accepted, mx.int32), pair=None)

        return run_cycle(
            self._both.own.trunk,
            stream,
            depth,
            _SAMPLING,
            _MODE,
            ruling=ruling,
            is_plain_next=is_plain_next,
        )

    def _stock_block(self, layers: list[object]) -> float:
        begin = time.perf_counter()
        for _ in range(BLOCK):
            mx.eval(self._both.stock(window(1)[None], cache=layers))
        return 1e3 * (time.perf_counter() - begin) / BLOCK

    def _loop(self) -> Generator[object, None, None]:
        layers = stock_cache(self._both, self._plan.contexts[0])
        return generate_step(window(1), self._both.stock, max_tokens=-1, prompt_cache=layers)


def _loop_block(tokens: Iterator[object]) -> float:
    """Return milliseconds a token; the step that the loop runs ahead is over before and after."""
    next(tokens)
    next(tokens)
    begin = time.perf_counter()
    for _ in range(BLOCK):
        next(tokens)
    ms = 1e3 * (time.perf_counter() - begin) / BLOCK
    mx.synchronize()
    return ms


def _times(table: int, depth: int, found: _Found) -> CycleTimes:
    def means(name: str) -> tuple[float, ...]:
        return tuple(
            1e3 * statistics.fmean(getattr(cycle, name) for cycle in block)
            for block in found.blocks
        )

    return CycleTimes(
        table,
        depth,
        means("total_s"),
        means("draft_s"),
        means("verify_s"),
        means("accept_s"),
        tuple(statistics.fmean(len(c.emitted) for c in block) for block in found.blocks),
    )
