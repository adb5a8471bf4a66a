"""A stranger's first minutes, in a real terminal: a fresh clone, an empty home, keys alone.

Part of `make_pictures.py`. A shell is typed into, 120 columns by 40 rows; what its screen shows at each
step becomes a picture, but for the home's own path, which is written as ~. The clone is of the commit this
checkout stands on.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from io import StringIO
from itertools import groupby
from pathlib import Path

import pyte
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import MONOKAI
from rich.text import Text

from tests.fakes.terminal import Terminal

SIZE = (120, 40)
FIRST_S = 600.0
"""The first load unpacks weights and measures; a busy machine takes its time."""
KEY_S = 60.0
QUESTION = "Name three animals that live in the sea."
PROMPT = "mtplx-tui$ "
ROOT = Path(__file__).parents[1]
_NAMES = {"brown": "yellow", "brightbrown": "bright_yellow"}
"""pyte's names of colours that Rich calls otherwise."""
Keep = Callable[[str, str], None]


def draw(folder: Path, keep: Keep) -> None:
    """Clone, set up, ask, leave, come back; keep a picture of each.

    Args:
        folder: empty; clone and home are made in it.
        keep: takes a picture's name and its SVG.

    Raises:
        AssertionError: something did not come in time; what the screen showed stands in it.
    """
    clone, home = folder / "mtplx-tui", folder / "home"
    home.mkdir()
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    # Packages come from the cache that a person would fill over the line.
    subprocess.run(["uv", "sync", "--quiet"], cwd=clone, env=_without_venv(os.environ), check=True)
    shell = ["env", "-C", clone, "bash", "--norc", "--noprofile", "-i"]
    terminal = Terminal(shell, _environment(home), SIZE, answers=True)
    try:
        for name in _steps(terminal):
            keep(name, picture(terminal.screen, home))
    finally:
        terminal.close()


def _steps(terminal: Terminal) -> Iterator[str]:
    """Press keys; give a picture's name whenever the screen is worth one."""
    _command(terminal, "uv run mtplx-tui start --yes")
    terminal.shows('last_model = "demo"', within_s=FIRST_S)
    yield "set-up"
    _wait_for(terminal, "›", FIRST_S)
    yield "first-run"
    terminal.press("\x04")
    _command(terminal, "uv run mtplx-tui start --yes")
    terminal.shows("same as last time: demo", "ctrl+d leaves", within_s=FIRST_S)
    _wait_for(terminal, "›", KEY_S)
    terminal.press(f"{QUESTION}\r")
    terminal.shows("tok/s", within_s=FIRST_S)
    terminal.rest()
    yield "second-run"
    terminal.press("\x04")
    _command(terminal, "uv run mtplx-tui")
    terminal.shows("F2 Chat", "● ready", within_s=FIRST_S)
    terminal.press(f"{QUESTION}\r")
    terminal.shows("tok/s", "● ready", within_s=FIRST_S)
    terminal.rest()
    yield "first-answer"
    terminal.press("\x11")
    terminal.rest()


def _command(terminal: Terminal, words: str) -> None:
    """Wait for the shell, empty the screen and type a command."""
    _wait_for(terminal, PROMPT.strip(), KEY_S)
    terminal.press("\x0c")
    terminal.rest(0.5)
    terminal.press(f"{words}\r")


def _wait_for(terminal: Terminal, sign: str, within_s: float) -> None:
    """Wait until a prompt is the last that the screen shows."""
    terminal.until(lambda: terminal.text.rstrip().endswith(sign), sign, within_s)


def picture(screen: pyte.Screen, home: Path) -> str:
    """Return a screen as SVG; a home's path stands there as ~."""
    console = Console(width=screen.columns, record=True, file=StringIO(), force_terminal=True)
    last = max((row for row in range(screen.lines) if screen.display[row].strip()), default=0)
    for row in range(last + 1):
        cells = [screen.buffer[row][column] for column in range(screen.columns)]
        line = Text()
        for style, run in groupby(cells, _style):
            text = "".join(cell.data for cell in run)
            line.append(text.replace(str(home), "~"), style)
        console.print(line, no_wrap=True, overflow="crop")
    console.print()  # or the last row's underscores are cut
    return console.export_svg(title="mtplx-tui", theme=MONOKAI)


def _style(cell: pyte.screens.Char) -> Style:
    return Style(
        color=_color(cell.fg),
        bgcolor=_color(cell.bg),
        bold=cell.bold,
        italic=cell.italics,
        underline=cell.underscore,
        strike=cell.strikethrough,
        reverse=cell.reverse,
    )


def _color(name: str) -> str:
    """Return Rich's name of a colour that pyte names or gives in six hexadecimal figures."""
    if len(name) == 6 and all(sign in "0123456789abcdef" for sign in name):
        return f"#{name}"
    if name.startswith("bright") and name not in _NAMES:
        return f"bright_{name.removeprefix('bright')}"
    return _NAMES.get(name, name)


def _environment(home: Path) -> dict[str, str]:
    """Return a stranger's environment: nothing of the app's, no hub."""
    own = ("MTPLX_TUI_", "HF_", "XDG_")
    kept = {n: v for n, v in _without_venv(os.environ).items() if not n.startswith(own)}
    more = {"HOME": str(home), "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    if "UV" in kept:  # the program itself, where the name is that of a script that needs a home
        more["PATH"] = f"{Path(kept['UV']).parent}{os.pathsep}{kept['PATH']}"
    return {**kept, **more, "PS1": PROMPT, "LANG": "C.UTF-8", "HF_HUB_OFFLINE": "1"}


def _without_venv(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name != "VIRTUAL_ENV"}
