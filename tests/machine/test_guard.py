"""The rules of the guard, row by row of its test plan, with clocks of the test's own."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mtplx_tui.machine import guard_state, linux
from mtplx_tui.machine.guard import Clock, Guard
from mtplx_tui.machine.guard_state import Refused, StateFile, boot_id, started_at
from mtplx_tui.machine.linux import SysfsFans
from tests.fakes.sysfs import CPU, FakeSysfs

Message = dict[str, object]


class Scene:
    """A guard over a desktop's fans, a clock to move and a client to speak for."""

    def __init__(self, folder: Path) -> None:
        self.tree = FakeSysfs.desktop(folder / "sys")
        self.before = self.tree.fans()
        self.folder = folder / "state"
        self.now = self.wall = 1000.0
        self.is_there = True
        self.said: list[Message] = []
        self.guard = self.start()

    def start(self) -> Guard:
        self.fans = SysfsFans(self.tree.root)
        self.state = StateFile(self.folder)
        self.state.lock()
        return Guard(
            self.fans,
            self.state,
            self._say,
            celsius=self.fans.celsius,
            pause=lambda _: self.is_there,
            root=str(self.tree.root),
            clock=Clock(lambda: self.now, lambda: self.wall),
        )

    def restart(self) -> Guard:
        """Have another guard come after one that died."""
        assert self.state._lock is not None
        os.close(self.state._lock)
        self.guard = self.start()
        return self.guard

    def _say(self, message: Message) -> None:
        if not self.is_there:
            raise BrokenPipeError
        self.said.append(message)

    def boost(self, lease: int = 1, **more: object) -> Message:
        self.guard.take({"do": "boost", "lease": lease, "percent": 100, **more})
        return self.said[-1]

    def beat(self, lease: int = 1, tokens: int = 0) -> Message:
        self.guard.take({"do": "beat", "lease": lease, "tokens": tokens})
        return self.said[-1]

    def pass_s(self, seconds: float, *, sleeping: float = 0.0, beats: bool = True) -> None:
        """Let time pass, tick by tick, the client alive or silent."""
        self.wall += sleeping
        end = self.now + seconds
        while self.now < end:
            step = min(1.0, self.guard.wait_s() or 1.0, end - self.now)
            self.now += step
            self.wall += step
            if beats:
                self.beat()
            self.guard.tick()

    def heat(self, celsius: float) -> None:
        self.tree.heat(celsius)

    @property
    def is_as_found(self) -> bool:
        return self.tree.fans() == self.before

    @property
    def duty(self) -> str:
        return self.tree.get("nct6775", "pwm1")

    def why(self) -> str:
        """Return why the hold ended last."""
        return str([m["why"] for m in self.said if m["is"] == "released"][-1])


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_a_boost_writes_down_then_arms_then_touches(scene: Scene) -> None:
    seen: list[tuple[object, bool, bool]] = []
    say = scene._say

    def watched(message: Message) -> None:
        seen.append((message["is"], scene.state.path.exists(), scene.is_as_found))
        say(message)

    scene.guard._say_it = watched
    scene.boost()
    assert seen == [("armed", True, True), ("boosted", True, False)]
    assert scene.duty == "255"
    scene.guard.take({"do": "auto"})
    assert scene.is_as_found
    assert not scene.state.path.exists()


def test_a_boost_below_what_the_machine_runs_is_what_the_machine_runs(scene: Scene) -> None:
    scene.boost(percent=5)
    assert scene.duty == "97"
    assert scene.tree.get("nct6775", "pwm1_enable") == "1"


def test_row_3_a_silent_client_loses_its_lease_and_late_beats_are_refused(scene: Scene) -> None:
    scene.boost()
    scene.pass_s(3.5, beats=False)
    assert scene.is_as_found
    assert scene.why() == "the client is silent"
    assert scene.beat()["is"] == "late"
    assert scene.boost(lease=1)["is"] == "refused"
    scene.pass_s(30)
    assert scene.is_as_found
    assert scene.boost(lease=2)["is"] == "boosted"


@pytest.mark.parametrize("file", ["pwm1", "pwm1_enable", "pwm2", "pwm2_enable"])
@pytest.mark.parametrize("number", [errno.EIO, errno.EBUSY, errno.EPERM, errno.EROFS])
def test_row_5_a_fan_that_cant_be_written_is_given_back_and_refused(
    scene: Scene, file: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_writes(monkeypatch, lambda path: path.endswith(f"/{file}"), times=1, number=number)
    scene.boost()
    assert scene.said[-1]["is"] == "released"
    assert "boosted" not in [m["is"] for m in scene.said]
    assert scene.is_as_found
    assert not scene.state.path.exists()


@pytest.mark.parametrize("file", ["pwm2", "pwm2_enable"])
def test_row_5_a_write_that_changes_nothing_is_seen(
    scene: Scene, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ignore_writes(monkeypatch, lambda path: path.endswith(f"/{file}"))
    scene.boost()
    assert "boosted" not in [m["is"] for m in scene.said]
    assert scene.is_as_found


def test_row_5_a_restore_that_changes_nothing_is_tried_until_it_does(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.boost()
    with monkeypatch.context() as patch:
        ignore_writes(patch, lambda path: path.endswith("/pwm1_enable"))
        scene.guard.take({"do": "auto"})
        scene.pass_s(0.5, beats=False)
        assert scene.said[-1]["is"] == "stuck"
        assert [m["next_s"] for m in scene.said if m["is"] == "stuck"] == [5.0]
        scene.pass_s(200, beats=False)
        waits = [m["next_s"] for m in scene.said if m["is"] == "stuck"]
        assert waits[:5] == [5.0, 15.0, 30.0, 60.0, 60.0]
        assert scene.state.path.exists()
        assert "released" not in [m["is"] for m in scene.said]
        assert scene.boost(lease=2)["is"] == "refused"
    scene.pass_s(61, beats=False)
    assert scene.said[-1]["is"] == "released"
    assert scene.is_as_found
    assert not scene.state.path.exists()


def test_row_5_quick_tries_come_every_50_ms(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.boost()
    tried = []
    restore = scene.fans.restore
    monkeypatch.setattr(scene.fans, "restore", lambda o: tried.append(scene.now) or ["no"])
    scene.guard.take({"do": "auto"})
    scene.pass_s(0.3, beats=False)
    assert [round(at - 1000, 2) for at in tried] == [0.0, 0.05, 0.1, 0.15, 0.2]
    monkeypatch.setattr(scene.fans, "restore", restore)
    scene.pass_s(5, beats=False)
    assert scene.is_as_found


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_row_5_without_a_state_file_nothing_is_touched(
    scene: Scene, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    touched = []
    monkeypatch.setattr(linux, "write_number", lambda *a: touched.append(a))
    with monkeypatch.context() as patch:
        patch.setattr(guard_state.os, call, full)
        said = scene.boost()
    assert said["is"] == "refused"
    assert "No space left" in str(said["why"])
    assert touched == []
    assert not scene.state.path.exists()


@pytest.mark.parametrize("mode", ["0", "2", "3", "5"])
def test_row_6_the_very_mode_found_goes_back(scene: Scene, mode: str) -> None:
    scene.tree.put("nct6775", "pwm1_enable", mode)
    before = scene.tree.fans()
    assert scene.boost()["is"] == "boosted"
    scene.guard.take({"do": "auto"})
    assert scene.tree.fans() == before


def test_row_6_a_fan_in_other_hands_is_refused(scene: Scene) -> None:
    scene.tree.put("nct6775", "pwm2_enable", 1)
    before = scene.tree.fans()
    said = scene.boost()
    assert said["is"] == "refused"
    assert "manual mode already" in str(said["why"])
    assert scene.tree.fans() == before


def test_row_6_fans_without_an_automatic_mode_are_refused(scene: Scene) -> None:
    for file in ("pwm1_enable", "pwm2_enable"):
        (scene.tree.chip("nct6775") / file).unlink()
    assert scene.boost()["is"] == "refused"


def test_row_7_chips_numbered_anew_are_found_by_name_and_device(scene: Scene) -> None:
    scene.boost()
    held = scene.tree.chip("nct6775").name
    scene.tree.renumber()
    assert scene.tree.chip("nct6775").name != held
    scene.restart().recover()
    assert scene.said[-1]["is"] == "released"
    assert sorted(scene.tree.fans().values()) == sorted(scene.before.values())


def test_row_7_a_chip_that_is_gone_or_doubtful_is_refused(scene: Scene) -> None:
    scene.boost()
    scene.tree.put("nct6775", "name", "another")
    scene.restart().recover()
    scene.pass_s(1, beats=False)
    assert scene.said[-1]["is"] == "stuck"
    assert "is not there" in str(scene.said[-1]["why"])
    assert scene.state.path.exists()


def test_row_8_heat_drives_the_fans_to_full_until_it_is_cool(scene: Scene) -> None:
    scene.heat(60)
    scene.boost(percent=60)
    scene.pass_s(2)
    assert scene.duty == "153"
    scene.heat(96)
    scene.pass_s(1)
    assert scene.duty == "255"
    assert scene.said[-1]["is_hot"] is False  # Said before the look that saw it.
    scene.heat(91)
    scene.pass_s(3)
    assert scene.duty == "255"
    assert scene.beat()["is_hot"] is True
    scene.heat(89)
    scene.pass_s(1)
    assert scene.duty == "153"


def test_row_8_a_hot_machine_is_given_back_once_cool_after_the_clients_death(scene: Scene) -> None:
    scene.boost()
    scene.heat(97)
    scene.pass_s(1)
    scene.guard.lose_client()
    scene.pass_s(10, beats=False)
    assert not scene.is_as_found
    assert not scene.guard.is_over
    scene.heat(89)
    scene.pass_s(1, beats=False)
    assert scene.is_as_found
    assert scene.guard.is_over


def test_row_8_heat_keeps_the_fans_for_a_minute_at_most(scene: Scene) -> None:
    scene.boost()
    scene.heat(97)
    scene.pass_s(1)
    scene.guard.lose_client()
    scene.pass_s(59, beats=False)
    assert not scene.is_as_found
    scene.pass_s(2, beats=False)
    assert scene.is_as_found


def test_row_8_a_person_gets_the_fans_back_at_once_even_when_hot(scene: Scene) -> None:
    scene.boost()
    scene.heat(97)
    scene.pass_s(1)
    scene.guard.take({"do": "auto"})
    assert scene.is_as_found


def test_row_8_without_a_sensor_the_fans_are_given_back(scene: Scene) -> None:
    scene.boost()
    for file in CPU:
        (scene.tree.chip("coretemp") / file).unlink()
    (scene.tree.chip("amdgpu") / "temp1_input").write_text("nonsense\n")
    scene.pass_s(4)
    assert not scene.is_as_found
    scene.pass_s(3)
    assert scene.is_as_found
    assert scene.why() == "no temperature sensor answers"
    assert scene.boost(lease=2)["is"] == "refused"


@pytest.mark.parametrize(
    "percent", [0, -1, float("nan"), 1e9, float("inf"), "auto", None, True, 0.5, 101]
)
def test_row_9_speeds_that_cant_be_meant_are_rejected(scene: Scene, percent: object) -> None:
    assert scene.boost(percent=percent)["is"] == "refused"
    assert scene.is_as_found
    assert not scene.state.path.exists()


def test_row_9_nothing_but_a_whole_number_is_ever_written(tmp_path: Path) -> None:
    path = tmp_path / "pwm1_enable"
    path.write_text("5\n")
    for value in ("auto", "", "-1", "nan", "1e9", "2.5"):
        with pytest.raises(linux.FanError):
            linux.write_number(str(path), value)
    assert path.read_text() == "5\n"


def test_row_10_a_second_guard_is_refused_and_told_the_owner(scene: Scene) -> None:
    second = StateFile(scene.folder)
    with pytest.raises(Refused, match=f"process {os.getpid()}"):
        second.lock()


def test_row_10_a_folder_that_others_can_write_in_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(Refused, match="must belong"):
        StateFile(folder).lock()


def test_row_11_after_sleep_the_lease_is_over_and_nothing_is_applied_again(scene: Scene) -> None:
    scene.boost()
    scene.pass_s(2)
    scene.pass_s(1, sleeping=600)
    assert scene.is_as_found
    assert scene.why() == "the machine slept"
    scene.pass_s(60)
    assert scene.is_as_found


def test_row_12_a_wedge_is_not_work(scene: Scene) -> None:
    scene.boost()
    scene.pass_s(14 * 60)
    assert not scene.is_as_found
    scene.pass_s(2 * 60)
    assert scene.is_as_found
    assert scene.why() == "no token for 15 minutes"


@pytest.mark.slow
def test_row_12_tokens_keep_a_hold_but_not_for_ever(scene: Scene) -> None:
    scene.boost()
    for minute in range(119):
        scene.beat(tokens=minute + 1)
        scene.pass_s(60)
    assert not scene.is_as_found
    scene.pass_s(61)
    assert scene.is_as_found
    assert scene.why() == "the time is up"


def test_renewing_a_lease_does_not_stretch_the_longest_hold(scene: Scene) -> None:
    scene.boost(for_s=7200)
    for lease in range(2, 12):
        scene.pass_s(800, beats=False) if not scene.said else None
        scene.now += 700
        scene.wall += 700
        scene.boost(lease=lease, for_s=7200)
        scene.guard.tick()
    scene.now += 250
    scene.wall += 250
    scene.guard.tick()
    assert scene.why() == "the time is up"
    assert scene.is_as_found


def test_a_hold_ends_when_its_time_is_up(scene: Scene) -> None:
    scene.boost(for_s=60)
    scene.pass_s(59)
    assert not scene.is_as_found
    scene.pass_s(2)
    assert scene.is_as_found


def test_fans_taken_by_another_are_let_go(scene: Scene) -> None:
    scene.boost()
    scene.tree.put("nct6775", "pwm2_enable", 2)
    scene.pass_s(1)
    assert scene.tree.get("nct6775", "pwm1_enable") == "5"
    assert "took the fans back" in scene.why()


@pytest.mark.parametrize("started", ["12345", ""])
def test_row_13_a_pid_that_is_another_process_now_is_dead(scene: Scene, started: str) -> None:
    scene.boost()
    change_state(scene, pid=os.getppid(), started=started)
    scene.restart().recover()
    assert scene.is_as_found
    assert not scene.state.path.exists()


def test_row_13_a_live_owner_is_respected(scene: Scene) -> None:
    scene.boost()
    change_state(scene, pid=os.getppid(), started=started_at(os.getppid()))
    held = scene.tree.fans()
    with pytest.raises(Refused, match="holds the fans"):
        scene.restart().recover()
    assert scene.tree.fans() == held


def test_after_a_boot_the_state_is_dropped_and_nothing_is_written(scene: Scene) -> None:
    scene.boost()
    change_state(scene, boot="another boot")
    held = scene.tree.fans()
    scene.restart().recover()
    assert scene.tree.fans() == held
    assert not scene.state.path.exists()
    assert boot_id() != ""


def test_a_manual_mode_in_a_leftover_state_becomes_automatic(scene: Scene) -> None:
    scene.boost()
    content = json.loads(scene.state.path.read_text())
    content["fans"][0]["enable"] = "1\n"
    change_state(scene, fans=content["fans"])
    scene.restart().recover()
    assert scene.tree.get("nct6775", "pwm1_enable") == "2"
    assert not scene.state.path.exists()


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"schema": 9}', '{"schema": 1, "boot": "%s", "fans": 3}']
)
def test_a_state_that_cant_be_understood_is_kept_and_said(scene: Scene, text: str) -> None:
    scene.state.path.write_text(text.replace("%s", boot_id()))
    with pytest.raises(Refused):
        scene.guard.recover()
    assert scene.state.path.exists()


def test_a_client_gone_before_it_is_armed_costs_nothing(scene: Scene) -> None:
    scene.is_there = False
    scene.guard.take({"do": "boost", "lease": 1, "percent": 100})
    assert scene.guard.is_over
    assert scene.is_as_found
    assert not scene.state.path.exists()


def change_state(scene: Scene, **changes: object) -> None:
    content = json.loads(scene.state.path.read_text())
    scene.state.path.write_text(json.dumps(content | changes))


def break_writes(
    patch: pytest.MonkeyPatch, matches: Callable[[str], bool], times: int, number: int
) -> None:
    """Have the next writes to some files fail."""
    write = linux.write_number
    left = [times]

    def failing(path: str, value: str) -> None:
        if matches(path) and left[0]:
            left[0] -= 1
            raise OSError(number, os.strerror(number), path)
        write(path, value)

    patch.setattr(linux, "write_number", failing)


def ignore_writes(patch: pytest.MonkeyPatch, matches: Callable[[str], bool]) -> None:
    """Have writes to some files come to nothing, without an error."""
    write = linux.write_number
    patch.setattr(
        linux, "write_number", lambda path, value: None if matches(path) else write(path, value)
    )
