"""JSON from a foreign file: what would be costly to parse is refused before it is parsed."""

from __future__ import annotations

import re

__all__ = ["CostlyJson", "check_cost"]

_MARKS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[\]}]', re.DOTALL)
"""Strings, whole or cut off, and brackets outside them; matching is linear in the input."""


class CostlyJson(ValueError):
    """Nested deeper, or made of more parts, than the caller allows."""


def check_cost(raw: bytes, max_depth: int, max_parts: int) -> None:
    """Raise CostlyJson where strings and brackets are too many or nested too deep."""
    depth = 0
    for count, mark in enumerate(_MARKS.finditer(raw), start=1):
        match mark[0]:
            case b"[" | b"{":
                depth += 1
            case b"]" | b"}":
                depth -= 1
        if depth > max_depth:
            raise CostlyJson("nested too deep")
        if count > max_parts:
            raise CostlyJson("too many parts")
