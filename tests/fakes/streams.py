"""Recorded streams: what an engine says, event by event, the same each time.

The text has wide characters, newlines, half characters and control characters in it; the depth
changes on the way, and every way a cycle can end is there.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace

from engine.protocol import (
    PROTOCOL_VERSION,
    Channel,
    CycleDone,
    DepthSet,
    Ended,
    EngineStarted,
    Event,
    Finish,
    HeadInfo,
    LoadProgress,
    Mode,
    ModelInfo,
    ModelLoaded,
    PrefillProgress,
    RequestDone,
    RequestStarted,
    Sampling,
    TextRun,
)

TEXT = """The sky is blue because sunlight is scattered by the molecules of the air, and short waves \
are scattered far more than long ones.

1. Sunlight holds all colours; 青い光 (blue light) has a short wavelength.
2. Rayleigh's law says that the strength goes with λ⁻⁴, so violet and blue win 🌤️.
3. At sunset the way through the air is longer: what is left is orange and red.

```python
def scattered(nm: float) -> float:
\treturn (550 / nm) ** 4
```

Our eyes see violet badly, and some of it is absorbed high up; so we call the sky blue. Über den \
Wolken, they say, it is darker still, and beyond the air it is black."""

GUESSES = (" the", " a", " of", ",", " and", " red", " light", "\n", " is", " 光", " very", ".")

MODEL = ModelInfo(
    name="demo",
    path="/models/demo.gguf",
    model_type="llama",
    parameters=134_515_008,
    weights_bytes=540_000_000,
    quantization="none",
    vocabulary=49_152,
    context=8_192,
    head=HeadInfo("demo", 9_000_000, 36_000_000),
    head_note="",
    sampling=Sampling(),
    has_chat_template=True,
    load_s=0.9,
)
PLAIN_MODEL = replace(
    MODEL, name="tiny", head=None, head_note="heads of this family are not supported yet"
)
STARTED = EngineStarted(PROTOCOL_VERSION, 4242, "cpu", "0.32.4", "0.32.2", "openblas 0.3.34", "")

DEPTHS = ((0, 3), (22, 5), (36, 8), (44, 0), (48, 2))
"""From this cycle on, this depth."""
SHARES = (0.86, 0.74, 0.66, 0.55, 0.5, 0.45, 0.4, 0.35)
"""How often a draft at each depth is accepted."""


def pieces_of(text: str) -> list[str]:
    """Cut a text into what tokens would read as."""
    return re.findall(r" ?[A-Za-z]{1,7}|\n+|\t| ?\d| ?[^\sA-Za-z\d]| +", text)


def loading(request: str = "load-1", model: ModelInfo = MODEL) -> list[Event]:
    """Return what an engine says until a model is there."""
    return [
        STARTED,
        LoadProgress(request, "starting", 0, 0),
        LoadProgress(request, "reading weights", 40, 100),
        LoadProgress(request, "warming up", 95, 100),
        ModelLoaded(request, model),
    ]


def started(request: str = "r1", depth: int = 3, prompt_tokens: int = 40) -> RequestStarted:
    """Return the event that takes a request."""
    return RequestStarted(request, "demo", prompt_tokens, Sampling(), 7, depth, Mode.TOKEN, 8_000)


def cycles_of(
    request: str = "r1", count: int = 60, seed: int = 3, text: str = TEXT
) -> list[CycleDone]:
    """Return the cycles of an answer, the depth changing as DEPTHS says."""
    chance = random.Random(seed)
    tokens = pieces_of(text) * (1 + count * 9 // len(pieces_of(text)))
    cycles: list[CycleDone] = []
    at = 0
    for number in range(count):
        depth = next(depth for start, depth in reversed(DEPTHS) if number >= start)
        made = _cycle(request, number, depth, tokens[at : at + depth + 1], chance)
        at += len(made.emitted)
        cycles.append(made)
    cycles[-1] = _stopped(cycles[-1])
    return cycles


def answer(request: str = "r1", count: int = 60, seed: int = 3) -> list[Event]:
    """Return a whole request, from its start to its end."""
    cycles = cycles_of(request, count, seed)
    events: list[Event] = [started(request)]
    events += [PrefillProgress(request, 20, 40), PrefillProgress(request, 40, 40)]
    depth = 3
    for cycle in cycles:
        if cycle.depth != depth:
            depth = cycle.depth
            events.append(DepthSet(request, depth))
        events.append(cycle)
    emitted = sum(len(cycle.emitted) for cycle in cycles)
    events.append(RequestDone(request, Finish.STOP, emitted, 0.08, 0.11, 1.9))
    return events


def recorded() -> list[Event]:
    """Return a whole stream: start, load, one answer of sixty cycles."""
    return [*loading(), *answer()]


def plain_cycles(request: str, pieces: Sequence[str]) -> list[CycleDone]:
    """Return cycles of plain decoding, one token each."""
    return [
        CycleDone(
            request,
            number,
            0,
            (),
            (),
            0,
            (number,),
            (piece,),
            Ended.PLAIN,
            (TextRun(Channel.ANSWER, piece),),
            0.0,
            0.012,
            0.0003,
            0.0126,
        )
        for number, piece in enumerate(pieces)
    ]


def _cycle(
    request: str, number: int, depth: int, text: list[str], chance: random.Random
) -> CycleDone:
    accepted = 0
    while accepted < depth and chance.random() < SHARES[accepted]:
        accepted += 1
    drafted = text[:accepted]
    while len(drafted) < depth:
        guess = chance.choice(GUESSES)
        if len(drafted) > accepted or guess != text[accepted]:
            drafted.append(guess)
    emitted = text[: accepted + 1]
    ended = Ended.PLAIN if depth == 0 else Ended.BONUS if accepted == depth else Ended.RESIDUAL
    draft_s = depth * 0.0021 * chance.uniform(0.9, 1.15)
    verify_s = (0.0105 + depth * 0.0007) * chance.uniform(0.95, 1.1)
    return CycleDone(
        request,
        number,
        depth,
        tuple(len(piece) for piece in drafted),
        tuple(drafted),
        accepted,
        tuple(len(piece) for piece in emitted),
        tuple(emitted),
        ended,
        (TextRun(Channel.ANSWER, "".join(emitted)),),
        draft_s,
        verify_s,
        0.0004,
        draft_s + verify_s + 0.0004 + 0.00028,
    )


def _stopped(cycle: CycleDone) -> CycleDone:
    """Return the cycle as one that a stop token cut."""
    return replace(
        cycle, ended=Ended.STOP, emitted=cycle.emitted[:1], emitted_pieces=cycle.emitted_pieces[:1]
    )
