from __future__ import annotations

import errno
import os
import resource
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mtplx_tui.chats import lines
from mtplx_tui.chats.desk import COPY, Desk
from mtplx_tui.chats.model import TurnStatus
from mtplx_tui.chats.store import Store
from mtplx_tui.requests import Options
from tests.chats.talk import MODEL, Clock, answer, done, said


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "chats"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def desk(folder: Path, clock: Clock) -> Iterator[Desk]:
    desk = Desk(Store(folder), clock)
    yield desk
    desk.close()


def file_of(folder: Path) -> Path:
    (path,) = folder.glob("*.jsonl")
    return path


def reopened(folder: Path) -> Desk:
    """A desk of a later app, with the newest chat open."""
    later = Desk(Store(folder))
    later.open(later.summaries()[0].id)
    return later


@contextmanager
def files_up_to(size: int) -> Generator[None]:
    """A disk that is full when a file reaches this size."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def full_disk(path: str, flags: int) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


class TestReopening:
    def test_all_comes_back(self, desk: Desk, folder: Path, clock: Clock) -> None:
        desk.set_options(Options(system="Be brief.", temperature=0.0, depth=6, stop=("\n\n",)))
        first = desk.ask("Why?\nReally \ud800 \x85\u2028 𝄞", MODEL)
        desk.apply(said(first.request, "Because.\n", thought="hm\r\n"))
        desk.apply(done(first.request))
        second = desk.regenerate(first.request, MODEL)
        answer(desk, second, "Just", " so")
        clock.passes(5)
        desk.rename(desk.chat.id, "A name")
        desk.select(first.request)
        desk.set_options(Options(depth=2, seed=2**64 - 1))
        before = desk.chat
        desk.close()
        after = reopened(folder).chat
        assert after.options == Options(depth=2, seed=2**64 - 1)
        assert after.turns == before.turns
        assert (after.title, after.leaf) == ("A name", first.request)
        assert (after.branches, after.chosen) == (before.branches, before.chosen)
        assert (after.created, after.changed) == (before.created, before.changed)

    def test_an_answer_without_an_end_is_cut(self, desk: Desk, folder: Path) -> None:
        desk.apply(said(desk.ask("Hi", MODEL).request, "Hel"))
        desk.tick()
        turn = Desk(Store(folder)).read(desk.chat.id).path()[-1]
        assert (turn.status, turn.text) == (TurnStatus.CUT, "Hel")
        assert turn.note == "the app ended"

    def test_text_is_in_the_file_within_a_second(
        self, desk: Desk, folder: Path, clock: Clock
    ) -> None:
        request = desk.ask("Hi", MODEL).request
        for number in range(40):
            desk.apply(said(request, f"{number} "))
            written = Store(folder).read(desk.chat.id).path()[-1].text
            wanted = "".join(f"{old} " for old in range(number - 4))
            assert written.startswith(wanted)
            clock.passes(0.2)

    def test_it_is_not_written_piece_by_piece(self, desk: Desk, folder: Path) -> None:
        request = desk.ask("Hi", MODEL).request
        before = file_of(folder).stat().st_size
        for number in range(100):
            desk.apply(said(request, f"{number} "))
        assert file_of(folder).stat().st_size == before
        desk.tick()
        assert file_of(folder).read_bytes().count(b'"delta"') == 1

    def test_a_clock_set_back_holds_no_text_up(
        self, desk: Desk, folder: Path, clock: Clock
    ) -> None:
        request = desk.ask("Hi", MODEL).request
        desk.apply(said(request, "one "))
        clock.passes(-3600)
        desk.apply(said(request, "two"))
        assert Store(folder).read(desk.chat.id).path()[-1].text == "one two"

    def test_a_list_shows_what_reopening_shows(
        self, desk: Desk, folder: Path, clock: Clock
    ) -> None:
        answer(desk, desk.ask("Why?", MODEL), 'x\n{"is":"renamed","title":"no"}\n')
        clock.passes(3)
        desk.rename(desk.chat.id, "One")
        desk.rename(desk.chat.id, "Two")
        clock.passes(3)
        answer(desk, desk.ask("More", MODEL), "y")
        summary = Store(folder).summaries()[0]
        assert summary == desk.chat.summary()
        assert summary.title == "Two"


class TestTornLine:
    def test_cut_at_any_byte_the_chat_opens_and_goes_on(self, tmp_path: Path) -> None:
        desk = Desk(Store(tmp_path / "whole"), Clock())
        answer(desk, desk.ask("Grüße?", MODEL), "Schön, ", "danke")
        desk.ask("Und?", MODEL)
        desk.close()
        content = file_of(tmp_path / "whole").read_bytes()
        header = content.index(b"\n") + 1
        store = Store(tmp_path / "cut")
        store.folder.mkdir()
        for size in range(header, len(content), 29):
            (store.folder / "c.jsonl").write_bytes(content[:size])
            later = Desk(store, Clock())
            later.open("c")
            kept = later.chat
            assert later.problem == ""
            for turn in kept.turns.values():
                assert desk.chat.turns[turn.id].text.startswith(turn.text)
            answer(later, later.ask("Noch da?", MODEL), "Ja")
            later.close()
            chat = store.read("c")
            assert [turn.text for turn in chat.path()][-2:] == ["Noch da?", "Ja"]
            assert len(chat.turns) == len(kept.turns) + 2

    def test_before_the_first_line_is_whole_there_is_no_chat(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "a.jsonl").write_bytes(b"")
        (folder / "b.jsonl").write_bytes(b'{"is":"created","form')
        store = Store(folder)
        assert store.summaries() == ()
        assert store.problem == ""


class TestBrokenFiles:
    def test_they_are_named_and_hide_no_other(self, desk: Desk, folder: Path) -> None:
        answer(desk, desk.ask("Hi", MODEL), "Hello")
        (folder / "foreign.jsonl").write_bytes(b"\x00\xff\n" * 9)
        (folder / "newer.jsonl").write_bytes(b'{"is":"created","format":2,"at":1}\n')
        (folder / "odd.jsonl").write_bytes(b'{"is":"created","format":1,"at":"x","title":""}\n')
        (folder / "folder.jsonl").mkdir()
        (folder / "notes.txt").write_text("mine")
        assert [summary.title for summary in desk.summaries()] == ["Hi"]
        assert [summary.title for summary in desk.search("hello")] == ["Hi"]
        for name in ("foreign", "newer", "odd", "folder"):
            assert f"{name}.jsonl" in desk.problem
        assert "notes" not in desk.problem

    def test_opening_one_says_why_not_and_leaves_the_open_chat(
        self, desk: Desk, folder: Path
    ) -> None:
        answer(desk, desk.ask("Hi", MODEL), "Hello")
        (folder / "bad.jsonl").write_bytes(b"nonsense\n")
        before = desk.chat
        desk.open("bad")
        assert desk.chat is before
        assert desk.problem == "the chat can't be opened: its first line is not that of a chat"

    @pytest.mark.parametrize("name", ["nowhere", "../outside", "{}/outside", "", ".", "a\0b"])
    def test_no_such_chat(self, desk: Desk, folder: Path, name: str) -> None:
        answer(desk, desk.ask("Hi", MODEL), "Hello")
        outside = folder.parent / "outside.jsonl"
        outside.write_bytes(file_of(folder).read_bytes())
        name = name.format(folder.parent)
        desk.open(name)
        assert desk.problem == "the chat can't be opened: there is no such chat"
        desk.delete(name)
        assert outside.exists()

    @pytest.mark.parametrize(
        "line",
        [
            b"[" * 100_000,
            b'{"is":"turn","at":1,"id":"x","parent":null,"role":"robot","text":"x"}',
            b'{"is":"turn","at":1,"id":5}',
            b'{"is":"delta","at":1,"turn":"nobody","text":"x"}',
            b'{"is":"ended","at":1,"turn":"nobody","status":"done","note":"","facts":{}}',
            b'{"is":"selected","at":1,"turn":"nobody"}',
            b'{"is":"options","at":1,"options":{"depth":true,"mode":"token"}}',
            b'{"is":"something from next year","at":1}',
            b'"text"',
            b"\xff\xfe",
        ],
    )
    def test_a_line_that_says_nothing_costs_nothing(
        self, desk: Desk, folder: Path, line: bytes
    ) -> None:
        answer(desk, desk.ask("Hi", MODEL), "Hello")
        first, rest = file_of(folder).read_bytes().split(b"\n", 1)
        odd = lines.replay(desk.chat.id, b"\n".join([first, line, rest, line]))
        assert odd.turns == desk.chat.turns
        assert odd.leaf == desk.chat.leaf

    def test_a_turn_whose_parent_is_lost_is_still_shown(self, desk: Desk, folder: Path) -> None:
        answer(desk, desk.ask("Hi", MODEL), "Hello")
        answer(desk, desk.ask("More", MODEL), "Yes")
        content = file_of(folder).read_bytes().splitlines(keepends=True)
        chat = lines.replay("c", b"".join(content[:2] + content[3:]))
        assert [turn.text for turn in chat.path()] == ["Hi", "More", "Yes"]


class TestDiskRefuses:
    def test_all_goes_on_in_memory(self, folder: Path, clock: Clock) -> None:
        desk = Desk(Store(folder, full_disk), clock)
        answer(desk, desk.ask("Hi", MODEL), "Hel", "lo")
        assert desk.problem.startswith("chats are kept in memory only: No space left on device")
        first = desk.chat
        desk.new()
        answer(desk, desk.ask("Other", MODEL), "words")
        assert {summary.title for summary in desk.summaries()} == {"Hi", "Other"}
        assert [summary.title for summary in desk.search("hello")] == ["Hi"]
        desk.open(first.id)
        assert desk.chat == first

    def test_what_was_written_before_can_be_read(
        self, desk: Desk, folder: Path, clock: Clock
    ) -> None:
        answer(desk, desk.ask("Hi", MODEL), "Hello")
        desk.close()
        later = Desk(Store(folder, full_disk), clock)
        later.open(later.summaries()[0].id)
        assert later.problem == ""
        later.rename(later.chat.id, "A name")
        assert "memory only" in later.problem
        assert later.chat.title == "A name"

    def test_with_space_again_nothing_is_missing(
        self, desk: Desk, folder: Path, clock: Clock
    ) -> None:
        answer(desk, desk.ask("Hi", MODEL), "Hello")
        size = file_of(folder).stat().st_size
        with files_up_to(size + 100):
            answer(desk, desk.ask("More", MODEL), "Long " * 100)
            assert "memory only" in desk.problem
            assert file_of(folder).read_bytes().endswith(b"\n")
            desk.tick()
            desk.new()
            assert "memory only" in desk.problem
        desk.tick()
        assert desk.problem == ""
        chat = Store(folder).read(desk.summaries()[0].id)
        assert [turn.text for turn in chat.path()] == ["Hi", "Hello", "More", "Long " * 100]
        assert file_of(folder).read_bytes().count(b'"ended"') == 2

    def test_with_space_again_the_open_chat_is_well(
        self, desk: Desk, folder: Path, clock: Clock
    ) -> None:
        answer(desk, desk.ask("Hi", MODEL), "Hello")
        with files_up_to(file_of(folder).stat().st_size):
            desk.rename(desk.chat.id, "A name")
            assert "memory only" in desk.problem
        desk.tick()
        assert desk.problem == ""
        assert Store(folder).read(desk.chat.id).title == "A name"

    def test_a_file_taken_away_is_written_anew(self, desk: Desk, folder: Path) -> None:
        answer(desk, desk.ask("Hi", MODEL), "Hello")
        file_of(folder).unlink()
        answer(desk, desk.ask("More", MODEL), "Yes")
        assert desk.problem == ""
        assert Store(folder).read(desk.chat.id).turns == desk.chat.turns

    def test_a_file_instead_of_the_folder(self, tmp_path: Path, clock: Clock) -> None:
        (tmp_path / "chats").write_text("in the way")
        desk = Desk(Store(tmp_path / "chats"), clock)
        assert desk.summaries() == ()
        answer(desk, desk.ask("Hi", MODEL), "Hello")
        assert "memory only" in desk.problem
        assert desk.chat.path()[-1].text == "Hello"


class TestTwoApps:
    def test_the_second_gets_a_copy(self, desk: Desk, folder: Path, clock: Clock) -> None:
        answer(desk, desk.ask("Hi", MODEL), "Hello")
        second = Desk(Store(folder), clock)
        second.open(desk.chat.id)
        assert second.problem == COPY
        assert second.chat.title == "Hi (copy)"
        assert second.chat.turns == desk.chat.turns
        assert len(second.summaries()) == 1
        answer(second, second.ask("Mine", MODEL), "Yes")
        answer(desk, desk.ask("Yours", MODEL), "No")
        assert second.problem == ""
        by_title = {s.title: Store(folder).read(s.id) for s in Store(folder).summaries()}
        assert [turn.text for turn in by_title["Hi"].path()] == ["Hi", "Hello", "Yours", "No"]
        copy = by_title["Hi (copy)"]
        assert [turn.text for turn in copy.path()] == ["Hi", "Hello", "Mine", "Yes"]
        assert copy.turns == second.chat.turns
        second.close()

    def test_the_second_neither_renames_nor_deletes_it(
        self, desk: Desk, folder: Path, clock: Clock
    ) -> None:
        answer(desk, desk.ask("Hi", MODEL), "Hello")
        content = file_of(folder).read_bytes()
        second = Desk(Store(folder), clock)
        second.rename(desk.chat.id, "Other")
        assert second.problem == "the chat can't be renamed: open in another window"
        second.delete(desk.chat.id)
        assert second.problem == "the chat can't be deleted: open in another window"
        assert file_of(folder).read_bytes() == content
        assert [summary.title for summary in second.summaries()] == ["Hi"]

    def test_the_second_sees_what_the_first_writes(
        self, desk: Desk, folder: Path, clock: Clock
    ) -> None:
        answer(desk, desk.ask("Hi", MODEL), "Hello")
        second = Desk(Store(folder), clock)
        assert second.search("more") == ()
        answer(desk, desk.ask("More", MODEL), "Yes")
        assert len(second.search("more")) == 1
        desk.rename(desk.chat.id, "Other")
        assert [summary.title for summary in second.summaries()] == ["Other"]

    def test_closed_in_the_first_it_opens_in_the_second(
        self, desk: Desk, folder: Path, clock: Clock
    ) -> None:
        answer(desk, desk.ask("Hi", MODEL), "Hello")
        chat = desk.chat
        desk.new()
        second = Desk(Store(folder), clock)
        second.open(chat.id)
        assert second.problem == ""
        assert second.chat.id == chat.id
        second.close()
