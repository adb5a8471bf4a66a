"""The commands in README.md and docs/*.md: every line of every block, and why some are not run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    *(f"docs/{p.name}" for p in sorted(ROOT.glob("docs/*.md"))),
)
_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<why>[^>]+) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
_COMMENT = re.compile(r" {2,}\S.*$")
"""What is written behind a command, two spaces and more away."""
_STARTS = ("mtplx-tui", "printf", "uv ", "pip ", ".ci/")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of a page."""

    page: str
    line: int
    commands: tuple[str, ...]
    why_not: str
    """Why it is not run; empty where it is."""


def blocks(page: str) -> list[Block]:
    """Return a page's blocks of commands."""
    text = (ROOT / page).read_text("utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        if match["kind"] in ("", "sh"):
            lines = [_COMMENT.sub("", line) for line in match["text"].splitlines() if line.strip()]
            commands = tuple(line for line in lines if line.startswith(_STARTS))
            if commands:
                if len(commands) != len(lines):
                    raise ValueError(f"{page}: a block mixes commands with something else: {lines}")
                at = text.count("\n", 0, match.start()) + 1
                found.append(Block(page, at, commands, (match["why"] or "").strip()))
    return found
