"""What both faces of the set-up say: rows of models, the first answer, its cycles, the tour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.protocol import CycleDone, Ended
from mtplx_tui.library.speed import Speed
from mtplx_tui.setup.offers import Offer
from mtplx_tui.view import RequestView
from mtplx_tui.wording import in_bytes, showable

__all__ = [
    "FIRST_QUESTION",
    "OFFER_HEADS",
    "TOUR",
    "Hint",
    "cycle_lines",
    "exact_words",
    "left_out_words",
    "offer_cells",
    "telling_cycles",
]

FIRST_QUESTION = "Why is the sky blue?"
OFFER_HEADS = ("model", "size", "tier", "tok/s", "drafting")
"""Of the columns of a list of models; the last two are tokens a second, plain and drafting."""
_NO_SPEED = "?"
SHOWN = 3
"""Cycles that a telling picks."""


@dataclass(frozen=True, slots=True)
class Hint:
    """One stop of the tour."""

    part: str
    """Name of the part of the Speculation tab that it is about."""
    title: str
    text: str


TOUR = (
    Hint(
        "ribbon",
        "The tokens",
        "Each colour and small figure is the depth at which the head had drafted a token that "
        "the model then accepted. A plus or minus marks the token the model adds itself at the "
        "end of a cycle.",
    ),
    Hint(
        "ribbon",
        "What was rejected",
        "A token struck through was drafted and rejected; the one that stands in its place was "
        "drawn from what remained of the model's own distribution. That is why the text is "
        "exactly as likely as without drafting.",
    ),
    Hint(
        "acceptance",
        "Acceptance by depth",
        "How often a draft at each depth was accepted, with the 95 % interval. Deeper drafts are "
        "guesses upon guesses, so the bars fall.",
    ),
    Hint(
        "anatomy",
        "A cycle's time",
        "Where the milliseconds of a cycle go: drafting, the one pass that verifies all drafts, "
        "and the rest. Drafting pays while a longer pass costs less than it brings.",
    ),
    Hint(
        "legend",
        "The depth is yours",
        "Alt+up and alt+down draft deeper or less deep while tokens flow; alt+a lets the engine "
        "choose by what it measures. Space holds the view, left and right walk it cycle by cycle.",
    ),
)


def offer_cells(offer: Offer, speed: Speed | None) -> tuple[str, ...]:
    """Return a row for the columns of `OFFER_HEADS`."""
    plain = _NO_SPEED if speed is None else str(speed.plain)
    drafting = "-" if not offer.drafts else _NO_SPEED
    if speed is not None and speed.drafting is not None:
        drafting = str(speed.drafting)
    return (showable(offer.name), in_bytes(offer.size_bytes), offer.tier, plain, drafting)


def left_out_words(offers: Sequence[Offer]) -> str:
    """Return how many models can't be had or run here, and why the first can't; empty for none."""
    out = [offer for offer in offers if offer.obstacle]
    if not out:
        return ""
    first = f"{showable(out[0].name)}: {showable(out[0].obstacle)}"
    return first if len(out) == 1 else f"{first}; {len(out) - 1} more can't be run here either"


def exact_words(request: RequestView) -> str:
    """Return what drafting did for an answer, in one sentence."""
    drafted = sum(request.accepted_at)
    if not any(request.reached_at):
        return f"{request.emitted} tokens, all drawn by the model itself: plain decoding is exact"
    return (
        f"{drafted} of {request.emitted} tokens were drafted by the head and accepted by the exact "
        "rule: the text is as likely as without drafting"
    )


def telling_cycles(request: RequestView) -> tuple[CycleDone, ...]:
    """Return a few cycles that show what can happen, in their order: whole, in part, none accepted."""
    kinds: dict[int, CycleDone] = {}
    for cycle in request.cycles:
        if cycle.ended in (Ended.BONUS, Ended.RESIDUAL):
            share = 2 if cycle.accepted == cycle.depth else 1 if cycle.accepted else 0
            kinds.setdefault(share, cycle)
    return tuple(sorted(kinds.values(), key=lambda cycle: cycle.cycle))[:SHOWN]


def cycle_lines(cycle: CycleDone, *, is_utf8: bool) -> list[str]:
    """Return a cycle drawn as text: what was drafted, what was accepted, what the model added."""
    opening, closing = ("‹", "›") if is_utf8 else ("<", ">")
    drafted = " ".join(_piece(piece) for piece in cycle.drafted_pieces)
    kept = [_piece(piece) for piece in cycle.emitted_pieces[: cycle.accepted]]
    own = cycle.emitted_pieces[cycle.accepted :]
    lines = [
        f"cycle {cycle.cycle}, depth {cycle.depth}",
        f"  drafted   {drafted}",
        f"  accepted  {' '.join(kept) or 'none'}",
    ]
    if cycle.accepted < cycle.depth:
        rejected = _piece(cycle.drafted_pieces[cycle.accepted])
        lines[-1] += f"   rejected {opening}{rejected}{closing}"
    if own:
        why = "in its place" if cycle.ended is Ended.RESIDUAL else "as a bonus, all being accepted"
        lines.append(f"  model's   {_piece(own[0])}   {why}")
    return lines


def _piece(text: str) -> str:
    """Return a token's text in quotes, on one line."""
    shown = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)
    return f"'{shown}'"
