"""Certificates that were made here: kept under the hash of what they say, found again by model.

One counts for the very files, versions and machine it was made with, and for nothing else.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

from engine.protocol import PROTOCOL_VERSION, Certificate, Verdict
from engine.verdict.checkpoint import DEMO_HEAD
from engine.wire import plain_fields
from mtplx_tui.files import write_atomically

__all__ = ["Certified", "find", "keep"]

_MAX_FILE = 2**20
_WEIGHTS = ("*.safetensors", "config.json")
_ORDER = (Verdict.UNDECIDED, Verdict.EXACT, Verdict.BROKEN)
"""A law that was seen broken once is broken, whatever another run did not see."""


@dataclass(frozen=True, slots=True)
class Certified:
    """What the certificates of a model come to."""

    verdict: Verdict
    summary: str
    made_on: str
    """The day, as 2026-11-24."""


def keep(certificate: Certificate, folder: Path) -> Path:
    """Store a certificate and return where. Raises OSError."""
    content = {
        "rests_on": _rests_on(Path(certificate.path)),
        "made_on": date.today().isoformat(),
        "certificate": plain_fields(certificate),
    }
    text = json.dumps(content, indent=2, sort_keys=True) + "\n"
    place = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    write_atomically(place, text)
    return place


def find(model: Path, folder: Path) -> Certified | None:
    """Return what the certificates of a model come to; None where none counts here and now.

    Args:
        model: the folder it is loaded from, or the demo's file.
        folder: where certificates are kept.
    """
    try:
        wanted = _rests_on(model)
    except OSError:
        return None
    found = [c for place in _places(folder) if (c := _read(place, str(model), wanted)) is not None]
    return max(found, key=lambda each: _ORDER.index(each.verdict), default=None)


def _places(folder: Path) -> Iterable[Path]:
    return sorted(folder.glob("*.json"))


def _read(place: Path, model: str, wanted: dict[str, object]) -> Certified | None:
    """Return what a kept certificate says of a model; None where it is about something else."""
    try:
        if place.stat().st_size > _MAX_FILE:
            return None
        content = json.loads(place.read_text("utf-8"))
        told = content["certificate"]
        if content["rests_on"] != wanted or told["path"] != model:
            return None
        return Certified(Verdict(told["verdict"]), str(told["summary"]), str(content["made_on"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _rests_on(model: Path) -> dict[str, object]:
    """Return what else makes a model's law: its files, the versions, the machine. Raises OSError."""
    files = [model, DEMO_HEAD] if model.is_file() else _files(model)
    seen = hashlib.sha256()
    for file in files:
        facts = file.stat()
        seen.update(f"{file.name}|{facts.st_size}|{facts.st_mtime_ns}\n".encode())
    return {
        "files": seen.hexdigest(),
        "protocol": PROTOCOL_VERSION,
        "machine": platform.node(),
        **{name: version(name) for name in ("mtplx-tui", "mlx", "mlx-lm")},
    }


def _files(folder: Path) -> list[Path]:
    return sorted(path for pattern in _WEIGHTS for path in folder.rglob(pattern))
