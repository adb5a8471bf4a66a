"""How late the event loop runs while an answer streams into the app.

Replays tokens into a real app under a pty whose output is drained, with a probe that asks to
be woken every 5 ms and notes how late it was. Prints one JSON document.

    uv run python benchmarks/answer_lag.py --tokens 4000 --rate 200 --size 120x40
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import os
import platform
import pty
import struct
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from engine.protocol import (
    PROTOCOL_VERSION,
    Channel,
    CycleDone,
    Ended,
    EngineStarted,
    Finish,
    HeadInfo,
    Mode,
    ModelInfo,
    ModelLoaded,
    RequestDone,
    RequestStarted,
    Sampling,
    TextRun,
)

if TYPE_CHECKING:
    from mtplx_tui.app import MtplxApp

PROBE_S = 0.005
BATCH_S = 0.05
"""The engine sends at most 20 batches a second."""
CHARACTERS_PER_TOKEN = 4

CHAPTER = """## Part {n}: how light scatters

Light that comes from the sun is made of **all colours**. On its way through the air it meets
molecules far smaller than its wavelength, and *short* waves are thrown aside much more than long
ones. The strength goes with `1 / wavelength ** 4`, see [the paper](https://example.org/rayleigh).

- Blue light has a wavelength of about 450 nm
- Red light has one of about 700 nm, so it is scattered less
  - roughly a sixth as much
  - which is why sunsets are red
- Violet is scattered even more, but our eyes see it badly

```python
def scattered(wavelength_nm: float, reference_nm: float = 550.0) -> float:
    \"\"\"Return the scattering relative to green light.\"\"\"
    ratio = reference_nm / wavelength_nm
    return ratio ** 4  # Rayleigh's law


for colour, nm in {{"violet": 400, "blue": 450, "red": 700}}.items():
    print(f"{{colour:>8}} {{scattered(nm):.2f}}")
```

| colour | nm | relative |
|--------|---:|---------:|
| violet | 400 | 3.57 |
| blue | 450 | 2.23 |
| red | 700 | 0.38 |

1. First the light enters the atmosphere
2. Then it is scattered again and again
3. At last some of it reaches the eye from every side

> The sky is a lamp that the sun lights.

"""


def text_of(tokens: int) -> str:
    """Return Markdown of about so many tokens."""
    size = tokens * CHARACTERS_PER_TOKEN
    text = ""
    while len(text) < size:
        text += CHAPTER.format(n=text.count("## ") + 1)
    return text[:size]


def percentile(values: list[float], share: float) -> float:
    """Return the value below which a share of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class LagProbe:
    """Notes how late the loop wakes it."""

    def __init__(self) -> None:
        self.lags_ms: list[float] = []

    async def run(self) -> None:
        """Probe until cancelled."""
        while True:
            asked = time.perf_counter()
            await asyncio.sleep(PROBE_S)
            self.lags_ms.append((time.perf_counter() - asked - PROBE_S) * 1e3)


def cycles_of(request: str, number: int, text: str) -> list[CycleDone]:
    """Return the cycles of about three tokens each that a batch holds."""
    size = 3 * CHARACTERS_PER_TOKEN
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    return [
        CycleDone(
            request=request,
            cycle=number + index,
            depth=3,
            drafted=(1, 2, 3),
            drafted_pieces=("a", "b", "c"),
            accepted=2,
            emitted=(1, 2, 4),
            emitted_pieces=("a", "b", "d"),
            ended=Ended.RESIDUAL,
            runs=(TextRun(Channel.ANSWER, piece),),
            draft_s=0.004,
            verify_s=0.01,
            accept_s=0.0005,
            total_s=0.015,
        )
        for index, piece in enumerate(pieces)
    ]


async def replay(app: MtplxApp, request: str, tokens: int, rate: float) -> dict[str, float]:
    """Feed an answer in batches at a rate; return what the probe and the CPU clock say."""
    text = text_of(tokens)
    probe = LagProbe()
    probing = asyncio.create_task(probe.run())
    cpu, begun = time.process_time(), time.perf_counter()
    sent, number = 0, 0
    while sent < len(text):
        await asyncio.sleep(BATCH_S)
        due = int((time.perf_counter() - begun) * rate * CHARACTERS_PER_TOKEN)
        batch = cycles_of(request, number, text[sent:due])
        app.feed(list(batch))
        number += len(batch)
        sent = min(due, len(text))
    wall = time.perf_counter() - begun
    used = time.process_time() - cpu
    probing.cancel()
    lags = probe.lags_ms
    return {
        "p50_ms": round(percentile(lags, 0.5), 2),
        "p99_ms": round(percentile(lags, 0.99), 2),
        "max_ms": round(max(lags), 2),
        "cpu_percent": round(100 * used / wall, 1),
        "wall_s": round(wall, 1),
        "probes": len(lags),
    }


MODEL = ModelInfo(
    name="replay",
    path="/replay",
    model_type="llama",
    parameters=1,
    weights_bytes=1,
    quantization="none",
    vocabulary=1,
    context=100_000,
    head=HeadInfo("replay", 1, 1),
    head_note="",
    sampling=Sampling(),
    has_chat_template=True,
    load_s=1.0,
)


async def measure(app: MtplxApp, tokens: int, rate: float) -> dict[str, float]:
    """Ask a question and have it answered, once to warm up and once to measure."""
    app.feed([EngineStarted(PROTOCOL_VERSION, 1, "cpu", "", "", "stock", "")])
    app.feed([ModelLoaded("load", MODEL)])
    for count in (100, tokens):
        command = app.desk.ask("Why is the sky blue?", MODEL)
        started = RequestStarted(
            command.request, "replay", 40, Sampling(), 1, 3, Mode.TOKEN, 50_000
        )
        app.feed([started])
        await asyncio.sleep(1)
        figures = await replay(app, command.request, count, rate)
        app.feed([RequestDone(command.request, Finish.STOP, count, 0.1, 0.1, 1.0)])
    return figures


def run_app(tokens: int, rate: float, result: Path) -> None:
    """Run the app and write what was measured."""
    app = app_in(result.parent)
    figures: dict[str, float] = {}

    async def work() -> None:
        figures.update(await measure(app, tokens, rate))
        app.exit()

    app.call_later(lambda: app.run_worker(work()))
    app.run()
    result.write_text(json.dumps(figures), encoding="utf-8")


def app_in(folder: Path) -> MtplxApp:
    """Return the app with its files in a folder and no engine."""
    from mtplx_tui.app import MtplxApp
    from mtplx_tui.chats.store import Store
    from mtplx_tui.config import Settings, read_terminal
    from mtplx_tui.files import Places

    return MtplxApp(
        places=Places(folder / "config", folder / "data", folder / "cache"),
        settings=Settings(),
        terminal=read_terminal(),
        start_engine=None,
        process=None,
        model=None,
        store=Store(folder / "chats"),
    )


def drain(descriptor: int) -> None:
    """Read and forget what the app draws."""
    try:
        while os.read(descriptor, 65536):
            pass
    except OSError:
        return


def run_in_pty(arguments: argparse.Namespace) -> dict[str, float]:
    """Run this script's app half under a pty; return its figures."""
    columns, rows = map(int, arguments.size.split("x"))
    result = Path(tempfile.mkdtemp()) / "figures.json"
    command = [sys.executable, __file__, "--tokens", str(arguments.tokens)]
    command += ["--rate", str(arguments.rate), "--app", str(result)]
    pid, master = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.environ.update(TERM="xterm-256color", COLORTERM="truecolor", PYTHONPATH=os.getcwd())
        os.execv(sys.executable, command)
    reader = threading.Thread(target=drain, args=(master,), daemon=True)
    reader.start()
    os.waitpid(pid, 0)
    return json.loads(result.read_text(encoding="utf-8"))


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=4000)
    parser.add_argument("--rate", type=float, default=200.0, help="tokens per second")
    parser.add_argument("--size", default="120x40")
    parser.add_argument("--app", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.app:
        run_app(arguments.tokens, arguments.rate, arguments.app)
        return
    figures = run_in_pty(arguments)
    about = {
        "tokens": arguments.tokens,
        "rate": arguments.rate,
        "size": arguments.size,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }
    sys.stdout.write(json.dumps({**about, **figures}) + "\n")


if __name__ == "__main__":
    main()
