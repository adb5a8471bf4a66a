"""Which kind of kernel runs here: Metal's, CUDA's, or plain MLX, and why.

Asks the device, never the build: MLX for a CPU offers the functions of both, and they raise.
MTPLX_TUI_KERNELS switches kernels off: "off" all of them, else those that it names, with commas
between.
"""

from __future__ import annotations

import functools
import os
from enum import Enum
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx

__all__ = [
    "KERNELS",
    "Backend",
    "backend",
    "backend_for",
    "compiled_folder",
    "keep_compiled",
    "unknown_names",
    "why_plain",
]

KERNELS = (
    "gated_delta",
    "delta_mixer",
    "quant_matvec",
    "residual_norm",
    "swiglu",
    "gated_heads",
    "window_attention",
    "cached_attention",
    "compiled_steps",
    "distribution",
    "verdict",
)
"""What can be switched off by name."""


class Backend(Enum):
    """What runs a kernel body."""

    METAL = "metal"
    CUDA = "cuda"
    PLAIN = "plain"
    """No kernel: the plain-MLX definition."""


@functools.cache
def _of_gpu() -> Backend:
    """Return what runs a kernel on the GPU of this process, PLAIN where it has none."""
    if mx.metal.is_available():
        return Backend.METAL
    return Backend.CUDA if mx.cuda.is_available() else Backend.PLAIN


def backend() -> Backend:
    """Return what MLX's present default device runs."""
    where = _of_gpu()
    return where if where is Backend.PLAIN or mx.default_device() == mx.gpu else Backend.PLAIN


def backend_for(kernel: str) -> Backend:
    """Return what runs a kernel of that name: PLAIN where it is switched off."""
    return Backend.PLAIN if _is_off(kernel) else backend()


def why_plain(kernel: str) -> str:
    """Return why plain MLX runs in place of a kernel; empty where `backend_for` has one."""
    if _is_off(kernel):
        return "switched off by MTPLX_TUI_KERNELS"
    return "MLX computes on the CPU here" if backend() is Backend.PLAIN else ""


_KEPT_IN = "MLX_PTX_CACHE_DIR"


def unknown_names() -> tuple[str, ...]:
    """Return what MTPLX_TUI_KERNELS names and is no kernel."""
    return tuple(sorted(_named() - {"", "off", *KERNELS}))


def keep_compiled(folder: Path) -> None:
    """Let CUDA keep what it compiles in a folder of ours, once for a machine.

    MLX's own place is one that all users of a machine share and that a restart empties. A folder
    that MLX_PTX_CACHE_DIR names goes before. Files are called by what they compute, so each
    version of MLX and each architecture has its own. To be called before a kernel is compiled.

    Args:
        folder: of what is kept of kernels.
    """
    if backend() is not Backend.CUDA:
        return
    device = mx.device_info().get("architecture", "")
    own = folder / f"ptx-{version('mlx')}-{device}"
    os.environ.setdefault(_KEPT_IN, str(own))


def compiled_folder() -> Path | None:
    """Return where what CUDA compiles is kept; None where it was left to MLX."""
    named = os.environ.get(_KEPT_IN, "")
    return None if named == "" else Path(named)


def _named() -> frozenset[str]:
    return _names(os.environ.get("MTPLX_TUI_KERNELS", ""))


@functools.lru_cache(8)
def _names(text: str) -> frozenset[str]:
    """Return the names of a list; kept, since every call of a kernel asks."""
    return frozenset(name.strip() for name in text.lower().split(","))


def _is_off(kernel: str) -> bool:
    return bool(_named() & {"off", kernel})
