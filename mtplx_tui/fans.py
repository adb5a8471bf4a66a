"""`mtplx-tui fans`: sensors and fans told, fans held for a while, fans given back."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mtplx_tui import config
from mtplx_tui.cli import UsageError, parser
from mtplx_tui.machine.guarding import (
    GuardGone,
    GuardLink,
    GuardSetup,
    Message,
    find_setup,
    guard_pid,
    start,
)
from mtplx_tui.machine.readings import Snapshot, to_plain
from mtplx_tui.machine.sensors import Sensors, find_sources

__all__ = ["main", "status_line"]

_EXAMPLES = """\
examples:
  mtplx-tui fans status --json
  mtplx-tui fans boost --for 5m
  mtplx-tui fans boost --for 60s -- mtplx-tui generate --prompt "Why is the sky blue?"
  mtplx-tui fans auto          give the fans back, whoever of us holds them
  mtplx-tui fans restore       give back what a crash left held

Fans are only ever run faster than the machine would run them. A guard process gives them back when
this one ends, whatever ends it. Setting fans needs root; sudo is asked with the command shown.
"""
READ_S, HELLO_S, PASSWORD_S, ARM_S, BOOST_S, END_S = 2.0, 5.0, 120.0, 2.0, 20.0, 10.0
MOST_S = 900.0
BEAT_LOOKS = 10
"""So often between two beats a signal or the command's end is looked for."""
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


class _Failure(Exception):
    """Something to tell in one line."""


def main(words: list[str]) -> int:
    """Run the command and return its exit code."""
    options = _parsed(words)
    setup = find_setup(config.find_sysfs(), config.find_places().state / "fans")
    try:
        return _ACTIONS[options.action](options, setup)
    except (_Failure, OSError) as error:
        sys.stderr.write(f"mtplx-tui: {' '.join(str(error).split())}\n")
        return 1


def _parsed(words: list[str]) -> argparse.Namespace:
    own, command = words, []
    if "--" in words:
        at = words.index("--")
        own, command = words[:at], words[at + 1 :]
    chosen = parser("mtplx-tui fans", "See the heat, move the air.", _EXAMPLES)
    chosen.add_argument("action", choices=list(_ACTIONS), help="what to do")
    chosen.add_argument("--for", dest="for_s", help="boost: how long, as 60s or 5m; at most 15m")
    chosen.add_argument("--percent", type=float, default=100.0, help="boost: of full; default 100")
    chosen.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
    options = chosen.parse_args(own)
    if options.action != "boost" and (command or options.for_s is not None):
        raise UsageError(f"--for and a command belong to boost, not to {options.action}")
    if "--" in words and not command:
        raise UsageError("there is no command after --")
    if not 1 <= options.percent <= 100:
        raise UsageError(f"--percent must be from 1 to 100, not {options.percent:g}")
    options.for_s = MOST_S if options.for_s is None else _seconds(options.for_s)
    options.command = command
    return options


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([smh]?)", text)
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 0 < seconds <= MOST_S:
        raise UsageError(f"--for must be a time up to 15m, as 60s or 5m, not {text!r:.40}")
    return seconds


def _tell(options: argparse.Namespace, plain: dict[str, object], lines: list[str]) -> None:
    sys.stdout.write(json.dumps(plain) + "\n" if options.json else "\n".join([*lines, ""]))
    sys.stdout.flush()


# Status


def _status(options: argparse.Namespace, setup: GuardSetup) -> int:
    sensors = Sensors(find_sources(config.find_sysfs()))
    sensors.start()
    sensors.settle(READ_S)
    sensors.stop()
    snapshot = sensors.snapshot()
    line = status_line(snapshot)
    guard, guard_line = _guard_state(setup)
    plain = to_plain(snapshot) | {"guard": guard, "summary": f"{line}; {guard_line}"}
    if sensors.problems():
        plain["problems"] = list(sensors.problems())
    lines = [f"{line}.", *_rows(snapshot), *sensors.problems(), f"{guard_line}."]
    _tell(options, plain, [entry[:1].upper() + entry[1:] for entry in lines])
    return 0


def status_line(snapshot: Snapshot) -> str:
    """Return in a sentence what the machine lets be seen."""
    if snapshot.is_empty:
        return "no sensor and no fan can be seen here, as is usual in containers"
    can = sum(fan.is_controllable for fan in snapshot.fans)
    fans = f"{len(snapshot.fans)} fans, {can} of them can be set" if snapshot.fans else "no fans"
    return f"{len(snapshot.readings)} sensors, {fans}"


def _guard_state(setup: GuardSetup) -> tuple[dict[str, object], str]:
    pid = guard_pid(setup.state)
    is_held = setup.state_file.exists()
    state = "none" if pid is None else "holding" if is_held else "idle"
    line = {
        "none": "the fans are the machine's own",
        "idle": f"a fan guard (process {pid}) runs and holds nothing",
        "holding": f"a fan guard (process {pid}) holds the fans",
        "leftover": "fans may be held from a crash: mtplx-tui fans restore gives them back",
    }
    if pid is None and is_held:
        state = "leftover"
    return {"state": state, "pid": pid, "needs_root": setup.needs_root}, line[state]


def _rows(snapshot: Snapshot) -> list[str]:
    units = {"celsius": "°C", "watts": "W", "pressure": ""}
    rows = [
        f"  {r.group:8} {r.name:28.28} {r.value:8.1f} {units[r.kind]:3} {r.source}"
        for r in snapshot.readings
    ]
    for fan in snapshot.fans:
        speed = "     ?" if fan.rpm is None else f"{fan.rpm:6.0f}"
        rows.append(f"  fan      {fan.name:28.28} {speed} rpm    {fan.source}, {fan.owner}")
    return rows


# Boost


@dataclass(slots=True)
class _Outcome:
    """What came of a boost."""

    why: str = ""
    is_restored: bool = False
    held_s: float = 0.0
    hottest: float | None = None
    signals: list[int] = field(default_factory=list)


def _boost(options: argparse.Namespace, setup: GuardSetup) -> int:
    outcome = _Outcome()
    try:
        process = _run_held(options, setup, outcome)
    except _Failure:
        _recover(setup)
        raise
    if not outcome.is_restored:
        outcome.is_restored = _recover(setup)
    code = None if process is None else process.wait()
    plain: dict[str, object] = {
        "held_s": round(outcome.held_s, 1),
        "why": outcome.why,
        "restored": outcome.is_restored,
        "hottest_celsius": outcome.hottest,
        "exit_code": code,
    }
    back = "given back" if outcome.is_restored else "NOT seen to be given back"
    line = f"fans {back} after {outcome.held_s:.0f} s: {outcome.why}"
    if process is None or options.json:
        _tell(options, plain, [line])
    else:
        sys.stderr.write(f"mtplx-tui: {line}\n")
    if not outcome.is_restored:
        return 1
    if code is not None:
        return code if code >= 0 else 128 - code
    return 128 + outcome.signals[0] if outcome.signals else 0


def _run_held(
    options: argparse.Namespace, setup: GuardSetup, outcome: _Outcome
) -> subprocess.Popen[bytes] | None:
    """Hold the fans for as long as was asked; return the command's process, if there is one."""
    with _guard(setup) as link, _signals(outcome.signals):
        _take_fans(link, options)
        began_s = time.monotonic()
        process = _start_command(options.command, link)
        if process is None and not options.json:
            sys.stdout.write(
                f"fans at {options.percent:g} % for {options.for_s:g} s; ctrl+c ends\n"
            )
            sys.stdout.flush()
        _hold(link, outcome, process)
        outcome.held_s = time.monotonic() - began_s
    return process


def _take_fans(link: GuardLink, options: argparse.Namespace) -> None:
    link.send(do="boost", lease=1, percent=options.percent, for_s=options.for_s)
    said = link.wait_for(ARM_S, "armed", "refused")
    if said is not None and said.get("is") == "armed":
        said = link.wait_for(BOOST_S, "boosted", "released", "stuck")
    if said is None:
        raise _Failure("the fan guard doesn't answer; nothing was set")
    if said.get("is") != "boosted":
        raise _Failure(f"fans left alone: {said.get('why')}")


def _start_command(command: list[str], link: GuardLink) -> subprocess.Popen[bytes] | None:
    if not command:
        return None
    try:
        return subprocess.Popen(command)
    except OSError as error:
        link.send(do="auto")
        link.wait_for(END_S, "released")
        raise _Failure(f"{command[0]} can't be run: {error.strerror}") from error


def _hold(link: GuardLink, outcome: _Outcome, process: subprocess.Popen[bytes] | None) -> None:
    """Beat until the time is up, the command has ended or a signal came; then give back."""
    try:
        while not outcome.signals and (process is None or process.poll() is None):
            link.send(do="beat", lease=1, tokens=0)
            for _ in range(BEAT_LOOKS):
                said = link.wait_for(1.0 / BEAT_LOOKS, "held", "released", "stuck")
                if said is not None and _is_over(said, outcome):
                    return
                if outcome.signals or (process is not None and process.poll() is not None):
                    break
        link.send(do="auto")
        said = link.wait_for(END_S, "released", "stuck")
        if said is not None:
            _is_over(said, outcome)
        outcome.why = "the command ended" if process is not None else "asked to"
    except GuardGone as error:
        outcome.why = str(error)


def _is_over(said: Message, outcome: _Outcome) -> bool:
    """Note what the guard said; whether it holds no more."""
    celsius = said.get("celsius")
    if isinstance(celsius, float):
        outcome.hottest = max(celsius, outcome.hottest or celsius)
    if said.get("is") == "held":
        return False
    outcome.why = str(said.get("why"))
    outcome.is_restored = said.get("is") == "released"
    return True


# Giving back


def _auto(options: argparse.Namespace, setup: GuardSetup) -> int:
    pid = guard_pid(setup.state)
    if pid is not None and pid > 0:
        try:
            os.kill(pid, signal.SIGTERM)
        except PermissionError as error:
            raise _Failure(f"the guard runs as root: sudo kill -TERM {pid} ends it") from error
        _await(lambda: guard_pid(setup.state) is None, END_S)
    return _restore(options, setup)


def _restore(options: argparse.Namespace, setup: GuardSetup) -> int:
    pid = guard_pid(setup.state)
    if pid is not None and setup.state_file.exists():
        raise _Failure(f"a fan guard (process {pid}) holds the fans; mtplx-tui fans auto ends it")
    if not setup.state_file.exists():
        line = "nothing is held: the fans are the machine's own"
        _tell(options, {"restored": True, "why": line}, [line])
        return 0
    if not _recover(setup):
        raise _Failure("the fans are not seen to be given back; a guard goes on trying")
    line = "the fans are the machine's own again"
    _tell(options, {"restored": True, "why": line}, [line])
    return 0


def _recover(setup: GuardSetup) -> bool:
    """Have a guard give back what another one left held; whether that was seen."""
    if setup.state_file.exists():
        with _guard(setup):
            _await(lambda: not setup.state_file.exists(), END_S)
    return not setup.state_file.exists()


def _await(is_so: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.02)


@contextmanager
def _guard(setup: GuardSetup) -> Generator[GuardLink]:
    """Start a guard that has given back what was left held, and have it end at the end."""
    if setup.needs_root:
        sys.stderr.write(f"mtplx-tui: setting fans needs root:\n  {setup.shown_command()}\n")
        if not sys.stdin.isatty():
            raise _Failure("sudo can't ask for a password here; run this from a terminal")
    link = GuardLink(start(setup))
    try:
        wait_s = PASSWORD_S if setup.needs_root else HELLO_S
        said = link.wait_for(wait_s, "hello", "refused")
        if said is None:
            raise _Failure("fans left alone: no guard answers")
        if said.get("is") == "refused":
            raise _Failure(f"fans left alone: {said.get('why')}")
        yield link
    except GuardGone as error:
        raise _Failure(str(error)) from error
    finally:
        link.close()


@contextmanager
def _signals(got: list[int]) -> Generator[None]:
    """Collect the signals that ask this process to end, in place of ending."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    old = {number: signal.signal(number, lambda n, _: got.append(n)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


_ACTIONS: dict[str, Callable[[argparse.Namespace, GuardSetup], int]] = {
    "status": _status,
    "boost": _boost,
    "auto": _auto,
    "restore": _restore,
}
