"""Completions with drafts against completions without, through `generate` on a tiny model.

    uv run python benchmarks/sequences_gtest.py [--n 20000] [--mode block] [--depth 4]

A vocabulary of four tokens; seeds from 0 with drafts, from 1,000,000 without; a two-sample G-test
on the first three tokens jointly. Prints one JSON document that names the smallest bias it was
sure to see. Exit code 0 where the laws agree, 5 where they don't.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--mode", default="block")
    parser.add_argument("--depth", type=int, default=4)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from tests.conformance.sequences import FIRST, LETTERS, compared
    from tests.conformance.toys import SUITE_P

    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        fit = compared(Path(folder), options.n, options.mode, options.depth)
    document = {
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": {name: version(name) for name in ("mtplx-tui", "mlx")},
        "completions": options.n,
        "mode": options.mode,
        "depth": options.depth,
        "cells": len(LETTERS) ** FIRST,
        "g": fit.g,
        "chi2": fit.chi2,
        "degrees_of_freedom": fit.degrees,
        "p": fit.p,
        "passes_above_p": SUITE_P,
        "sees_total_variation_from": fit.least_bias,
        "is_lawful": fit.is_lawful,
        "seconds": time.perf_counter() - begin,
    }
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    return 0 if fit.is_lawful else 5


if __name__ == "__main__":
    sys.exit(main())
