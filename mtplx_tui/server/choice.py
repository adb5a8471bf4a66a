"""One choice of an answer: an engine request, from its events to steps and facts."""

from __future__ import annotations

from typing import Any

from engine.protocol import (
    CycleDone,
    ErrorInfo,
    Event,
    Finish,
    Generate,
    PrefillProgress,
    PrefixReused,
    RequestDone,
    RequestFailed,
    TextRun,
)
from mtplx_tui.forecast import saving
from mtplx_tui.server.ask import Call
from mtplx_tui.server.commands import Reader
from mtplx_tui.server.steps import (
    Ended,
    Failed,
    FinishWord,
    Part,
    PieceLogprob,
    Read,
    Said,
    Step,
)
from mtplx_tui.view import EngineView, RequestView, apply

__all__ = ["Choice", "Outcome"]

Outcome = Step | Read | Ended | Failed


class Choice:
    """See the module.

    Args:
        index: among the choices of the request.
        command: what the engine was, or will be, told.
        reader: turns its text into parts.
        stops_at_call: whether one call is all that is wanted.
    """

    def __init__(
        self, index: int, command: Generate, reader: Reader, *, stops_at_call: bool
    ) -> None:
        self.index = index
        self.command = command
        self.parts: list[Part] = []
        """All of the answer so far, neighbours of one channel joined."""
        self.logprobs: list[PieceLogprob] = []
        self.ended: Ended | None = None
        self.reused: PrefixReused | None = None
        self._reader = reader
        self._stops_at_call = stops_at_call
        self._view = EngineView()

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes."""
        return self.ended is not None

    @property
    def has_call(self) -> bool:
        """Whether a tool was called."""
        return any(isinstance(part, Call) for part in self.parts)

    @property
    def view(self) -> RequestView:
        """What the engine told of it."""
        return self._view.request(self.command.request) or RequestView(self.command.request)

    def take(self, event: Event) -> list[Outcome]:
        """Return what an event comes to."""
        self._view = apply(self._view, event)
        match event:
            case PrefixReused():
                self.reused = event
            case PrefillProgress(done=done, total=total):
                return [Read(done, total)]
            case CycleDone():
                return self._step(event.runs, self._pieces(event))
            case RequestDone():
                return self._done(event)
            case RequestFailed(error=error):
                return [Failed(error)]
        return []

    def _pieces(self, event: CycleDone) -> tuple[PieceLogprob, ...]:
        pairs = zip(event.emitted_pieces, event.logprobs, strict=False)
        return tuple(PieceLogprob(piece, logprob) for piece, logprob in pairs)

    def _step(
        self, runs: tuple[TextRun, ...], logprobs: tuple[PieceLogprob, ...] = ()
    ) -> list[Outcome]:
        return self._added(self._reader.feed(runs), logprobs)

    def _added(self, parts: list[Part], logprobs: tuple[PieceLogprob, ...] = ()) -> list[Outcome]:
        kept: list[Part] = []
        for part in parts:
            if self._stops_at_call and self.has_call:
                break
            kept.append(part)
            self._keep(part)
        self.logprobs += logprobs
        outcomes: list[Outcome] = []
        if kept or logprobs:
            outcomes.append(Step(self.index, tuple(kept), logprobs))
        if self._stops_at_call and self.has_call:
            outcomes.append(self._end("tool_calls", None))
        return outcomes

    def _keep(self, part: Part) -> None:
        before = self.parts[-1] if self.parts else None
        if isinstance(part, Said) and isinstance(before, Said) and before.channel is part.channel:
            self.parts[-1] = Said(part.channel, before.text + part.text)
        else:
            self.parts.append(part)

    def _done(self, event: RequestDone) -> list[Outcome]:
        if event.finish is Finish.CANCELLED:
            return [Failed(ErrorInfo("the answer was cancelled at the server", ""))]
        is_whole = event.finish is Finish.STOP
        outcomes = self._step(event.runs)
        if not self.is_over:
            outcomes += self._added(self._reader.finish(is_whole=is_whole))
        if not self.is_over:
            finish: FinishWord = "stop" if is_whole else "length"
            finish = "tool_calls" if is_whole and self.has_call else finish
            outcomes.append(self._end(finish, event.stop or None))
        return outcomes

    def _end(self, finish: FinishWord, stop: str | None) -> Ended:
        self.ended = Ended(self.index, finish, stop)
        return self.ended

    def facts(self) -> dict[str, Any]:
        """Return what speculation did for it: the documented extra field."""
        view = self.view
        saved = saving(view)
        done = view.done
        return {
            "request": self.command.request,
            "mode": self.command.mode.value,
            "depth": "auto" if self.command.depth is None else self.command.depth,
            "seed": self.command.seed,
            "cycles": len(view.cycles),
            "reached_at": list(view.reached_at),
            "accepted_at": list(view.accepted_at),
            "tokens_per_cycle": view.tokens_per_cycle,
            "tokens_per_s": view.tokens_per_s,
            "saved_s": saved.seconds if saved else None,
            "saved_doubt_s": saved.doubt_s if saved else None,
            "prefill_s": done.prefill_s if done else None,
            "first_token_s": done.first_token_s if done else None,
            "total_s": done.total_s if done else None,
            "prefix": self._prefix(),
        }

    def _prefix(self) -> dict[str, Any] | None:
        told = self.reused
        if told is None:
            return None
        return {
            "reused": told.reused,
            "matched": told.matched,
            "why": told.why.value,
            "before": told.before,
            "was": told.was,
            "now": told.now,
        }
