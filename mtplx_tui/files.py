"""Where the app's files are, and the one way a whole file is written or a log is opened.

Knows no setting and reads no environment: `config.find_places` fills the folders in.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "MOST_BYTES",
    "Places",
    "open_log",
    "read_whole",
    "reason",
    "trouble",
    "write_atomically",
]

LOG_BYTES = 1_000_000
"""A longer log is put aside as `.1` before a new one begins."""
MOST_BYTES = 64_000_000
"""Of a text that is read whole: far more than any model's context, and no danger to the memory."""


@dataclass(frozen=True, slots=True)
class Places:
    """The app's folders. None of them need exist; whoever writes makes them."""

    config: Path
    data: Path
    cache: Path
    """What can be made again."""

    @property
    def config_file(self) -> Path:
        """The settings."""
        return self.config / "config.toml"

    @property
    def themes(self) -> Path:
        """A person's own palettes, one file each."""
        return self.config / "themes"

    @property
    def keymap_file(self) -> Path:
        """The keys a person chose."""
        return self.config / "keymap.toml"

    @property
    def chats(self) -> Path:
        """One file a chat."""
        return self.data / "chats"

    @property
    def traces(self) -> Path:
        """Recorded events."""
        return self.data / "traces"

    @property
    def bench(self) -> Path:
        """Results of measurements."""
        return self.data / "bench"

    @property
    def models(self) -> Path:
        """Models a person put here."""
        return self.data / "models"

    @property
    def state(self) -> Path:
        """What the app notes for itself."""
        return self.data / "state"

    @property
    def bookmark(self) -> Path:
        """Where a person was when the app was left."""
        return self.state / "bookmark.json"

    @property
    def setup(self) -> Path:
        """How far the set-up is."""
        return self.state / "setup.json"

    @property
    def downloads(self) -> Path:
        """Downloads that are not done."""
        return self.state / "downloads.json"

    @property
    def certificates(self) -> Path:
        """What models were proven to be here."""
        return self.state / "certificates"

    @property
    def logs(self) -> Path:
        """Logs of the app and the engine."""
        return self.state / "logs"


def open_log(path: Path) -> int:
    """Return a descriptor that appends to a log; where it can't be written, one that drops all."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > LOG_BYTES:
            path.replace(path.with_name(f"{path.name}.1"))
        return os.open(path, flags, 0o600)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


def read_whole(path: Path, encoding: str = "utf-8") -> str:
    """Return a file's text.

    Raises:
        OSError: it can't be read, or has more than MOST_BYTES; a device may have no end.
        UnicodeDecodeError: it is no text in this encoding.
    """
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return content.decode(encoding)


def reason(error: Exception) -> str:
    """Return what went wrong, of an OSError without the path."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


def trouble(error: Exception) -> str:
    """Return what went wrong, of an OSError with the file that it names."""
    where = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
    return f"{where}{reason(error)}"


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that at any moment the old or the new one is there, whole.

    A symbolic link is followed: what it points to is replaced. Missing folders are made, and
    the mode of a file that was there is kept.

    Raises:
        OSError: it could not be written, by its own name; the old file is untouched.
        UnicodeEncodeError: the text holds broken characters; likewise.
    """
    content = text.encode("utf-8")
    path = path.resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, content)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name[:100]}.{os.urandom(6).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(beside, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), _mode_for(path))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _mode_for(path: Path) -> int:
    try:
        return path.stat().st_mode & 0o777
    except OSError:
        return 0o600
