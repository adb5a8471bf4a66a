"""The client's end of the fan guard: how it is started here, and the lines that go to and fro.

Knows no rule: what may be done with the fans is the guard's own matter.
"""

from __future__ import annotations

import json
import os
import select
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from mtplx_tui.machine import watchdog
from mtplx_tui.machine.guard_state import guard_pid

__all__ = ["GuardGone", "GuardLink", "GuardSetup", "Message", "find_setup", "guard_pid", "start"]

Message = dict[str, object]
END_WAIT_S = 2.0


class GuardGone(ConnectionError):
    """The guard's process is not there any more."""


@dataclass(frozen=True, slots=True)
class GuardSetup:
    """How a guard is started on this machine."""

    backend: str
    root: str
    state: Path
    """Its folder."""
    needs_root: bool

    @property
    def state_file(self) -> Path:
        """There while fans are held, or were not given back."""
        return self.state / "fans.json"

    def command(self, *, may_ask: bool = True) -> list[str]:
        """Return the exact command.

        Args:
            may_ask: whether sudo may ask for a password.
        """
        path = str(Path(watchdog.__file__).resolve())
        own = [sys.executable, "-I", path, self.backend, self.root, str(self.state)]
        if not self.needs_root:
            return own
        return ["sudo", *([] if may_ask else ["-n"]), *own]

    def shown_command(self) -> str:
        """Return the command as a person would type it."""
        return shlex.join(self.command())


def find_setup(sysfs: Path | None, folder: Path) -> GuardSetup:
    """Return how a guard is started here.

    Args:
        sysfs: the tree to use in place of the machine's own; None for the machine's own.
        folder: for the guard's state where it needs no other user's rights.
    """
    is_root = os.geteuid() == 0
    if sysfs is None and sys.platform == "darwin":
        return GuardSetup("smc", "/", Path("/var/run/mtplx-tui"), needs_root=not is_root)
    root = Path("/sys") if sysfs is None else sysfs
    needs_root = not is_root and _is_closed(root)
    state = Path("/run/mtplx-tui") if needs_root or (is_root and sysfs is None) else folder
    return GuardSetup("sysfs", os.path.realpath(root), state, needs_root)


def _is_closed(root: Path) -> bool:
    """Whether there are fans that can be set, and one of them not by this user."""
    found = list(root.glob("class/hwmon/*/pwm*_enable"))
    return not all(os.access(path, os.W_OK) for path in found)


def start(setup: GuardSetup, *, may_ask: bool = True) -> subprocess.Popen[bytes]:
    """Start a guard.

    Under sudo it stays in this session, so that sudo can ask on the terminal; it leaves by itself.

    Raises:
        OSError: it can't be started.
    """
    if setup.needs_root and shutil.which("sudo") is None:
        raise FileNotFoundError("setting fans needs root, and there is no sudo here")
    return subprocess.Popen(
        setup.command(may_ask=may_ask),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=not (setup.needs_root and may_ask),
    )


class GuardLink:
    """A guard's two pipes. Only `wait_for` and `close` wait.

    Args:
        process: a guard, with pipes.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self._input, self._output = process.stdin, process.stdout
        os.set_blocking(self._output.fileno(), False)
        os.set_blocking(self._input.fileno(), False)
        self._rest = b""
        self._waiting: list[Message] = []
        """Came with a message that was waited for, and are next."""

    def fileno(self) -> int:
        """Return the descriptor that answers come on."""
        return self._output.fileno()

    def send(self, **message: object) -> None:
        """Write a message. Raises GuardGone where nobody takes it."""
        try:
            os.write(self._input.fileno(), json.dumps(message).encode("utf-8") + b"\n")
        except (OSError, ValueError) as error:
            raise GuardGone("the fan guard doesn't listen") from error

    def read(self) -> list[Message]:
        """Return the messages that are there. Raises GuardGone at their end."""
        if self._waiting:
            messages, self._waiting = self._waiting, []
            return messages
        try:
            data = os.read(self._output.fileno(), 1 << 16)
        except BlockingIOError:
            return []
        except (OSError, ValueError) as error:
            raise GuardGone("the fan guard is gone") from error
        if not data:
            raise GuardGone("the fan guard is gone")
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def wait_for(self, timeout_s: float, *kinds: str) -> Message | None:
        """Return the next message of some kinds; None in time. Raises GuardGone."""
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            if not self._waiting:
                select.select([self], [], [], left_s)
            messages = self.read()
            for at, message in enumerate(messages, 1):
                if message.get("is") in kinds:
                    self._waiting = messages[at:]
                    return message
        return None

    def hang_up(self) -> None:
        """Close the pipes: the guard gives back what it holds, and ends."""
        for pipe in (self._input, self._output):
            try:
                pipe.close()
            except OSError:
                continue

    def close(self, wait_s: float = END_WAIT_S) -> bool:
        """Hang up and wait for the end; whether it came. A guard with work left is let be."""
        self._input.close()
        try:
            self.process.wait(wait_s)
        except subprocess.TimeoutExpired:
            return False
        finally:
            self._output.close()
        return True
