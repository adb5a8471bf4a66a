"""What can't be had or done, with what to do about it: the base of such errors, and the line that tells one."""

from __future__ import annotations

from typing import Protocol

__all__ = ["HasRemedy", "NeedsRemedy", "one_line"]


class HasRemedy(Protocol):
    """An error of this program's or of the engine's; message and remedy are one line each."""

    @property
    def message(self) -> str:
        """What went wrong."""

    @property
    def remedy(self) -> str:
        """What to do about it; empty where nothing is known to help."""


class NeedsRemedy(Exception):
    """Something that can't be had or done as long as nothing is done about it.

    Args:
        message: what went wrong, in one line; also its `str()`.
        remedy: what to do about it, in one line.
    """

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


def one_line(error: HasRemedy) -> str:
    """Return what went wrong, and what to do about it."""
    return f"{error.message}; {error.remedy}" if error.remedy else error.message
