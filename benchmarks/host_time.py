"""Where the host's time of a cycle goes, at depth 3 on the demo.

    uv run python benchmarks/host_time.py [--cycles 32] [--rounds 7]

Times are processor time of the engine's own thread, so other work on the machine hardly touches
them, and neither does MLX's, which computes in a thread of its own. Of MLX is what the engine asks
MLX for: building the graphs of trunk and head (mlx-lm's Python) and of distributions and verdicts,
each call of a function of `mlx.core`, and the waits. All else counts as the host's, by what it is
for; "the rest" is what none of the others names, slices of arrays among it. What measuring costs
by itself is found on calls that do nothing and taken off.

A pass reads all of the model's weights, so the host finds nothing of its own in the processor's
caches: the same code takes a fifth of the time when it runs in a loop by itself.

Each round is an answer of its own, of which a cycle's mean is taken; what is printed, one JSON
document in milliseconds, is the median over the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.blas import prepare

CACHE = Path.home() / ".cache" / "mtplx-tui-benchmarks"
prepare("auto", CACHE)

import mlx.core  # noqa: E402 - the matrix library has to come first

from engine.model.load import load  # noqa: E402
from engine.protocol import ChatMessage, CycleDone, Generate, Role  # noqa: E402
from engine.request import Request  # noqa: E402
from engine.speculation import cycle, draft, noise, stream  # noqa: E402
from engine.speculation.depth import DepthProfile  # noqa: E402
from engine.worker import Outbox  # noqa: E402
from mtplx_tui.library.disk import resolve  # noqa: E402

PROMPT = "Explain in a few paragraphs how a bicycle stays upright."
_CALLS = 20_000
_WARM = 5
"""Cycles that are not counted."""


class Meter:
    """Adds up the time spent inside wrapped functions, each without the wrapped ones it calls."""

    def __init__(self) -> None:
        self.spent: defaultdict[str, float] = defaultdict(float)
        self._inner: list[float] = []
        self._own = (0.0, 0.0)
        self._own = self._cost()

    def wrap(self, owner: object, name: str, label: str) -> None:
        """Measure calls of a function or method from now on."""
        setattr(owner, name, self.measured(getattr(owner, name), label))

    def measured(self, call: Callable[..., Any], label: str) -> Callable[..., Any]:
        """Return the function with its time taken."""

        def timed(*positional: Any, **named: Any) -> Any:
            self._inner.append(0.0)
            begin = time.thread_time()
            result = call(*positional, **named)
            spent = time.thread_time() - begin
            within, around = self._own
            self.spent[label] += spent - self._inner.pop() - within
            if self._inner:
                self._inner[-1] += spent + around
            return result

        return timed

    def _cost(self) -> tuple[float, float]:
        """Return what measuring a call adds to its time, and to that of its caller."""
        nothing = self.measured(lambda: None, "nothing")
        caller = self.measured(lambda: [nothing() for _ in range(_CALLS)], "caller")
        caller()
        within, around = (self.spent.pop(label) / _CALLS for label in ("nothing", "caller"))
        return within, around


class Calls:
    """MLX as one of the engine's modules sees it, each of its functions measured."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def __getattr__(self, name: str) -> Any:
        found = getattr(mlx.core, name)
        if callable(found):
            label = "waits" if name in ("eval", "async_eval") else "graph: single calls"
            found = self._meter.measured(found, label)
        setattr(self, name, found)
        return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    model = load("demo", Path(resolve("demo").path), CACHE, lambda *_: None)
    meter = Meter()
    install(meter, model)
    rounds = [of_round(meter, model, seed, options.cycles) for seed in range(options.rounds)]
    labels = sorted(set().union(*rounds))
    document = {
        "cycles": options.cycles,
        "rounds": options.rounds,
        "ms_per_cycle": {label: median([each[label] for each in rounds]) for label in labels},
        "graphs_ms": median([sum(graphs(each)) for each in rounds]),
        "host_outside_mlx_ms": median([host(each) for each in rounds]),
    }
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def of_round(meter: Meter, model: Any, seed: int, most: int) -> dict[str, float]:
    """Return milliseconds a cycle of an answer, by label."""
    command = Generate("r", (ChatMessage(Role.USER, PROMPT),), depth=3, seed=seed)
    request = Request(command, model, DepthProfile())
    outbox = Outbox(lambda _: None)
    install_request(meter, request, outbox)
    cycles = 0

    def advanced() -> None:
        nonlocal cycles
        for event in request.advance():
            cycles += isinstance(event, CycleDone)
            outbox.put(event)

    turn = meter.measured(advanced, "the rest")
    while cycles < _WARM and not request.is_over:
        turn()
    meter.spent.clear()
    cycles = 0
    while cycles < most and not request.is_over:
        turn()
    return {label: 1e3 * spent / cycles for label, spent in meter.spent.items()}


def graphs(ms: dict[str, float]) -> list[float]:
    """Return the times of building graphs."""
    return [each for label, each in ms.items() if label.startswith("graph")]


def host(ms: dict[str, float]) -> float:
    """Return the time outside MLX."""
    return sum(ms.values()) - sum(graphs(ms)) - ms["waits"]


def median(values: list[float]) -> float:
    """Return the median, rounded."""
    return round(statistics.median(values), 4)


def install(meter: Meter, model: Any) -> None:
    """Wrap what all cycles are made of."""
    meter.wrap(model.trunk, "forward", "graph: trunk")
    meter.wrap(model.head, "forward", "graph: head")
    meter.wrap(model.head, "logits", "graph: head")
    for name in ("tokens_at", "widened"):
        meter.wrap(model.head.draft_head, name, "graph: head")
    for owner in (cycle, draft):
        meter.wrap(owner, "target_distribution", "graph: sampling")
    meter.wrap(draft, "draw", "graph: sampling")
    meter.wrap(cycle, "token_rule", "graph: acceptance")
    meter.wrap(cycle, "integers", "waits")
    meter.wrap(cycle, "draft", "draft control")
    for name in ("draft", "judging"):
        meter.wrap(noise.CycleNoise, name, "noise")
    modules: tuple[Any, ...] = (cycle, draft, noise, stream)
    for module in modules:
        module.mx = Calls(meter)


def install_request(meter: Meter, request: Any, outbox: Outbox) -> None:
    """Wrap what a request does of a cycle."""
    meter.wrap(request._stream, "commit", "commit")
    meter.wrap(request, "_keep", "text")
    meter.wrap(request, "_cycle_done", "events")
    meter.wrap(request._policy, "learn", "depth policy")
    meter.wrap(outbox, "put", "wire")


if __name__ == "__main__":
    main()
