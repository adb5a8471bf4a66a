"""Four short requests beside a long one, against their fair share of the machine.

    uv run python -m benchmarks.fair_turns [--rounds 3]

A short request's fair share is the time it takes alone, times the requests in flight, five. The
long one is answering, or reading a prompt of 2,000 tokens, when the short ones come. Prints one
JSON document; `worst` is the largest time of any short request over its fair share.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from typing import TYPE_CHECKING

from benchmarks.in_pty import machine
from benchmarks.in_session import Bench
from benchmarks.prefix_reuse import SENTENCE

if TYPE_CHECKING:
    from engine.protocol import Generate

QUESTIONS = ("Name a colour.", "What is a tide?", "Say hello in French.", "Who was Euclid?")
TOKENS = 24


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    bench = Bench()
    cases = {"answering": 4, "reading": 100}
    shares: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(options.rounds):
        alone = [alone_s(bench, short(index, number)) for index in range(len(QUESTIONS))]
        for name, days in cases.items():
            beside = beside_long(bench, days, number, is_answering=name == "answering")
            shares[name] += [b / (5 * a) for a, b in zip(alone, beside, strict=True)]
    document = {
        **machine(),
        "blas": bench.blas,
        "tokens": TOKENS,
        "median": {name: statistics.median(times) for name, times in shares.items()},
        "worst": {name: max(times) for name, times in shares.items()},
        "bound": 1.5,
    }
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def short(index: int, seed: int) -> Generate:
    """Return one of the short requests."""
    return _asked(f"short {index}", QUESTIONS[index], seed, TOKENS)


def _asked(name: str, text: str, seed: int, tokens: int) -> Generate:
    from engine.protocol import ChatMessage, Constraints, Generate, Role

    return Generate(
        name,
        (ChatMessage(Role.USER, text),),
        seed=seed,
        depth=2,
        max_tokens=tokens,
        constraints=Constraints(min_tokens=tokens),
        is_cached=False,
    )


def alone_s(bench: Bench, command: Generate) -> float:
    """Return the seconds a request takes by itself."""
    begin = time.perf_counter()
    bench.run([command])
    return time.perf_counter() - begin


def beside_long(bench: Bench, days: int, seed: int, *, is_answering: bool) -> list[float]:
    """Return the seconds the short requests take beside a long one."""
    from engine.protocol import Cancel, CycleDone, PrefillProgress, RequestDone

    bench.events.clear()
    story = "".join(SENTENCE.format(day) for day in range(days))
    bench.session.generate(_asked("long", story, seed, 2000))
    awaited = CycleDone if is_answering else PrefillProgress
    while not any(isinstance(event, awaited) for event in bench.events):
        bench.session.step()
    begin = time.perf_counter()
    for index in range(len(QUESTIONS)):
        bench.session.generate(short(index, seed))
    ended: dict[str, float] = {}
    while len(ended) < len(QUESTIONS):
        bench.events.clear()
        bench.session.step()
        for event in bench.events:
            if isinstance(event, RequestDone):
                ended[event.request] = time.perf_counter() - begin
    bench.session.cancel(Cancel("long"))
    return [ended[f"short {index}"] for index in range(len(QUESTIONS))]


if __name__ == "__main__":
    main()
