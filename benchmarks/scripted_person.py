"""A scripted person at the app for an hour: does its memory stay flat, is anything lost?

    uv run python -m benchmarks.scripted_person --minutes 60 --out benchmarks/results/scripted_person.json

The whole app in a terminal, the demo model, a fake hub of small models. The person asks, stops, begins new
chats, changes tabs and sizes, walks through cycles, downloads, and now and then kills the engine. Each
act has to show what it should. At the end the app leaves with exit code 0; every question asked is on
disk once, every download equals its source, no log holds a traceback, and the memory of the app and of
engines of one life is told by the minute. Exit code 1 where something was lost or broke.

With `--recited 200 --pause 0.1` an engine that says made-up words stands in for the demo, and a few minutes
hold the questions of many hours.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from benchmarks import in_pty
from engine.protocol import Role
from mtplx_tui import cli, link
from mtplx_tui.chats.store import Store
from tests.fakes.hub import FakeHub, safetensors_bytes
from tests.fakes.processes import children
from tests.fakes.terminal import Terminal

PROGRAM = Path(sys.executable).with_name("mtplx-tui")
TABS = {"speculation": "\x1bOR", "models": "\x1bOS", "thermals": "\x1b[15~", "bench": "\x1b[17~"}
SERVER, CHAT, HELP = "\x1b[18~", "\x1bOQ", "\x1bOP"
ESCAPE, ENTER = "\x1b", "\r"
CTRL = {name: chr(ord(name) - 96) for name in "bglnqrtu"}
SIZES = ((80, 24), (120, 40), (200, 60), (100, 30), (79, 23), (160, 50))
QUESTIONS = (
    "Why is the sky blue?",
    "Name three fruits.",
    "Write a haiku about rain.",
    "What is 12 times 12?",
    "Explain a hash table. 漢字 🙂 naïve",
)
MODELS = 40
LONGEST_ANSWER = 160
"""Tokens: a small model may go on listing until its context ends."""
PATIENCE_S = 300.0
AGAIN_S = 2.0
READY = "● ready"
READ_S = 20.0
"""An answer that is still being written then is stopped."""


@dataclass
class Person:
    """Who sits there, and what came of it."""

    home: Path
    hub: FakeHub
    chance: random.Random
    command: list[str | Path]
    """Starts the app."""
    asked: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    acts: Counter[str] = field(default_factory=Counter)
    switch_s: list[float] = field(default_factory=list)

    def sit_down(self) -> None:
        """Start the app and wait until it can be asked."""
        environment = {
            **os.environ,
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "LC_ALL": "C.UTF-8",
            "MTPLX_TUI_HOME": str(self.home),
            "HF_ENDPOINT": self.hub.url,
            "HF_HUB_CACHE": str(self.home / "hub"),
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        }
        for name in ("COLUMNS", "LINES", "HF_TOKEN", "NO_COLOR"):
            environment.pop(name, None)
        settings = self.home / "config.toml"
        if not settings.exists():
            settings.write_text(f"max_tokens = {LONGEST_ANSWER}\n", "utf-8")
        self.terminal = Terminal(self.command, environment, (120, 40))
        self.terminal.shows(READY, within_s=PATIENCE_S)

    @property
    def engine(self) -> int:
        """The engine's process."""
        (engine, *_) = children(self.terminal.process.pid)
        return engine

    def act(self) -> None:
        """Do one thing, and see that it shows."""
        acts: dict[str, tuple[int, Callable[[], None]]] = {
            "ask": (6, self.ask),
            "stop": (3, self.ask_and_stop),
            "tabs": (6, self.look_round),
            "size": (4, self.resize),
            "walk": (3, self.walk),
            "new chat": (2, self.new_chat),
            "help": (1, self.help),
            "download": (2, self.download),
            "kill engine": (1, self.kill_engine),
            "paste": (1, self.paste),
        }
        (chosen,) = self.chance.choices(list(acts), [often for often, _ in acts.values()])
        self.acts[chosen] += 1
        acts[chosen][1]()
        self.terminal.written = b""

    def to_chat(self) -> None:
        """Go to the chat, its prompt focused."""
        self.terminal.press(CHAT)
        self.see(READY)

    def see(self, *texts: str) -> float:
        """Wait until the screen shows something."""
        return self.terminal.shows(*texts, within_s=PATIENCE_S)

    def ask(self) -> None:
        """Ask, and read the answer while it is worth it."""
        self.send(self.question())
        self.rest(1.0)
        until = time.monotonic() + READ_S
        while time.monotonic() < until and READY not in self.terminal.text:
            self.rest(0.2)
        if READY not in self.terminal.text:
            self.escape()
        self.see(READY)

    def ask_and_stop(self) -> None:
        """Ask, and stop the answer, if it is not over."""
        self.send(self.question())
        self.escape()
        self.see(READY)

    def escape(self) -> None:
        """Press escape, and nothing for a while: with what follows it would be another key."""
        self.terminal.press(ESCAPE)
        self.rest(0.3)

    def rest(self, seconds: float) -> None:
        """Look at the screen for a while."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.terminal._read(min(left, 0.1))

    def question(self) -> str:
        """Return a question that was not asked yet."""
        return f"{len(self.asked) + 1}: {self.chance.choice(QUESTIONS)}"

    def send(self, question: str, keys: str = "") -> None:
        """Type a question, and see that it is on disk."""
        self.to_chat()
        self.terminal.press(keys or question)
        self.asked.append(question)
        self.terminal.press(ENTER)
        until = time.monotonic() + PATIENCE_S
        again = time.monotonic() + AGAIN_S
        while not self.is_kept(question):
            now = time.monotonic()
            assert now < until, f"not kept: {question}\n{self.terminal.text}"
            if now > again:  # the answer before was still being written
                self.terminal.press(ENTER)
                again = now + AGAIN_S
            self.rest(0.1)

    def is_kept(self, question: str) -> bool:
        """Whether a file of the chats holds a question's first line."""
        begin = json.dumps(question.partition("\n")[0], ensure_ascii=False)[:-1].encode()
        return any(begin in file.read_bytes() for file in (self.home / "chats").glob("*.jsonl"))

    def look_round(self) -> None:
        """Open some tabs and come back."""
        for name in self.chance.sample(sorted(TABS), 3):
            self.terminal.press(TABS[name])
            self.switch_s.append(self.terminal.until(lambda at=name: self.is_at(at), name, 30))
        self.to_chat()

    def is_at(self, tab: str) -> bool:
        """Whether a tab's own words are on the screen."""
        words = {
            "speculation": ("cycle by cycle",),
            "models": ("search · d",),
            "thermals": ("sensor",),
            "bench": ("measure",),
        }
        return any(word in self.terminal.text for word in words[tab])

    def resize(self) -> None:
        """Pull at the window, a storm at times."""
        for _ in range(self.chance.choice((1, 1, 1, 12))):
            self.terminal.resize(*self.chance.choice(SIZES))
        self.to_chat()

    def walk(self) -> None:
        """Walk through the last answer's cycles, the x-ray and the forecast on the way."""
        self.terminal.press(TABS["speculation"])
        for key in (" ", *self.chance.choices(("h", "l", "x", "p", "d", "k", "j"), k=20)):
            self.terminal.press(key)
        self.escape()
        self.to_chat()

    def new_chat(self) -> None:
        """Begin anew."""
        self.to_chat()
        self.terminal.press(CTRL["n"])
        self.see(READY)

    def help(self) -> None:
        """Read the keys."""
        self.to_chat()
        self.terminal.press(HELP)
        self.see("esc closes")
        self.escape()
        self.terminal.until(lambda: "esc closes" not in self.terminal.text, "no help", PATIENCE_S)

    def paste(self) -> None:
        """Ask a long pasted text, stop the answer, and begin anew."""
        pasted = "\n".join([f"{len(self.asked) + 1}: pasted", *["lorem ipsum 漢字"] * 300])
        self.send(pasted, f"\x1b[200~{pasted}\x1b[201~")
        self.escape()
        self.see(READY)
        self.new_chat()

    def download(self) -> None:
        """Search for a model and fetch it."""
        name = f"model-{self.chance.randrange(MODELS)}"
        if name in self.fetched:
            return
        self.terminal.press(TABS["models"])
        self.terminal.until(lambda: self.is_at("models"), "models", 30)
        self.terminal.press("/" + CTRL["u"] + f"{name}x" + ENTER)
        self.terminal.until(lambda: self.is_found(name), f"found: {name}", PATIENCE_S)
        self.terminal.press("d")
        self.fetched.append(name)
        self.terminal.until(lambda: self.is_fetched(name), f"fetched: {name}", PATIENCE_S)
        self.to_chat()

    def is_found(self, name: str) -> bool:
        """Whether the list shows a model alone, and the card what is known of it."""
        text = self.terminal.text
        is_alone = re.search(r"\b1 model\b", text) is not None  # not "41 models"
        return is_alone and f"tiny/{name}x" in text and "weights" in text

    def is_fetched(self, name: str) -> bool:
        """Whether a model is on disk, whole."""
        return any((self.home / "hub").glob(f"models--tiny--{name}x/snapshots/*/model.safetensors"))

    def kill_engine(self) -> None:
        """Kill the engine, in an answer at times; start another."""
        self.to_chat()
        if self.chance.random() < 0.5:
            self.send(self.question())
        os.kill(self.engine, signal.SIGKILL)
        self.see("signal 9", "● engine stopped")  # the notice alone may be of the time before
        self.terminal.press(CTRL["r"])
        self.see(READY)

    def leave(self) -> int:
        """Leave, and return the exit code."""
        self.terminal.press(CTRL["q"])
        return self.terminal.end()


def stock(hub: FakeHub) -> None:
    """Fill a hub with small models."""
    config = json.dumps({"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 1}).encode()
    for number in range(MODELS):
        weights = safetensors_bytes({"model.w": ("BF16", (512, 1024))}, seed=number)
        files = {"config.json": config, "model.safetensors": weights}
        hub.add(f"tiny/model-{number}x", files, tags=["mlx"], downloads=number)


def resident_mb(pid: int) -> float:
    """Return the memory of a process that is its own and resident."""
    text = Path(f"/proc/{pid}/status").read_text("ascii")
    return int(text.partition("RssAnon:")[2].split()[0]) / 1024


def losses(person: Person) -> list[str]:
    """Return what is not as it should be: one line each."""
    found = []
    store = Store(person.home / "chats")
    turns = [
        turn.text
        for summary in store.summaries()
        for turn in store.read(summary.id).turns.values()
        if turn.role is Role.USER
    ]
    counted = Counter(turns)
    found += [
        f"question kept {counted[question]} times: {question!r}"
        for question in person.asked
        if counted[question] != 1
    ]
    for name in person.fetched:
        weights = safetensors_bytes(
            {"model.w": ("BF16", (512, 1024))}, seed=int(name.rpartition("-")[2])
        )
        files = (person.home / "hub").glob(f"models--tiny--{name}x/snapshots/*/model.safetensors")
        if [file.read_bytes() for file in files] != [weights]:
            found.append(f"{name} is not what the hub sent")
    for log in (person.home / "logs").rglob("*"):
        if log.is_file() and b"Traceback" in log.read_bytes():
            found.append(f"a traceback in {log.name}")
    return found


def run_app(model: str, cycles_per_s: float) -> int:
    """Run the app on an engine that recites."""
    recite = [sys.executable, "-m", "tests.fakes.reciting", str(cycles_per_s)]
    with mock.patch.object(link, "engine_command", return_value=recite):
        return cli.main([model])


def main() -> int:
    """Run and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--pause", type=float, default=3.0, help="seconds between two acts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--recited", type=float, help="no engine: so many made-up cycles a second")
    parser.add_argument("--app", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.app:
        return run_app(options.model, options.recited)
    command: list[str | Path] = [PROGRAM, options.model]
    if options.recited is not None:
        command = [sys.executable, "-m", "benchmarks.scripted_person", "--app"]
        command += ["--model", options.model, "--recited", str(options.recited)]
    home = Path(tempfile.mkdtemp(prefix="person-"))
    with FakeHub() as hub:
        stock(hub)
        person = Person(home, hub, random.Random(options.seed), command)
        begin = time.monotonic()
        person.sit_down()
        app_mb: list[float] = [resident_mb(person.terminal.process.pid)]
        engine_mb: list[float] = [resident_mb(person.engine)]
        asked = [0]
        broke = ""
        try:
            while (passed := time.monotonic() - begin) < 60 * options.minutes:
                person.act()
                if passed >= 60 * len(app_mb):
                    app_mb.append(resident_mb(person.terminal.process.pid))
                    engine_mb.append(resident_mb(person.engine))
                    asked.append(len(person.asked))
                    sys.stderr.write(f"{passed / 60:.0f} min, app {app_mb[-1]:.0f} MB\n")
                person.rest(options.pause)
            code = person.leave()
        except AssertionError as error:
            broke, code = str(error), -1
        finally:
            person.terminal.close()
        lost = losses(person)
    half = app_mb[len(app_mb) // 2 :]
    slope = statistics.linear_regression(range(len(half)), half).slope if len(half) > 1 else None
    document = {
        **in_pty.machine(),
        "minutes": options.minutes,
        "pause_s": options.pause,
        "recited_cycles_per_s": options.recited,
        "seed": options.seed,
        "acts": dict(person.acts),
        "questions": len(person.asked),
        "downloads": len(person.fetched),
        "tab_shown_ms": {
            "p50": round(1e3 * statistics.median(person.switch_s)) if person.switch_s else None,
            "max": round(1e3 * max(person.switch_s, default=0.0)),
        },
        "questions_by_minute": asked,
        "app_mb_by_minute": [round(mb, 1) for mb in app_mb],
        "app_mb_a_minute_in_the_second_half": None if slope is None else round(slope, 3),
        "engine_mb_by_minute": [round(mb, 1) for mb in engine_mb],
        "exit_code": code,
        "broke": broke,
        "lost": lost,
    }
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    sys.stdout.write(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    return 0 if code == 0 and not lost and not broke else 1


if __name__ == "__main__":
    sys.exit(main())
