"""One chat at the desk: its newest state, the answers being written in it, its lines on disk."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from engine.protocol import Finish
from mtplx_tui.chats import lines
from mtplx_tui.chats.model import AnswerFacts, Chat, TurnStatus
from mtplx_tui.chats.store import Journal, Store
from mtplx_tui.files import reason
from mtplx_tui.forecast import saving
from mtplx_tui.remedies import one_line
from mtplx_tui.view import RequestView

__all__ = ["Record", "Stream"]

WRITE_EVERY_S = 0.5
"""An answer's text is in the file so long after it came, at the latest with the next event."""
ENGINE_ENDED = "the engine ended"


@dataclass
class Stream:
    """An answer being written."""

    view: RequestView
    model: str
    written: tuple[int, int] = (0, 0)
    """Characters of text and reasoning that were handed to the journal."""
    since: float | None = None
    """When the first of the others came."""


@dataclass
class Record:
    """A chat and what of it is on disk."""

    store: Store
    chat: Chat
    journal: Journal
    is_unwritten: bool
    """Nothing of it is in the journal, and need not be before the next question."""
    is_copy: bool = False
    """It began as another chat's state."""
    has_new_options: bool = False
    streams: dict[str, Stream] = field(default_factory=dict)
    """By request, which is the answer's turn."""
    trouble: str = ""
    """Why the last write failed; empty when all is well."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way: no answer, and nothing that waits for the disk."""
        return not self.streams and not self.journal.is_waiting

    @property
    def is_listed(self) -> bool:
        """Whether it is a chat to a person: it has a turn of its own."""
        return bool(self.chat.turns) and not (self.is_copy and self.is_unwritten)

    def begin(self, title: str) -> None:
        """Have the chat written from now on, as it stands."""
        if self.is_unwritten:
            self.is_unwritten = self.has_new_options = False
            self.journal.add(*lines.whole(replace(self.chat, title=title)))

    def write(self, now: float, *new: bytes) -> None:
        """Write lines; a chat that is not to be written yet has them in its state."""
        if not self.is_unwritten:
            self._add_changes(now)
            self.journal.add(*new)
            self.flush(now)

    def follow(self, stream: Stream, after: RequestView, now: float) -> bool:
        """Take over what an event did to an answer. Returns whether the chat changed."""
        before, stream.view = stream.view, after
        has_text = (after.answer, after.reasoning) != (before.answer, before.reasoning)
        if has_text:
            turn = self.chat.turns[after.request]
            turn = replace(turn, text=after.answer, reasoning=after.reasoning)
            self.chat = self.chat.with_changed(turn, now)
            stream.since = now if stream.since is None else stream.since
        if not after.is_running:
            self._end(stream, now)
        elif stream.since is not None and not 0 <= now - stream.since < WRITE_EVERY_S:
            self.flush(now)
        return has_text or not after.is_running

    def flush(self, now: float, *, to_disk: bool = False) -> None:
        """Write what is not in the file yet; where that fails, `trouble` says why."""
        if self.is_unwritten:
            return
        self._add_changes(now)
        try:
            try:
                self.journal.flush(to_disk=to_disk)
            except FileNotFoundError:
                self._write_anew()
        except OSError as error:
            self.trouble = f"chats are kept in memory only: {reason(error)}: {self.store.folder}"
        else:
            self.trouble = ""

    def _end(self, stream: Stream, now: float) -> None:
        status, note = _ending(stream.view)
        turn = self.chat.turns[stream.view.request]
        turn = replace(turn, status=status, note=note, facts=_facts(stream))
        self.chat = self.chat.with_changed(turn, now)
        self._add_text(stream, now)
        del self.streams[turn.id]
        self.journal.add(lines.ended(turn, now))
        self.flush(now, to_disk=True)

    def _add_changes(self, now: float) -> None:
        if self.has_new_options:
            self.has_new_options = False
            self.journal.add(lines.options_chosen(self.chat.options, now))
        for stream in self.streams.values():
            self._add_text(stream, now)

    def _add_text(self, stream: Stream, now: float) -> None:
        text, reasoning = stream.view.answer, stream.view.reasoning
        if (len(text), len(reasoning)) != stream.written:
            at_text, at_reasoning = stream.written
            request = stream.view.request
            self.journal.add(lines.delta(request, text[at_text:], reasoning[at_reasoning:], now))
            stream.written = len(text), len(reasoning)
        stream.since = None

    def _write_anew(self) -> None:
        """Write a chat whose file was taken away into a new one."""
        self.journal.close()
        self.journal = self.store.new_journal(self.chat.id)
        self.journal.add(*lines.whole(self.chat))
        self.journal.flush()


def _ending(request: RequestView) -> tuple[TurnStatus, str]:
    """Return how a request that is over ended, and why."""
    if request.error is not None:
        return TurnStatus.FAILED, one_line(request.error)
    if request.done is None:
        return TurnStatus.CUT, ENGINE_ENDED
    if request.done.finish is Finish.CANCELLED:
        return TurnStatus.STOPPED, ""
    is_full = request.done.finish is Finish.LENGTH
    return TurnStatus.DONE, "ended at the token limit" if is_full else ""


def _facts(stream: Stream) -> AnswerFacts:
    request = stream.view
    saved = saving(request)
    return AnswerFacts(
        model=stream.model,
        tokens=request.emitted,
        cycles=len(request.cycles),
        depth=request.depth,
        tokens_per_s=request.tokens_per_s,
        tokens_per_cycle=request.tokens_per_cycle,
        prompt_tokens=0 if request.started is None else request.started.prompt_tokens,
        first_token_s=0.0 if request.done is None else request.done.first_token_s,
        saved_s=None if saved is None else saved.seconds,
        saved_doubt_s=None if saved is None else saved.doubt_s,
    )
