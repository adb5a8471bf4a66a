"""What the fan guard keeps on disk: the lock, and how the fans were found before they were touched.

Standard library only.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from pathlib import Path

__all__ = ["SCHEMA", "Refused", "StateFile", "boot_id", "guard_pid", "started_at"]

SCHEMA = 1


class Refused(Exception):
    """The guard won't do it; the message is one line."""


def boot_id() -> str:
    """Return what names this boot of the machine; empty where nothing does."""
    if sys.platform == "darwin":
        return _output("/usr/sbin/sysctl", "-n", "kern.bootsessionuuid")
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def started_at(pid: int) -> str:
    """Return when a process started, in the system's own words; empty when there is none."""
    if sys.platform == "darwin":
        return _output("/bin/ps", "-o", "lstart=", "-p", str(pid))
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _output(*command: str) -> str:
    import subprocess

    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=5)
    return done.stdout.strip()


class StateFile:
    """The lock, and the file that tells how the fans were found.

    Args:
        folder: made if missing; must belong to this user, and no other may write in it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "fans.json"
        self._folder = folder
        self._lock: int | None = None

    def lock(self) -> None:
        """Become the only guard. Raises Refused or OSError."""
        self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        status = self._folder.lstat()
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise Refused(f"{self._folder} must belong to the guard's user and to nobody else")
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._lock = os.open(self._folder / "fans.lock", flags, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(self._lock, 20).decode("ascii", "replace").strip()
            os.close(self._lock)
            self._lock = None
            raise Refused(f"another fan guard runs (process {owner or 'unknown'})") from error
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode("ascii"), 0)

    def read(self) -> dict[str, object] | None:
        """Return what the file tells; None where there is none.

        Raises:
            Refused: it can't be understood.
        """
        try:
            content = json.loads(self.path.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise Refused(f"{self.path} can't be read: {error}") from error
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise Refused(f"{self.path} is not of this version")
        return content

    def write(self, content: dict[str, object]) -> None:
        """Write the file so that it outlives a crash of the machine."""
        beside = self.path.with_suffix(".new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        handle = os.open(beside, flags, 0o644)
        try:
            os.write(handle, json.dumps(content).encode("utf-8"))
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(beside, self.path)
        self._sync_folder()

    def remove(self) -> None:
        """Take the file away."""
        self.path.unlink(missing_ok=True)
        self._sync_folder()

    def _sync_folder(self) -> None:
        handle = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def guard_pid(folder: Path) -> int | None:
    """Return the process that holds the lock in a folder; None where none does."""
    try:
        handle = os.open(folder / "fans.lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        owner = os.read(handle, 20).decode("ascii", "replace").strip()
        return int(owner) if owner.isdecimal() else 0
    finally:
        os.close(handle)
    return None
