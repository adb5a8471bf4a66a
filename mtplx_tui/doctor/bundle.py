"""One file to send along with a report: checks, versions, settings and the log's end, redacted.

What a person wrote is in none of it: of settings known words and numbers alone, of the engine's log
only lines whose form is known, and of those of an error its kind and place.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import platform
import re
import socket
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, distribution, version
from importlib.resources import files
from pathlib import Path

from mtplx_tui.config import NoHome, Settings, find_home, private_values
from mtplx_tui.doctor.check import Check
from mtplx_tui.doctor.redaction import HIDDEN, Redactor
from mtplx_tui.doctor.surroundings import Surroundings
from mtplx_tui.files import write_atomically

__all__ = ["BundleRefused", "log_lines", "redactor_for", "write_bundle"]

FORMAT = 1
LOG_LINES = 200
_LOG_BYTES = 200_000
_LINE = 300
"""Characters of a log's line, at most."""
_WORDS = frozenset({"auto", "stock", "token", "block", "seeded", "model", "none", "demo"})
_SIZE = re.compile(r"\d{1,6}(?:\.\d{1,3})?\s*[kMGT]?B?(?:/s)?")


class BundleRefused(Exception):
    """The bundle can't be written; the message is one line."""


def write_bundle(path: Path, s: Surroundings, checks: Sequence[Check]) -> Path:
    """Write what was found into a new file; return its full path.

    Raises:
        BundleRefused: something is there already, or it can't be written.
    """
    place = Path(os.path.abspath(os.path.expanduser(path)))
    if os.path.lexists(place):
        raise BundleRefused(f"{place} is there already; give the name of a new file")
    if not place.parent.is_dir():
        raise BundleRefused(f"there is no folder {place.parent}; make it, or give another one")
    try:
        write_atomically(place, json.dumps(_content(s, checks), indent=1) + "\n")
    except OSError as error:
        raise BundleRefused(f"{place} can't be written: {error.strerror or error}") from error
    return place


def _content(s: Surroundings, checks: Sequence[Check]) -> dict[str, object]:
    redactor = redactor_for(s)
    return {
        "mtplx_tui_report": FORMAT,
        "made_at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": redactor.text(f"{platform.system()} {platform.release()} {platform.machine()}"),
        "python": platform.python_version(),
        "packages": _packages(),
        "checks": [_check(redactor, check) for check in checks],
        "settings": _settings(s),
        "engine_log": _log(s, redactor),
    }


def redactor_for(s: Surroundings) -> Redactor:
    """Return what knows this person's folders, secrets and names."""
    folders = [(Path(sys.prefix), "PYTHON"), (Path(sys.base_prefix), "PYTHON")]
    folders += [(Path(__file__).parents[2], "PROGRAM"), (Path(tempfile.gettempdir()), "TEMPORARY")]
    if s.places is not None:
        folders += [(s.places.config, "CONFIG"), (s.places.data, "DATA"), (s.places.cache, "CACHE")]
    if s.hub_cache is not None:
        folders.append((s.hub_cache, "MODELS"))
    with contextlib.suppress(NoHome):
        folders.append((find_home(), "~"))
    return Redactor(folders, {*private_values(), *_kept_secrets(s)}, _names(s))


def _kept_secrets(s: Surroundings) -> set[str]:
    """Return the secrets in files, so that they are known where they turn up."""
    files = [s.login.file] if s.login is not None else []
    files += [s.places.state / "server-key"] if s.places is not None else []
    found: set[str] = set()
    for file in files:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            found |= {line.strip() for line in file.read_text("utf-8").splitlines()}
    return {text for text in found if len(text) > 2}


def _names(s: Surroundings) -> set[str]:
    """Return the names of user and machine, and the one the server would listen at."""
    host = socket.gethostname()
    found = {host, platform.node(), host.partition(".")[0], platform.node().partition(".")[0]}
    found.add(s.address[0])
    with contextlib.suppress(OSError, KeyError, ImportError):
        found.add(getpass.getuser())
    with contextlib.suppress(NoHome):
        found.add(find_home().name)
    return {name for name in found if len(name) > 1 and name.lower() != "localhost"}


def _packages() -> dict[str, str]:
    """Return the versions of what the project asks for."""
    try:
        required = distribution("mtplx-tui").requires or []
    except PackageNotFoundError:
        return {}
    names = {"mtplx-tui", "mlx-metal", *(re.split(r"[^\w.-]", text)[0] for text in required)}
    found: dict[str, str] = {}
    for name in sorted(names):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _check(redactor: Redactor, check: Check) -> dict[str, str]:
    clean = redactor.without_values if check.group == "your files" else redactor.text
    return {
        "group": check.group,
        "name": redactor.text(check.name),
        "severity": str(check.severity),
        "expected": redactor.text(check.expected),
        "found": clean(check.found),
        "remedy": redactor.text(check.remedy),
    }


def _settings(s: Surroundings) -> object:
    """Return the settings that are known words and numbers; of the rest that something stands there."""
    if s.places is None:
        return "no home folder"
    try:
        content = tomllib.loads(s.places.config_file.read_text("utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        return "can't be read"
    known = {field.name for field in fields(Settings)}
    shown = {key: _value(value) for key, value in content.items() if key in known}
    others = len(content) - len(shown)
    return {**shown, **({f"({others} unknown keys)": HIDDEN} if others else {})}


def _value(value: object) -> object:
    if isinstance(value, (bool, int, float)):
        return value
    if not isinstance(value, str):
        return HIDDEN
    is_theme = value.isalnum() and files("themes").joinpath(f"{value}.toml").is_file()
    is_shown = is_theme or value in _WORDS or _SIZE.fullmatch(value) is not None
    return value if is_shown else HIDDEN


def _log(s: Surroundings, redactor: Redactor) -> list[str]:
    if s.places is None:
        return []
    try:
        with (s.places.logs / "engine.log").open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LOG_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()[-LOG_LINES:]
    except OSError:
        return []
    return [redactor.text(line) for line in log_lines(lines)]


_STAMPED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (?:engine|kernels)[\w.]* .*")
_FRAME = re.compile(r'\s+File "[^"]+", line \d+,? in \S+')
_ERROR = re.compile(r"((?:\w+\.)*\w+(?:Error|Exception|Interrupt|Exit))\b.*")
_NATIVE = re.compile(
    r"(?:\[METAL\]|libc\+\+abi: |terminate called |  what\(\):|Fatal Python error: |OpenBLAS "
    r"|Traceback \(most recent call last\):).*"
)


def log_lines(lines: Iterable[str]) -> list[str]:
    """Return the lines of the engine's log whose form is known; of the others how many there were."""
    kept: list[str] = []
    left_out = 0
    for line in lines:
        known = _known_line(line)
        if known is None:
            left_out += 1
        else:
            kept.append(known[:_LINE])
    return [f"({left_out} other lines left out)", *kept] if left_out else kept


def _known_line(line: str) -> str | None:
    if _STAMPED.fullmatch(line) or _FRAME.fullmatch(line) or _NATIVE.fullmatch(line):
        return line
    error = _ERROR.fullmatch(line)
    return None if error is None else f"{error[1]} {HIDDEN}"
