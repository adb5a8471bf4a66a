"""docs/structure.md names every module of the three packages in its room's row, and none that is not there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("engine", "kernels", "mtplx_tui")
SUFFIXES = (".py", ".c", ".h", ".js")
SEES_TO = {"mtplx_tui/machine/": "fans.md"}
"""A room whose row leaves its modules to another page."""
_WORD = re.compile(r"`([\w/.]+)`")


def rows(page: str) -> list[tuple[list[str], list[str]]]:
    """Return the rows of a page's tables: the words in backticks of the first cell, and of all cells."""
    lines = (ROOT / "docs" / page).read_text("utf-8").splitlines()
    return [
        (_WORD.findall(line.split("|")[1]), _WORD.findall(line))
        for line in lines
        if line.startswith("| `")
    ]


def places(heads: list[str]) -> list[str]:
    """Return what a row's first cell names as paths: what has no folder lies beside the first one's package."""
    package = heads[0].partition("/")[0]
    full = [head if "/" in head else f"{package}/{head}" for head in heads]
    return [path if path.endswith("/") else f"{bare(path)}.py" for path in full]


def bare(name: str) -> str:
    return name.removesuffix(next((end for end in SUFFIXES if name.endswith(end)), ""))


def modules() -> list[str]:
    """Return the paths of all modules, C kernels and scripts of the browser's page."""
    every = (path for package in PACKAGES for path in (ROOT / package).rglob("*.*"))
    return sorted(
        path.relative_to(ROOT).as_posix()
        for path in every
        if path.suffix in SUFFIXES and path.name not in ("__init__.py", "__main__.py")
    )


def test_every_module_is_named_in_its_rooms_row() -> None:
    named = set()
    for heads, words in rows("structure.md"):
        named |= {bare(place) for place in places(heads)}
        for place in places(heads):
            room = place[: place.rfind("/") + 1]
            told = (
                [word for head, _ in rows(SEES_TO[room]) for word in head]
                if room in SEES_TO
                else words
            )
            named |= {room + bare(word) for word in told}
    # The row of engine/model/ tells of its folder heads/ too.
    absent = [m for m in modules() if bare(m).replace("/model/heads/", "/model/") not in named]
    assert absent == []
    assert len(modules()) > 300


def test_every_place_and_file_that_is_named_is_there() -> None:
    names = {path.rpartition("/")[2] for path in modules()} | {"__main__.py"}
    for heads, words in rows("structure.md"):
        assert [place for place in places(heads) if not (ROOT / place).exists()] == []
        files = [word for word in words if word.endswith(SUFFIXES)]
        assert [word for word in files if word.rpartition("/")[2] not in names] == []
