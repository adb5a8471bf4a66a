"""Commands and events as lines of JSON, and back. Versioned by EngineStarted; never pickle.

A line is a JSON array of messages: one batch. A message is an object whose "is" names its
type; what does not fit the type's fields is refused, so a line from a foreign or newer
program ends in WireError and not in a half-built object. Standard library only.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import types
import typing
from collections.abc import Callable, Iterable

from engine import protocol

__all__ = ["WireError", "decode", "encode", "from_fields", "from_plain", "plain_fields", "to_plain"]


class WireError(ValueError):
    """A line that is no batch of messages of this protocol version."""


T = typing.TypeVar("T")
_AS_THEY_ARE = frozenset({int, float, str, bool, type(None)})
"""Types that JSON holds; most values of an event, so they are looked for first."""
_MESSAGES = {kind.__name__: kind for kind in (*protocol.COMMANDS, *protocol.EVENTS)}


def encode(messages: Iterable[protocol.Command | protocol.Event]) -> bytes:
    """Return one line, newline included, for a batch of messages."""
    batch = [{"is": type(message).__name__, **_fields(message)} for message in messages]
    return _TO_JSON.encode(batch).encode("utf-8", "surrogatepass") + b"\n"


def decode(line: bytes) -> list[typing.Any]:
    """Return the messages of a line.

    Raises:
        WireError: not JSON, not a batch, an unknown message, or a field missing, too many or
            of the wrong type.
    """
    try:
        batch = json.loads(line.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise WireError(f"not a line of JSON: {error}") from error
    if not isinstance(batch, list):
        raise WireError("a line must hold an array of messages")
    return [from_plain(item) for item in batch]


def to_plain(message: protocol.Command | protocol.Event) -> dict[str, object]:
    """Return a message as what JSON can hold, its type's name under "is"."""
    plain: dict[str, object] = {"is": type(message).__name__}
    plain.update(plain_fields(message))
    return plain


def from_plain(plain: object) -> typing.Any:
    """Return the message that `to_plain` was given. Raises WireError as `decode` does."""
    if not isinstance(plain, dict):
        raise WireError("a message must be an object")
    kind = _MESSAGES.get(str(plain.get("is")))
    if kind is None:
        raise WireError(f"unknown message {plain.get('is')!r}")
    fields = {name: value for name, value in plain.items() if name != "is"}
    return _reader(kind)(fields)


def plain_fields(instance: object) -> dict[str, object]:
    """Return the fields of a frozen dataclass as what JSON can hold."""
    return {name: _plain_value(value) for name, value in _fields(instance).items()}


def from_fields(kind: type[T], fields: object) -> T:
    """Return the frozen dataclass that `plain_fields` was given. Raises WireError."""
    rebuilt: typing.Any = _reader(kind)(fields)
    return rebuilt


def _fields(instance: object) -> dict[str, object]:
    """Return the fields of a dataclass as they are. Raises TypeError where it is none."""
    return {name: getattr(instance, name) for name in _field_names(type(instance))}


@functools.cache
def _field_names(kind: typing.Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


_TO_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_fields)
"""JSON itself holds tuples, and enums of strings; so no copy of a message is made."""


def _plain_value(value: object) -> object:
    if type(value) in _AS_THEY_ARE:
        return value
    if isinstance(value, tuple):
        return [_plain_value(item) for item in value]
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value):
        return plain_fields(value)
    return value


_Reader = Callable[[object], object]


@functools.cache
def _reader(hint: object) -> _Reader:
    """Return the function that rebuilds a value of the type `hint` from plain JSON."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _dataclass_reader(hint)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _checked(hint, hint)
    origin = typing.get_origin(hint)
    if origin is tuple:
        item = _reader(typing.get_args(hint)[0])
        return lambda value: tuple(item(part) for part in _of_type(value, list))
    if origin in (types.UnionType, typing.Union):
        (inner,) = (part for part in typing.get_args(hint) if part is not type(None))
        read = _reader(inner)
        return lambda value: None if value is None else read(value)
    if hint is float:
        return lambda value: float(_of_type(value, (int, float)))
    return lambda value: _of_type(value, hint)


def _dataclass_reader(kind: type) -> _Reader:
    hints = typing.get_type_hints(kind)
    readers = {name: _reader(hints[name]) for name in _field_names(kind)}

    def read(value: object) -> object:
        fields = _of_type(value, dict)
        if fields.keys() != readers.keys():
            odd = sorted(fields.keys() ^ readers.keys())
            raise WireError(f"{kind.__name__}: missing or unknown fields {', '.join(odd)}")
        return _checked(kind, lambda _: kind(**{n: readers[n](v) for n, v in fields.items()}))(0)

    return read


def _checked(kind: type, build: Callable[[typing.Any], object]) -> _Reader:
    def read(value: object) -> object:
        try:
            return build(value)
        except WireError:
            raise
        except (ValueError, TypeError) as error:
            raise WireError(f"{kind.__name__}: {error}") from error

    return read


def _of_type(value: object, kind: typing.Any) -> typing.Any:
    is_wrong_bool = isinstance(value, bool) and kind is not bool
    if is_wrong_bool or not isinstance(value, kind):
        raise WireError(f"expected {kind}, not {value!r:.80}")
    return value
