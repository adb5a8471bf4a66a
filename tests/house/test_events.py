"""Messages are frozen through and through, and the protocol exports all it defines."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from engine import protocol

PLAIN = {str, int, float, bool, type(None)}


def faults(hint: object, where: str, seen: frozenset[object] = frozenset()) -> Iterator[str]:
    """Yield what in a type could change, or could not cross the wire."""
    if hint in PLAIN or hint in seen or (isinstance(hint, type) and issubclass(hint, enum.Enum)):
        return
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        yield from dataclass_faults(hint, where, seen | {hint})
        return
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        yield from faults(arguments[0], where, seen)
    elif origin in (types.UnionType, typing.Union) and type(None) in arguments:
        for argument in arguments:
            yield from faults(argument, where, seen)
    else:
        yield f"{where}: {hint}"


def dataclass_faults(kind: type, where: str, seen: frozenset[object]) -> Iterator[str]:
    parameters = typing.cast("typing.Any", kind).__dataclass_params__
    if not parameters.frozen:
        yield f"{where}: {kind.__name__} is not frozen"
    if "__slots__" not in vars(kind):
        yield f"{where}: {kind.__name__} has no slots"
    for name, hint in typing.get_type_hints(kind).items():
        yield from faults(hint, f"{where}.{name}", seen)


@pytest.mark.parametrize("kind", [*protocol.COMMANDS, *protocol.EVENTS], ids=lambda k: k.__name__)
def test_messages_hold_nothing_that_can_change(kind: type) -> None:
    assert list(faults(kind, kind.__name__)) == []


def test_the_walk_finds_what_can_change() -> None:
    @dataclass(frozen=True, slots=True)
    class Inner:
        ids: list[int]

    @dataclass(frozen=True, slots=True)
    class Outer:
        inner: tuple[Inner, ...]
        both: int | str

    Outer.__annotations__.update(inner=tuple[Inner, ...], both=int | str)
    Inner.__annotations__.update(ids=list[int])
    assert list(faults(Outer, "Outer")) == ["Outer.inner.ids: list[int]", "Outer.both: int | str"]


def test_every_message_says_whose_request_it_is() -> None:
    of_the_process = {
        protocol.Shutdown,
        protocol.EngineStarted,
        protocol.EngineFailed,
        protocol.LimitPrefixes,
        protocol.PrefixesKept,
    }
    for kind in {*protocol.COMMANDS, *protocol.EVENTS} - of_the_process:
        assert typing.get_type_hints(kind)["request"] is str


def test_lists_of_messages_are_complete() -> None:
    assert set(typing.get_args(protocol.Command)) == set(protocol.COMMANDS)
    assert set(typing.get_args(protocol.Event)) == set(protocol.EVENTS)
    names = [kind.__name__ for kind in (*protocol.COMMANDS, *protocol.EVENTS)]
    assert len(names) == len(set(names))


def test_all_of_the_protocol_is_complete() -> None:
    rooms = {name for name, value in vars(protocol).items() if isinstance(value, types.ModuleType)}
    imported = {"annotations", *rooms}
    public = {name for name in vars(protocol) if not name.startswith("_")} - imported
    assert public == set(protocol.__all__)
    assert protocol.__all__ == sorted(
        protocol.__all__, key=lambda n: (not n.isupper(), n[0].islower(), n)
    )
