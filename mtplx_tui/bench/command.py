"""`mtplx-tui bench`: depths against plain decoding; and `mtplx-tui tune`, which keeps what it saw."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

from engine.protocol import Mode, ModelInfo, Sampling
from mtplx_tui.bench import report, shape, suite, tuning
from mtplx_tui.cli import UsageError, parser, pass_line, tell
from mtplx_tui.config import find_sysfs
from mtplx_tui.driving import Engine, EngineTrouble
from mtplx_tui.files import write_atomically
from mtplx_tui.library.disk import ModelNotFound, resolve
from mtplx_tui.machine.heat import heat_words
from mtplx_tui.machine.sensors import Sensors, find_sources
from mtplx_tui.machine.watching import Watch
from mtplx_tui.remedies import one_line

__all__ = ["bench", "carry_out", "tune"]

_BENCH_EXAMPLES = """\
examples:
  mtplx-tui bench demo
  mtplx-tui bench demo --kinds all --depths 0-4,auto --json --out result.json
  mtplx-tui bench --compare before.json after.json
  mtplx-tui bench --shape qwen3.6-27b --acceptance .98/.96/.94 --context 1024 65536

All depths answer each prompt side by side, one cycle in turn, so the machine's drift hits all
alike. Figures are medians over prompts with their 95 % intervals.
"""
_TUNE_EXAMPLES = """\
examples:
  mtplx-tui tune demo

Walks up and down the depths while answering, and keeps what each costs and how often drafts are
accepted: where an automatic depth starts from on this machine.
"""


def bench(words: list[str]) -> int:
    """Run `bench` and return its exit code."""
    options = _bench_options(words)
    if options.shape_plan is not None:
        return shape.run(options.shape_plan, options)
    try:
        if options.compare:
            old, new = (report.read(path).answers for path in options.compare)
            sys.stdout.write(report.compared(old, new) + "\n")
            return 0
    except ValueError as error:
        return _failed(error, 1)
    return _run(options.model, lambda engine, model: _bench(engine, model, options))


def tune(words: list[str]) -> int:
    """Run `tune` and return its exit code."""
    chosen = parser("mtplx-tui tune", "Measure where an automatic depth starts.", _TUNE_EXAMPLES)
    _add_model(chosen)
    chosen.add_argument(
        "--tokens", type=int, default=tuning.TOKENS, help="an answer, of eight; default 150"
    )
    chosen.add_argument("--json", action="store_true", help="print one JSON document")
    options = _with_model(chosen.parse_args(words))
    if options.tokens < 20:
        raise UsageError(f"--tokens must be 20 or more, not {options.tokens}")
    return _run(options.model, lambda engine, model: _tune(engine, model, options))


def _add_model(chosen: argparse.ArgumentParser) -> None:
    help_text = "a folder, owner/name in the hub cache, or demo (default)"
    chosen.add_argument("named", nargs="?", metavar="MODEL", help=help_text)
    chosen.add_argument("--model", help="the same")


def _with_model(options: argparse.Namespace) -> argparse.Namespace:
    if options.named is not None and options.model is not None:
        raise UsageError("the model is named twice")
    options.model = options.named or options.model or "demo"
    return options


def _bench_options(words: list[str]) -> argparse.Namespace:
    chosen = parser("mtplx-tui bench", "Measure depths against plain decoding.", _BENCH_EXAMPLES)
    add = chosen.add_argument
    _add_model(chosen)
    add("--kinds", default="chat", help=f"{','.join(suite.KINDS)} or all; default chat")
    add("--depths", default="0-4,auto", help="default 0-4,auto; 0 is always among them")
    add("--prompts", type=int, default=8, help="of each kind, 1 to 8; default 8")
    add("--max-tokens", type=int, default=200, help="of an answer; default 200")
    add("--temperature", type=float, help="default: the model's own")
    add("--mode", default="token", help=f"one of {', '.join(Mode)}; default token")
    add("--seed", type=int, default=0, help="of the first prompt; default 0")
    add("--json", action="store_true", help="print one JSON document and nothing else")
    add("--markdown", action="store_true", help="print a Markdown table")
    add("--out", type=Path, help="write the JSON document to this file too")
    add("--compare", type=Path, nargs=2, metavar="FILE", help="tell what changed between two")
    shape.add_options(chosen)
    options = _with_model(chosen.parse_args(words))
    options.shape_plan = shape.plan_of(options)
    try:
        options.plan = suite.Plan(
            kinds=suite.kinds_of(options.kinds),
            depths=suite.depths_of(options.depths),
            prompts=options.prompts,
            max_tokens=options.max_tokens,
            temperature=options.temperature,
            mode=Mode(options.mode),
            seed=options.seed,
        )
        Sampling(temperature=0.6 if options.temperature is None else options.temperature)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if options.prompts < 1 or options.max_tokens < 1:
        raise UsageError("--prompts and --max-tokens must be 1 or more")
    return options


def _failed(error: Exception, exit_code: int) -> int:
    tell(str(error))
    return exit_code


def _run(name: str, work: Callable[[Engine, ModelInfo], Awaitable[None]]) -> int:
    """Run work on a model in an engine of its own, and tell what went wrong in one line."""

    async def ran() -> None:
        location = resolve(name)
        async with Engine() as engine:
            await work(engine, await engine.load(location))

    try:
        asyncio.run(ran())
    except ModelNotFound as error:
        return _failed(ValueError(one_line(error)), 1)
    except BrokenPipeError:
        raise
    except (EngineTrouble, suite.SweepBroken, OSError, ValueError) as error:
        pass_line("")
        return _failed(error, error.exit_code if isinstance(error, EngineTrouble) else 1)
    return 0


async def _bench(engine: Engine, model: ModelInfo, options: argparse.Namespace) -> None:
    sweep = suite.Sweep(model, options.plan)
    with Watch(Sensors(find_sources(find_sysfs()))) as watch:
        while commands := sweep.next():
            pass_line(f"{sweep.kind}, prompt {sweep.done + 1} of {sweep.prompts}")
            for command in commands:
                engine.send(command)
            while not sweep.take(await engine.next_event()):
                pass
        heat = watch.heat
    pass_line("")
    answers = sweep.answers
    about = suite.about(model, sweep.plan, engine.view.engine, heat)
    about["memory_bytes"] = engine.memory_bytes()
    text = json.dumps(report.document(answers, about), indent=1)
    if options.out:
        write_atomically(options.out, text + "\n")
    found = report.rows(answers)
    shown = report.markdown(found) if options.markdown else report.table(found)
    if heat is not None:
        shown += f"\n\nheat: {heat_words(heat)}"
    sys.stdout.write((text if options.json else shown) + "\n")


async def _tune(engine: Engine, model: ModelInfo, options: argparse.Namespace) -> None:
    """Answer while walking the depths up and down; the engine itself keeps what it learns."""
    work = tuning.Tuning(model, options.tokens)
    await carry_out(work, engine)
    found = work.found()
    best = tuning.best_of(found).depth
    lines = [*map(tuning.cost_words, found)]
    lines.append(f"best: depth {best}; kept as the start of an automatic depth")
    document = {"model": model.name, "depths": [*map(asdict, found)], "best": best}
    sys.stdout.write((json.dumps(document) if options.json else "\n".join(lines)) + "\n")


async def carry_out(work: tuning.Tuning, engine: Engine) -> None:
    """Tune from the first answer to the last. Raises EngineTrouble."""
    while command := work.next():
        pass_line(f"answer {work.done + 1} of {work.answers}")
        engine.send(command)
        while work.running:
            reply = work.take(await engine.next_event())
            if reply is not None:
                engine.send(reply)
    pass_line("")
