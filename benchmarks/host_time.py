"""Where the host's time of a cycle goes, at depth 3 on the demo.

    uv run python benchmarks/host_time.py [--cycles 60]

Times are processor time of the engine's own thread, so other work on the machine hardly touches
them, and neither does MLX's, which computes in a thread of its own. Prints one JSON document,
milliseconds a cycle: building the graphs of trunk and head (mlx-lm's Python), and all else by
what it is for; "the rest" is what none of the others names.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

CACHE = Path.home() / ".cache" / "mtplx-tui-benchmarks"
PROMPT = "Explain in a few paragraphs how a bicycle stays upright."


class Meter:
    """Adds up the time spent inside wrapped functions, each without the wrapped ones it calls."""

    def __init__(self) -> None:
        self.spent: defaultdict[str, float] = defaultdict(float)
        self._inner: list[float] = []

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
            self.spent[label] += spent - self._inner.pop()
            if self._inner:
                self._inner[-1] += spent
            return result

        return timed


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=60)
    options = parser.parse_args()
    from engine.blas import prepare

    prepare("auto", CACHE)
    from engine.model.load import load
    from engine.protocol import ChatMessage, CycleDone, Generate, Role
    from engine.request import Request
    from engine.speculation.depth import DepthProfile
    from engine.worker import Outbox
    from mtplx_tui.library.disk import resolve

    model = load("demo", Path(resolve("demo").path), CACHE, lambda *_: None)
    command = Generate("r", (ChatMessage(Role.USER, PROMPT),), depth=3)
    request = Request(command, model, DepthProfile())
    outbox = Outbox(lambda _: None)
    meter = Meter()
    install(meter, request, outbox)
    turn = meter.measured(lambda: [outbox.put(event) for event in advanced()], "the rest")
    cycles = 0

    def advanced() -> list[Any]:
        nonlocal cycles
        events = request.advance()
        cycles += any(isinstance(event, CycleDone) for event in events)
        return events

    while cycles < 5 and not request.is_over:
        turn()
    meter.spent.clear()
    cycles = 0
    while cycles < options.cycles and not request.is_over:
        turn()
    per_cycle = {label: 1e3 * spent / cycles for label, spent in meter.spent.items()}
    graphs = sum(ms for label, ms in per_cycle.items() if label.startswith("graph"))
    document = {
        "cycles": cycles,
        "ms_per_cycle": {label: round(ms, 4) for label, ms in sorted(per_cycle.items())},
        "graphs_ms": round(graphs, 3),
        "host_outside_mlx_ms": round(sum(per_cycle.values()) - graphs - per_cycle["waits"], 3),
    }
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def install(meter: Meter, request: Any, outbox: object) -> None:
    """Wrap what a cycle is made of."""
    from engine.speculation import cycle, draft, noise

    meter.wrap(request._model.trunk, "forward", "graph: trunk")
    meter.wrap(request._model.head, "forward", "graph: head")
    meter.wrap(request._model.head, "logits", "graph: head")
    meter.wrap(cycle, "target_distribution", "graph: sampling")
    meter.wrap(draft, "target_distribution", "graph: sampling")
    meter.wrap(draft, "draw", "graph: sampling")
    meter.wrap(cycle, "token_rule", "graph: acceptance")
    draft_head = request._model.head.draft_head
    for name in ("tokens_at", "widened"):
        meter.wrap(draft_head, name, "graph: head")
    for name in ("concatenate", "stack"):
        meter.wrap(cycle.mx, name, "graph: joins")
    meter.wrap(cycle, "draft", "draft control")
    meter.wrap(request._stream, "commit", "commit")
    meter.wrap(cycle.mx, "eval", "waits")
    meter.wrap(cycle.mx, "async_eval", "waits")
    meter.wrap(cycle, "integers", "waits")
    for name in ("draft", "accept", "following"):
        meter.wrap(noise.CycleNoise, name, "noise")
    meter.wrap(request, "_cycle_done", "events")
    meter.wrap(request, "_take", "text")
    meter.wrap(request._policy, "learn", "depth policy")
    meter.wrap(outbox, "put", "wire")


if __name__ == "__main__":
    main()
