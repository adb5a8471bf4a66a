"""What is asked of a measurement of a shape's costs, and the facts that come back.

Times are lists, one entry a round: whatever stands at the same place of two lists was measured in the
same round, one after the other, so ratios are made place by place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.protocol import MAX_DEPTH
from engine.verdict.shapes import shape_of

__all__ = [
    "PROGRESS",
    "CacheFacts",
    "Costs",
    "CycleTimes",
    "HostTimes",
    "PassTimes",
    "Plan",
    "chances",
    "parse_acceptance",
    "replayed",
    "tokens_per_cycle",
]

PROGRESS = "shape bench: "
"""Begins the lines in which the measuring process says how far it is."""
_MAX_REPEATS = 1000
_LONG_S = 86_400
_MAX_CONTEXT = 262_144
_GOLDEN = 0.6180339887498949
"""Its multiples, taken modulo one, are spread evenly however many there are."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured. Raises ValueError, one line, where it can't be."""

    shape: str
    layers: int = 0
    """Of the trunk; 0 for all that the shape has."""
    acceptance: tuple[tuple[float, ...], ...] = ((0.75, 0.65, 0.55),)
    """Tables: the chance that a draft is accepted at each depth, if it is reached."""
    depth: int = 0
    """The deepest cycle; 0 for as deep as the longest table."""
    contexts: tuple[int, ...] = (1024,)
    """Positions in the caches; all is measured at the first, little at the others."""
    repeats: int = 10
    """Rounds, at most."""
    rows: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Windows that ours is measured at; 1 and 4 are always among them."""
    stock_rows: tuple[int, ...] = (1, 2, 4)
    """And stock's: on CUDA MLX compiles its matmuls of 8 rows and more for ten seconds each."""
    budget_s: float = 0
    """After which no round is begun but what each figure needs; 0 for no limit."""

    def __post_init__(self) -> None:
        shape = shape_of(self.shape)
        interval = int(str(shape.text["full_attention_interval"]))
        if not 0 <= self.layers <= shape.layers or self.layers % interval:
            whole = f"a multiple of {interval} up to {shape.layers}"
            raise ValueError(f"{shape.name} can have {whole} layers, not {self.layers}")
        if not 0 <= self.depth <= MAX_DEPTH:
            raise ValueError(f"the deepest cycle has {MAX_DEPTH} drafts, not {self.depth}")
        if not (self.acceptance and self.contexts):
            raise ValueError("a table of acceptance and a context are needed")
        _check("a context is {} to {} positions", self.contexts, 1, _MAX_CONTEXT)
        _check("a window has {} to {} rows", (*self.rows, *self.stock_rows), 1, MAX_DEPTH + 1)
        _check("repeats are {} to {}", (self.repeats,), 1, _MAX_REPEATS)
        _check("a budget is {} to {} seconds", (self.budget_s,), 0, _LONG_S)

    @property
    def deepest(self) -> int:
        """The deepest cycle to measure."""
        return self.depth or max(len(table) for table in self.acceptance)


@dataclass(frozen=True, slots=True)
class PassTimes:
    """Passes of a trunk over a window of some rows, rolled back to one where it is ours."""

    who: str
    """"own" or "stock"."""
    context: int
    rows: int
    ms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class HostTimes:
    """Where the host spends a pass; medians would hide nothing, so each round's is here."""

    who: str
    rows: int
    build_ms: tuple[float, ...]
    """Until the graph is built."""
    hand_over_ms: tuple[float, ...]
    """Until the device has it."""
    wait_ms: tuple[float, ...]
    """Until the logits are there."""


@dataclass(frozen=True, slots=True)
class CycleTimes:
    """Cycles at one depth, with acceptance replayed from one table; each entry is a block's mean."""

    table: int
    """Which of the plan's."""
    depth: int
    ms: tuple[float, ...]
    draft_ms: tuple[float, ...]
    verify_ms: tuple[float, ...]
    accept_ms: tuple[float, ...]
    tokens: tuple[float, ...]
    """Emitted by a cycle, as replayed."""


@dataclass(frozen=True, slots=True)
class CacheFacts:
    """What a step moves of our trunk's caches at one context, and what else it holds."""

    context: int
    kv_bytes: int
    """Keys and values, read once."""
    state_bytes: int
    """Recurrent states, read and written once each."""
    over_bytes: int
    """The most that passes over one and four rows held beyond weights and caches."""


@dataclass(frozen=True, slots=True)
class Costs:
    """All that was measured."""

    plan: Plan
    device: str
    device_name: str
    mlx: str
    mlx_lm: str
    blas: str
    kernel_note: str
    """Why a fast way was left out; empty where none was."""
    steps: str
    """Whether passes were compiled graphs, or why not."""
    graphs: int
    """Compiled graphs of passes in the end."""
    layers: int
    source: str
    """Of the shape's figures."""
    sampling: str
    """How cycles drew and judged."""
    making_s: float
    """Random weights, made on the device."""
    readying_s: float
    """Laying weights out and choosing kernels, as at a load."""
    warming_s: float
    """First runs, in which kernels are compiled."""
    weights_bytes: int
    """Of trunk and head; stock's model has the very same arrays."""
    caches_bytes: int
    """Of ours, while memory was looked at."""
    peak_bytes: int
    """The most that was held while ours ran alone."""
    passes: tuple[PassTimes, ...]
    host: tuple[HostTimes, ...]
    cycles: tuple[CycleTimes, ...]
    stock_step_ms: tuple[float, ...]
    """A plain step of stock's model in the cycles' rounds, a mean of a block."""
    stock_loop_ms: tuple[float, ...]
    """A token of stock's own loop there, which builds a step while the one before it runs."""
    caches: tuple[CacheFacts, ...]


def _check(words: str, numbers: Sequence[float], low: int, high: int) -> None:
    for number in numbers:
        if not low <= number <= high:
            raise ValueError(f"{words.format(low, high)}, not {number:g}")


def parse_acceptance(text: str) -> tuple[float, ...]:
    """Return a table such as ".75/.65/.55".

    Raises:
        ValueError: it is none; the message is one line.
    """
    try:
        table = tuple(float(part) for part in text.split("/"))
    except ValueError:
        table = ()
    if not 1 <= len(table) <= MAX_DEPTH or not all(0 <= chance <= 1 for chance in table):
        raise ValueError(
            f"acceptance is like .75/.65/.55, up to {MAX_DEPTH} chances, not {text!r:.60}"
        )
    return table


def chances(table: Sequence[float], depth: int) -> tuple[float, ...]:
    """Return a table as long as a cycle is deep; its last chance stands for those after it."""
    return tuple(table[min(at, len(table) - 1)] for at in range(depth))


def tokens_per_cycle(table: Sequence[float], depth: int) -> float:
    """Return what a cycle emits on average: 1 + c1 + c1 c2 + ..."""
    tokens = reached = 1.0
    for chance in chances(table, depth):
        reached *= chance
        tokens += reached
    return tokens


def replayed(table: Sequence[float], depth: int, cycle: int) -> int:
    """Return how many drafts the table lets a cycle accept.

    The same cycle always gets the same; over any run of cycles each count is about as frequent as
    the table has it.
    """
    number = (0.5 + cycle * _GOLDEN) % 1
    reached, accepted = 1.0, 0
    for chance in chances(table, depth):
        reached *= chance
        accepted += number < reached
    return accepted
