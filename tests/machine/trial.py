"""Real guards and real clients, killed at a step of their lives, many times from one process.

    python -m tests.machine.trial guard|both|client STEP REPEATS FOLDER

Guard and client are forked, so that a trial costs milliseconds. A guard's steps are its system
calls that change something: each write, open for writing, sync, rename, unlink. A client's are the
lines below. Prints one JSON object: how many trials ended how, and how long giving back took.
"""

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

from mtplx_tui.machine import watchdog
from mtplx_tui.machine.guarding import GuardGone, GuardLink
from tests.fakes.processes import PATIENCE_S
from tests.fakes.sysfs import FakeSysfs

CALLS = ("open", "write", "pwrite", "fsync", "replace", "unlink")
CLIENT_STEPS = 9
NEVER = 10_000


class Process:
    """A forked guard, as much of a Popen as a link needs."""

    def __init__(self, pid: int, stdin: int, stdout: int) -> None:
        self.pid = pid
        self.stdin, self.stdout = os.fdopen(stdin, "wb", 0), os.fdopen(stdout, "rb", 0)
        self.returncode: int | None = None

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        deadline = time.monotonic() + (PATIENCE_S if timeout is None else timeout)
        while self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("guard", PATIENCE_S)
            else:
                select.select([], [], [], 0.0005)
        return self.returncode


def fork_guard(root: Path, state: Path, kill_at: int, count: int | None = None) -> Process:
    """Start a guard that is killed before a step; where `count` is a pipe, it counts its steps."""
    to_guard, from_client = os.pipe()
    to_client, from_guard = os.pipe()
    pid = os.fork()
    if pid:
        os.close(to_guard)
        os.close(from_guard)
        return Process(pid, from_client, to_client)
    os.dup2(to_guard, 0)
    os.dup2(from_guard, 1)
    for descriptor in set(range(3, 64)) - {count}:
        os.closerange(descriptor, descriptor + 1)
    code = 70
    try:
        die_at(kill_at, count)
        code = watchdog.main(["sysfs", str(root), str(state)])
    finally:
        os._exit(code)


def die_at(step: int, count: int | None) -> None:
    """Have this process killed before its STEPth system call that changes something."""
    done = [0]

    def counted(name: str, call: Callable[..., object]) -> Callable[..., object]:
        def run(*arguments: object, **options: object) -> object:
            is_change = name != "open" or int(str(arguments[1])) & (os.O_WRONLY | os.O_RDWR)
            if is_change:
                if done[0] == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                done[0] += 1
                if count is not None:
                    tell(count, b".")
            return call(*arguments, **options)

        return run

    tell = os.write
    for name in CALLS:
        setattr(os, name, counted(name, getattr(os, name)))


def live(link: GuardLink, kill_at: int) -> None:
    """Lead a client's whole life, killed before a step."""

    def step(number: int) -> None:
        if number == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    step(0)
    link.wait_for(PATIENCE_S, "hello")
    step(1)
    link.send(do="boost", lease=1, percent=100)
    step(2)
    link.wait_for(PATIENCE_S, "armed")
    step(3)
    link.wait_for(PATIENCE_S, "boosted")
    step(4)
    link.send(do="beat", lease=1, tokens=1)
    step(5)
    link.wait_for(PATIENCE_S, "held")
    step(6)
    link.send(do="auto")
    step(7)
    link.wait_for(PATIENCE_S, "released")
    step(8)
    link.close()


def kill_client(root: Path, state: Path, step: int) -> float:
    """Kill the client at a step; return how long after it the guard had ended."""
    guard = fork_guard(root, state, NEVER)
    pid = os.fork()
    if pid == 0:
        try:
            live(GuardLink(guard), step)  # ty: ignore[invalid-argument-type] - stands in for it
        finally:
            os._exit(0)
    guard.stdin.close()
    guard.stdout.close()
    os.waitpid(pid, 0)
    died_s = time.monotonic()
    guard.wait()
    return time.monotonic() - died_s


def kill_guard(root: Path, state: Path, step: int, *, both: bool) -> float:
    """Kill the guard at a step; return how long after that was seen all was given back."""
    guard = fork_guard(root, state, step)
    link = GuardLink(guard)  # ty: ignore[invalid-argument-type] - stands in for it
    try:
        live(link, NEVER)
    except GuardGone:
        if both:
            link.hang_up()
    seen_s = time.monotonic()
    link.hang_up()
    guard.wait()
    recover(root, state)
    return time.monotonic() - seen_s


def recover(root: Path, state: Path) -> None:
    """Start a guard and end it: it gives back what another one left."""
    guard = fork_guard(root, state, NEVER)
    link = GuardLink(guard)  # ty: ignore[invalid-argument-type] - stands in for it
    link.wait_for(PATIENCE_S, "hello")
    link.hang_up()
    guard.wait()


def count_steps(folder: Path) -> int:
    """Return how many steps a guard's life has."""
    tree = FakeSysfs.desktop(folder / "sys")
    read, write = os.pipe()
    guard = fork_guard(tree.root, folder / "state", NEVER, write)
    os.close(write)
    live(GuardLink(guard), NEVER)  # ty: ignore[invalid-argument-type] - stands in for it
    guard.wait()
    counted = len(os.read(read, 4096))
    os.close(read)
    return counted


def main(kind: str, step: int, repeats: int, folder: Path) -> None:
    """Run the trials and tell."""
    tree = FakeSysfs.desktop(folder / "sys")
    before = tree.fans()
    state = folder / "state"
    wrong: list[str] = []
    times: list[float] = []
    for _ in range(repeats):
        if kind == "client":
            times.append(kill_client(tree.root, state, step))
        else:
            times.append(kill_guard(tree.root, state, step, both=kind == "both"))
        if tree.fans() != before:
            wrong.append(json.dumps(tree.fans()))
        if (state / "fans.json").exists():
            wrong.append("a state file was left")
    sys.stdout.write(json.dumps({"trials": len(times), "wrong": wrong, "times_s": times}))


if __name__ == "__main__":
    if sys.argv[1] == "count":
        sys.stdout.write(json.dumps(count_steps(Path(sys.argv[2]))))
    else:
        main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
