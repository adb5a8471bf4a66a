"""Lets MLX repeat a graph as it was built, operation by operation.

`mx.compile` keeps a graph so that it can be repeated without Python, and also fuses its elementwise
operations. Fused ones have other bits than those they replace, and CUDA's compiler takes seconds for
each. The library can do the one without the other, Python's door to it can't: so the switch is thrown
in the library itself, whose symbol it exports. Where it isn't found, graphs are fused.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import mlx

__all__ = ["can_leave_unfused", "unfused"]

_SYMBOL = "_ZN3mlx4core16set_compile_modeENS0_11CompileModeE"
"""mlx::core::set_compile_mode(CompileMode), mlx/compile.h of 0.32."""
_NO_FUSE, _ENABLED = 2, 3


def can_leave_unfused() -> bool:
    """Return whether MLX's library has the switch."""
    return _switch() is not None


@contextlib.contextmanager
def unfused() -> Iterator[None]:
    """Let what `mx.compile` traces in here keep its operations, where MLX can do that."""
    switch = _switch()
    if switch is None:
        yield
        return
    switch(_NO_FUSE)
    try:
        yield
    finally:
        switch(_ENABLED)


@functools.cache
def _switch() -> Callable[[int], None] | None:
    for folder in mlx.__path__:
        for name in ("libmlx.so", "libmlx.dylib"):
            path = Path(folder) / "lib" / name
            if path.exists():
                return _found(path)
    return None


def _found(library: Path) -> Callable[[int], None] | None:
    """Return the switch of the library that is loaded: the loader knows it by its file."""
    try:
        switch = getattr(ctypes.CDLL(str(library)), _SYMBOL)
    except (OSError, AttributeError):
        return None
    switch.argtypes, switch.restype = [ctypes.c_int], None
    return switch
