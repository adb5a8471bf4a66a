"""Processes of the engine's that answer once and end: `engine.measuring`, `engine.examining`.

Standard output gets one JSON object and nothing else: what libraries write goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path

from engine.blas import BlasInUse, prepare

__all__ = ["answer_once"]


def answer_once(
    name: str, description: str | None, find: Callable[[BlasInUse], dict[str, object]]
) -> int:
    """Read the command line, prepare the matrix library, print what is found; return the exit code.

    Args:
        name: of the module that is run.
        description: for its help.
        find: makes the answer; MLX may be imported from here on.
    """
    parser = argparse.ArgumentParser(prog=f"python -P -m {name}", description=description)
    parser.add_argument("--blas", choices=("auto", "stock"), default="auto")
    parser.add_argument("--cache", type=Path, required=True)
    options = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    answers.write(json.dumps(find(prepare(options.blas, options.cache))) + "\n")
    answers.flush()
    return 0
