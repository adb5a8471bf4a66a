"""The bookmark: kept whole, read back, one app at a time, and no harm in a broken one."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest

from mtplx_tui.bookmark import Bookmark, BookmarkFile
from mtplx_tui.files import write_atomically

PLACE = Bookmark("speculation", "chat-1", "t9", 3, "half a thöught 👩‍🚀", "t3", "another")


def keep(path: Path, place: Bookmark) -> None:
    file = BookmarkFile(path)
    file.now = place
    file.close()


def test_what_was_kept_is_found_again(tmp_path: Path) -> None:
    keep(tmp_path / "state" / "b.json", PLACE)
    assert BookmarkFile(tmp_path / "state" / "b.json").now == PLACE


def test_without_a_file_one_begins_afresh_and_nothing_is_wrong(tmp_path: Path) -> None:
    file = BookmarkFile(tmp_path / "b.json")
    assert (file.now, file.problem, file.is_waiting) == (Bookmark(), "", False)
    file.close()
    assert not (tmp_path / "b.json").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"{}",
        json.dumps({**asdict(PLACE), "row": "3"}).encode(),
        json.dumps({**asdict(PLACE), "row": True}).encode(),
        json.dumps({**asdict(PLACE), "draft": None}).encode(),
        b'{"tab": 1e999}',
    ],
)
def test_a_broken_file_is_a_fresh_start_and_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "b.json").write_bytes(content)
    file = BookmarkFile(tmp_path / "b.json")
    assert file.now == Bookmark()
    assert file.problem.endswith("b.json: it is damaged")
    assert "\n" not in file.problem
    file.now = PLACE
    file.close()
    assert BookmarkFile(tmp_path / "b.json").now == PLACE


def test_a_second_app_begins_afresh_and_leaves_the_file_alone(tmp_path: Path) -> None:
    keep(tmp_path / "b.json", PLACE)
    first = BookmarkFile(tmp_path / "b.json")
    second = BookmarkFile(tmp_path / "b.json")
    assert second.now == Bookmark()
    second.now = Bookmark(draft="mine")
    assert not second.is_waiting
    second.close()
    first.close()
    assert BookmarkFile(tmp_path / "b.json").now == PLACE


def test_where_it_is_not_wanted_nothing_is_read_or_written(tmp_path: Path) -> None:
    keep(tmp_path / "b.json", PLACE)
    file = BookmarkFile(tmp_path / "b.json", is_wanted=False)
    assert file.now == Bookmark()
    file.now = Bookmark(draft="secret")
    file.close()
    assert "secret" not in (tmp_path / "b.json").read_text("utf-8")


def test_a_full_disk_is_told_and_the_file_of_before_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(tmp_path / "b.json", PLACE)
    file = BookmarkFile(tmp_path / "b.json")
    file.now = Bookmark(draft="more")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        file.write()
    assert "No space left" in file.problem
    assert json.loads((tmp_path / "b.json").read_text("utf-8")) == asdict(PLACE)


@contextmanager
def slow_disk(file: BookmarkFile, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Have a thread be writing, and a disk that takes it only a while after the block began."""
    is_writing, takes_it = threading.Event(), threading.Event()

    def slowly(path: Path, text: str) -> None:
        if not is_writing.is_set():
            is_writing.set()
            takes_it.wait()
        write_atomically(path, text)

    monkeypatch.setattr("mtplx_tui.bookmark.write_atomically", slowly)
    writer = threading.Thread(target=file.write)
    writer.start()
    is_writing.wait()
    waker = threading.Timer(0.2, takes_it.set)
    waker.start()
    yield
    waker.join()
    writer.join()


def test_what_was_being_written_never_lands_on_the_last_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = BookmarkFile(tmp_path / "b.json")
    file.now = Bookmark(draft="half")
    with slow_disk(file, monkeypatch):
        file.now = Bookmark(draft="half an hour")
        file.close()
    assert BookmarkFile(tmp_path / "b.json").now.draft == "half an hour"


def test_the_file_is_let_go_of_when_what_was_being_written_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = BookmarkFile(tmp_path / "b.json")
    file.now = PLACE
    with slow_disk(file, monkeypatch):
        file.close()
        assert BookmarkFile(tmp_path / "b.json").now == PLACE
