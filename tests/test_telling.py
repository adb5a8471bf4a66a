"""Nothing is told more often than the pace allows, and no event is lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engine.protocol import Event, LoadCancelled
from mtplx_tui import telling
from mtplx_tui.pace import Pace
from mtplx_tui.telling import NOTE_S, Telling


class Clock:
    """A clock and its timers, moved on by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self._timers: dict[Call, float] = {}

    def set_timer(self, wait_s: float, do: Callable[[], None]) -> Call:
        call = Call(self, do)
        self._timers[call] = self.now + wait_s
        return call

    def drop(self, call: Call) -> None:
        self._timers.pop(call, None)

    def go_on(self, seconds: float) -> None:
        self.now += seconds
        for call in [call for call, due in self._timers.items() if due <= self.now]:
            self.drop(call)
            call.do()


class Call:
    def __init__(self, clock: Clock, do: Callable[[], None]) -> None:
        self._clock, self.do = clock, do

    def stop(self) -> None:
        self._clock.drop(self)


class Told:
    """What was told of, and how often the status bar looked."""

    def __init__(self, clock: Clock, hz: int) -> None:
        self.batches: list[tuple[Event, ...]] = []
        self.looks = 0
        pace = Pace(hz, is_ssh=False)
        self.telling = Telling(pace, self.batches.append, self.look, clock.set_timer)

    def look(self) -> None:
        self.looks += 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(telling.time, "monotonic", lambda: clock.now)
    return clock


def events(*names: str) -> tuple[Event, ...]:
    return tuple(LoadCancelled(name) for name in names)


def test_the_first_events_are_told_at_once_and_the_next_together_when_it_is_time(
    clock: Clock,
) -> None:
    told = Told(clock, hz=1)
    told.telling.take(events("a"))
    told.telling.take(events("b"))
    told.telling.take(events("c"))
    assert told.batches == [events("a")]
    clock.go_on(0.9)
    assert told.batches == [events("a")]
    clock.go_on(0.1)
    assert told.batches == [events("a"), events("b", "c")]
    assert not told.telling.tab.is_waiting


def test_at_full_pace_every_batch_is_told_at_once(clock: Clock) -> None:
    told = Told(clock, hz=10)
    told.telling.take(events("a"))
    told.telling.take(events("b"))
    assert told.batches == [events("a"), events("b")]
    assert told.looks == 1


def test_a_look_that_is_wanted_now_takes_the_place_of_one_that_waits(clock: Clock) -> None:
    told = Told(clock, hz=10)
    told.telling.status.soon()
    told.telling.status.soon()
    told.telling.status.now()
    assert told.looks == 2
    clock.go_on(1)
    assert told.looks == 2


def test_a_note_goes_after_its_time_and_is_not_begun_anew(clock: Clock) -> None:
    told = Told(clock, hz=10)
    told.telling.show_note("tight")
    told.telling.show_note("tight")
    told.telling.show_note("")
    assert (told.telling.note, told.looks) == ("tight", 1)
    clock.go_on(NOTE_S)
    assert (told.telling.note, told.looks) == ("", 2)


def test_a_note_that_is_true_no_longer_goes_at_once_and_no_other(clock: Clock) -> None:
    told = Told(clock, hz=10)
    told.telling.show_note("79 is tight")
    told.telling.show_note("", in_place_of="78 is tight")
    assert told.telling.note == "79 is tight"
    told.telling.show_note("", in_place_of="79 is tight")
    assert (told.telling.note, told.looks) == ("", 2)


def test_a_note_has_its_own_time_whatever_was_shown_before(clock: Clock) -> None:
    told = Told(clock, hz=10)
    told.telling.show_note("first")
    clock.go_on(NOTE_S / 2)
    told.telling.show_note("second")
    clock.go_on(NOTE_S / 2)
    assert told.telling.note == "second"
    clock.go_on(NOTE_S / 2)
    assert told.telling.note == ""
