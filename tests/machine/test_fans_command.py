"""`mtplx-tui fans`, run as a program over a made-up tree."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtplx_tui.machine.guard_state import guard_pid
from tests.fakes.processes import PATIENCE_S
from tests.fakes.sysfs import FakeSysfs

PROGRAM = str(Path(sys.executable).with_name("mtplx-tui"))


class Shell:
    """A person's shell, on a machine made of files."""

    def __init__(self, folder: Path) -> None:
        self.tree = FakeSysfs.desktop(folder / "sys")
        self.before = self.tree.fans()
        self.state = folder / "home" / "state" / "fans"
        self.environment = {
            **os.environ,
            "MTPLX_TUI_SYSFS": str(self.tree.root),
            "MTPLX_TUI_HOME": str(folder / "home"),
        }

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAM, "fans", *words],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def json(self, *words: str) -> Any:
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def start(self, *words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [PROGRAM, "fans", *words],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.wait(lambda: self.tree.get("nct6775", "pwm2") == "255")
        return process

    @staticmethod
    def wait(is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < deadline
            select.select([], [], [], 0.01)

    @property
    def is_as_found(self) -> bool:
        return self.tree.fans() == self.before and not (self.state / "fans.json").exists()


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_status_tells_sensors_fans_and_guard(shell: Shell) -> None:
    told = shell.json("status")
    assert [t["celsius"] for t in told["temperatures"] if t["group"] == "CPU"] == [61.0, 58.0]
    assert [(f["name"], f["owner"]) for f in told["fans"]] == [
        ("CPU fan", "system"),
        ("nct6775 fan 2", "system"),
    ]
    assert told["guard"] == {"state": "none", "pid": None, "needs_root": False}
    lines = shell.run("status").stdout.splitlines()
    assert lines[0] == "6 sensors, 2 fans, 2 of them can be set."
    assert lines[-1] == "The fans are the machine's own."


def test_without_any_sensor_status_is_a_plain_sentence_and_no_failure(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    shell.environment["MTPLX_TUI_SYSFS"] = str(tmp_path / "empty")
    told = shell.json("status")
    assert told["fans"] == told["temperatures"] == told["power"] == []
    done = shell.run("status")
    assert done.stdout.startswith("No sensor and no fan can be seen here")
    assert done.stderr == ""


def test_a_command_runs_with_the_fans_held_and_its_exit_code_is_ours(shell: Shell) -> None:
    duty = str(shell.tree.chip("nct6775") / "pwm1")
    done = shell.run("boost", "--for", "60s", "--", "sh", "-c", f"cat {duty}; exit 7")
    assert done.stdout == "255\n"
    assert done.returncode == 7
    assert "given back" in done.stderr
    assert shell.is_as_found


def test_time_ends_a_boost(shell: Shell) -> None:
    told = shell.json("boost", "--for", "0.5s")
    assert told["restored"] is True
    assert told["why"] == "the time is up"
    assert told["hottest_celsius"] == 61.0
    assert shell.is_as_found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_boost_and_gives_back(shell: Shell, number: int) -> None:
    process = shell.start("boost", "--for", "60s")
    process.send_signal(number)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + number
    assert shell.is_as_found


def test_killed_it_leaves_the_fans_to_its_guard(shell: Shell) -> None:
    process = shell.start("boost", "--for", "60s")
    process.kill()
    process.communicate()
    shell.wait(lambda: shell.is_as_found)


def test_a_guard_killed_under_it_is_replaced_and_gives_back(shell: Shell) -> None:
    process = shell.start("boost", "--for", "60s", "--json")
    pid = guard_pid(shell.state)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    out, _ = process.communicate(timeout=PATIENCE_S)
    assert json.loads(out)["restored"] is True
    assert shell.is_as_found


def test_auto_has_another_process_give_back(shell: Shell) -> None:
    process = shell.start("boost", "--for", "60s")
    assert shell.json("status")["guard"]["state"] == "holding"
    assert shell.run("restore").returncode == 1
    assert shell.json("auto")["restored"] is True
    assert shell.is_as_found
    out, _ = process.communicate(timeout=PATIENCE_S)
    assert "the guard was told to end" in out


def test_restore_gives_back_what_a_crash_left(shell: Shell) -> None:
    process = shell.start("boost", "--for", "60s")
    pid = guard_pid(shell.state)
    assert pid is not None
    process.send_signal(signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    process.kill()
    process.communicate()
    shell.wait(lambda: guard_pid(shell.state) is None)
    assert not shell.is_as_found
    assert shell.json("status")["guard"]["state"] == "leftover"
    assert shell.json("restore") == {
        "restored": True,
        "why": "the fans are the machine's own again",
    }
    assert shell.is_as_found
    assert shell.json("restore")["restored"] is True


def test_a_fan_in_other_hands_is_left_alone(shell: Shell) -> None:
    shell.tree.put("nct6775", "pwm1_enable", 1)
    before = shell.tree.fans()
    done = shell.run("boost", "--for", "1s")
    assert done.returncode == 1
    assert "manual mode already" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert shell.tree.fans() == before


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["cool"],
        ["boost", "--for", "0"],
        ["boost", "--for", "16m"],
        ["boost", "--for", "-1s"],
        ["boost", "--for", "auto"],
        ["boost", "--percent", "0"],
        ["boost", "--percent", "nan"],
        ["boost", "--percent", "101"],
        ["boost", "--"],
        ["status", "--for", "5s"],
    ],
)
def test_row_9_wrong_usage_is_one_line_and_touches_nothing(shell: Shell, words: list[str]) -> None:
    done = shell.run(*words)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert shell.is_as_found


def test_a_command_that_cant_be_run_gives_back(shell: Shell) -> None:
    done = shell.run("boost", "--", "no-such-command")
    assert done.returncode == 1
    assert "no-such-command can't be run" in done.stderr
    assert shell.is_as_found
