"""From answers to figures with their spread: a table, Markdown, JSON, and two results compared.

Intervals are percentile bootstraps of medians with a fixed seed, so a file gives one report.
"""

from __future__ import annotations

import functools
import json
import math
import random
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from engine import wire
from engine.protocol import MAX_DEPTH
from mtplx_tui.bench.suite import KINDS, Answer
from mtplx_tui.files import read_whole

__all__ = [
    "Change",
    "Figure",
    "Result",
    "Row",
    "change_figures",
    "change_name",
    "changes",
    "compared",
    "depth_name",
    "document",
    "markdown",
    "read",
    "rows",
    "summary",
    "table",
]

FORMAT = 1
LEAST_PROMPTS = 3
"""That two results must share before a change is called one."""
_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Figure:
    """A median and its 95 % interval, which one number alone does not have."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        interval = "" if self.low == self.high else f" ({self.low:.2f}-{self.high:.2f})"
        return f"{self.median:.2f}{interval}"


@dataclass(frozen=True, slots=True)
class Row:
    """One depth on one kind of prompt."""

    kind: str
    depth: int | None
    answers: int
    tokens_per_s: Figure
    against_plain: Figure
    """Ratios of tokens a second, answer by answer of the same prompt."""
    tokens_per_cycle: float
    accepted: tuple[float, ...]
    """Share of the drafts reached, by depth from 1, as far as any were."""
    ms_per_cycle: float
    draft_ms: float
    verify_ms: float
    accept_ms: float


def figure(values: Sequence[float]) -> Figure:
    """Return the median of some numbers; one alone is its own interval."""
    ordered = sorted(values)
    medians = sorted(
        ((ordered[low] + ordered[high]) / 2, count) for low, high, count in _ranks(len(ordered))
    )
    low, high = (_at(medians, place) for place in (_RESAMPLES // 40, _RESAMPLES - _RESAMPLES // 40))
    return Figure(statistics.median(ordered), low, high)


@functools.lru_cache(maxsize=256)
def _ranks(size: int) -> tuple[tuple[int, int, int], ...]:
    """Return which ranks resamples of so many numbers have in their middle, and how often.

    Their median is the mean of the two. It doesn't depend on the numbers, so that a figure that
    is shown as it grows costs nothing to speak of.
    """
    numbers = random.Random(0)
    middles = ((size - 1) // 2, size // 2)
    found: Counter[tuple[int, int]] = Counter()
    for _ in range(_RESAMPLES):
        drawn = sorted(numbers.choices(range(size), k=size))
        found[drawn[middles[0]], drawn[middles[1]]] += 1
    return tuple((low, high, count) for (low, high), count in found.items())


def _at(medians: Sequence[tuple[float, int]], place: int) -> float:
    """Return the value at a place among values that each stand there so many times."""
    for value, count in medians:
        place -= count
        if place < 0:
            return value
    return medians[-1][0]


def rows(answers: Sequence[Answer]) -> list[Row]:
    """Return a row for each kind and depth, in the order they were measured in."""
    plain = {(a.kind, a.prompt): a.tokens_per_s for a in answers if a.depth == 0}
    groups: dict[tuple[str, int | None], list[Answer]] = {}
    for answer in answers:
        groups.setdefault((answer.kind, answer.depth), []).append(answer)
    order = sorted(groups, key=lambda group: (group[1] is None, group[1] or 0))
    kinds = list(dict.fromkeys(answer.kind for answer in answers))
    return [_row(groups[group], plain) for kind in kinds for group in order if group[0] == kind]


def _row(answers: Sequence[Answer], plain: dict[tuple[str, int], float]) -> Row:
    cycles = sum(answer.cycles for answer in answers)
    reached = [sum(at) for at in zip(*(a.reached_at for a in answers), strict=True)]
    accepted = [sum(at) for at in zip(*(a.accepted_at for a in answers), strict=True)]
    return Row(
        kind=answers[0].kind,
        depth=answers[0].depth,
        answers=len(answers),
        tokens_per_s=figure([a.tokens_per_s for a in answers]),
        against_plain=figure([a.tokens_per_s / plain[a.kind, a.prompt] for a in answers]),
        tokens_per_cycle=sum(a.tokens for a in answers) / cycles,
        accepted=tuple(a / r for a, r in zip(accepted, reached, strict=True) if r),
        ms_per_cycle=1e3 * sum(a.seconds for a in answers) / cycles,
        draft_ms=1e3 * sum(a.draft_s for a in answers) / cycles,
        verify_ms=1e3 * sum(a.verify_s for a in answers) / cycles,
        accept_ms=1e3 * sum(a.accept_s for a in answers) / cycles,
    )


_HEADS = (
    *("kind", "depth", "tokens/s", "against plain", "tokens/cycle", "accepted at 1, 2, ..."),
    *("ms/cycle", "draft", "verify", "accept", "host"),
)


def _cells(row: Row) -> tuple[str, ...]:
    host = row.ms_per_cycle - row.draft_ms - row.verify_ms - row.accept_ms
    return (
        row.kind,
        depth_name(row.depth),
        str(row.tokens_per_s),
        str(row.against_plain),
        f"{row.tokens_per_cycle:.2f}",
        " ".join(f"{share:.2f}"[1:] if share < 1 else "1" for share in row.accepted),
        *(f"{ms:.1f}" for ms in (row.ms_per_cycle, row.draft_ms, row.verify_ms, row.accept_ms)),
        f"{host:.2f}",
    )


def table(found: Sequence[Row]) -> str:
    """Return rows as a table for a terminal."""
    lines = [_HEADS, *(_cells(row) for row in found)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(_HEADS))]
    laid = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )
    return "\n".join(line.rstrip() for line in laid)


def markdown(found: Sequence[Row]) -> str:
    """Return rows as a Markdown table."""
    lines = [_HEADS, ("---",) * len(_HEADS), *(_cells(row) for row in found)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def document(answers: Sequence[Answer], about: dict[str, object]) -> dict[str, object]:
    """Return what a result file holds: what was measured on, the figures, each answer."""
    return {
        "bench": FORMAT,
        **about,
        "rows": [asdict(row) for row in rows(answers)],
        "answers": [asdict(answer) for answer in answers],
    }


@dataclass(frozen=True, slots=True)
class Result:
    """What a result file holds, as far as it is read again."""

    about: dict[str, object]
    """What was measured on, and how; for people to read."""
    answers: list[Answer]


def read(path: Path) -> Result:
    """Return a result file's content. Raises ValueError where it is none."""
    try:
        content = json.loads(read_whole(path))
        if content["bench"] != FORMAT:
            raise ValueError(f"made by another version ({content['bench']})")
        answers = [wire.from_fields(Answer, fields) for fields in content.pop("answers")]
        _check(answers)
        return Result(content, answers)
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is no result of this bench: {error}") from error


def _check(answers: Sequence[Answer]) -> None:
    """Raise ValueError where no figure can be made of some answers."""
    plain = {(a.kind, a.prompt) for a in answers if a.depth == 0}
    for answer in answers:
        if answer.kind not in KINDS or (answer.kind, answer.prompt) not in plain:
            raise ValueError(f"{answer.kind!r:.20} {answer.prompt} has no plain decoding")
        if not (0 < answer.seconds < math.inf and answer.cycles > 0 and answer.tokens > 0):
            raise ValueError("an answer without tokens, cycles or time")
        if len(answer.reached_at) != MAX_DEPTH or len(answer.accepted_at) != MAX_DEPTH:
            raise ValueError(f"acceptance is told for {MAX_DEPTH} depths")
    if not answers:
        raise ValueError("it holds no answer")


@dataclass(frozen=True, slots=True)
class Change:
    """What changed between two results, for one depth on one kind of prompt."""

    kind: str
    depth: int | None
    ratio: Figure | None
    """After over before; None where too few prompts are in both."""

    @property
    def verdict(self) -> str:
        """Whether it is more than noise, in one word where it can be told."""
        if self.ratio is None:
            return "too few prompts in common"
        if self.ratio.low > 1:
            return "faster"
        return "slower" if self.ratio.high < 1 else "noise"


def changes(before: Sequence[Answer], after: Sequence[Answer]) -> list[Change]:
    """Return the changes of what both have measured, in the order of the first.

    What is compared is the ratio against plain decoding, which the machine's speed leaves alone,
    prompt by prompt where both have it; and for plain decoding itself its tokens a second.
    """
    old, new = _measures(before), _measures(after)
    order = sorted(old.keys() & new.keys(), key=lambda group: _place(group, list(old)))
    return [Change(*group, _ratio(old[group], new[group])) for group in order]


def compared(before: Sequence[Answer], after: Sequence[Answer]) -> str:
    """Return a table of changes, each with its interval and whether it is more than noise."""
    lines = [("kind", "depth", "change", "95 % interval", "verdict")]
    lines += [
        (change.kind, change_name(change.depth), *change_figures(change), change.verdict)
        for change in changes(before, after)
    ]
    widths = [max(len(line[at]) for line in lines) for at in range(5)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def change_name(depth: int | None) -> str:
    """Return what a row of changes is about."""
    return "0 (tokens/s)" if depth == 0 else depth_name(depth)


def change_figures(change: Change) -> tuple[str, str]:
    """Return a change and its interval, empty where there is none."""
    if change.ratio is None:
        return "", ""
    ratio = change.ratio
    return f"{ratio.median - 1:+.1%}", f"{ratio.low - 1:+.1%} to {ratio.high - 1:+.1%}"


def depth_name(depth: int | None) -> str:
    """Return a depth in a word."""
    return "auto" if depth is None else str(depth)


def summary(found: Sequence[Row]) -> str:
    """Return in words what the rows of one kind say of drafting."""
    fixed = [row for row in found if row.depth is not None and row.depth > 0]
    auto = next((row for row in found if row.depth is None), None)
    best = max(fixed, key=lambda row: row.against_plain.median, default=None)
    words = []
    if best is not None and best.answers < LEAST_PROMPTS:
        words.append(f"too few prompts to say which depth is fastest: {best.answers}")
    elif best is not None and best.against_plain.low > 1:
        words.append(f"depth {best.depth} is fastest: {best.against_plain} x plain")
    elif best is not None:
        words.append("no fixed depth is faster than plain beyond noise")
    if auto is not None:
        words.append(f"auto {auto.against_plain} x")
    return "; ".join(words) or "plain decoding alone"


_Group = tuple[str, int | None]


def _measures(answers: Sequence[Answer]) -> dict[_Group, dict[int, float]]:
    plain = {(a.kind, a.prompt): a.tokens_per_s for a in answers if a.depth == 0}
    found: dict[_Group, dict[int, float]] = {}
    for a in answers:
        unit = 1.0 if a.depth == 0 else plain[a.kind, a.prompt]
        found.setdefault((a.kind, a.depth), {})[a.prompt] = a.tokens_per_s / unit
    return found


def _place(group: _Group, groups: Sequence[_Group]) -> tuple[int, bool, int]:
    """Return where a group stands: by kind as measured, by depth, automatic last."""
    kinds = list(dict.fromkeys(kind for kind, _ in groups))
    return kinds.index(group[0]), group[1] is None, group[1] or 0


def _ratio(old: dict[int, float], new: dict[int, float]) -> Figure | None:
    common = sorted(old.keys() & new.keys())
    if len(common) < LEAST_PROMPTS:
        return None
    return figure([new[prompt] / old[prompt] for prompt in common])
