"""The app's process is killed while answers stream into its desk; what is on disk then?"""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.protocol import Role
from mtplx_tui.chats.desk import Desk
from mtplx_tui.chats.model import Turn, TurnStatus
from mtplx_tui.chats.store import Store
from tests.chats.endless import PIECE_S, PIECES, piece
from tests.chats.talk import MODEL, answer

ROOT = Path(__file__).parents[2]
MOMENTS = random.Random(20).sample(range(2, 600), 20)


@dataclass(frozen=True)
class Told:
    """What the process said before it was gone."""

    kind: str
    question: int
    number: int
    at: float


def killed_after(lines: int, folder: Path) -> list[Told]:
    """Run the process, kill it when it has said so many lines; return all it said."""
    command = [sys.executable, "-m", "tests.chats.endless", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        said += process.stdout.readlines()
        assert process.wait() == -9
    told = []
    for line in said:
        # The last line may be half written.
        if line.endswith("\n"):
            kind, question, number, at = line.split()
            told.append(Told(kind, int(question), int(number), float(at)))
    return told


def answers(store: Store) -> list[Turn]:
    """Return all answers of all chats, oldest first."""
    chats = [store.read(summary.id) for summary in store.summaries()]
    found = [turn for chat in chats for turn in chat.turns.values() if turn.role is Role.ASSISTANT]
    return sorted(found, key=lambda turn: int(turn.text.partition(":")[0] or 10**9))


def whole(question: int) -> str:
    return "".join(piece(question, number) for number in range(PIECES))


@pytest.mark.parametrize("lines", MOMENTS)
def test_killed_at_any_moment_the_last_second_is_all_that_is_lost(
    lines: int, tmp_path: Path
) -> None:
    told = killed_after(lines, tmp_path)
    store = Store(tmp_path)
    found = answers(store)
    assert store.problem == ""
    finished = [event.question for event in told if event.kind == "done"]
    last = told[-1]
    assert len(found) >= len(finished)
    for question in finished:
        assert found[question].text == whole(question)
        assert found[question].status is TurnStatus.DONE
    assert [t.status for t in found if t.status is not TurnStatus.DONE] in ([], [TurnStatus.CUT])
    if last.kind != "done":
        old = [e for e in told if (e.kind, e.question) == ("said", last.question)]
        sure = [e for e in old if e.at <= last.at - 1.0]
        kept = found[last.question].text
        assert whole(last.question).startswith(kept)
        assert kept.startswith("".join(piece(e.question, e.number) for e in sure))


def test_what_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    told = killed_after(PIECES // 2, tmp_path)
    assert told[-1].at >= 1_000 + PIECE_S
    desk = Desk(Store(tmp_path))
    desk.open(desk.summaries()[0].id)
    before = desk.chat
    answer(desk, desk.ask("Still there?", MODEL), "Yes")
    desk.close()
    after = Store(tmp_path).read(before.id)
    assert {turn_id: after.turns[turn_id] for turn_id in before.turns} == before.turns
    assert [turn.text for turn in after.path()][-2:] == ["Still there?", "Yes"]
