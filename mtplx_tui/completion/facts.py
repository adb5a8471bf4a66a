"""What can follow what on the command line, read from the parsers themselves."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.protocol import MAX_DEPTH, Mode
from mtplx_tui.cli import COMMANDS, parser_of

__all__ = ["WORDS", "Command", "Option", "Values", "commands"]

_MODELS = {"model", "trunk", "head"}
_FILES = {"messages", "trace", "json_schema", "out", "file"}
WORDS = {
    "mode": tuple(mode.value for mode in Mode),
    "depth": ("auto", *map(str, range(MAX_DEPTH + 1))),
    "what": ("view", "diff"),
}
"""Values that parsers take as text and that are checked later."""


@dataclass(frozen=True, slots=True)
class Values:
    """What a person may type in one place."""

    words: tuple[str, ...] = ()
    are_models: bool = False
    """Names of models on this machine, and folders."""
    are_files: bool = False


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a command."""

    names: tuple[str, ...]
    help: str
    values: Values | None
    """None where nothing follows it."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command, or the program itself, whose name is empty."""

    name: str
    summary: str
    options: tuple[Option, ...]
    places: tuple[Values, ...]
    """What is typed without an option's name, in this order."""


def commands() -> tuple[Command, ...]:
    """Return the program, then its commands."""
    return (_command(""), *map(_command, COMMANDS))


def _command(name: str) -> Command:
    parser = parser_of(name or None)
    shown = [action for action in _actions(parser) if action.help != argparse.SUPPRESS]
    return Command(
        name,
        (parser.description or "").rstrip("."),
        tuple(_option(action) for action in shown if action.option_strings),
        tuple(_values(action) for action in shown if not action.option_strings),
    )


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for group in parser._action_groups:
        yield from group._group_actions


def _option(action: argparse.Action) -> Option:
    return Option(
        tuple(action.option_strings),
        " ".join((action.help or "").replace("%%", "%").split()),
        None if action.nargs == 0 else _values(action),
    )


def _values(action: argparse.Action) -> Values:
    if action.choices is not None:
        return Values(tuple(map(str, action.choices)))
    shown = action.metavar if isinstance(action.metavar, str) else ""
    called = {action.dest, shown.lower()}
    return Values(
        WORDS.get(action.dest, ()),
        are_models=bool(called & _MODELS),
        are_files=bool(called & _FILES) or action.type is Path,
    )
