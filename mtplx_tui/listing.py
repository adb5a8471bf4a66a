"""`mtplx-tui models` and `mtplx-tui remove`: what is on this machine, and taking it away."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path

from engine.errors import ModelFileError
from mtplx_tui.cli import UsageError, parser, tell
from mtplx_tui.config import find_places
from mtplx_tui.library.catalog import judge_here
from mtplx_tui.library.shelf import NotRemoved, Shelved, plan_removal, shelf
from mtplx_tui.remedies import one_line
from mtplx_tui.wording import in_bytes

__all__ = ["main_models", "main_remove"]

_MODELS = """\
examples:
  mtplx-tui models
  mtplx-tui models --json
"""
_REMOVE = """\
examples:
  mtplx-tui remove mlx-community/some-model            asks first
  mtplx-tui remove mlx-community/some-model@1a2b3c --yes
"""
_WORDS = {
    "demo": "comes with the app",
    "folder": "folder",
    "hub": "",
    "other": "another program's, only read",
    "partial": "half downloaded",
}


def main_models(words: list[str]) -> int:
    """List the models and return the exit code."""
    chosen = parser("mtplx-tui models", "List the models on this machine.", _MODELS)
    chosen.add_argument("--json", action="store_true", help="print one JSON object")
    options = chosen.parse_args(words)
    found = [(model, _tier(model)) for model in shelf()]
    if options.json:
        sys.stdout.write(json.dumps({"models": [_as_json(*each) for each in found]}) + "\n")
        return 0
    width = max((len(model.name) for model, _ in found), default=0)
    for model, tier in found:
        line = f"{model.name:<{width}}  {in_bytes(model.size_bytes):>8}  {tier:<11}  {_note(model)}"
        sys.stdout.write(f"{line.rstrip()}\n")
    if not found:
        sys.stdout.write("no models here; mtplx-tui pull owner/name downloads one\n")
    return 0


def main_remove(words: list[str]) -> int:
    """Take a model away and return the exit code."""
    chosen = parser("mtplx-tui remove", "Delete a model from this machine.", _REMOVE)
    chosen.add_argument("model", help="owner/name, with @ and a commit for that revision alone")
    chosen.add_argument("--yes", action="store_true", help="don't ask")
    chosen.add_argument("--json", action="store_true", help="print one JSON object")
    options = chosen.parse_args(words)
    try:
        removal = plan_removal(options.model)
        if not options.yes and not _agreed(removal.name, removal.freed_bytes):
            tell("nothing was deleted")
            return 1
        removal.execute()
    except NotRemoved as error:
        tell(one_line(error))
        return 1
    except OSError as error:
        tell(f"{options.model} can't be deleted: {error.strerror}")
        return 1
    if options.json:
        result = {"name": removal.name, "freed_bytes": removal.freed_bytes}
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        sys.stdout.write(f"{removal.name} is deleted, {in_bytes(removal.freed_bytes)} are free\n")
    return 0


def _agreed(name: str, freed: int) -> bool:
    if not sys.stdin.isatty():
        raise UsageError("remove asks first; --yes deletes without asking")
    sys.stderr.write(f"delete {name} and free {in_bytes(freed)}? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _tier(model: Shelved) -> str:
    """Return a model's tier in a word; empty for what is no model, or half of one."""
    if not model.is_model:
        return ""
    try:
        report = judge_here(model.name, Path(model.path), find_places().certificates)
    except (ModelFileError, OSError):
        return "unreadable"
    return str(report.verdict.tier)


def _note(model: Shelved) -> str:
    parts = [_WORDS[model.kind], model.commit[:10], ", ".join(model.refs)]
    if model.used_at is not None:
        parts.append(f"used {datetime.fromtimestamp(model.used_at).date().isoformat()}")
    if not model.is_model and model.kind == "hub":
        parts.append("no model that can be opened")
    return "  ".join(part for part in parts if part)


def _as_json(model: Shelved, tier: str) -> dict[str, object]:
    return {
        "name": model.name,
        "tier": tier or None,
        "kind": model.kind,
        "path": model.path,
        "commit": model.commit or None,
        "refs": list(model.refs),
        "size_bytes": model.size_bytes,
        "used_at": model.used_at,
        "is_model": model.is_model,
    }
