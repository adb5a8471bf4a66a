"""What is measured: which requests come next, and what came of them.

A sweep sends nothing: it makes commands and is fed with events, so a command's own engine and the
app's serve it alike.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.resources import files

from engine.protocol import (
    MAX_DEPTH,
    ChatMessage,
    EngineStarted,
    Event,
    Finish,
    Generate,
    Mode,
    ModelInfo,
    RequestDone,
    RequestFailed,
    Role,
)
from mtplx_tui import requests
from mtplx_tui.machine.heat import Heat, heat_to_plain
from mtplx_tui.view import EngineView, RequestView, apply

__all__ = [
    "KINDS",
    "Answer",
    "Plan",
    "Sweep",
    "SweepBroken",
    "about",
    "depths_of",
    "kinds_of",
    "prompts_of",
]

KINDS = ("chat", "code", "json", "translation", "random")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured."""

    kinds: tuple[str, ...] = ("chat",)
    depths: tuple[int | None, ...] = (0, 1, 2, 3, 4, None)
    """None: automatic."""
    prompts: int = 8
    """Of each kind, at most."""
    max_tokens: int = 200
    temperature: float | None = None
    """None: the model's own."""
    mode: Mode = Mode.TOKEN
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, as numbers."""

    kind: str
    prompt: int
    depth: int | None
    tokens: int
    cycles: int
    seconds: float
    """Of its cycles: neither the prompt nor the turns of others count."""
    draft_s: float
    verify_s: float
    accept_s: float
    reached_at: tuple[int, ...]
    accepted_at: tuple[int, ...]

    @property
    def tokens_per_s(self) -> float:
        """Emitted tokens over the time of the cycles."""
        return self.tokens / self.seconds


def kinds_of(text: str) -> tuple[str, ...]:
    """Return the kinds a person named. Raises ValueError naming one that is none."""
    kinds = KINDS if text == "all" else tuple(dict.fromkeys(text.split(",")))
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"kinds are {', '.join(KINDS)} or all, not {kind!r}")
    return kinds


def depths_of(text: str) -> tuple[int | None, ...]:
    """Return depths such as "0-4,auto"; plain decoding is always among them.

    Raises:
        ValueError: a part is neither a depth, a range of them, nor auto.
    """
    depths: list[int | None] = [0]
    for part in text.split(","):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if part == "auto":
            depths.append(None)
        elif first.isdecimal() and last.isdecimal() and int(first) <= int(last):
            depths += range(int(first), int(last) + 1)
        else:
            raise ValueError(f"depths are like 0-4,auto, not {text!r}")
    deepest = max(depth or 0 for depth in depths)
    if deepest > MAX_DEPTH:
        raise ValueError(f"the deepest that can be drafted to is {MAX_DEPTH}, not {deepest}")
    return tuple(dict.fromkeys(depths))


def prompts_of(kind: str) -> list[str]:
    """Return the prompts of a kind."""
    text = (files("mtplx_tui.bench") / "prompts" / f"{kind}.txt").read_text("utf-8")
    return text.splitlines()


class SweepBroken(Exception):
    """A request of the sweep was ended by someone else; the message is one line."""


class Sweep:
    """One plan on one model, prompt by prompt.

    All depths answer a prompt side by side, in an order that moves on with each prompt: whatever
    slows the machine slows all alike.

    Args:
        model: what is loaded; without a head nothing but plain decoding is measured.
        plan: what is to be measured.
        prefix: what the names of its requests begin with.
    """

    def __init__(self, model: ModelInfo, plan: Plan, prefix: str = "") -> None:
        self.model = model
        self.plan = plan if model.head is not None else replace(plan, depths=(0,))
        self.answers: list[Answer] = []
        """Of the prompts that are through."""
        self.done = 0
        """Prompts that are through."""
        self._prefix = prefix
        self._prompts = [
            (kind, number, text)
            for kind in plan.kinds
            for number, text in enumerate(prompts_of(kind)[: plan.prompts])
        ]
        self._running: dict[str, int | None] = {}
        self._view = EngineView()

    @property
    def prompts(self) -> int:
        """How many prompts there are."""
        return len(self._prompts)

    @property
    def kind(self) -> str:
        """The kind of the prompt at hand, of the last one at the end."""
        return self._prompts[min(self.done, self.prompts - 1)][0]

    @property
    def running(self) -> tuple[str, ...]:
        """The requests that are in flight."""
        return tuple(self._running)

    @property
    def share(self) -> float:
        """How much of the work is through, at most: answers may end before their last token."""
        most = len(self.plan.depths) * self.plan.max_tokens
        now = sum(view.emitted for view in self._views()) / most if self._running else 0.0
        return (self.done + min(1.0, now)) / self.prompts

    def next(self) -> list[Generate]:
        """Return the requests of the next prompt; none while one runs or when all are through."""
        if self._running or self.done == self.prompts:
            return []
        kind, number, text = self._prompts[self.done]
        turn = number % len(self.plan.depths)
        names = {
            f"{self._prefix}{kind} {number} {depth}": depth
            for depth in (*self.plan.depths[turn:], *self.plan.depths[:turn])
        }
        self._running, self._view = names, EngineView()
        return [
            _command(self.model, self.plan, name, text, number, depth)
            for name, depth in names.items()
        ]

    def take(self, event: Event) -> bool:
        """Take an event, of whatever request; True where a prompt is through by it.

        Raises:
            SweepBroken: a request of this sweep failed or was cancelled.
        """
        if getattr(event, "request", None) not in self._running:
            return False
        if isinstance(event, RequestFailed):
            raise SweepBroken(event.error.message)
        if isinstance(event, RequestDone) and event.finish is Finish.CANCELLED:
            raise SweepBroken("the engine ended its answers, as when another model is opened")
        self._view = apply(self._view, event)
        if any(view.done is None for view in self._views()):
            return False
        self.answers += self._measured()
        self._running = {}
        self.done += 1
        return True

    def leave(self) -> None:
        """Leave the prompt at hand; what its answers were so far counts no more."""
        self._running = {}

    def so_far(self) -> list[Answer]:
        """Return the answers, those of the prompt at hand too once each has begun."""
        is_begun = self._running and all(len(view.cycles) for view in self._views())
        return [*self.answers, *self._measured()] if is_begun else [*self.answers]

    def _views(self) -> list[RequestView]:
        """Return the requests in flight; those not heard of yet are empty."""
        return [self._view.request(name) or RequestView(name) for name in self._running]

    def _measured(self) -> list[Answer]:
        kind, number, _ = self._prompts[self.done]
        pairs = zip(self._running.values(), self._views(), strict=True)
        return [_answer(kind, number, depth, view) for depth, view in pairs]


def _command(  # what makes a request, each told by the caller
    model: ModelInfo, plan: Plan, name: str, text: str, number: int, depth: int | None
) -> Generate:
    options = requests.Options(
        temperature=plan.temperature,
        seed=plan.seed + number,
        depth=depth,
        mode=plan.mode,
        max_tokens=plan.max_tokens,
    )
    asked = requests.build(name, model, options, messages=(ChatMessage(Role.USER, text),))
    return replace(asked, is_cached=False)


def _answer(kind: str, number: int, depth: int | None, view: RequestView) -> Answer:
    return Answer(
        kind=kind,
        prompt=number,
        depth=depth,
        tokens=view.emitted,
        cycles=len(view.cycles),
        seconds=view.cycle_s,
        draft_s=view.draft_s,
        verify_s=view.verify_s,
        accept_s=view.accept_s,
        reached_at=view.reached_at,
        accepted_at=view.accepted_at,
    )


def about(
    model: ModelInfo, plan: Plan, started: EngineStarted | None, heat: Heat | None = None
) -> dict[str, object]:
    """Return what figures were measured on, and how, and how warm the machine was meanwhile."""
    return {
        "model": model.name,
        "weights_bytes": model.weights_bytes,
        "machine": _machine(started),
        "mode": plan.mode.value,
        "temperature": plan.temperature,
        "max_tokens": plan.max_tokens,
        "seed": plan.seed,
        "heat": None if heat is None else heat_to_plain(heat),
    }


def _machine(started: EngineStarted | None) -> dict[str, object]:
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "mtplx_tui": version("mtplx-tui"),
        "mlx": started.mlx if started else "",
        "device": started.device if started else "",
        "blas": started.blas if started else "",
    }
