"""config.toml as people edit it: its values, what is wrong with them and where, and its changes.

What is unknown here, comments included, outlives a change. Knows no environment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path

from mtplx_tui.files import reason, write_atomically
from mtplx_tui.settings_schema import SCHEMA, Settings
from mtplx_tui.toml_edit import line_of, read_text, read_toml, with_value

__all__ = ["VERSION", "FileSettings", "Loaded", "NewerFile", "Origin", "Source", "read", "write"]

VERSION = 1
"""Of config.toml, as `version` in it may say; a file without one has this."""


class Origin(StrEnum):
    """Where a value comes from; the first of them that names one counts."""

    FLAG = "the command line"
    ENVIRONMENT = "the environment"
    FILE = "config.toml"
    MODEL = "the model"
    DEFAULT = "the default"


@dataclass(frozen=True, slots=True)
class Source:
    """Where one setting's value comes from."""

    origin: Origin
    line: int | None = None
    """In the file, also of a value that won't do; None where it can't be told."""
    problem: str = ""
    """What is wrong with the file's value, which then does not count."""


@dataclass(frozen=True, slots=True)
class FileSettings:
    """What a file says."""

    values: Mapping[str, object] = field(default_factory=dict)
    sources: Mapping[str, Source] = field(default_factory=dict)
    """Of what it names, wrong values too."""
    problems: tuple[str, ...] = ()
    """One line each."""
    newer: int | None = None
    """Its version, where this program does not know it."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, and all that is known of where they come from."""

    settings: Settings
    problems: tuple[str, ...]
    """One line each."""
    sources: Mapping[str, Source]
    """By setting, every one."""
    newer: int | None = None
    """The file's version, where this program does not know it."""


class NewerFile(OSError):
    """The file is of a version that this program does not know; it was left as it is."""


def read(path: Path) -> FileSettings:
    """Return what a file says; nothing where there is none. A newer one's trouble is one line."""
    try:
        text = read_text(path)
        content = read_toml(text)
    except (OSError, ValueError) as error:
        return FileSettings(problems=(f"{path}: {reason(error)}; the defaults are used",))
    values: dict[str, object] = {}
    sources: dict[str, Source] = {}
    for name in content.keys() & SCHEMA.keys():
        line = line_of(text, name)
        try:
            value = SCHEMA[name].check(content[name])
        except ValueError as error:
            problem = f"{name} {error}, not {content[name]!r:.60}"
            sources[name] = Source(Origin.DEFAULT, line, problem)
        else:
            values[name], sources[name] = value, Source(Origin.FILE, line)
    newer = _newer(content)
    if newer is not None:
        wrong = [name for name, source in sources.items() if source.problem]
        return FileSettings(values, sources, (_newer_words(path, newer, wrong),), newer)
    return FileSettings(values, sources, tuple(_mistakes(path, text, content, sources)))


def write(path: Path, changes: Mapping[str, object], *, writes_newer: bool = False) -> None:
    """Write some settings into a file; None takes one out. All else in it stays.

    Args:
        path: the file.
        changes: the new values, by setting.
        writes_newer: whether a file of a newer version is written too.

    Raises:
        ValueError: no such setting, or a value that won't do.
        NewerFile: the file is of a newer version; an OSError.
        OSError: the file can't be written, or is not TOML and is left as it is.
    """
    for name, value in changes.items():
        if name not in SCHEMA:
            raise ValueError(f"there is no setting {name}")
        try:
            if value is not None:
                SCHEMA[name].check(value)
        except ValueError as error:
            raise ValueError(f"{name} {error}, not {value!r:.60}") from None
    try:
        text = read_text(path)
        newer = _newer(read_toml(text))
        if newer is not None and not writes_newer:
            raise NewerFile(f"{path} is of version {newer}, this program knows {VERSION}")
        for name, value in changes.items():
            text = with_value(text, name, value)
    except ValueError as error:
        raise OSError(f"{path} can't be changed: {error}") from error
    write_atomically(path, text)


def _newer(content: Mapping[str, object]) -> int | None:
    version = content.get("version")
    is_number = isinstance(version, int) and not isinstance(version, bool)
    return version if is_number and version > VERSION else None


def _newer_words(path: Path, newer: int, wrong: list[str]) -> str:
    unclear = f", but for {', '.join(sorted(wrong))}" if wrong else ""
    return (
        f"{path} is of version {newer}, this program knows {VERSION}: what it knows is "
        f"read{unclear}; the file stays as it is until you allow a change on the settings screen"
    )


def _mistakes(
    path: Path, text: str, content: Mapping[str, object], sources: Mapping[str, Source]
) -> Iterator[str]:
    """Yield what is wrong in a file, in the order in which it stands there."""
    found: list[tuple[int, str]] = [
        (source.line or 0, source.problem) for source in sources.values() if source.problem
    ]
    version = content.get("version", VERSION)
    if version != VERSION or isinstance(version, bool):
        found.append(
            (line_of(text, "version") or 0, f"version must be {VERSION}, not {version!r:.60}")
        )
    for key, value in content.items():
        if key in SCHEMA or key == "version":
            continue
        found += [(line_of(text, key) or 0, problem) for problem in _suggestions(key)]
        if isinstance(value, dict):
            found += [
                (
                    line_of(text, name, key) or 0,
                    f"{name} in [{key}] is no setting; settings stand above the first [table]",
                )
                for name in value.keys() & SCHEMA.keys()
            ]
    for line, problem in sorted(found):
        yield f"{path}:{line}: {problem}" if line else f"{path}: {problem}"


def _suggestions(key: str) -> Iterator[str]:
    """Yield a problem where an unknown key looks like a slip of the pen."""
    for near in get_close_matches(key.lower(), SCHEMA, n=1, cutoff=0.75):
        yield f"{key} is no setting; {near} is"
