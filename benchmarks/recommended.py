"""Holds the recommended models against the hub: is the head there, by config and headers alone?

    uv run benchmarks/recommended.py

Needs a network. Prints a line a model; exits with 1 if one has no head, or can't be read.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from engine.errors import ModelFileError
from mtplx_tui.library.catalog import judge_listing
from mtplx_tui.library.hub import Hub, HubError
from mtplx_tui.library.hub_cache import CacheRefused
from mtplx_tui.library.recommended import recommended


def main() -> int:
    """Check all of them and return the exit code."""
    failures = 0
    with tempfile.TemporaryDirectory() as cache:
        for model in recommended():
            try:
                hub = Hub()
                report = judge_listing(hub, hub.listing(model.name), Path(cache))
            except (ModelFileError, HubError, CacheRefused) as error:
                sys.stdout.write(f"FAIL  {model.name}: {error.message}\n")
                failures += 1
                continue
            has_head = report.verdict.mtp is not None
            failures += not has_head
            word = "ok   " if has_head else "FAIL "
            sys.stdout.write(f"{word} {model.name}: {report.verdict.summary}\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
