"""Who imports what, looked at from inside a fresh interpreter.

import-linter reads the source; that a deferred import is deferred only shows in `sys.modules`.
"""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import engine.verdict
import mtplx_tui

ROOT = Path(__file__).parents[2]
SCREEN = (
    "app",
    "actions",
    "driver",
    "messages",
    "theming",
    "keymap",
    "keys_file",
    "screens",
    "widgets",
)
DRAWING = {"textual", "rich"}
HEAVY = {"mlx", "mlx_lm", "numpy", "tokenizers", "transformers", "huggingface_hub"}


def modules_of(package: str, path: list[str]) -> list[str]:
    return [package, *(info.name for info in pkgutil.walk_packages(path, f"{package}."))]


FRONT = modules_of("mtplx_tui", list(mtplx_tui.__path__))
ON_SCREEN = [name for name in FRONT if name.partition(".")[2].split(".")[0] in SCREEN]
HEADLESS = [name for name in FRONT if name not in ON_SCREEN]
DOORS = [
    "engine",
    "engine.protocol",
    "engine.wire",
    "engine.errors",
    *modules_of("engine.verdict", list(engine.verdict.__path__)),
]


def imported_by(statement: str) -> set[str]:
    """Return what is in sys.modules after a statement, by top-level name and in full."""
    code = f"{statement}\nimport json, sys\nsys.stdout.write(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=True,
    )
    return set(json.loads(done.stdout))


def test_what_runs_headless_imports_neither_screens_nor_mlx() -> None:
    """All in one interpreter; only where one of them does, each is looked at for itself."""
    modules = [*HEADLESS, *DOORS]
    if imported_by("".join(f"import {name}\n" for name in modules)) & (DRAWING | HEAVY):
        found = {name: imported_by(f"import {name}") & (DRAWING | HEAVY) for name in modules}
        assert {name: heavy for name, heavy in found.items() if heavy} == {}
        raise AssertionError("none of them does alone, but all together do")


def test_the_list_of_headless_modules_is_no_empty_one() -> None:
    assert {"mtplx_tui.cli", "mtplx_tui.link", "mtplx_tui.view"} <= set(HEADLESS)
    assert "mtplx_tui.widgets.answer" in ON_SCREEN


@pytest.mark.skipif(not ON_SCREEN, reason="there are no screens")
def test_screens_never_import_mlx() -> None:
    statement = "".join(f"import {name}\n" for name in ON_SCREEN)
    assert imported_by(statement) & HEAVY == set()


def test_the_command_line_starts_light() -> None:
    heavy = {"asyncio", "textual", "engine", "engine.protocol"}
    before = imported_by("")
    assert (imported_by("import mtplx_tui.cli") - before) & heavy == set()


def test_doors_need_no_more_than_the_standard_library() -> None:
    names = {name.split(".")[0] for name in imported_by("".join(f"import {n}\n" for n in DOORS))}
    own = {"engine"}
    started_with = {name.split(".")[0] for name in imported_by("")}
    assert names - sys.stdlib_module_names - own - started_with == set()


def test_the_engine_knows_no_front_end() -> None:
    modules = imported_by("import engine.worker, engine.__main__")
    assert {"mlx", "mlx_lm"} <= modules
    assert modules & (DRAWING | {"mtplx_tui"}) == set()


def test_kernels_is_not_taken_for_another_package_of_that_name() -> None:
    """Transformers probes for a package `kernels`; at some versions ours would pass for it."""
    for package in ("engine", "kernels"):
        assert "__version__" not in (ROOT / package / "__init__.py").read_text("utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    version = tuple(int(part) for part in project["version"].split("."))
    assert not (0, 18, 2) <= version < (0, 20)
    statement = (
        "from transformers.utils import is_kernels_available\nassert not is_kernels_available()"
    )
    assert "transformers" in imported_by(statement)
