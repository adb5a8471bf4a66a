"""The second turn of a conversation, with what was read before it and without.

    uv run python -m benchmarks.prefix_reuse [--tokens 4000] [--rounds 3]

A first turn of so many tokens is asked and answered; then a second turn is asked, by turns with
the cache of prefixes and without. Prints one JSON document: seconds to the first token of each,
their ratio, and how many tokens were read. Ratios are of one run on one machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from typing import TYPE_CHECKING

from benchmarks.in_pty import machine
from benchmarks.in_session import Bench

if TYPE_CHECKING:
    from engine.protocol import Event

WORDS = ("What", "Whom", "Who else", "Which ship", "How much")
SENTENCE = "On day {} the keeper of the lighthouse wrote down the wind, the tide and a thought. "


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    bench = Bench()
    from engine.protocol import ChatMessage, Generate, Role

    story = "".join(SENTENCE.format(day) for day in range(options.tokens // 20))
    first = (ChatMessage(Role.USER, story + "What did the keeper write down?"),)
    told = bench.run([Generate("first", first, seed=1, max_tokens=48)])
    answer = ChatMessage(Role.ASSISTANT, text_of(told).strip())
    cold: list[float] = []
    warm: list[float] = []
    facts: dict[str, int] = {}
    for number in range(options.rounds):
        question = ChatMessage(
            Role.USER, f"{WORDS[number % len(WORDS)]} did the keeper think of on day {number}?"
        )
        second = (*first, answer, question)
        for is_cached, times in ((True, warm), (False, cold)):
            command = Generate("second", second, seed=2, max_tokens=4, is_cached=is_cached)
            told = bench.run([command])
            times.append(first_token_s(told))
            if is_cached:
                facts = reuse(told)
    ratios = [w / c for w, c in zip(warm, cold, strict=True)]
    document = {
        **machine(),
        "blas": bench.blas,
        **facts,
        "first_token_s": {"cold": statistics.median(cold), "warm": statistics.median(warm)},
        "warm_against_cold": statistics.median(ratios),
        "worst": max(ratios),
        "bound": 0.1,
    }
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def text_of(events: list[Event]) -> str:
    """Return an answer's text."""
    from engine.protocol import CycleDone, RequestDone

    told = [event for event in events if isinstance(event, (CycleDone, RequestDone))]
    return "".join(run.text for event in told for run in event.runs)


def first_token_s(events: list[Event]) -> float:
    """Return the seconds from the command to the first token."""
    from engine.protocol import RequestDone

    return next(event.first_token_s for event in events if isinstance(event, RequestDone))


def reuse(events: list[Event]) -> dict[str, int]:
    """Return how much of the prompt was read."""
    from engine.protocol import PrefixReused, RequestStarted

    total = next(event.prompt_tokens for event in events if isinstance(event, RequestStarted))
    reused = next(event.reused for event in events if isinstance(event, PrefixReused))
    return {"prompt_tokens": total, "reused_tokens": reused}


if __name__ == "__main__":
    main()
