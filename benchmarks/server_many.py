"""Many requests to a tiny model: memory stays flat, no request is left over, no event is lost.

    uv run python -m benchmarks.server_many [--requests 10000] > benchmarks/results/server_many.json

Eight clients at once ask a checkpoint of random weights for eight tokens each: whole and streamed
in turn, by all four APIs, and every fiftieth goes away after the first piece. Each stream has to
have all its tokens and its end. Memory of the server and of the engine is looked at ten times; growth
is that of the second half, in which nothing is new any more.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.in_pty import machine
from benchmarks.served import Served, resident_kb
from tests.fakes.processes import children
from tests.fakes.tiny import write_endless

CLIENTS = 8
TOKENS = 8
LOOKS = 10
GOES_AWAY = 50
ENDS = {
    "chat": b"[DONE]",
    "completions": b"[DONE]",
    "responses": b"incomplete",
    "messages": b"message_stop",
}
PATHS = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
}


def main() -> None:
    """Ask, look and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    options = parser.parse_args()
    os.environ["MTPLX_TUI_BLAS"] = "stock"
    with tempfile.TemporaryDirectory() as folder:
        model = write_endless(Path(folder) / "endless")
        with Served.run(Path(folder) / "home", "--model", str(model)) as server:
            document = measured(server, options.requests)
    sys.stdout.write(json.dumps({**machine(), **document}, indent=2) + "\n")


def measured(server: Served, requests: int) -> dict[str, Any]:
    """Return what came of that many requests."""
    (engine,) = children(server.process.pid)
    looks: list[dict[str, int]] = []
    lost: list[str] = []
    begin = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        for number in range(LOOKS):
            numbers = range(number * requests // LOOKS, (number + 1) * requests // LOOKS)
            lost += [fault for fault in pool.map(lambda n: asked(server, n), numbers) if fault]
            looks.append(
                {
                    "requests": numbers.stop,
                    "server_kb": resident_kb(server.process.pid),
                    "engine_kb": resident_kb(engine),
                }
            )
    taken_s = time.perf_counter() - begin
    middle, last = looks[LOOKS // 2 - 1], looks[-1]
    metrics = server.get("/metrics")
    return {
        "requests": requests,
        "requests_per_s": requests / taken_s,
        "lost": len(lost),
        "first_lost": lost[:3],
        "left_over": "mtplx_live 0.0" not in metrics,
        "looks": looks,
        "server_growth": last["server_kb"] / middle["server_kb"] - 1,
        "engine_growth": last["engine_kb"] / middle["engine_kb"] - 1,
    }


def asked(server: Served, number: int) -> str:
    """Make one request; return what was wrong with its answer, nothing if all was well."""
    api = tuple(PATHS)[number % len(PATHS)]
    is_streamed = bool(number // len(PATHS) % 2)
    connection, response = server.post(PATHS[api], body_of(api, number, is_streamed=is_streamed))
    try:
        if number % GOES_AWAY == GOES_AWAY - 1:
            response.read(1)
            return ""
        text = response.read()
    finally:
        connection.close()
    if response.status != 200:
        return f"{api}: {response.status} {text[:100]!r}"
    if is_streamed and ENDS[api] not in text[-2000:]:
        return f"{api}: no end"
    tokens = (
        b'"output_tokens":%d' if api in ("responses", "messages") else b'"completion_tokens":%d'
    )
    return "" if tokens % TOKENS in text.replace(b" ", b"") else f"{api}: {text[-200:]!r}"


def body_of(api: str, number: int, *, is_streamed: bool) -> dict[str, Any]:
    """Return the body of one request."""
    text = f"Question {number % 500}: why?"
    messages = [{"role": "user", "content": text}]
    own: dict[str, dict[str, Any]] = {
        "chat": {"messages": messages, "stream_options": {"include_usage": True}},
        "completions": {"prompt": text, "stream_options": {"include_usage": True}},
        "responses": {"input": text},
        "messages": {"messages": messages},
    }
    limit = "max_output_tokens" if api == "responses" else "max_tokens"
    return {"model": "endless", limit: TOKENS, "stream": is_streamed, **own[api]}


if __name__ == "__main__":
    main()
