"""Requests in flight together, at different depths and ended midway, don't touch each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine import session as sessions
from engine.protocol import (
    Cancel,
    Constraints,
    CycleDone,
    Event,
    Generate,
    LoadModel,
    Mode,
    RequestDone,
    RequestFailed,
    RequestStarted,
    Sampling,
    SetDepth,
)
from engine.session import Session
from tests.fakes import tiny

SAMPLING = Sampling(0.9, 1, 0)


def asked(name: str, depth: int, seed: int, **options: Any) -> Generate:
    mode = options.pop("mode", Mode.TOKEN)
    return Generate(
        name,
        (),
        raw="ab",
        sampling=SAMPLING,
        depth=depth,
        seed=seed,
        mode=mode,
        max_tokens=20,
        **options,
    )


COMMANDS = [
    asked("plain", 0, 1),
    asked("deep", 6, 2),
    asked("block", 3, 3, mode=Mode.BLOCK),
    asked("seeded", 2, 4, mode=Mode.SEEDED),
    asked("bent", 4, 5, constraints=Constraints(1.2, 0.3)),
]


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def session(events: list[Event], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Session:
    model = tiny.loaded(tiny.vocabulary_of("abcdefgh"))
    monkeypatch.setattr(sessions, "load", lambda *_: model)
    made = Session(events.append, tmp_path, lambda _: False)
    made.load(LoadModel("load", "tiny", "/tiny"))
    return made


def finished(session: Session) -> None:
    while session.is_busy:
        session.step()


def tokens_of(events: list[Event], name: str) -> list[int]:
    cycles = [e for e in events if isinstance(e, CycleDone) and e.request == name]
    return [token for cycle in cycles for token in cycle.emitted]


def alone(session: Session, events: list[Event], command: Generate) -> list[int]:
    events.clear()
    session.generate(command)
    finished(session)
    return tokens_of(events, command.request)


def test_company_changes_nobodys_text(session: Session, events: list[Event]) -> None:
    wanted = {c.request: alone(session, events, c) for c in COMMANDS}
    events.clear()
    for command in COMMANDS:
        session.generate(command)
    finished(session)
    assert {c.request: tokens_of(events, c.request) for c in COMMANDS} == wanted


def test_a_cancelled_neighbour_leaves_no_trace(session: Session, events: list[Event]) -> None:
    wanted = alone(session, events, COMMANDS[2])
    events.clear()
    for command in COMMANDS:
        session.generate(command)
    for step in range(11):
        session.step()
        if step in (4, 8):
            session.cancel(Cancel(COMMANDS[step // 8].request))
    finished(session)
    assert tokens_of(events, "block") == wanted
    done = [event.request for event in events if isinstance(event, RequestDone)]
    assert sorted(done) == sorted(c.request for c in COMMANDS)


def test_depth_changes_midway_leave_seeded_text_alone(
    session: Session, events: list[Event]
) -> None:
    command = COMMANDS[3]
    wanted = alone(session, events, command)
    events.clear()
    session.generate(command)
    for depth in (5, 0, 1, 8):
        session.set_depth(SetDepth(command.request, depth))
        session.step()
    finished(session)
    assert tokens_of(events, command.request) == wanted


def test_a_refused_request_leaves_the_others_running(session: Session, events: list[Event]) -> None:
    wanted = alone(session, events, COMMANDS[1])
    events.clear()
    session.generate(COMMANDS[1])
    session.step()
    session.generate(asked("wrong", 2, 1, grammar="{"))
    finished(session)
    failed = [event.request for event in events if isinstance(event, RequestFailed)]
    started = [event.request for event in events if isinstance(event, RequestStarted)]
    assert (failed, started) == (["wrong"], ["deep"])
    assert tokens_of(events, "deep") == wanted
