"""Tells what MLX and the kernels are here: `python -P -m engine.examining --blas auto --cache FOLDER`.

Standard output gets one JSON object: device, versions, matrix library and each kernel's state with its
reason; or `failure`, one line, where MLX has no working backend. Loads no model.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from engine.blas import BlasInUse
from engine.one_answer import Asked, answer_once

__all__: list[str] = []

_REASON = 300
"""Characters of a reason, at most."""


def main() -> int:
    """Run the process; return its exit code."""
    return answer_once("engine.examining", __doc__, _found_or_failure)


def _found_or_failure(asked: Asked) -> dict[str, object]:
    try:
        return _found(asked.blas, asked.cache)
    except (ImportError, RuntimeError, ValueError, OSError) as error:
        return {"failure": " ".join(str(error).split())[:_REASON]}


def _found(blas: BlasInUse, cache: Path) -> dict[str, object]:
    """Return what there is. Raises what MLX raises where nothing computes."""
    import mlx.core as mx

    from kernels.dispatch import keep_compiled

    keep_compiled(cache / "kernels")
    is_cpu = mx.default_device() == mx.cpu
    device = "cpu" if is_cpu else "metal" if mx.metal.is_available() else "cuda"
    product = mx.ones((64, 64)) @ mx.ones((64, 64))
    facts = mx.device_info()
    return {
        "device": device,
        "device_name": str(facts.get("device_name", "")),
        "computes": bool((product == 64).all().item()),
        "mlx": importlib.metadata.version("mlx"),
        "blas": blas.name if is_cpu else "",
        "blas_note": blas.note if is_cpu else "",
        "few_rows": blas.few_rows if is_cpu else "",
        **_kernels(),
    }


def _kernels() -> dict[str, object]:
    from kernels.dispatch import KERNELS, Backend, backend_for, unknown_names, why_plain

    told: list[Mapping[str, str]] = []
    for name in KERNELS:
        runs, why = backend_for(name), why_plain(name)
        if name == "window_attention" and runs is Backend.METAL:
            runs, why = Backend.PLAIN, "wanted on CUDA alone"
        trouble = "" if why else _CHECKS.get(name, _nothing)()
        told.append({"name": name, "runs": runs.value, "off": why, "trouble": trouble})
    return {"kernels": told, "unknown_kernels": unknown_names()}


def _nothing() -> str:
    return ""


def _gated_delta() -> str:
    from kernels.gated_delta import kernel_note

    return kernel_note()


def _quant_matvec() -> str:
    import mlx.core as mx

    from kernels.quant_matvec import Packed, kernel_note

    notes = []
    for bits in (4, 8):
        weight = mx.zeros((64, 64), mx.bfloat16)
        notes.append(kernel_note(Packed(*mx.quantize(weight, 64, bits), 64, bits)))
    return next((note for note in notes if note), "")


def _distribution() -> str:
    from engine.speculation.on_device import distribution_note

    return distribution_note()


def _verdict() -> str:
    from engine.speculation.on_device import verdict_note

    return verdict_note()


def _delta_mixer() -> str:
    import mlx.core as mx

    from kernels.delta_mixer import MixerShape, kernel_note

    columns = ((0, 32), (32, 32), (64, 32), (96, 32), (128, 1), (129, 1))
    return kernel_note(MixerShape(1, 1, 32, 32, 4, columns, 1e-6), mx.bfloat16)


def _gated_heads() -> str:
    import mlx.core as mx

    from kernels.gated_heads import HeadShape, kernel_note

    return kernel_note(HeadShape(2, 1, 64, 32, 1e6, 1.0, 1e-6), mx.bfloat16)


def _cached_attention() -> str:
    import mlx.core as mx

    from kernels.cached_attention import kernel_note

    return kernel_note(2, 1, 64, mx.bfloat16)


def _residual_norm() -> str:
    import mlx.core as mx

    from kernels.residual_norm import kernel_note

    return kernel_note(256, mx.bfloat16)


def _swiglu() -> str:
    import mlx.core as mx

    from kernels.swiglu import kernel_note

    return kernel_note(256, mx.bfloat16)


_CHECKS: dict[str, Callable[[], str]] = {
    "gated_delta": _gated_delta,
    "delta_mixer": _delta_mixer,
    "quant_matvec": _quant_matvec,
    "residual_norm": _residual_norm,
    "swiglu": _swiglu,
    "gated_heads": _gated_heads,
    "cached_attention": _cached_attention,
    "distribution": _distribution,
    "verdict": _verdict,
}
"""Compare a kernel with its plain definition; the others are compared when a model is loaded, or plain."""


if __name__ == "__main__":
    sys.exit(main())
