"""Which keys do what: the app's own, and those a person chose in keymap.toml.

A line of the file is `"chat.new" = "ctrl+n"`, a comma between several keys. What can't be used is
named with its line, and the app's own keys stay there. Knows no screen.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from mtplx_tui.files import reason, write_atomically
from mtplx_tui.keymap import SCOPES, Key, Scope, key_name
from mtplx_tui.toml_edit import line_of, read_text, read_toml, with_value

__all__ = ["KEYS", "STANDARD", "Keys", "keys_of", "read", "trouble_with", "write"]

KEYS: Mapping[str, Key] = {key.id: key for scope in SCOPES for key in scope.keys}
_SCOPE_OF: Mapping[str, Scope] = {key.id: scope for scope in SCOPES for key in scope.keys}
_EVERYWHERE = SCOPES[0].title

_TYPING = frozenset(
    [
        "enter",
        "tab",
        "shift+tab",
        "space",
        "backspace",
        "delete",
        "up",
        "down",
        "left",
        "right",
        "home",
        "end",
        "ctrl+c",
        "ctrl+v",
        "ctrl+j",
        "escape",
    ]
)
"""What text fields, lists and dialogs live on."""
_SAME = {
    "ctrl+i": "tab",
    "ctrl+m": "enter",
    "ctrl+h": "backspace",
    "ctrl+left_square_bracket": "escape",
}
"""What a terminal sends for them."""
_NAMED = frozenset(
    [
        "enter",
        "tab",
        "space",
        "backspace",
        "delete",
        "insert",
        "up",
        "down",
        "left",
        "right",
        "home",
        "end",
        "pageup",
        "pagedown",
        "escape",
    ]
)
_RENAMED = {
    "solidus": "slash",
    "reverse_solidus": "backslash",
    "commercial_at": "at",
    "hyphen_minus": "minus",
    "plus_sign": "plus",
    "low_line": "underscore",
}


def _name_of(sign: str) -> str:
    """Return Textual's name of a character."""
    if sign.isalnum():
        return sign
    name = unicodedata.name(sign, "").lower().replace("-", "_").replace(" ", "_")
    return _RENAMED.get(name, name)


_PUNCTUATION = frozenset(_name_of(chr(code)) for code in range(33, 127)) - {""}
_SIGNS = {"left": "←", "right": "→", "up": "↑", "down": "↓"}
_IN_TEXT = re.compile(r"\{([a-z_]+\.[a-z_]+)(?:\.(\d))?\}")


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys that count.

    `changed` holds a person's keys by id, each in Textual's names, a comma between several.
    """

    changed: Mapping[str, str] = field(default_factory=dict)

    def of(self, key_id: str) -> tuple[str, ...]:
        """Return the keys of an action, in Textual's names."""
        return tuple(self.changed.get(key_id, KEYS[key_id].keys).split(","))

    def sign(self, key_id: str, at: int = 0) -> str:
        """Return a key of an action, as a hint shows it.

        Args:
            key_id: the action.
            at: which of its keys, counted from 0; the last where it has fewer.
        """
        keys = self.of(key_id)
        key = keys[min(at, len(keys) - 1)]
        return _SIGNS.get(key) or key_name(key)

    def names(self, key_id: str) -> str:
        """Return all keys of an action as they are called on a keyboard."""
        return "  ".join(key_name(key) for key in self.of(key_id))

    def fill(self, text: str) -> str:
        """Return a text with keys in place of {chat.stop}, its first, or {chat.stop.1}, its second."""
        return _IN_TEXT.sub(
            lambda m: self.sign(m[1], int(m[2] or 0)) if m[1] in KEYS else m[0], text
        )

    def with_changes(self, changes: Mapping[str, str | None]) -> Keys:
        """Return the keys that count after changes; None stands for an action's own."""
        changed = {**self.changed, **changes}
        return Keys({name: keys for name, keys in changed.items() if keys is not None})

    def clashes(self, key_id: str) -> tuple[str, ...]:
        """Return the other actions that want a key of this one at the same time."""
        wanted = set(self.of(key_id))
        return tuple(
            other for other in KEYS if _meet(key_id, other) and wanted & set(self.of(other))
        )


STANDARD = Keys()


@runtime_checkable
class _HasKeys(Protocol):
    keys: Keys


def keys_of(app: object) -> Keys:
    """Return the keys of an app; the app's own ones where it has none."""
    return app.keys if isinstance(app, _HasKeys) else STANDARD


def trouble_with(key_id: str, key: str) -> str:
    """Return why a key can't be given to an action; empty where it can.

    Args:
        key_id: the action.
        key: in Textual's names.
    """
    modifiers, _, plain = key.rpartition("+")
    is_function = plain[:1] == "f" and plain[1:].isdecimal()
    parts = modifiers.split("+") if modifiers else []
    is_sign = plain in _PUNCTUATION or (len(plain) == 1 and plain.isprintable())
    if not (is_function or plain in _NAMED or is_sign) or len(parts) != len(set(parts)):
        return f"{key!r:.40} is no key"
    if key in KEYS[key_id].keys.split(","):
        return ""
    if key in _SAME:
        return f"a terminal sends {key_name(_SAME[key])} for {key_name(key)}"
    foreign = [name for name in parts if name not in ("ctrl", "alt", "shift")]
    if foreign:
        return f"a terminal does not send {foreign[0]}"
    if is_function and not 1 <= int(plain[1:]) <= 12:
        return "terminals send f1 to f12"
    is_letter = plain.isascii() and plain.isalpha()
    if is_sign and ("shift" in parts or ("ctrl" in parts and not is_letter)):
        return f"most terminals can't send {key_name(key)}"
    if (key in _TYPING or (is_sign and not parts)) and KEYS[key_id].is_priority:
        return f"{key_name(key)} is needed to type"
    return ""


def read(path: Path) -> tuple[Keys, tuple[str, ...]]:
    """Return the keys that count, and what is wrong with the file: one line a problem."""
    try:
        text = read_text(path)
        content = read_toml(text)
    except (OSError, ValueError) as error:
        return STANDARD, (f"{path}: {reason(error)}; the app's own keys are used",)
    wanted: dict[str, str] = {}
    lines: dict[str, int | None] = {}
    problems: list[tuple[int, str]] = []
    for name, value, line in _entries(text, content):
        lines[name] = line
        problem = _problem(name, value)
        if problem:
            problems.append((line or 0, problem))
        else:
            wanted[name] = ",".join(_split(str(value)))
    for name, others in _drop_clashing(wanted).items():
        problems.append((lines[name] or 0, f"{name}: {_clash_words(others)}"))
    told = [
        f"{path}:{line}: {problem}" if line else f"{path}: {problem}"
        for line, problem in sorted(problems)
    ]
    return Keys(wanted), tuple(told)


def write(path: Path, changes: Mapping[str, str | None]) -> None:
    """Write the keys of some actions into the file; None takes one out. All else in it stays.

    Raises:
        OSError: it can't be written, or is no TOML and is left as it is.
    """
    try:
        text = read_text(path)
        content = read_toml(text)
        for name, keys in changes.items():
            table, _, own = name.partition(".")
            inner = content.get(table)
            if isinstance(inner, dict) and own in inner:
                text = with_value(text, own, keys, table)
            else:
                text = with_value(text, name, keys)
    except ValueError as error:
        raise OSError(f"{path} can't be changed: {error}") from error
    write_atomically(path, text)


def _entries(text: str, content: Mapping[str, object]) -> list[tuple[str, object, int | None]]:
    """Return each action that is named, also within a table: id, value and line."""
    found: list[tuple[str, object, int | None]] = []
    for name, value in content.items():
        if isinstance(value, dict):
            found += [
                (f"{name}.{own}", keys, line_of(text, own, name)) for own, keys in value.items()
            ]
        else:
            found.append((name, value, line_of(text, name)))
    return found


def _problem(name: str, value: object) -> str:
    """Return what is wrong with one entry; empty where nothing is."""
    if name not in KEYS:
        return f"{name!r:.60} is no action with keys"
    if not isinstance(value, str) or not all(_split(value)):
        return f'{name} must be keys in quotes such as "ctrl+n", a comma between two, not {value!r:.40}'
    troubles = (trouble_with(name, key) for key in _split(value))
    return next((f"{name}: {trouble}" for trouble in troubles if trouble), "")


def _split(keys: str) -> list[str]:
    return [_textual(key.strip()) for key in keys.split(",")]


def _textual(key: str) -> str:
    """Return Textual's name of a key as a person may write it."""
    if len(key) <= 1:
        return _name_of(key) if key else ""
    *modifiers, plain = key.lower().split("+")
    plain = {"esc": "escape", "del": "delete", "return": "enter"}.get(plain, plain)
    if len(plain) == 1:
        plain = _name_of(plain)
    return "+".join([*sorted(modifiers), plain])


def _drop_clashing(wanted: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """Take out what clashes, until nothing does. Returns with what each clashed."""
    dropped: dict[str, tuple[str, ...]] = {}
    while True:
        keys = Keys(wanted)
        clashing = {name: others for name in wanted if (others := keys.clashes(name))}
        if not clashing:
            return dropped
        dropped |= clashing
        for name in clashing:
            del wanted[name]


def _clash_words(others: tuple[str, ...]) -> str:
    return f"{', '.join(others)} would want the same key"


def _meet(one: str, other: str) -> bool:
    """Whether two actions' keys can be wanted at the same moment."""
    if one == other:
        return False
    first, second = _SCOPE_OF[one], _SCOPE_OF[other]
    if first is second or _EVERYWHERE in (first.title, second.title):
        return True
    outer = other if first.inside == second.title else one if second.inside == first.title else ""
    return bool(outer) and KEYS[outer].is_priority
