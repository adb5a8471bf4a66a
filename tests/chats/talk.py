"""Made-up conversations: a model, a clock and the events of an answer."""

from __future__ import annotations

from dataclasses import replace

from engine.protocol import (
    Channel,
    CycleDone,
    Ended,
    ErrorInfo,
    Finish,
    Generate,
    Mode,
    RequestDone,
    RequestFailed,
    RequestStarted,
    Sampling,
    TextRun,
)
from mtplx_tui.chats.desk import Desk
from tests.fakes import streams

MODEL = replace(
    streams.MODEL,
    context=2_048,
    head=None,
    sampling=Sampling(temperature=0.5, top_p=0.9, top_k=40, min_p=0.01),
)


class Clock:
    """Seconds that pass when told."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += seconds


def started(request: str, depth: int = 3) -> RequestStarted:
    return RequestStarted(request, "demo", 12, Sampling(), 7, depth, Mode.TOKEN, 100)


def said(request: str, text: str, *, thought: str = "", number: int = 0) -> CycleDone:
    """A cycle of two tokens, in a quarter of a second, that made this text readable."""
    runs = [TextRun(Channel.REASONING, thought)] if thought else []
    runs += [TextRun(Channel.ANSWER, text)] if text else []
    return CycleDone(
        request=request,
        cycle=number,
        depth=1,
        drafted=(5,),
        drafted_pieces=("a",),
        accepted=1,
        emitted=(5, 6),
        emitted_pieces=("a", "b"),
        ended=Ended.BONUS,
        runs=tuple(runs),
        draft_s=0.05,
        verify_s=0.15,
        accept_s=0.01,
        total_s=0.25,
    )


def done(request: str, finish: Finish = Finish.STOP, text: str = "") -> RequestDone:
    runs = (TextRun(Channel.ANSWER, text),) if text else ()
    return RequestDone(request, finish, 4, 0.1, 0.2, 1.0, runs)


def failed(request: str) -> RequestFailed:
    return RequestFailed(request, ErrorInfo("the prompt is too long", "start a new chat"))


def answer(desk: Desk, command: Generate, *texts: str) -> None:
    """Answer a command from beginning to end."""
    desk.apply(started(command.request))
    for number, text in enumerate(texts):
        desk.apply(said(command.request, text, number=number))
    desk.apply(done(command.request))
