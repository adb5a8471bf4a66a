"""A process that keeps a chat for ever: one question after the other, each answered in pieces.

It prints a line after each thing the desk has taken: kind, question, piece, clock. Started by
the test that kills it; the folder of the chats is its argument.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mtplx_tui.chats.desk import Desk
from mtplx_tui.chats.store import Store
from tests.chats.talk import MODEL, Clock, done, said

PIECES = 30
PIECE_S = 0.13


def piece(question: int, number: int) -> str:
    """Return what comes at this point of an answer."""
    return f"{question}:{number} é𝄞\n" + "·" * (number * 37 % 400)


def main(folder: Path) -> None:
    """Talk until killed."""
    clock = Clock(1_000.0)
    desk = Desk(Store(folder), clock)
    question = 0
    while True:
        request = desk.ask(f"question {question}\n" + "¿" * (question % 5 * 1_000), MODEL).request
        tell("asked", question, 0, clock.now)
        for number in range(PIECES):
            clock.passes(PIECE_S)
            desk.apply(said(request, piece(question, number)))
            tell("said", question, number, clock.now)
        desk.apply(done(request))
        tell("done", question, 0, clock.now)
        if question % 7 == 6:
            desk.new()
        question += 1


def tell(kind: str, question: int, number: int, at: float) -> None:
    """Print one line."""
    sys.stdout.write(f"{kind} {question} {number} {at:.2f}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
