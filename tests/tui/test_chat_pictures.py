"""What the chat looks like, at the three sizes it is made for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from engine.protocol import Channel
from tests.tui.chat_talk import Talk

pytestmark = pytest.mark.slow

SIZES = [(80, 24), (120, 40), (200, 60)]

ANSWER = """# Why the sky is blue

Sunlight holds **all colours**. In the air, *short* waves are thrown aside far more than long
ones: with `1/λ⁴`, see [the paper](https://example.org/rayleigh).

- Blue light: 450 nm
- Red light: 700 nm
  - a sixth as much

1. It enters the air
2. It is scattered

```python
def scattered(nm: float) -> float:
    return (550 / nm) ** 4  # Rayleigh
```

| colour | nm  |
|--------|----:|
| violet | 400 |

> The sky is a [lamp].
"""

Scene = Callable[[Talk], Awaitable[None]]


async def empty(talk: Talk) -> None:
    """Nothing was asked yet."""
    await talk.settle()


async def streaming(talk: Talk) -> None:
    """An answer is half there."""
    await talk.ask("Why is the sky blue?")
    talk.starts()
    await talk.says(ANSWER[:560])


async def finished(talk: Talk) -> None:
    """A second answer, with its thought shown, beside a first."""
    await talk.answered("Why is the sky blue?", "Because.")
    await talk.press("ctrl+g")
    talk.starts()
    await talk.says("Think of *short* waves. " * 6, channel=Channel.REASONING)
    await talk.says(ANSWER)
    await talk.ends()
    await talk.press("ctrl+t", "tab")


async def cut(talk: Talk) -> None:
    """The engine died in mid-answer."""
    await talk.ask("Why is the sky blue?")
    talk.starts()
    await talk.says("Because **short** waves are thr")
    await talk.dies()


async def options(talk: Talk) -> None:
    """The panel is open and a value in it is wrong."""
    await talk.answered("Why is the sky blue?", "Because.")
    await talk.press("ctrl+b", *"Be brief.", "tab", *"-1", "tab", *"0.9")


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("scene", [empty, streaming, finished, cut, options])
def test_picture(
    scene: Scene, size: tuple[int, int], tmp_path: Path, snap_compare: Callable[..., bool]
) -> None:
    talk = Talk(tmp_path)
    talk.stop_the_clock()

    async def run_before(pilot: Pilot[int]) -> None:
        await talk.begin(pilot)
        await scene(talk)
        await talk.rest()

    assert snap_compare(talk.app, terminal_size=size, run_before=run_before)
