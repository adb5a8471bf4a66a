"""Measures a shape's costs: `python -P -m engine.shape_bench --cache FOLDER --plan JSON`.

Standard output gets one JSON object: the fields of `engine.verdict.shape_costs.Costs`, or `failure`, one
line. How far it is goes to standard error, each line after `PROGRESS`.
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import sys
import time

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

    from engine.shape_bench.cycles import CycleBench
    from engine.shape_bench.models import made
    from engine.shape_bench.passes import ALL_ROWS, FEW_ROWS, host_times, pass_times

    both = made(plan, asked.cache, _tell)
    gc.freeze()  # what lives as long as the process is not looked through in the middle of a step
    begin = time.perf_counter()
    _tell("warming up")
    cycles = CycleBench(both, plan)
    cycles.warm()
    mx.clear_cache()
    mx.reset_peak_memory()
    cycles.warm()
    peak, caches = mx.get_peak_memory(), cycles.caches_bytes
    first, *others = plan.contexts
    pass_times(both, first, ALL_ROWS, 1)
    warming_s = time.perf_counter() - begin
    _tell("windows of 1 to 9 rows")
    passes, traffic = pass_times(both, first, ALL_ROWS, plan.repeats)
    _tell("the host's part")
    host = host_times(both, first, FEW_ROWS, plan.repeats)
    _tell("cycles")
    times, stock = cycles.run()
    del cycles
    moved = [traffic]
    for context in others:
        _tell(f"a context of {context}")
        mx.clear_cache()
        more, traffic = pass_times(both, context, FEW_ROWS, plan.repeats)
        passes += more
        moved.append(traffic)
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
        making_s=both.making_s,
        readying_s=both.readying_s,
        warming_s=warming_s,
        weights_bytes=both.weights_bytes,
        caches_bytes=caches,
        peak_bytes=peak,
        passes=tuple(passes),
        host=tuple(host),
        cycles=tuple(times),
        stock_step_ms=stock.step_ms,
        stock_loop_ms=stock.loop_ms,
        traffic=tuple(moved),
    )


if __name__ == "__main__":
    sys.exit(main())
