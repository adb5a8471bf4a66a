"""The guard's process: what comes down its pipe, who holds the pipe's end, and signals."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mtplx_tui.machine import guarding
from mtplx_tui.machine.guard_state import Refused, guard_pid
from mtplx_tui.machine.guarding import GuardGone, GuardLink, GuardSetup
from mtplx_tui.machine.watchdog import Frames, Thermometer
from tests.fakes.processes import PATIENCE_S
from tests.fakes.sysfs import FakeSysfs


class Desk:
    """A tree, and guards started over it as the app starts them."""

    def __init__(self, folder: Path) -> None:
        self.tree = FakeSysfs.desktop(folder / "sys")
        self.before = self.tree.fans()
        self.setup = GuardSetup("sysfs", str(self.tree.root), folder / "state", needs_root=False)
        self.links: list[GuardLink] = []

    def start(self, *before: str) -> GuardLink:
        command = [*before, *self.setup.command()]
        link = GuardLink(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        self.links.append(link)
        assert self.said(link, "hello", "refused")["is"] == "hello"
        return link

    def hold(self, *before: str) -> GuardLink:
        link = self.start(*before)
        link.send(do="boost", lease=1, percent=100)
        self.said(link, "boosted")
        assert not self.is_as_found
        return link

    @staticmethod
    def said(link: GuardLink, *kinds: str) -> guarding.Message:
        message = link.wait_for(PATIENCE_S, *kinds)
        assert message is not None
        return message

    @property
    def is_as_found(self) -> bool:
        return self.tree.fans() == self.before and not self.setup.state_file.exists()

    def wait(self, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < deadline
            select.select([], [], [], 0.005)

    def close(self) -> None:
        for link in self.links:
            link.process.kill()
            link.process.wait()
            link.hang_up()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.close()


def test_row_3_a_client_that_stands_still_loses_the_fans(desk: Desk) -> None:
    link = desk.hold()
    began_s = time.monotonic()
    desk.wait(lambda: desk.is_as_found)  # This process says nothing: it might as well be stopped.
    assert 2.5 < time.monotonic() - began_s < 8
    assert desk.said(link, "released")["why"] == "the client is silent"
    link.send(do="beat", lease=1, tokens=1)
    assert desk.said(link, "late", "held")["is"] == "late"
    assert desk.is_as_found


def test_row_4_a_grandchild_with_the_pipe_doesnt_keep_the_fans(desk: Desk) -> None:
    link = desk.hold()
    descriptor = link.process.stdin
    assert descriptor is not None
    grandchild = subprocess.Popen(
        ["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=[descriptor.fileno()]
    )
    try:
        link.hang_up()
        desk.wait(lambda: desk.is_as_found)
    finally:
        grandchild.kill()
        grandchild.communicate()
    link.process.wait(PATIENCE_S)


def test_row_10_a_second_guard_is_refused(desk: Desk) -> None:
    link = desk.start()
    second = subprocess.run(
        desk.setup.command(), stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=20
    )
    assert second.returncode == 3
    assert f"process {link.process.pid}" in json.loads(second.stdout)["why"]
    assert guard_pid(desk.setup.state) == link.process.pid


@pytest.mark.parametrize(
    "junk",
    [
        b"x" * 5000,
        b"not json\n",
        b"[1]\n",
        b'"boost"\n',
        b"\xff\xfe\n",
        b'{"do": "rm"}\n',
        b"[" * 1000 + b"\n",
        b'{"do": "boost", "lease": 9, "percent": 100',
    ],
    ids=range(8),
)
@pytest.mark.parametrize("is_held", [False, True])
def test_row_15_a_client_that_talks_nonsense_is_closed_and_the_fans_go_back(
    desk: Desk, junk: bytes, *, is_held: bool
) -> None:
    link = desk.hold() if is_held else desk.start()
    assert link.process.stdin is not None
    os.write(link.process.stdin.fileno(), junk)
    assert desk.said(link, "refused")
    assert link.process.wait(PATIENCE_S) == 0
    assert desk.is_as_found


@pytest.mark.parametrize("size", [1, 2, 7])
def test_row_15_a_slow_writer_is_understood(desk: Desk, size: int) -> None:
    link = desk.start()
    assert link.process.stdin is not None
    message = b'{"do": "boost", "lease": 1, "percent": 100}\n{"do": "auto"}\n'
    for at in range(0, len(message), size):
        os.write(link.process.stdin.fileno(), message[at : at + size])
    assert desk.said(link, "released")["why"] == "asked to"
    assert desk.is_as_found


def test_a_message_may_take_two_seconds_and_no_more() -> None:
    now = [0.0]
    frames = Frames(lambda: now[0])
    assert frames.feed(b'{"do":') == []
    now[0] = 1.9
    assert frames.left_s() == pytest.approx(0.1)
    assert frames.feed(b'"auto"}\n{') == [{"do": "auto"}]
    assert frames.left_s() == 2.0
    with pytest.raises(Refused):
        frames.feed(b"x" * 1025)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGPIPE])
def test_what_a_terminal_sends_doesnt_end_the_guard(desk: Desk, number: int) -> None:
    link = desk.hold()
    link.process.send_signal(number)
    link.send(do="beat", lease=1, tokens=1)
    assert desk.said(link, "held")
    assert not desk.is_as_found


def test_term_gives_back_and_ends(desk: Desk) -> None:
    link = desk.hold()
    link.process.terminate()
    assert desk.said(link, "released")["why"] == "the guard was told to end"
    assert link.process.wait(PATIENCE_S) == 0
    assert desk.is_as_found


def test_it_works_where_every_other_descriptor_is_closed(desk: Desk, tmp_path: Path) -> None:
    """Sudo closes all from 3 up: heartbeats and acks must go by 0 and 1 alone."""
    wrapper = tmp_path / "closing.py"
    wrapper.write_text(
        "import os, sys\nos.closerange(3, 256)\nos.execv(sys.argv[1], sys.argv[1:])\n"
    )
    link = desk.hold(sys.executable, str(wrapper))
    link.send(do="beat", lease=1, tokens=1)
    assert desk.said(link, "held")
    link.hang_up()
    desk.wait(lambda: desk.is_as_found)


def test_in_a_folder_of_hostile_modules_ours_run(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "hostile"
    (folder / "mtplx_tui").mkdir(parents=True)
    for name in ("json.py", "select.py", "fcntl.py", "mtplx_tui/__init__.py"):
        (folder / name).write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\n")
    done = subprocess.run(
        desk.setup.command(),
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": os.defpath},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 0, done.stderr
    assert b'"hello"' in done.stdout
    assert not (tmp_path / "sprung").exists()


def test_it_loads_nothing_but_the_standard_library_and_its_neighbours(desk: Desk) -> None:
    path = desk.setup.command()[2]
    code = (
        "import runpy, sys\n"
        f"sys.argv = [{path!r}, *sys.argv[1:]]\n"
        f"try:\n    runpy.run_path({path!r}, run_name='__main__')\n"
        "except SystemExit:\n    print(*sorted(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, *desk.setup.command()[3:]],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    plain = subprocess.run(
        [sys.executable, "-I", "-c", "import sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.splitlines()[-1].split()) - set(plain.stdout.split())
    strange = {name for name in loaded if name.split(".")[0] not in sys.stdlib_module_names}
    ours = {"guard", "guard_state", "linux", "readings"}
    assert strange == {"mtplx_tui", "mtplx_tui.machine", *(f"mtplx_tui.machine.{n}" for n in ours)}


def test_a_sensor_that_hangs_gives_no_temperature() -> None:
    release = threading.Event()
    celsius = iter([61.0])

    def read() -> float:
        try:
            return next(celsius)
        except StopIteration:
            release.wait(PATIENCE_S)
            return 0.0

    thermometer = Thermometer(read)
    try:
        assert thermometer() == 61.0
        began_s = time.monotonic()
        while thermometer() is not None:
            assert time.monotonic() - began_s < PATIENCE_S
            select.select([], [], [], 0.05)
        assert time.monotonic() - began_s > 2.0
    finally:
        release.set()


def test_a_link_says_when_its_guard_is_gone(desk: Desk) -> None:
    link = desk.hold()
    link.process.kill()
    link.process.wait()
    with pytest.raises(GuardGone):
        link.wait_for(PATIENCE_S, "never")
    with pytest.raises(GuardGone):
        link.send(do="auto")
