"""`bench --shape`: its options, the process that measures, and the file that is kept.

The measuring itself is the engine's (`engine.shape_bench`): it needs MLX, and may die of want of memory.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import threading
from collections import deque
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from engine import wire
from engine.verdict.shape_costs import PROGRESS, Costs, Plan, parse_acceptance
from engine.verdict.shapes import SHAPES
from mtplx_tui.bench import shape_report
from mtplx_tui.cli import UsageError, pass_line, tell
from mtplx_tui.config import find_places, find_sysfs, load_settings
from mtplx_tui.files import write_atomically
from mtplx_tui.machine.heat import heat_to_plain, heat_words
from mtplx_tui.machine.sensors import Sensors, find_sources
from mtplx_tui.machine.watching import Watch

__all__ = ["add_options", "plan_of", "run"]

_OWN = (
    *("layers", "acceptance", "depth", "context", "repeats"),
    *("rows", "stock_rows", "budget", "commit"),
)
"""Options that mean something beside --shape alone."""


class _Failed(Exception):
    """The measurement came to nothing; the message is one line."""


def add_options(chosen: argparse.ArgumentParser) -> None:
    """Give `bench` the options of a shape."""
    add = chosen.add_argument_group(
        "a shape in place of a model",
        "Random weights of a real shape, made on the device: costs are measured beside stock mlx-lm's "
        "model of it; acceptance is simulated, replayed from a table.",
    ).add_argument
    names = ", ".join(shape.name for shape in SHAPES)
    add("--shape", metavar="NAME", help=f"{names}; or what follows the first dash: 9b")
    add("--layers", type=int, metavar="N", help="of the trunk, for small machines; default all")
    add("--acceptance", nargs="+", metavar="TABLE", help="chances by depth; default .75/.65/.55")
    add("--depth", type=int, metavar="N", help="the deepest cycle; default the table's length")
    add("--context", type=int, nargs="+", metavar="N", help="positions in the caches; default 1024")
    add("--repeats", type=int, metavar="N", help="rounds, at most; default 10")
    add("--rows", type=int, nargs="+", metavar="N", help="windows, up to 9; default 1 2 3 4 5")
    add("--stock-rows", type=int, nargs="+", metavar="N", help="stock's windows; default 1 2 4")
    add("--budget", type=float, metavar="S", help="seconds after which no more rounds are begun")
    add("--commit", metavar="HASH", help="what is measured, where git can't tell")


def plan_of(options: argparse.Namespace) -> Plan | None:
    """Return what is to be measured; None where no shape was named. Raises UsageError."""
    if options.shape is None:
        given = [name for name in _OWN if getattr(options, name) is not None]
        if given:
            raise UsageError(f"--{given[0].replace('_', '-')} goes with --shape")
        return None
    if options.named is not None or options.model != "demo":
        raise UsageError("--shape stands in place of a model")
    try:
        plan = Plan(options.shape)
        if options.acceptance is not None:
            plan = replace(plan, acceptance=tuple(map(parse_acceptance, options.acceptance)))
        return replace(
            plan,
            layers=options.layers or plan.layers,
            depth=options.depth or plan.depth,
            contexts=tuple(options.context or plan.contexts),
            repeats=plan.repeats if options.repeats is None else options.repeats,
            rows=tuple(options.rows or plan.rows),
            stock_rows=tuple(options.stock_rows or plan.stock_rows),
            budget_s=options.budget or plan.budget_s,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def run(plan: Plan, options: argparse.Namespace) -> int:
    """Measure, keep the result, show it; return the exit code."""
    places = find_places()
    settings, problems = load_settings(places)
    for problem in problems:
        tell(problem)
    try:
        with Watch(Sensors(find_sources(find_sysfs()))) as watch:
            costs = _measured(plan, settings.blas, places.cache)
            heat = watch.heat
    except _Failed as error:
        pass_line("")
        tell(str(error))
        return 1
    pass_line("")
    now = datetime.now()
    about: dict[str, object] = {
        "made_at": now.isoformat(timespec="seconds"),
        "commit": options.commit or _commit(),
        "mtplx_tui": version("mtplx-tui"),
        "system": f"{platform.system()} {platform.machine()}",
        "heat": None if heat is None else heat_to_plain(heat),
    }
    text = json.dumps(shape_report.document(costs, about), indent=1) + "\n"
    kept = places.bench / "shapes" / f"{now:%Y-%m-%d-%H%M%S}-{plan.shape}.json"
    for path in (kept, options.out):
        if path is not None:
            write_atomically(path, text)
    shown = shape_report.page(costs, about, is_markdown=options.markdown)
    if heat is not None:
        shown += f"\n\nheat: {heat_words(heat)}"
    sys.stdout.write(text if options.json else f"{shown}\n\nkept in {kept}\n")
    return 0


def _measured(plan: Plan, blas: str, cache: Path) -> Costs:
    """Let the engine's process measure, telling how far it is. Raises _Failed."""
    command = [sys.executable, "-P", "-m", "engine.shape_bench", "--blas", blas]
    command += ["--cache", str(cache), "--plan", json.dumps(wire.plain_fields(plan))]
    last: deque[str] = deque(maxlen=1)
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        follower = threading.Thread(target=_follow, args=(process, last), daemon=True)
        follower.start()
        try:
            answer = process.stdout.read() if process.stdout else ""
        except BaseException:
            process.kill()
            raise
        code = process.wait()
        follower.join()
    if code or not answer:
        said = f": {last[0]}" if last else ""
        raise _Failed(f"the measuring process ended with code {code}{said}")
    content = json.loads(answer)
    if "failure" in content:
        raise _Failed(content["failure"])
    return wire.from_fields(Costs, content)


def _follow(process: subprocess.Popen[str], last: deque[str]) -> None:
    for line in process.stderr or ():
        if line.startswith(PROGRESS):
            pass_line(line.removeprefix(PROGRESS).strip())
        elif line.strip():
            last.append(line.strip()[:200])


def _commit() -> str:
    """Return the commit of the source that runs; empty where it is no checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
