"""Runs prompts through several depths at once and keeps what each answer took."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files

from engine.protocol import MAX_DEPTH, ChatMessage, Generate, Mode, ModelInfo, Role
from mtplx_tui import requests
from mtplx_tui.bench.driver import OwnEngine
from mtplx_tui.view import RequestView

__all__ = ["KINDS", "Answer", "Plan", "depths_of", "kinds_of", "machine", "prompts_of", "run"]

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


async def run(
    engine: OwnEngine, model: ModelInfo, plan: Plan, tell: Callable[[Answer], None]
) -> list[Answer]:
    """Measure a plan on the loaded model; `tell` hears of each answer.

    All depths answer a prompt side by side, in an order that moves on with each prompt.
    """
    answers: list[Answer] = []
    for kind in plan.kinds:
        for number, text in enumerate(prompts_of(kind)[: plan.prompts]):
            turn = number % len(plan.depths)
            order = [*plan.depths[turn:], *plan.depths[:turn]]
            for answer in await _measured(engine, model, plan, (kind, number, text), order):
                answers.append(answer)
                tell(answer)
    return answers


async def _measured(
    engine: OwnEngine,
    model: ModelInfo,
    plan: Plan,
    prompt: tuple[str, int, str],
    order: Sequence[int | None],
) -> list[Answer]:
    kind, number, text = prompt
    commands = [_command(model, plan, f"{kind} {number} {d}", text, number, d) for d in order]
    views = await engine.answer(commands)
    return [
        _answer(kind, number, depth, views[command.request])
        for depth, command in zip(order, commands, strict=True)
    ]


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
    return requests.build(name, model, options, messages=(ChatMessage(Role.USER, text),))


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


def machine(engine: OwnEngine) -> dict[str, object]:
    """Return what the figures were measured on."""
    started = engine.started
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "mtplx_tui": version("mtplx-tui"),
        "mlx": started.mlx if started else "",
        "device": started.device if started else "",
        "blas": started.blas if started else "",
    }
