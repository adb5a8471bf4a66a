"""How fast a model should be here: from what was measured on this machine, never from hope.

The machine's speed is measured once by a process of the engine's and kept until versions or
machine change. A prediction says what it rests on; where a bench has measured the model, that counts.
"""

from __future__ import annotations

import contextlib
import json
import math
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from engine.verdict.memory import StepReads
from mtplx_tui.files import Places, write_atomically

__all__ = [
    "MachineSpeed",
    "Span",
    "Speed",
    "bytes_per_s",
    "known",
    "measure",
    "measured",
    "predict",
    "speed_of",
]

OVERHEAD = 0.5
"""Assumed at most: what attention, norms, sampling and the host take beside reading weights."""
ACCEPTED = (0.5, 0.85)
"""Assumed: the share of drafts accepted, of a weak and of a good head."""
MAX_DEPTH = 4
LEAST_STEP_S = 0.002
"""A shorter step is bound by the host, not by reading weights."""
TIMEOUT_S = 60
_KINDS = ("plain", "8-bit", "4-bit")
_MAX_FILE = 2**20


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens a second, from a slow to a fast case."""

    low: float
    high: float

    def __str__(self) -> str:
        digits = 1 if self.low < 10 else 0
        low, high = f"{self.low:.{digits}f}", f"{self.high:.{digits}f}"
        return low if low == high else f"{low}-{high}"


@dataclass(frozen=True, slots=True)
class MachineSpeed:
    """How fast this machine runs rows through weights."""

    device: str
    rates: Mapping[str, Mapping[int, tuple[float, float]]]
    """Parameters a second by kind of weights and number of rows: the median and the fastest."""
    is_steady: bool = True
    """False where something else kept the machine busy meanwhile."""
    layer_s: tuple[float, float] = (0.0, 0.0)
    """Seconds that a layer takes beside its weights: the median and the least. Nothing on a GPU, where
    most of it goes on beside."""

    def seconds(self, kind: str, parameters: float, rows: int) -> tuple[float, float]:
        """Return what so many rows take, slow and fast; rows between two measured are joined."""
        rates = self.rates[kind]
        near = min((known for known in rates if known >= rows), default=max(rates))
        below = max((known for known in rates if known <= rows), default=near)
        share = 0.0 if near == below else (rows - below) / (near - below)
        slow, fast = (
            parameters * ((1 - share) / rates[below][at] + share / rates[near][at]) for at in (0, 1)
        )
        beyond = rows / near if rows > near else 1.0
        return slow * beyond, fast


@dataclass(frozen=True, slots=True)
class Speed:
    """What is known of a model's speed here."""

    plain: Span
    drafting: Span | None
    """None for a model that does not draft."""
    rests_on: str
    """In words; tells measured from predicted."""
    is_measured: bool


def speed_of(
    model: str, reads: StepReads | None, machine: MachineSpeed | None, bench: Path
) -> Speed | None:
    """Return what is known of a model's speed here: measured before predicted; None for nothing.

    Args:
        model: as a person names it.
        reads: what a step of it reads, if that is known.
        machine: how fast this machine is, if that was measured.
        bench: where results of benches are kept.
    """
    found = measured(model, bench)
    if found is not None or reads is None or machine is None:
        return found
    return predict(reads, machine)


def known(places: Places) -> MachineSpeed | None:
    """Return the machine's speed if it was measured, by these versions and on this machine."""
    try:
        place = _place(places)
        if place.stat().st_size > _MAX_FILE:
            return None
        content = json.loads(place.read_text("utf-8"))
        return _read(content) if content["of"] == _stamp() else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def measure(places: Places, blas: str) -> MachineSpeed | None:
    """Measure the machine's speed, some seconds of work; None where that fails.

    It is kept where it can be, unless the machine was busy with something else: then a later run
    measures again.
    """
    command = [sys.executable, "-P", "-m", "engine.measuring", "--blas", blas]
    try:
        done = subprocess.run(
            [*command, "--cache", str(places.cache)],
            capture_output=True, text=True, check=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        content = {"of": _stamp(), **json.loads(done.stdout)}
        speed = _read(content)
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        return None
    if speed.is_steady:
        with contextlib.suppress(OSError):  # then a later run measures again
            write_atomically(_place(places), json.dumps(content, indent=1) + "\n")
    return speed


def predict(reads: StepReads, machine: MachineSpeed) -> Speed | None:
    """Return what a model should do on a machine, with the bounds of what is not known.

    None for a model so small that other things than its weights bound it. A plain step takes the time of
    one row through the weights it reads and of what its layers do beside, and up to `OVERHEAD` of it more.
    A cycle of depth D takes D drafts and D + 1 rows, and emits (1 - p^(D+1)) / (1 - p) tokens where a draft
    is accepted with chance p (Leviathan et al. 2023); the best depth counts.
    """
    kind = _kind(reads, machine)
    if machine.seconds(kind, reads.trunk, 1)[1] < LEAST_STEP_S:
        return None
    slow, fast = (_step(reads, machine, 1, at) for at in (0, 1))
    plain = Span(1 / (slow * (1 + OVERHEAD)), 1 / fast)
    drafting = None
    if reads.draft:
        low, high = ACCEPTED
        drafting = Span(
            max(plain.low, _best(reads, machine, low, slow=True)),
            max(plain.high, _best(reads, machine, high, slow=False)),
        )
    median, fastest = bytes_per_s(machine, kind)
    how = "measured" if machine.is_steady else "measured while something else ran"
    assumed = f"up to {100 * OVERHEAD:.0f} % of overhead"
    if drafting is not None:
        assumed += f", and {100 * ACCEPTED[0]:.0f} to {100 * ACCEPTED[1]:.0f} % of drafts accepted"
    told = (
        f"predicted: a step reads {reads.trunk / 1e9:.3g} billion {kind} weights, at "
        f"{median / 1e9:.3g} to {fastest / 1e9:.3g} GB/s here{_beside(reads, machine)} "
        f"({how}); assumed are {assumed}"
    )
    return Speed(plain, drafting, told, is_measured=False)


def _beside(reads: StepReads, machine: MachineSpeed) -> str:
    slow, fast = (1e3 * reads.layers * each for each in machine.layer_s)
    return f", and its layers take {fast:.3g} to {slow:.3g} ms beside" if slow else ""


def bytes_per_s(machine: MachineSpeed, kind: str = "plain") -> tuple[float, float]:
    """Return how fast one row reads weights of a kind: the median and the fastest."""
    of_number = 4 if machine.device == "cpu" else 2
    of_scales = 2 * of_number / 64
    per_weight = {"plain": of_number, "8-bit": 1 + of_scales, "4-bit": 0.5 + of_scales}
    median, fastest = machine.rates[kind][1]
    return median * per_weight[kind], fastest * per_weight[kind]


def measured(model: str, folder: Path) -> Speed | None:
    """Return what the newest bench of a model came to; None where there is none.

    Args:
        model: as a person names it.
        folder: where results are kept.
    """
    for place in sorted(folder.glob("*.json"), reverse=True):
        found = _benched(place, model)
        if found is not None:
            return found
    return None


def _benched(place: Path, model: str) -> Speed | None:
    try:
        if place.stat().st_size > 16 * _MAX_FILE:
            return None
        content = json.loads(place.read_text("utf-8"))
        if content["model"] != model:
            return None
        rows = content["rows"]
        rows = [row for row in rows if row["kind"] == rows[0]["kind"]]
        spans = {row["depth"]: _span(row["tokens_per_s"]) for row in rows}
        day = str(content["made_at"])[:10]
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None
    plain = spans.pop(0, None)
    if plain is None:
        return None
    best = max(spans.values(), key=lambda span: span.low + span.high, default=None)
    return Speed(plain, best, f"measured: bench of {day}, {rows[0]['kind']}", is_measured=True)


def _span(figure: Mapping[str, object]) -> Span:
    low, high = float(str(figure["low"])), float(str(figure["high"]))
    if not 0 < low <= high < math.inf:
        raise ValueError("no speed")
    return Span(low, high)


def _best(reads: StepReads, machine: MachineSpeed, chance: float, *, slow: bool) -> float:
    """Return the tokens a second of the best depth, when draft and rows are slow, or fast."""
    kind, at = _kind(reads, machine), 0 if slow else 1
    draft = machine.seconds(kind, reads.draft, 1)[at] + machine.layer_s[at]
    found = []
    for depth in range(1, MAX_DEPTH + 1):
        tokens = (1 - chance ** (depth + 1)) / (1 - chance)
        verify = _step(reads, machine, depth + 1, at)
        found.append(tokens / ((depth * draft + verify) * (1 + OVERHEAD * slow)))
    return max(found)


def _step(reads: StepReads, machine: MachineSpeed, rows: int, at: int) -> float:
    """Return the seconds of a pass of so many rows; at 0 slow, at 1 fast."""
    weights = machine.seconds(_kind(reads, machine), reads.trunk, rows)[at]
    return weights + reads.layers * machine.layer_s[at]


def _kind(reads: StepReads, machine: MachineSpeed) -> str:
    if reads.bits > 8:
        return "plain"
    packed = "8-bit" if reads.bits > 4 else "4-bit"
    may_be_plain = reads.is_unpacked_on_cpu and machine.device == "cpu"
    return max((packed, *["plain"] * may_be_plain), key=lambda kind: machine.rates[kind][1])


def _read(content: Mapping[str, object]) -> MachineSpeed:
    """Return what a measurement says. Raises ValueError, KeyError or TypeError if it is none."""
    kinds = content["kinds"]
    if not isinstance(kinds, dict):
        raise TypeError("kinds of weights are wanted")
    rates = {
        kind: {int(rows): _pair(pair) for rows, pair in kinds[kind].items()} for kind in _KINDS
    }
    if any(1 not in of_kind for of_kind in rates.values()):
        raise ValueError("one row was not measured")
    layer_s = _layer(content["layer_s"])
    is_steady = content["is_steady"] is True
    return MachineSpeed(str(content["device"]), rates, is_steady=is_steady, layer_s=layer_s)


def _layer(pair: object) -> tuple[float, float]:
    if not isinstance(pair, list):
        raise TypeError("two numbers are wanted")
    median, least = (float(each) for each in pair)
    if not 0 <= least <= median < math.inf:
        raise ValueError("no seconds")
    return median, least


def _pair(pair: Sequence[float]) -> tuple[float, float]:
    median, fastest = (float(rate) for rate in pair)
    if not 0 < median <= fastest < math.inf:
        raise ValueError("no rates")
    return median, fastest


_WAY = "190 MB of each kind, and a layer"
"""How the engine measures; what was measured otherwise is measured again."""


def _stamp() -> list[str]:
    return [platform.node(), platform.machine(), version("mlx"), version("mtplx-tui"), _WAY]


def _place(places: Places) -> Path:
    return places.state / "speed.json"
