"""The signs that screens are drawn with, in Unicode and in ASCII, and which of them a terminal can show.

Depth is always shown by colour and by mark, so no palette is needed to read a screen.
"""

from __future__ import annotations

from dataclasses import dataclass

from mtplx_tui.config import Terminal

__all__ = ["ASCII", "UNICODE", "Marks", "marks_for"]


@dataclass(frozen=True, slots=True)
class Marks:
    """The signs that screens are drawn with."""

    depths: tuple[str, ...]
    """By depth, 0 (plain decoding) first."""
    bonus: str
    residual: str
    stop: str
    opening: str
    """Around a rejected draft, as `closing`."""
    closing: str
    newline: str
    tab: str
    space: str
    """In place of a draft that is nothing but blanks."""
    control: str
    """In place of a character that has no width of its own to show."""
    more: str
    """Where something was cut off."""
    accepted: str
    rejected: str
    unjudged: str
    dot: str
    """Between two facts."""
    state: str
    bar: str
    track: str
    block: str
    sliver: str
    """A block too thin to fill a cell."""
    range: str
    """Between two numbers."""
    stem: str
    """Of an interval that stands upright."""
    previous: str
    next: str
    paused: str
    at_least: str
    about: str


UNICODE = Marks(
    depths=tuple("⁰¹²³⁴⁵⁶⁷⁸"),
    bonus="⁺",
    residual="⁻",
    stop="■",
    opening="‹",
    closing="›",
    newline="↵",
    tab="⇥",
    space="␣",
    control="·",
    more="…",
    accepted="✓",
    rejected="✗",
    unjudged="·",
    dot="·",
    state="●",
    bar="━",
    track="─",
    block="█",
    sliver="▏",
    range="–",
    stem="│",
    previous="‹",
    next="›",
    paused="‖",
    at_least="≥",
    about="±",
)
ASCII = Marks(
    depths=tuple("012345678"),
    bonus="+",
    residual="-",
    stop="#",
    opening="<",
    closing=">",
    newline="~",
    tab="_",
    space="_",
    control="?",
    more=".",
    accepted="y",
    rejected="n",
    unjudged=".",
    dot="-",
    state="*",
    bar="=",
    track=".",
    block="#",
    sliver="|",
    range="-",
    stem="|",
    previous="<",
    next=">",
    paused="=",
    at_least=">=",
    about="+-",
)


def marks_for(terminal: Terminal) -> Marks:
    """Return the signs that a terminal can show."""
    return UNICODE if terminal.is_utf8 else ASCII
