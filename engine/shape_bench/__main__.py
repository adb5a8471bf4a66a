"""Measures a shape's costs: `python -P -m engine.shape_bench --cache FOLDER --plan JSON`.

Standard output gets one JSON object: the fields of `engine.verdict.shape_costs.Costs`, or `failure`, one
line. How far it is goes to standard error, each line after `PROGRESS`.
"""

from __future__ import annotations

import functools
import gc
import importlib.metadata
import json
import sys

from engine import wire
from engine.errors import EngineError
from engine.one_answer import Asked, answer_once
from engine.verdict.shape_costs import PROGRESS, Costs, Plan
from engine.verdict.shapes import shape_of

__all__: list[str] = []

_REASON = 300
"""Characters of a reason, at most."""


def main() -> int:
    """Run the process; return its exit code."""
    return answer_once("engine.shape_bench", __doc__, _costs_or_failure, has_plan=True)


def _costs_or_failure(asked: Asked) -> dict[str, object]:
    try:
        plan = wire.from_fields(Plan, json.loads(asked.plan))
        return wire.plain_fields(_costs(asked, plan))
    except EngineError as error:
        line = f"{error.message}; {error.remedy}" if error.remedy else error.message
    except (ImportError, MemoryError, OSError, RuntimeError, ValueError) as error:
        line = " ".join(str(error).split()) or type(error).__name__
    return {"failure": line[:_REASON]}


def _tell(stage: str) -> None:
    sys.stderr.write(f"{PROGRESS}{stage}\n")
    sys.stderr.flush()


def _costs(asked: Asked, plan: Plan) -> Costs:
    import mlx.core as mx

    from engine.shape_bench.cycles import HOW, CycleBench
    from engine.shape_bench.models import made
    from engine.shape_bench.pace import Pace
    from engine.shape_bench.passes import FEW_ROWS, host_times, pass_times

    pace = Pace(plan.repeats, plan.budget_s, _tell)
    both = made(plan, asked.cache, _tell)
    _tell(f"made in {both.making_s:.1f} s, ready after {both.readying_s:.1f} s more")
    gc.freeze()  # what lives as long as the process is not looked through in the middle of a step
    first, *others = plan.contexts
    rows = {"own": plan.rows, "stock": plan.stock_rows}
    passes, facts = pass_times(both, first, rows, pace, 0.25)
    caches = [facts]
    cycles = CycleBench(both, plan)
    for depth in range(plan.deepest + 1):
        pace.warm(f"depth {depth}", functools.partial(cycles.warm, depth))
    mx.clear_cache()
    mx.reset_peak_memory()
    for depth in range(plan.deepest + 1):
        cycles.warm(depth)
    peak, caches_bytes = mx.get_peak_memory(), cycles.caches_bytes
    times, stock = cycles.run(pace, 0.6)
    del cycles
    for context in others:
        mx.clear_cache()
        more, facts = pass_times(both, context, {"own": FEW_ROWS, "stock": FEW_ROWS}, pace, 0.5)
        passes += more
        caches.append(facts)
    host = host_times(both, first, pace, 0.5)
    shape, trunk = shape_of(plan.shape), both.own.trunk
    is_cpu = mx.default_device() == mx.cpu
    return Costs(
        plan=plan,
        device="cpu" if is_cpu else "metal" if mx.metal.is_available() else "cuda",
        device_name=str(mx.device_info().get("device_name", "")),
        mlx=importlib.metadata.version("mlx"),
        mlx_lm=importlib.metadata.version("mlx-lm"),
        blas=asked.blas.name if is_cpu else "",
        kernel_note=both.own.kernel_note,
        steps=trunk.steps_note or ("compiled" if trunk.compiled_graphs else "not compiled"),
        graphs=trunk.compiled_graphs,
        layers=plan.layers or shape.layers,
        source=shape.source,
        sampling=HOW,
        making_s=both.making_s,
        readying_s=both.readying_s,
        warming_s=pace.warming_s,
        weights_bytes=both.weights_bytes,
        caches_bytes=caches_bytes,
        peak_bytes=peak,
        passes=tuple(passes),
        host=tuple(host),
        cycles=tuple(times),
        stock_step_ms=stock.step_ms,
        stock_loop_ms=stock.loop_ms,
        caches=tuple(caches),
    )


if __name__ == "__main__":
    sys.exit(main())
