"""Environment variables are touched in three places only."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
READERS = {
    Path("mtplx_tui/config.py"),
    Path("kernels/dispatch.py"),
    Path("engine/mlx_settings.py"),  # writes what MLX reads, and nothing that is ours
}
NAMES = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}


def reads(source: str) -> list[int]:
    """Return the lines on which a module touches the environment."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        attribute = isinstance(node, ast.Attribute) and node.attr in NAMES
        imported = isinstance(node, ast.ImportFrom) and node.module == "os"
        if attribute or (imported and NAMES & {alias.name for alias in node.names}):
            lines.append(node.lineno)
    return lines


def test_the_scan_finds_reads() -> None:
    assert reads("import os\nos.environ['A']\nos.getenv('B')\nfrom os import environ") == [4, 2, 3]
    assert reads("import os\nos.path.join('a')") == []


def test_the_environment_is_touched_in_three_places_only() -> None:
    sources = [
        p for room in ("mtplx_tui", "engine", "kernels") for p in (ROOT / room).rglob("*.py")
    ]
    found = {
        f"{path.relative_to(ROOT)}:{line}"
        for path in sources
        if path.relative_to(ROOT) not in READERS
        for line in reads(path.read_text("utf-8"))
    }
    assert len(sources) > 20
    assert found == set()
