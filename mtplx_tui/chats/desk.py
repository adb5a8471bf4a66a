"""The desk: the open conversation, the answers being written, and their record on disk.

Makes the commands that ask the engine and applies the events that answer. Chats that were left
while an answer runs go on. When the disk refuses, all goes on in memory, `problem` says so,
and what waits is written as soon as it can be. Knows no screen and no process.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from engine.protocol import ChatMessage, Event, Generate, ModelInfo, Role
from mtplx_tui import requests, view
from mtplx_tui.chats import lines
from mtplx_tui.chats.lines import BrokenChat
from mtplx_tui.chats.model import Chat, Summary, Turn, TurnStatus
from mtplx_tui.chats.record import Record, Stream
from mtplx_tui.chats.store import ChatBusy, Store, searchable
from mtplx_tui.files import reason
from mtplx_tui.requests import Options
from mtplx_tui.view import EngineView, RequestView

__all__ = ["Desk"]

COPY = "open in another window: this is a copy, kept from its next question on"


class Desk:
    """Holds the open chat; every change of a chat goes through here.

    Args:
        store: where chats are kept.
        clock: seconds since 1970.
        options: of the first chat, and what the next ones begin with.
    """

    def __init__(
        self,
        store: Store,
        clock: Callable[[], float] = time.time,
        options: Options | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._refused = ""
        self.defaults = options or Options()
        """Of new chats, but for depth and mode, which stay as they are in the chat before."""
        self._records: dict[str, Record] = {}
        self._open = self._new_record(options or Options())

    @property
    def chat(self) -> Chat:
        """The open chat."""
        return self._open.chat

    @property
    def running(self) -> str | None:
        """The request that answers in the open chat; None if nothing does."""
        return next(iter(self._open.streams), None)

    @property
    def unkept(self) -> str:
        """Why something is in memory only, tried once more; empty where all is on disk."""
        for record in self._records.values():
            record.flush(self._clock())
        return next((r.trouble for r in self._records.values() if r.trouble), "")

    @property
    def problem(self) -> str:
        """What is wrong with the record on disk, one line; empty when all is well."""
        trouble = next((r.trouble for r in self._records.values() if r.trouble), "")
        copy = COPY if self._open.is_copy and self._open.is_unwritten else ""
        return trouble or self._refused or copy or self._store.problem

    def new(self) -> None:
        """Open a new chat; depth and mode stay. It gets a file with its first question."""
        self._refused = ""
        self._turn_to(self._new_record(self._options_after(self.chat.options)))

    def open(self, chat_id: str) -> None:
        """Open a chat; where that can't be, `problem` says why and the open one stays.

        A chat that another app has open is opened as a copy.
        """
        record = self._found(chat_id, "opened")
        if record is not None:
            self._turn_to(record)

    def reopen(self, chat_id: str) -> bool:
        """Open a chat that was open before; False, and nothing more, where it can't be had."""
        try:
            chat, journal = self._store.open(chat_id)
        except (OSError, BrokenChat):
            return False
        record = self._records[chat_id] = Record(self._store, chat, journal, is_unwritten=False)
        self._turn_to(record)
        return True

    def read(self, chat_id: str) -> Chat:
        """Return any chat, to be exported for instance.

        Raises:
            OSError: there is no such file, or it can't be read.
            BrokenChat: it is no chat; a ValueError.
        """
        record = self._records.get(chat_id)
        return record.chat if record is not None else self._store.read(chat_id)

    def rename(self, chat_id: str, title: str) -> None:
        """Give a chat another title; where that can't be, `problem` says why."""
        record = self._found(chat_id, "renamed")
        if record is None:
            return
        if record.chat.id == chat_id:
            now, title = self._clock(), " ".join(title.split())
            record.chat = replace(record.chat, title=title, changed=now)
            record.write(now, lines.renamed(title, now))
        else:
            self._refused = "the chat can't be renamed: open in another window"
        self._settle(record)

    def delete(self, chat_id: str) -> None:
        """Delete a chat and its file; where that can't be, `problem` says why."""
        self._refused = ""
        record = self._records.get(chat_id)
        if record is not None:
            record.journal.close()
        try:
            self._store.delete(chat_id)
        except OSError as error:
            self._refused = f"the chat can't be deleted: {reason(error)}"
            return
        if record is not None:
            del self._records[chat_id]
        if record is self._open:
            self._open = self._new_record(self._options_after(record.chat.options))

    def summaries(self) -> tuple[Summary, ...]:
        """Return all chats, newest first; a new one without a question is none yet."""
        on_disk = [s for s in self._store.summaries() if s.id not in self._records]
        return _newest_first([*on_disk, *(record.chat.summary() for record in self._listed())])

    def search(self, text: str) -> tuple[Summary, ...]:
        """Return the chats with a text in their title or turns, newest first."""
        on_disk = self._store.search(text, leaving_out=self._records)
        wanted = text.casefold()
        here = (r.chat for r in self._listed() if wanted in searchable(r.chat))
        return _newest_first([*on_disk, *(chat.summary() for chat in here)])

    def ask(self, text: str, model: ModelInfo) -> Generate:
        """Ask a question behind the branch shown.

        Returns:
            The command to send; its request is the id of the turn that will be the answer.

        Raises:
            ValueError: an answer is being written, or nothing was asked; one line.
        """
        return self._ask(self._question(text, self.chat.leaf), model)

    def edit(self, turn_id: str, text: str, model: ModelInfo) -> Generate:
        """Ask another wording of a question, as its sibling. Returns and raises as `ask`."""
        old = self._turn(turn_id, Role.USER)
        return self._ask(self._question(text, old.parent), model)

    def regenerate(self, turn_id: str, model: ModelInfo) -> Generate:
        """Ask for another answer, as a sibling of this one. Returns and raises as `ask`.

        Args:
            turn_id: an answer, or a question that is to be answered anew.
            model: what is loaded.
        """
        turn = self._turn(turn_id)
        parent = turn.parent if turn.role is Role.ASSISTANT else turn.id
        if parent is None:
            raise ValueError("there is no question before this answer")
        return self._ask(self._turn(parent), model)

    def select(self, turn_id: str) -> None:
        """Show the branch through a turn, below it the one that was shown there last.

        Raises:
            ValueError: there is no such turn.
        """
        self._turn(turn_id)
        now = self._clock()
        self._open.chat = self.chat.showing(turn_id, now)
        self._open.write(now, lines.selected(turn_id, now))

    def set_options(self, options: Options) -> None:
        """Choose what the next answers of the open chat are made with."""
        if options != self.chat.options:
            self._open.chat = replace(self.chat, options=options)
            self._open.has_new_options = True

    def apply(self, event: Event) -> bool:
        """Take an event of the engine. Returns whether the open chat changed."""
        request = str(getattr(event, "request", ""))
        record = next((r for r in self._records.values() if request in r.streams), None)
        if record is None:
            return False
        stream = record.streams[request]
        after = view.apply(EngineView(requests=(stream.view,)), event).request(request)
        if after is None or after is stream.view:
            return False
        has_changed = record.follow(stream, after, self._clock())
        self._settle(record)
        return has_changed and record is self._open

    def is_writing(self, request: str) -> bool:
        """Whether an answer in one of the chats is being written under this name."""
        return any(request in record.streams for record in self._records.values())

    def engine_died(self) -> None:
        """Mark every answer being written as cut."""
        for record in list(self._records.values()):
            for stream in list(record.streams.values()):
                record.follow(stream, replace(stream.view, was_cut=True), self._clock())
            self._settle(record)

    def tick(self) -> None:
        """Write what is not on disk yet; to be called twice a second."""
        for record in list(self._records.values()):
            record.flush(self._clock())
            self._settle(record)

    def close(self) -> None:
        """Write what is not on disk yet and let go of the files."""
        for record in self._records.values():
            record.flush(self._clock(), to_disk=True)
            record.journal.close()

    def _new_record(self, options: Options) -> Record:
        now = self._clock()
        chat = Chat(_new_chat_id(now), created=now, changed=now, options=options)
        return self._unwritten(chat)

    def _options_after(self, old: Options) -> Options:
        return replace(self.defaults, depth=old.depth, mode=old.mode)

    def _unwritten(self, chat: Chat) -> Record:
        journal = self._store.new_journal(chat.id)
        record = Record(self._store, chat, journal, is_unwritten=True)
        self._records[chat.id] = record
        return record

    def _found(self, chat_id: str, action: str) -> Record | None:
        """Return a chat's record, or that of a copy if another app has the chat."""
        self._refused = ""
        known = self._records.get(chat_id)
        if known is not None:
            return known
        try:
            try:
                chat, journal = self._store.open(chat_id)
            except ChatBusy:
                return self._copied(self._store.read(chat_id))
        except (OSError, BrokenChat) as error:
            self._refused = f"the chat can't be {action}: {reason(error)}"
            return None
        record = self._records[chat_id] = Record(self._store, chat, journal, is_unwritten=False)
        return record

    def _copied(self, chat: Chat) -> Record:
        chat_id = _new_chat_id(self._clock())
        record = self._unwritten(replace(chat, id=chat_id, title=f"{chat.title} (copy)"))
        record.is_copy = True
        return record

    def _turn_to(self, record: Record) -> None:
        left, self._open = self._open, record
        left.flush(self._clock())
        self._settle(left)

    def _settle(self, record: Record) -> None:
        """Let go of a chat that is not open, and in which nothing is under way."""
        if record is not self._open and record.is_idle:
            record.journal.close()
            self._records.pop(record.chat.id, None)

    def _listed(self) -> Iterable[Record]:
        return (record for record in self._records.values() if record.is_listed)

    def _turn(self, turn_id: str, role: Role | None = None) -> Turn:
        turn = self.chat.turns.get(turn_id)
        if turn is None or role not in (None, turn.role):
            raise ValueError(f"there is no {role or 'turn'} {turn_id} in this chat")
        return turn

    def _question(self, text: str, parent: str | None) -> Turn:
        if not text.strip():
            raise ValueError("there is nothing to ask")
        return Turn(_new_turn_id(), parent, Role.USER, text)

    def _ask(self, question: Turn, model: ModelInfo) -> Generate:
        """Add a question, if it is not there yet, and the turn that will be its answer."""
        if self.running is not None:
            raise ValueError("an answer is still being written; stop it first")
        record, now = self._open, self._clock()
        is_new = question.id not in self.chat.turns
        chat = self.chat.with_turn(question, now) if is_new else self.chat
        before = tuple(ChatMessage(turn.role, turn.text) for turn in chat.path_to(question.id))
        command = requests.build(_new_turn_id(), model, chat.options, messages=before)
        answer = Turn(
            command.request,
            question.id,
            Role.ASSISTANT,
            "",
            status=TurnStatus.STREAMING,
            options=requests.resolved(chat.options, command),
        )
        record.begin(chat.title)
        record.chat = chat.with_turn(answer, now)
        new = [question, answer] if is_new else [answer]
        record.write(now, *(lines.turn_added(turn, now) for turn in new))
        record.streams[answer.id] = Stream(RequestView(answer.id), model.name)
        return command


def _newest_first(summaries: Iterable[Summary]) -> tuple[Summary, ...]:
    return tuple(sorted(summaries, key=lambda summary: summary.changed, reverse=True))


def _new_chat_id(now: float) -> str:
    """Return an id that sorts by time and that no other app makes at that moment."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{secrets.token_hex(4)}"


def _new_turn_id() -> str:
    return secrets.token_hex(8)
