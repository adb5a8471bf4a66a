"""Tuning: answers that walk the depths up and down, so that the engine learns what each costs.

Sends nothing: it makes commands and is fed with events, so a command's own engine and the app's
serve it alike. The engine itself keeps what it learns; what is told of it is made here.
"""

from __future__ import annotations

import itertools
import statistics
from dataclasses import dataclass

from engine.protocol import (
    MAX_DEPTH,
    ChatMessage,
    CycleDone,
    Event,
    Generate,
    ModelInfo,
    RequestDone,
    Role,
    SetDepth,
)
from mtplx_tui import requests
from mtplx_tui.bench.suite import prompts_of

__all__ = ["TOKENS", "DepthCost", "Tuning", "best_of", "cost_words"]

TOKENS = 150
"""Of an answer, unless another number is wanted."""


@dataclass(frozen=True, slots=True)
class DepthCost:
    """What one depth cost and gave."""

    depth: int
    cycles: int
    ms_per_cycle: float
    tokens_per_cycle: float
    against_plain: float
    """How many times as fast as the least deep one that was seen: plain decoding."""


class Tuning:
    """One tuning of a model with a head.

    Args:
        model: what is loaded.
        tokens: of an answer.
        prefix: what the names of its requests begin with.

    Raises:
        ValueError: the model has no head.
    """

    def __init__(self, model: ModelInfo, tokens: int = TOKENS, prefix: str = "") -> None:
        if model.head is None:
            raise ValueError(f"{model.name} has no head, so there is nothing to tune")
        self._model, self._tokens, self._prefix = model, tokens, prefix
        self._prompts = prompts_of("chat")[:4] + prompts_of("code")[:4]
        self._walk = itertools.cycle([*range(MAX_DEPTH + 1), *range(MAX_DEPTH - 1, 0, -1)])
        self._cycles: list[CycleDone] = []
        self.done = 0
        """Answers that are through."""
        self.running = ""
        """The request in flight."""

    @property
    def answers(self) -> int:
        """How many answers there are."""
        return len(self._prompts)

    def next(self) -> Generate | None:
        """Return the next answer's request; None while one runs or when all are through."""
        if self.running or self.done == self.answers:
            return None
        self.running = f"{self._prefix}{self.done}"
        wanted = requests.Options(depth=0, max_tokens=self._tokens, seed=self.done)
        message = ChatMessage(Role.USER, self._prompts[self.done])
        return requests.build(self.running, self._model, wanted, messages=(message,))

    def take(self, event: Event) -> SetDepth | None:
        """Take an event, of whatever request; return what it makes the engine have to be told."""
        match event:
            case CycleDone(request=self.running):
                self._cycles.append(event)
                return SetDepth(self.running, next(self._walk))
            case RequestDone(request=self.running):
                self.running = ""
                self.done += 1
        return None

    def found(self) -> tuple[DepthCost, ...]:
        """Return what each depth cost and gave; depths that never came are left out."""
        found: list[DepthCost] = []
        plain = 0.0
        for depth in range(MAX_DEPTH + 1):
            of_depth = [cycle for cycle in self._cycles if cycle.depth == depth]
            if not of_depth:
                continue
            ms = 1e3 * statistics.median(cycle.total_s for cycle in of_depth)
            tokens = statistics.mean(cycle.accepted + 1 for cycle in of_depth)
            plain = plain or tokens / ms
            found.append(DepthCost(depth, len(of_depth), ms, tokens, tokens / ms / plain))
        return tuple(found)


def best_of(found: tuple[DepthCost, ...]) -> DepthCost:
    """Return the fastest; one at least was seen."""
    return max(found, key=lambda cost: cost.against_plain)


def cost_words(cost: DepthCost) -> str:
    """Return what a depth came to, in one line."""
    return (
        f"depth {cost.depth}: {cost.ms_per_cycle:.1f} ms a cycle, "
        f"{cost.tokens_per_cycle:.2f} tokens, {cost.against_plain:.2f} x plain"
    )
