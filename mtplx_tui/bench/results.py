"""Results that were kept: one file each in a folder, named by when they were made."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from mtplx_tui.bench import report
from mtplx_tui.bench.suite import Answer
from mtplx_tui.files import write_atomically

__all__ = ["keep", "kept", "title", "titles"]

_NAME = re.compile(r"(\d{4}-\d\d-\d\d)-(\d\d)(\d\d)(\d\d)-(.+)")


def keep(
    folder: Path, answers: Sequence[Answer], about: dict[str, object], made_at: datetime
) -> Path:
    """Write a result, and return its path. Raises OSError."""
    model = re.sub(r"[^\w.-]+", "-", str(about.get("model", "")))[:80].strip("-.") or "model"
    path = folder / f"{made_at:%Y-%m-%d-%H%M%S}-{model}.json"
    whole = report.document(answers, {"made_at": made_at.isoformat(timespec="seconds"), **about})
    write_atomically(path, json.dumps(whole, indent=1) + "\n")
    return path


def kept(folder: Path) -> list[Path]:
    """Return the results in a folder, the newest first; those others put there come last."""
    found = sorted(folder.glob("*.json"), reverse=True)
    return sorted(found, key=lambda path: _NAME.fullmatch(path.stem) is None)


def title(path: Path) -> str:
    """Return what a person knows a result by: model, day and minute, as far as its name tells."""
    found = _NAME.fullmatch(path.stem)
    return path.stem if found is None else f"{found[5]}, {found[1]} {found[2]}:{found[3]}"


def titles(paths: Sequence[Path]) -> list[str]:
    """Return what a person tells results apart by: titles, with the second where a minute has several."""
    found = [(title(path), _NAME.fullmatch(path.stem)) for path in paths]
    times = Counter(name for name, _ in found)
    return [
        f"{name}:{match[4]}" if match is not None and times[name] > 1 else name
        for name, match in found
    ]
