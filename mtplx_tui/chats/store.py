"""Chats on disk: a folder with one append-only file a chat.

A file that is open for writing is locked, so that a second app can read but not write it. The
lock ends with the process, whatever ends that.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Callable, Collection
from pathlib import Path

from mtplx_tui.chats import lines
from mtplx_tui.chats.lines import BrokenChat
from mtplx_tui.chats.model import Chat, Summary
from mtplx_tui.files import reason

__all__ = ["BrokenChat", "ChatBusy", "Journal", "Opener", "Store", "searchable"]

SUFFIX = ".jsonl"
SEARCHED_CHARACTERS = 64 * 2**20
"""About so much text is held for the next search."""

Opener = Callable[[str, int], int]
"""Opens a path with flags and returns its descriptor, as `os.open` does."""
_Signature = tuple[int, int]


class ChatBusy(OSError):
    """Another app writes this chat."""


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _lock(descriptor: int, path: Path) -> None:
    """Lock a file for this process. Raises ChatBusy if another has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ChatBusy(errno.EBUSY, "open in another window", str(path)) from error
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL):
            raise


class Journal:
    """The end of one chat's file, where lines are appended. What can't be written waits."""

    def __init__(self, path: Path, opener: Opener, descriptor: int | None, *, is_new: bool):
        self._path = path
        self._opener = opener
        self._descriptor = descriptor
        self._is_new = is_new
        self._waiting: list[bytes] = []
        self._is_torn = descriptor is not None and _ends_torn(descriptor)

    @property
    def is_waiting(self) -> bool:
        """Whether lines are not in the file yet."""
        return bool(self._waiting)

    def add(self, *new: bytes) -> None:
        """Put lines behind those that wait."""
        self._waiting.extend(new)

    def flush(self, *, to_disk: bool = False) -> None:
        """Write what waits.

        Args:
            to_disk: also wait until the disk has it.

        Raises:
            FileNotFoundError: the file was taken away; what it held is gone.
            OSError: not all could be written; it goes on waiting.
        """
        if not self._waiting:
            return
        descriptor = self._opened()
        if os.fstat(descriptor).st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, "the chat's file is gone", str(self._path))
        content = b"".join(self._waiting)
        self._append(descriptor, b"\n" + content if self._is_torn else content)
        self._is_torn = False
        self._waiting.clear()
        if to_disk:
            os.fsync(descriptor)

    def close(self) -> None:
        """Let go of the file and its lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _opened(self) -> int:
        if self._descriptor is None:
            flags = os.O_RDWR | os.O_APPEND
            if self._is_new:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                flags |= os.O_CREAT | os.O_EXCL
            descriptor = self._opener(str(self._path), flags)
            self._is_new = False
            try:
                _lock(descriptor, self._path)
            except OSError:
                os.close(descriptor)
                raise
            self._descriptor = descriptor
            self._is_torn = _ends_torn(descriptor)
        return self._descriptor

    def _append(self, descriptor: int, content: bytes) -> None:
        """Write all of it, or leave the file as it was and raise OSError."""
        size = os.fstat(descriptor).st_size
        view = memoryview(content)
        try:
            while view:
                view = view[os.write(descriptor, view) :]
        except OSError:
            self._take_back(descriptor, size)
            raise

    def _take_back(self, descriptor: int, size: int) -> None:
        try:
            os.ftruncate(descriptor, size)
        except OSError:
            self._is_torn = True


def _ends_torn(descriptor: int) -> bool:
    """Whether a file's last line has no end: the next one must not go on with it."""
    size = os.fstat(descriptor).st_size
    return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"


class Store:
    """The folder of chats. It is made with the first chat that is written.

    Args:
        folder: where the files are.
        opener: opens files for writing.
    """

    def __init__(self, folder: Path, opener: Opener = _open) -> None:
        self.folder = folder
        self.problem = ""
        """Files that the last listing could not read; empty when all is well."""
        self._opener = opener
        self._summaries: dict[str, tuple[_Signature, Summary]] = {}
        self._texts: dict[str, tuple[_Signature, str]] = {}

    def summaries(self) -> tuple[Summary, ...]:
        """Return the chats, newest first. What can't be read is named in `problem`."""
        found: list[Summary] = []
        broken: list[str] = []
        for chat_id, signature in self._files(broken):
            known = self._summaries.get(chat_id)
            if known is None or known[0] != signature:
                try:
                    content = self._path(chat_id).read_bytes()
                    # Without one whole line it is a chat whose first write never ended.
                    if b"\n" not in content:
                        continue
                    known = signature, lines.glance(chat_id, content)
                except (OSError, BrokenChat) as error:
                    broken.append(f"{chat_id}{SUFFIX} ({reason(error)})")
                    continue
                self._summaries[chat_id] = known
            found.append(known[1])
        self.problem = f"can't be read in {self.folder}: {', '.join(broken)}" if broken else ""
        return tuple(sorted(found, key=lambda summary: summary.changed, reverse=True))

    def search(self, text: str, leaving_out: Collection[str] = ()) -> tuple[Summary, ...]:
        """Return the chats with a text in their title or turns, whatever its case."""
        wanted = text.casefold()
        return tuple(
            summary
            for summary in self.summaries()
            if summary.id not in leaving_out and self._holds(summary, wanted)
        )

    def read(self, chat_id: str) -> Chat:
        """Return a chat as its file has it.

        Raises:
            OSError: there is no such file, or it can't be read.
            BrokenChat: it is no chat.
        """
        return lines.replay(chat_id, self._path(chat_id).read_bytes())

    def open(self, chat_id: str) -> tuple[Chat, Journal]:
        """Return a chat and its journal; the file is locked until that is closed.

        A file that can be read but not written is opened all the same; writing to it will fail.

        Raises:
            ChatBusy: another app writes it.
            OSError: there is no such file, or it can't be read.
            BrokenChat: it is no chat.
        """
        path = self._path(chat_id)
        try:
            descriptor = self._opener(str(path), os.O_RDWR | os.O_APPEND)
        except FileNotFoundError as error:
            raise _no_such_chat(chat_id) from error
        except OSError:
            return self.read(chat_id), Journal(path, self._opener, None, is_new=False)
        try:
            _lock(descriptor, path)
            chat = self.read(chat_id)
            return chat, Journal(path, self._opener, descriptor, is_new=False)
        except (OSError, BrokenChat):
            os.close(descriptor)
            raise

    def new_journal(self, chat_id: str) -> Journal:
        """Return the journal of a chat that has no file; the first flush makes it."""
        return Journal(self._path(chat_id), self._opener, None, is_new=True)

    def delete(self, chat_id: str) -> None:
        """Take a chat's file away; nothing happens where there is none.

        Raises:
            ChatBusy: another app writes it.
            OSError: it can't be taken away.
        """
        path = self._path(chat_id)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            _lock(descriptor, path)
            path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)

    def _path(self, chat_id: str) -> Path:
        if not re.fullmatch(r"[\w-][\w.-]*", chat_id):
            raise _no_such_chat(chat_id)
        return self.folder / f"{chat_id}{SUFFIX}"

    def _files(self, broken: list[str]) -> list[tuple[str, _Signature]]:
        """Return the ids of the files there and what changes when a file does."""
        found: list[tuple[str, _Signature]] = []
        try:
            with os.scandir(self.folder) as entries:
                for entry in entries:
                    stem, dot, suffix = entry.name.rpartition(".")
                    if stem and not stem.startswith(".") and dot + suffix == SUFFIX:
                        status = entry.stat()
                        found.append((stem, (status.st_mtime_ns, status.st_size)))
        except FileNotFoundError:
            return found
        except OSError as error:
            broken.append(reason(error))
        return found

    def _holds(self, summary: Summary, wanted: str) -> bool:
        if wanted in summary.title.casefold():
            return True
        signature, _ = self._summaries[summary.id]
        known = self._texts.get(summary.id)
        if known is None or known[0] != signature:
            try:
                texts = lines.texts(self._path(summary.id).read_bytes())
            except (OSError, BrokenChat):
                return False
            known = signature, "\0".join(texts).casefold()
            if sum(len(text) for _, text in self._texts.values()) < SEARCHED_CHARACTERS:
                self._texts[summary.id] = known
        return wanted in known[1]


def _no_such_chat(chat_id: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "there is no such chat", chat_id)


def searchable(chat: Chat) -> str:
    """Return what a search looks at, in folded case."""
    return "\0".join([chat.title, *(turn.text for turn in chat.turns.values())]).casefold()
