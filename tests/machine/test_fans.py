"""The app's owner of the fans, with real guards over a made-up tree."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mtplx_tui.machine import guarding
from mtplx_tui.machine.fans import FanKeeper, FanState
from mtplx_tui.machine.guarding import GuardLink, GuardSetup
from mtplx_tui.machine.policy import Policy
from tests.fakes.processes import PATIENCE_S
from tests.fakes.sysfs import FakeSysfs


class House:
    """A keeper, its tree and its clock; `until` is the loop around it."""

    def __init__(self, folder: Path) -> None:
        self.tree = FakeSysfs.desktop(folder / "sys")
        self.before = self.tree.fans()
        self.now = 1000.0
        self.notes: list[str] = []
        self.guards: list[int] = []
        self.descriptor: int | None = None
        self.setup = GuardSetup("sysfs", str(self.tree.root), folder / "state", needs_root=False)
        self.keeper = self.another()

    def another(self) -> FanKeeper:
        return FanKeeper(
            self.setup, self._changed, self._listen, lambda: self.now, self._start_guard
        )

    def _start_guard(self, setup: GuardSetup) -> guarding.subprocess.Popen[bytes]:
        process = guarding.start(setup)
        self.guards.append(process.pid)
        return process

    def _listen(self, descriptor: int | None) -> None:
        self.descriptor = descriptor

    def _changed(self) -> None:
        if self.keeper.view.note not in self.notes:
            self.notes.append(self.keeper.view.note)

    def until(self, is_so: Callable[[], bool], *, tick: bool = False) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < deadline, self.keeper.view
            sources = [] if self.descriptor is None else [self.descriptor]
            ready, _, _ = select.select(sources, [], [], 0.02)
            if ready:
                self.keeper.hear()
            if tick:
                self.keeper.tick(61.0)

    def until_state(self, state: FanState) -> None:
        self.until(lambda: self.keeper.view.state is state)

    def hold(self, policy: Policy = Policy.BOOST) -> None:
        self.keeper.choose(policy)
        self.keeper.progress(3)
        self.until_state(FanState.HELD)
        assert not self.is_as_found

    @property
    def is_as_found(self) -> bool:
        return self.tree.fans() == self.before and not self.setup.state_file.exists()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.keeper.close()


def test_automatic_starts_no_guard(house: House) -> None:
    house.keeper.progress(5)
    house.keeper.tick(99.0)
    assert not house.keeper.has_guard
    assert house.guards == []


def test_boost_begins_with_the_first_token_and_ends_once_idle_and_cool(house: House) -> None:
    house.keeper.choose(Policy.BOOST)
    house.keeper.tick(90.0)
    assert house.keeper.view.state is FanState.FREE
    house.keeper.progress(1)
    house.until_state(FanState.HELD)
    house.now += 25
    house.keeper.tick(90.0)
    assert house.keeper.view.state is FanState.HELD
    house.keeper.tick(70.0)
    house.until_state(FanState.FREE)
    assert house.is_as_found
    house.keeper.progress(1)
    house.until_state(FanState.HELD)


def test_automatic_gives_back_at_once(house: House) -> None:
    house.hold()
    house.keeper.choose(Policy.AUTOMATIC)
    house.until_state(FanState.FREE)
    assert house.is_as_found
    assert house.keeper.view.note == "the fans are the machine's own again"


def test_closing_gives_back_before_it_returns(house: House) -> None:
    house.hold()
    assert house.keeper.close()
    assert house.is_as_found


def test_row_2_a_guard_that_is_killed_is_seen_and_another_gives_back(house: House) -> None:
    house.hold()
    os.kill(house.guards[-1], signal.SIGKILL)
    house.until_state(FanState.FREE)
    assert house.is_as_found
    assert len(house.guards) == 2
    assert house.keeper.view.is_alarm
    assert house.keeper.view.note == "fan guard died (signal 9); a new one gave the fans back"
    assert any("a new one gives the fans back" in note for note in house.notes)
    house.now += 61
    house.keeper.progress(1)
    house.until_state(FanState.HELD)
    assert not house.keeper.view.is_alarm


def test_a_guard_that_hangs_is_ended_and_another_gives_back(house: House) -> None:
    house.hold()
    os.kill(house.guards[-1], signal.SIGSTOP)
    house.keeper.tick(61.0)
    house.now += 5
    house.keeper.tick(61.0)
    house.until_state(FanState.FREE)
    assert house.is_as_found
    assert "doesn't answer" in house.keeper.view.note


def test_without_an_answer_a_guard_is_given_up_before_it_touches_anything(house: House) -> None:
    house.keeper.choose(Policy.BOOST)
    house.keeper.progress(1)
    os.kill(house.guards[-1], signal.SIGSTOP)
    house.now += 10.5
    house.keeper.tick(61.0)
    assert house.keeper.view.state in (FanState.FREE, FanState.RELEASING)
    house.until_state(FanState.FREE)
    house.until(lambda: house.is_as_found)


def test_fans_left_held_are_given_back_at_the_start(house: House) -> None:
    house.hold()
    os.kill(house.guards[-1], signal.SIGKILL)
    house.keeper.close()
    assert not house.is_as_found
    house.keeper = house.another()
    house.keeper.recover()
    house.until_state(FanState.FREE)
    assert house.is_as_found


def test_a_refusal_is_told_and_not_asked_again_for_a_minute(house: House) -> None:
    house.tree.put("nct6775", "pwm1_enable", 1)
    house.keeper.choose(Policy.BOOST)
    house.keeper.progress(1)
    house.until(lambda: "left alone" in house.keeper.view.note)
    assert house.keeper.view.state is FanState.FREE
    house.now += 30
    house.keeper.progress(1)
    assert house.keeper.view.state is FanState.FREE
    house.now += 31
    house.keeper.progress(1)
    assert house.keeper.view.state is FanState.ARMING
    house.until_state(FanState.FREE)


def test_maximum_ends_itself_after_ten_minutes_without_a_token(house: House) -> None:
    house.hold(Policy.MAXIMUM)
    house.now += 601
    house.keeper.tick(95.0)
    house.until_state(FanState.FREE)
    house.keeper.tick(95.0)
    assert house.keeper.view.policy is Policy.AUTOMATIC
    assert house.is_as_found


def test_a_guard_that_cant_be_started_is_told(tmp_path: Path) -> None:
    def fails(_: GuardSetup) -> guarding.subprocess.Popen[bytes]:
        raise FileNotFoundError("no python")

    setup = GuardSetup("sysfs", "/nowhere", tmp_path, needs_root=False)
    keeper = FanKeeper(setup, lambda: None, lambda _: None, lambda: 0.0, fails)
    keeper.choose(Policy.MAXIMUM)
    assert keeper.view.state is FanState.FREE
    assert keeper.view.note == "fans left alone: the fan guard can't be started: no python"


def test_root_is_asked_for_only_where_a_fan_cant_be_written(tmp_path: Path) -> None:
    tree = FakeSysfs.desktop(tmp_path / "sys")
    setup = guarding.find_setup(tree.root, tmp_path / "state")
    assert not setup.needs_root
    assert setup.command()[1] == "-I"
    asked = GuardSetup("sysfs", "/sys", Path("/run/mtplx-tui"), needs_root=True)
    assert asked.command()[0] == "sudo"
    assert asked.command(may_ask=False)[:2] == ["sudo", "-n"]
    assert asked.shown_command().endswith("watchdog.py sysfs /sys /run/mtplx-tui")


def test_a_link_keeps_what_came_with_the_message_waited_for(house: House) -> None:
    link = GuardLink(guarding.start(house.setup))
    link.send(do="boost", lease=1, percent=100)
    link.send(do="auto")
    for kind in ("hello", "armed", "boosted", "released"):
        assert link.wait_for(PATIENCE_S, kind) is not None
    link.close()


def test_through_sudo_it_works_and_goes_back_when_the_pipe_ends(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "sudo"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\n"
        "import os, sys\n"
        "os.closerange(3, 256)\n"
        "words = [word for word in sys.argv[1:] if word != '-n']\n"
        "os.execv(words[0], words)\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    link = GuardLink(guarding.start(replace(house.setup, needs_root=True)))
    assert link.wait_for(PATIENCE_S, "hello") is not None
    house.keeper.adopt(link)
    house.hold()
    assert house.guards == []
    assert house.keeper.close()
    assert house.is_as_found


def test_without_sudo_it_says_what_is_missing(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="there is no sudo"):
        guarding.start(replace(house.setup, needs_root=True))
