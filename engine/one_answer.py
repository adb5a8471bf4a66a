"""Processes of the engine's that answer once and end, such as `engine.measuring`.

Standard output gets one JSON object and nothing else: what libraries write goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.blas import BlasInUse, prepare
from engine.mlx_settings import tell_mlx

__all__ = ["Asked", "answer_once"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a process was started with."""

    blas: BlasInUse
    cache: Path
    """For what is made once and kept."""
    plan: str
    """What is to be found, where there is a choice."""


def answer_once(
    name: str,
    description: str | None,
    find: Callable[[Asked], dict[str, object]],
    *,
    has_plan: bool = False,
) -> int:
    """Read the command line, prepare the matrix library, print what is found; return the exit code.

    Args:
        name: of the module that is run.
        description: for its help.
        find: makes the answer; MLX may be imported from here on.
        has_plan: whether it is told what to find.
    """
    parser = argparse.ArgumentParser(prog=f"python -P -m {name}", description=description)
    parser.add_argument("--blas", choices=("auto", "stock"), default="auto")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--plan", default="", required=has_plan, help="JSON")
    options = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    tell_mlx()
    blas = prepare(options.blas, options.cache)
    answers.write(json.dumps(find(Asked(blas, options.cache, options.plan))) + "\n")
    answers.flush()
    return 0
