"""Grafts a head in a process of its own: `python -P -m engine.grafting TRUNK HEAD TARGET ...`.

Standard output gets one JSON object: the sidecar's bytes and family, or error and remedy.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from engine.errors import ModelError
from engine.verdict.checkpoint import check_folder
from engine.verdict.graft_source import find_graft_source


def main() -> int:
    """Run the process; return its exit code."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    answer = answered(sys.argv[1:])
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
    return 1 if "error" in answer else 0


def answered(words: Sequence[str]) -> dict[str, object]:
    """Graft as the words of a command line say; return what to print."""
    parser = argparse.ArgumentParser(prog="python -P -m engine.grafting", description=__doc__)
    for name in ("trunk", "head", "target"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--bits", type=int, default=0)
    parser.add_argument("--group-size", type=int, default=64)
    options = parser.parse_args(words)
    try:
        return _grafted(options)
    except ModelError as error:
        return {"error": error.message, "remedy": error.remedy}
    except OSError as error:
        return {"error": f"{options.target} can't be written: {error.strerror}", "remedy": ""}


def _grafted(options: argparse.Namespace) -> dict[str, object]:
    facts = check_folder(options.trunk)
    if facts.head is not None:
        raise ModelError("the trunk has a head already", "inspect it")
    source = find_graft_source(options.name, options.head, facts.config)
    from engine.model.graft import graft

    packing = (options.bits, options.group_size) if options.bits else None
    size = graft(source, options.trunk, options.target, packing)
    return {"bytes": size, "family": source.head.family.name}


if __name__ == "__main__":
    sys.exit(main())
