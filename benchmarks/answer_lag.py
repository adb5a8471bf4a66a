"""How late the event loop runs while an answer streams into the app.

Replays tokens into a real app under a pty whose output is drained, with a probe that asks to
be woken every 5 ms and notes how late it was. Prints one JSON document.

    uv run python benchmarks/answer_lag.py --tokens 4000 --rate 200 --size 120x40
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import gc
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


async def replay(feed, tokens: int, rate: float) -> dict[str, float]:
    """Feed a text in batches at a rate; return what the probe and the CPU clock say."""
    text = text_of(tokens)
    probe = LagProbe()
    probing = asyncio.create_task(probe.run())
    cpu, begun = time.process_time(), time.perf_counter()
    sent = 0
    while sent < len(text):
        await asyncio.sleep(BATCH_S)
        due = int((time.perf_counter() - begun) * rate * CHARACTERS_PER_TOKEN)
        feed(text[sent:due])
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


def run_app(tokens: int, rate: float, result: Path) -> None:
    """Run the app and write what was measured."""
    from textual.app import App, ComposeResult
    from textual.containers import VerticalScroll

    from mtplx_tui.widgets.answer import Answer

    class LagApp(App[None]):
        def compose(self) -> ComposeResult:
            with VerticalScroll():
                yield Answer()

        def on_mount(self) -> None:
            self.query_one(VerticalScroll).anchor()
            self.run_worker(self.measure())

        async def measure(self) -> None:
            answer = self.query_one(Answer)
            answer.show("warm **up**\n\n```python\nx = 1\n```\n\n", is_finished=False)
            await asyncio.sleep(1)
            gc.freeze()
            text = [""]

            def feed(piece: str) -> None:
                text[0] += piece
                answer.show(text[0], is_finished=False)

            answer.show("", is_finished=False)
            figures = await replay(feed, tokens, rate)
            figures["rows"] = len(answer._rows)
            self.figures = figures
            self.exit()

    app = LagApp()
    app.run()
    result.write_text(json.dumps(app.figures), encoding="utf-8")


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
