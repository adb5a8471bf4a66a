"""How fast a long conversation opens, and how much the app's process holds.

    uv run python -m benchmarks.app_memory > benchmarks/results/app_memory.json

The whole app on a pseudo-terminal, without an engine, 200 conversations in its folder. One of 2,000
messages is opened from its file, as a click in the list does: timed until its end was painted. Then
an answer of 100,000 tokens goes through the app and is shown in the ribbon. Resident memory of the
process after each step. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks import in_pty
from benchmarks.ribbon import cycle
from engine import wire
from engine.protocol import Mode, RequestStarted, Role, Sampling
from mtplx_tui.app import MtplxApp
from mtplx_tui.chats import lines
from mtplx_tui.chats.model import Chat, Turn
from mtplx_tui.config import Settings, Terminal
from mtplx_tui.files import Places
from mtplx_tui.screens.chat import ChatScreen
from mtplx_tui.widgets.answer import Answer
from mtplx_tui.widgets.ribbon import Ribbon

MESSAGES, CHATS, TOKENS = 2_000, 200, 100_000
OPENINGS = 5
BATCH = 100
"""Cycles a batch of events."""
TEXT = "Short waves are scattered **far more** than long ones.\n\n- blue: 450 nm\n- red: 700 nm\n"


def write_chat(folder: Path, name: str, messages: int) -> None:
    """Write a conversation as the app does."""
    written = [lines.whole(Chat(name, title=name, created=1e9, changed=1e9))[0]]
    parent: str | None = None
    for at in range(messages):
        role = Role.USER if at % 2 == 0 else Role.ASSISTANT
        turn = Turn(f"t{at:05}", parent, role, f"{at}: {TEXT}")
        written.append(lines.turn_added(turn, 1e9 + at))
        parent = turn.id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.jsonl").write_bytes(b"".join(written))


def resident_mb() -> float:
    """Return the resident memory of this process, in MB (10^6 bytes)."""
    status = Path("/proc/self/status").read_text("utf-8")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return round(int(found[1]) * 1024 / 1e6, 1)


class MeasuredApp(MtplxApp):
    """The app without an engine, which measures itself."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            places=Places(folder / "config", folder / "data", folder / "cache"),
            settings=Settings(restore=False),
            terminal=Terminal("xterm-256color", False, True, 2**24, True, False),  # noqa: FBT003 - its fields
            start_engine=None,
            process=None,
            model="demo",
        )
        self.figures: dict[str, object] = {}

    def on_mount(self) -> None:
        """Measure once the first frame is there."""
        super().on_mount()
        self.call_after_refresh(lambda: self.run_worker(self._measure()))

    async def _measure(self) -> None:
        await asyncio.sleep(1.0)
        self.figures["rss_at_start_mb"] = resident_mb()
        took = []
        for _ in range(OPENINGS):
            took.append(await self._opened("long"))
            await self._opened("chat-1")
        self.figures["open_2000_messages_s"] = {
            "least": round(min(took), 3),
            "median": round(sorted(took)[len(took) // 2], 3),
            "most": round(max(took), 3),
        }
        await self._opened("long")
        self.figures["rss_with_chats_mb"] = resident_mb()
        await self._stream()
        self.figures["rss_with_ribbon_mb"] = resident_mb()
        self.exit()

    async def _opened(self, name: str) -> float:
        """Open a chat; return the seconds until its end is painted."""
        screen = self.screen
        assert isinstance(screen, ChatScreen)
        begun = time.perf_counter()
        self.desk.open(name)
        screen.refresh_chats()
        last = self.desk.chat.path()[-1]
        while not _is_there(screen, last):
            await self._painted()
        await self._painted()
        assert screen.conversation.is_vertical_scroll_end
        return time.perf_counter() - begun

    async def _painted(self) -> None:
        done = asyncio.Event()
        self.call_after_refresh(done.set)
        await done.wait()

    async def _stream(self) -> None:
        """Have an answer of many tokens go through the app, the ribbon in sight."""
        self.action_show_tab("speculation")
        while not self.screen.query(Ribbon):
            await self._painted()
        self.feed([RequestStarted("r", "demo", 40, Sampling(), 7, 3, Mode.TOKEN, TOKENS)])
        for first in range(0, TOKENS // 3, BATCH):
            said = [replace(cycle(n), cycle=n) for n in range(first, first + BATCH)]
            self.feed(wire.decode(wire.encode(said)))
            await asyncio.sleep(0)
        await self._painted()
        self.figures["ribbon_tokens"] = len(self.screen.query_one(Ribbon).lines.texts)


def _is_there(screen: ChatScreen, last: Turn) -> bool:
    """Whether a chat's last turn is laid out, and all that is shown before it."""
    blocks = screen.conversation.blocks
    answers = [answer for answer in screen.conversation.query(Answer) if answer.display]
    return bool(blocks) and blocks[-1].turn is last and all(a.is_painted for a in answers)


def run_app(result: Path) -> None:
    """Write conversations, run the app among them, and write what was measured."""
    folder = Path(tempfile.mkdtemp())
    write_chat(folder / "data" / "chats", "long", MESSAGES)
    for number in range(1, CHATS):
        write_chat(folder / "data" / "chats", f"chat-{number}", 10)
    app = MeasuredApp(folder)
    app.run()
    result.write_text(json.dumps(app.figures), encoding="utf-8")


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="120x40")
    parser.add_argument("--app", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.app:
        run_app(arguments.app)
        return
    result = Path(tempfile.mkdtemp()) / "figures.json"
    command = [sys.executable, "-m", "benchmarks.app_memory", "--app", str(result)]
    in_pty.run(command, arguments.size)
    figures = json.loads(result.read_text("utf-8"))
    document = {**in_pty.machine(), "size": arguments.size, "chats": CHATS, **figures}
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
