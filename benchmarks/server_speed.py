"""One stream through the server beside the same answer in process, tokens a second.

    uv run python -m benchmarks.server_speed [--rounds 5] > benchmarks/results/server_speed.json

The demo answers the same request at the same seed and depth, so the same cycles run: in a session
in this process, and in an engine behind `mtplx-tui serve`, whose stream is read here over loopback.
The two take turns. Time is from the request to its last token, prefill counted in; the median of the
rounds' ratios is told.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.decode import CACHE
from benchmarks.in_pty import machine
from benchmarks.in_session import Bench
from benchmarks.served import Served

QUESTION = "Tell a long story about a lighthouse keeper and the sea."
TOKENS = 200
DEPTH = 3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    bench = Bench()
    own: list[float] = []
    served: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "cache").symlink_to(CACHE)
        with Served.run(home, "--model", "demo") as server:
            for number in range(options.rounds + 1):
                times = own_speed(bench, number), served_speed(server, number)
                if number:  # the first warms up
                    own.append(times[0])
                    served.append(times[1])
    ratios = [there / here for here, there in zip(own, served, strict=True)]
    document = {
        **machine(),
        "blas": bench.blas,
        "tokens": TOKENS,
        "depth": DEPTH,
        "in_process_tokens_per_s": own,
        "served_tokens_per_s": served,
        "ratios": ratios,
        "median_ratio": statistics.median(ratios),
        "bound": 0.98,
    }
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def own_speed(bench: Bench, seed: int) -> float:
    """Return the tokens a second of the session in this process."""
    from engine.protocol import ChatMessage, Generate, RequestDone, Role

    command = Generate(
        f"own-{seed}",
        (ChatMessage(Role.USER, QUESTION),),
        seed=seed,
        depth=DEPTH,
        max_tokens=TOKENS,
    )
    begin = time.perf_counter()
    events = bench.run([command])
    taken_s = time.perf_counter() - begin
    (done,) = (event for event in events if isinstance(event, RequestDone))
    return done.completion_tokens / taken_s


def served_speed(server: Served, seed: int) -> float:
    """Return the tokens a second of the stream that comes over loopback."""
    body: dict[str, Any] = {
        "model": server.model,
        "messages": [{"role": "user", "content": QUESTION}],
        "seed": seed,
        "depth": DEPTH,
        "max_tokens": TOKENS,
        "temperature": 0.6,
        "top_p": 0.95,
        "top_k": 20,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    begin = time.perf_counter()
    connection, response = server.post("/v1/chat/completions", body)
    last = b""
    for line in response:
        if line.startswith(b"data: {"):
            last = line
    taken_s = time.perf_counter() - begin
    connection.close()
    return int(json.loads(last[6:])["usage"]["completion_tokens"]) / taken_s


if __name__ == "__main__":
    main()
