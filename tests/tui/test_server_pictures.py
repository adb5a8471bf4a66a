"""What the server tab looks like, at the three sizes it is made for."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot

from mtplx_tui.server.served import Phase, ServedRequest
from mtplx_tui.serving import Serving
from tests.tui.chat_talk import NOON, Talk

pytestmark = pytest.mark.slow

SIZES = [(80, 24), (120, 40), (200, 60)]
Scene = Callable[[Talk, pytest.MonkeyPatch], Awaitable[None]]

WRITING = ServedRequest(
    "api-12", "messages", "claude-cli/2.1.40 (external, cli)", "demo", Phase.WRITING, NOON, True,
    18_204, 16_276, 18_204, 412, 63.2, 2.41, None, 0.84, None, "",
)  # fmt: skip
READING = replace(
    WRITING, id="api-13", api="responses", client="codex_cli_rs/0.61", phase=Phase.READING,
    cached_tokens=0, read_tokens=6_144, completion_tokens=0, tokens_per_s=None,
    tokens_per_cycle=None, first_token_s=None,
)  # fmt: skip
DONE = replace(
    WRITING, id="api-11", phase=Phase.DONE, client="OpenAI/Python 3.54.0", api="chat",
    saved_s=4.2, total_s=9.7, completion_tokens=611, note="stop",
)  # fmt: skip
FAILED = replace(
    READING, id="api-10", phase=Phase.FAILED, api="completions", client="continue/1.4", total_s=0.1,
    note="the prompt has 18,204 tokens, and the context holds 8,192",
)  # fmt: skip
CANCELLED = replace(
    DONE, id="api-9", phase=Phase.CANCELLED, client="青いクライアント/2", note="client gone"
)


async def stopped(talk: Talk, _: pytest.MonkeyPatch) -> None:
    """Nothing runs yet."""
    await talk.press("f7")


async def busy(talk: Talk, patch: pytest.MonkeyPatch) -> None:
    """Two requests run, three ended."""
    facts = {
        "is_running": True, "address": "http://127.0.0.1:8080", "key": f"sk-mtplx-{'k' * 43}",
        "started_at": time.mktime((2027, 1, 15, 12, 0, 0, 0, 0, -1)), "live": (WRITING, READING), "recent": (DONE, FAILED, CANCELLED),
    }  # fmt: skip
    for name, value in facts.items():
        patch.setattr(Serving, name, value)
    talk.app.serving.wants_key = True
    await talk.press("f7")


async def failing(talk: Talk, _: pytest.MonkeyPatch) -> None:
    """The port is taken."""
    talk.app.serving.problem = "port 8080 is in use; port 8081 is free and is taken next"
    talk.app.serving.port = 8081
    await talk.press("f7", *["right"] * 2)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("scene", [stopped, busy, failing])
def test_picture(
    scene: Scene,
    size: tuple[int, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    snap_compare: Callable[..., bool],
) -> None:
    talk = Talk(tmp_path)

    async def run_before(pilot: Pilot[int]) -> None:
        await talk.begin(pilot)
        await scene(talk, monkeypatch)
        await talk.rest()

    assert snap_compare(talk.app, terminal_size=size, run_before=run_before)
