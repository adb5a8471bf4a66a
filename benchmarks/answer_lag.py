"""How late the event loop runs while an answer streams into the app.

Replays tokens into a real app under a pty whose output is drained, or has the real demo answer
beside it, with a probe that asks to be woken every 5 ms and notes how late it was. Prints one
JSON document.

    uv run python -m benchmarks.answer_lag --tokens 4000 --rate 200 --size 120x40
    uv run python -m benchmarks.answer_lag --tokens 300 --rate 0
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import in_pty
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
CACHE = Path.home() / ".cache" / "mtplx-tui-benchmarks"

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
    return {
        **lag_figures(probe),
        "cpu_percent": round(100 * used / wall, 1),
        "wall_s": round(wall, 1),
    }


def lag_figures(probe: LagProbe) -> dict[str, float]:
    """Return how late the probe was woken."""
    lags = probe.lags_ms
    return {
        "p50_ms": round(percentile(lags, 0.5), 2),
        "p99_ms": round(percentile(lags, 0.99), 2),
        "max_ms": round(max(lags), 2),
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


async def measure_engine(app: MtplxApp, tokens: int) -> dict[str, float]:
    """Have the real demo answer, with the loop under the probe."""
    while app.view.model is None:  # noqa: ASYNC110 - a look now and then disturbs least
        await asyncio.sleep(0.1)
    app.desk.set_options(replace(app.desk.chat.options, max_tokens=tokens, seed=1))
    command = app.desk.ask("Write a long story about a lighthouse keeper.", app.view.model)
    probe = LagProbe()
    probing = asyncio.create_task(probe.run())
    begun = time.perf_counter()
    app.send(command)
    while (request := app.view.request(command.request)) is None or request.is_running:  # noqa: ASYNC110 - as above
        await asyncio.sleep(BATCH_S)
    probing.cancel()
    wall = time.perf_counter() - begun
    return {**lag_figures(probe), "wall_s": round(wall, 1), "answer_tokens": request.emitted}


def run_app(tokens: int, rate: float, result: Path) -> None:
    """Run the app and write what was measured; rate 0 is the real demo's own."""
    app = app_in(result.parent, has_engine=rate == 0)
    figures: dict[str, float] = {}

    async def work() -> None:
        measured = measure(app, tokens, rate) if rate else measure_engine(app, tokens)
        figures.update(await measured)
        app.exit()

    app.call_later(lambda: app.run_worker(work()))
    app.run()
    result.write_text(json.dumps(figures), encoding="utf-8")


def app_in(folder: Path, *, has_engine: bool) -> MtplxApp:
    """Return the app with its files in a folder, with an engine or to be fed."""
    from mtplx_tui import link
    from mtplx_tui.app import MtplxApp
    from mtplx_tui.chats.store import Store
    from mtplx_tui.config import Settings, read_terminal
    from mtplx_tui.files import Places

    places = Places(folder / "config", folder / "data", CACHE)
    start = functools.partial(
        link.spawn, link.engine_command(places.cache, "auto"), folder / "engine.log"
    )
    return MtplxApp(
        places=places,
        settings=Settings(),
        terminal=read_terminal(),
        start_engine=start if has_engine else None,
        process=None,
        model="demo",
        store=Store(folder / "chats"),
    )


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=4000)
    parser.add_argument(
        "--rate", type=float, default=200.0, help="tokens per second; 0: the real demo answers"
    )
    parser.add_argument("--size", default="120x40")
    parser.add_argument("--app", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.app:
        run_app(options.tokens, options.rate, options.app)
        return
    result = Path(tempfile.mkdtemp()) / "figures.json"
    command = [sys.executable, "-m", "benchmarks.answer_lag", "--app", str(result)]
    command += ["--tokens", str(options.tokens), "--rate", str(options.rate)]
    in_pty.run(command, options.size)
    about = {"tokens": options.tokens, "rate": options.rate, "size": options.size}
    figures = json.loads(result.read_text(encoding="utf-8"))
    sys.stdout.write(json.dumps({**in_pty.machine(), **about, **figures}) + "\n")


if __name__ == "__main__":
    main()
