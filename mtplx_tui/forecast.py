"""What another depth would give, and what speculation saved: from an answer's own cycles.

A cycle of depth D is expected to emit E(D) = 1 + A_1 + ... + A_D tokens, where A_i is the chance
that the first i drafts are accepted, and takes t(D) seconds. What was measured is told from what
is estimated, and everything has an interval. Pure: looks at a RequestView, knows no screen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from engine.protocol import MAX_DEPTH
from mtplx_tui.view import DepthSums, RequestView

__all__ = ["Forecast", "Quantity", "Saving", "forecasts", "saving", "saving_words"]

LEAST_CYCLES = 3
"""Of a depth, before its time counts as measured and has an interval."""
Z = 1.96


@dataclass(frozen=True, slots=True)
class Quantity:
    """A figure and its 95 % interval, or the bounds of an estimate."""

    value: float
    low: float
    high: float
    is_measured: bool = True
    """Whether all of it was seen, nothing of it estimated."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What one depth would give."""

    depth: int
    tokens_per_s: Quantity
    """Predicted: E(D) / t(D)."""
    measured_tokens_per_s: float | None
    """Of the cycles of this depth; None where there were none."""
    cycles: int


@dataclass(frozen=True, slots=True)
class Saving:
    """Seconds saved against plain decoding; negative where speculation cost time."""

    seconds: float
    doubt_s: float
    """Half of the 95 % interval."""


def forecasts(request: RequestView) -> tuple[Forecast, ...]:
    """Return what each depth from 0 would give.

    Nothing before a time is measured, and depth 0 alone where nothing was drafted.
    """
    times = _times(request.at_depth)
    if not times:
        return ()
    tokens = _tokens(request.reached_at, request.accepted_at)
    return tuple(
        Forecast(
            depth,
            _ratio(tokens[depth], times[depth]),
            sums.tokens / sums.total_s if sums.total_s > 0 else None,
            sums.cycles,
        )
        for depth, sums in enumerate(request.at_depth)
        if depth == 0 or request.reached_at[0]
    )


def saving(request: RequestView) -> Saving | None:
    """Return what drafting saved, by the plain cycles between; None where too few tell.

    The tokens of the cycles that drafted would have taken t(0) each: what they took is known, so
    all doubt is in t(0), by Student's distribution over the plain cycles.
    """
    plain, drafted = request.at_depth[0], request.at_depth[1:]
    if plain.cycles < LEAST_CYCLES or not any(sums.cycles for sums in drafted):
        return None
    tokens = sum(sums.tokens for sums in drafted)
    taken_s = sum(sums.total_s for sums in drafted)
    doubt_s = student(plain.cycles - 1) * _standard_error(plain)
    return Saving(tokens * plain.total_s / plain.cycles - taken_s, tokens * doubt_s)


def saving_words(found: Saving | None, about: str = "±") -> str:
    """Return a saving as a person reads it; one that its doubt swallows is called none."""
    if found is None:
        return "saving not measured"
    size = f"{abs(found.seconds):.2f} {about} {found.doubt_s:.2f} s"
    if abs(found.seconds) <= found.doubt_s:
        return f"no sure saving ({'-' if found.seconds < 0 else ''}{size})"
    return f"{'saved' if found.seconds > 0 else 'lost'} {size}"


def student(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's distribution, within 1 % from 2 degrees on.

    Source:
        Abramowitz and Stegun 1964, 26.7.5.
    """
    z = 1.959964
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return sum(term / freedom**power for power, term in enumerate(terms))


def _standard_error(sums: DepthSums) -> float:
    """Return the standard error of the mean seconds of a cycle; needs two cycles."""
    mean = sums.total_s / sums.cycles
    spread = max(0.0, sums.total_s2 / sums.cycles - mean * mean)
    return math.sqrt(spread / (sums.cycles - 1))


# Tokens a cycle


def _tokens(reached_at: Sequence[int], accepted_at: Sequence[int]) -> list[Quantity]:
    """Return E(D) by depth from 0.

    Shares have a Beta posterior from a flat prior; their doubts are carried over linearly. A depth
    that was never judged is taken to accept as often as the one before it, and anything between
    never and that depth's upper end.
    """
    expected = [Quantity(1.0, 1.0, 1.0)]
    run = highest_run = 1.0
    shares: list[float] = []
    variances: list[float] = []
    upper = 1.0
    for depth in range(MAX_DEPTH):
        before = expected[-1]
        if reached_at[depth] and before.is_measured:
            accepted, reached = accepted_at[depth] + 1, reached_at[depth] + 2
            shares.append(accepted / reached)
            variances.append(shares[-1] * (1 - shares[-1]) / (reached + 1))
            upper = min(1.0, shares[-1] + Z * math.sqrt(variances[-1]))
            run *= shares[-1]
            highest_run = run
            value = before.value + run
            doubt = Z * math.sqrt(_variance(shares, variances))
            expected.append(Quantity(value, max(1.0, value - doubt), value + doubt))
        else:
            run *= shares[-1] if shares else 0.5
            highest_run *= upper
            value, high = before.value + run, max(before.high + highest_run, before.value + run)
            expected.append(Quantity(value, before.low, high, is_measured=False))
    return expected


def _variance(shares: Sequence[float], variances: Sequence[float]) -> float:
    """Return the variance of E(D) from those of the shares a_1 ... a_D.

    E changes with a_j as the sum of the runs A_j ... A_D over a_j does.
    """
    runs: list[float] = []
    for share in shares:
        runs.append((runs[-1] if runs else 1.0) * share)
    return sum(
        (sum(runs[at:]) / share) ** 2 * variance
        for at, (share, variance) in enumerate(zip(shares, variances, strict=True))
    )


# Seconds a cycle


def _times(at_depth: Sequence[DepthSums]) -> list[Quantity]:
    """Return t(D) by depth from 0; nothing before any depth is measured."""
    known = {
        depth: _measured(sums)
        for depth, sums in enumerate(at_depth)
        if sums.cycles >= LEAST_CYCLES and sums.total_s > 0
    }
    if not known:
        return []
    return [
        known.get(depth) or _estimated(depth, known, at_depth) for depth in range(MAX_DEPTH + 1)
    ]


def _measured(sums: DepthSums) -> Quantity:
    mean = sums.total_s / sums.cycles
    doubt = student(sums.cycles - 1) * _standard_error(sums)
    return Quantity(mean, max(mean - doubt, mean / 10), mean + doubt)


def _estimated(depth: int, known: dict[int, Quantity], at_depth: Sequence[DepthSums]) -> Quantity:
    """Return t of a depth that was not measured, between bounds that hold for any machine.

    Between two measured depths it lies between their times. Outside it is reached from the nearest
    one by a draft a depth, while verification's rows cost anything from nothing to their full share.
    """
    below = [at for at in known if at < depth]
    above = [at for at in known if at > depth]
    if below and above:
        low, high = max(below), min(above)
        share = (depth - low) / (high - low)
        value = known[low].value + share * (known[high].value - known[low].value)
        ends = (known[low], known[high])
        least, most = min(end.low for end in ends), max(end.high for end in ends)
        return Quantity(value, least, most, is_measured=False)
    nearest = max(below) if below else min(above)
    start, sums = known[nearest], at_depth[nearest]
    drafted = sums.draft_s / sums.cycles / nearest if nearest else _draft_s(at_depth)
    verified = sums.verify_s / sums.cycles
    by_drafts = (depth - nearest) * drafted
    by_rows = verified * ((depth + 1) / (nearest + 1) - 1)
    changes = sorted((by_drafts, by_drafts + by_rows))
    least = max(start.low + changes[0], start.value / 20)
    most = max(start.high + changes[1], least)
    value = max(start.value + (changes[0] + changes[1]) / 2, least)
    return Quantity(value, least, most, is_measured=False)


def _draft_s(at_depth: Sequence[DepthSums]) -> float:
    """Return the seconds of one draft; 0 where nothing was ever drafted."""
    drafts = sum(depth * sums.cycles for depth, sums in enumerate(at_depth))
    return sum(sums.draft_s for sums in at_depth) / max(1, drafts)


def _ratio(tokens: Quantity, seconds: Quantity) -> Quantity:
    """Return tokens over seconds; both are above 0, and their doubts independent of each other."""
    value = tokens.value / seconds.value
    down = math.hypot(math.log(tokens.value / tokens.low), math.log(seconds.high / seconds.value))
    up = math.hypot(math.log(tokens.high / tokens.value), math.log(seconds.value / seconds.low))
    is_measured = tokens.is_measured and seconds.is_measured
    return Quantity(value, value * math.exp(-down), value * math.exp(up), is_measured)
