"""Lets `mx.compile` keep a graph's operations: on a CPU each fused one costs seconds of a compiler.

Python has no door to that; the library exports the switch that C++ has.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Generator
from pathlib import Path

import mlx

__all__ = ["unfused"]

_SYMBOL = "_ZN3mlx4core16set_compile_modeENS0_11CompileModeE"
"""mlx::core::set_compile_mode(CompileMode), mlx/compile.h of 0.32."""
_NO_FUSE, _ENABLED = 2, 3


@contextlib.contextmanager
def unfused() -> Generator[None]:
    """Let what `mx.compile` traces in here keep its operations, where MLX can do that."""
    paths = [Path(folder) / "lib" / "libmlx.so" for folder in mlx.__path__]
    library = next((path for path in paths if path.exists()), None)
    if library is None:
        yield
        return
    switch = getattr(ctypes.CDLL(str(library)), _SYMBOL)
    switch.argtypes, switch.restype = [ctypes.c_int], None
    switch(_NO_FUSE)
    try:
        yield
    finally:
        switch(_ENABLED)
