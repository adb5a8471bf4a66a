"""Compiles `kernels/few_rows.c` for the machine it runs on, and puts it before the matrix library. Imports no mlx.

Where there is no C compiler, or what it made multiplies wrongly, the library does all products.
"""

from __future__ import annotations

import ctypes
import hashlib
import platform
import shutil
import subprocess
from pathlib import Path

from engine.made_files import made_whole

__all__ = ["LeftToLibrary", "compiled", "stand_before"]

_COMPILERS = ("cc", "gcc", "clang")
_NATIVE = "-mcpu=native" if platform.machine() == "aarch64" else "-march=native"
_OPTIONS = ("-std=gnu11", "-O3", _NATIVE, "-ffp-contract=fast", "-shared", "-fPIC", "-pthread")
_CPU = ("model name", "flags", "Features", "CPU part")
"""What a kernel that is kept in a folder must fit, in case another machine sees that folder too."""
_TIMEOUT_S = 60
_ROW_MAJOR, _PLAIN, _TRANSPOSED = 101, 111, 112


class LeftToLibrary(Exception):
    """The library does all products; the message says why."""


def stand_before(library: Path, cache_folder: Path) -> None:
    """Load the kernel so that MLX finds it before the library, which gets what is not for it.

    Args:
        library: whose symbols have plain names. It is to be loaded for all to see after this.
        cache_folder: where the kernel is kept.

    Raises:
        LeftToLibrary: there is no kernel, or it is wrong; nothing is loaded for all to see.
    """
    try:
        kernel = compiled(cache_folder)
        behind = ctypes.CDLL(str(library))
        before = ctypes.CDLL(str(kernel))
        all_else = ctypes.cast(behind.cblas_sgemm, ctypes.c_void_p)
        before.few_rows_begin(all_else, behind.openblas_get_num_threads())
        if not _multiplies(before):
            raise LeftToLibrary("the kernel for few rows multiplies wrongly")
        ctypes.CDLL(str(kernel), mode=ctypes.RTLD_GLOBAL)
    except (OSError, AttributeError) as error:
        raise LeftToLibrary(" ".join(str(error).split())) from error


def compiled(cache_folder: Path) -> Path:
    """Return the kernel as a library for this machine: made once and kept.

    Raises:
        LeftToLibrary: it can't be compiled.
        OSError: it can't be kept.
    """
    source = _source()
    options = " ".join(_OPTIONS)
    key = hashlib.sha256(f"{source.read_text('utf-8')}{options}{_cpu()}".encode()).hexdigest()[:16]
    kept = cache_folder / "blas" / f"few-rows-{key}.so"
    if kept.exists():
        return kept
    compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if compiler is None:
        raise LeftToLibrary("there is no C compiler")
    with made_whole(kept) as place:
        _run(compiler, *_OPTIONS, str(source), "-o", str(place))
    return kept


def _run(*command: str) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LeftToLibrary(f"the C compiler can't be run: {error}") from error
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it says nothing"])[0]
        raise LeftToLibrary(f"the C compiler failed: {said[:200]}")


def _source() -> Path:
    return Path(__file__).parents[1] / "kernels" / "few_rows.c"


def _cpu() -> str:
    """Return what this machine's processor is, as far as it tells."""
    try:
        first = Path("/proc/cpuinfo").read_text("utf-8").split("\n\n")[0]
    except (OSError, UnicodeDecodeError):
        return ""
    return "\n".join(line for line in first.splitlines() if line.startswith(_CPU))


def _multiplies(kernel: ctypes.CDLL) -> bool:
    """Return whether products are right for one row and for a window, by numbers that need no rounding.

    The matrix is large enough for all threads to take part. Each sum tells its row and its column.
    """
    length, columns = 64, 1100
    weights = (ctypes.c_float * (columns * length))()
    for c in range(columns):
        weights[c * length : (c + 1) * length] = [c % 7] * length
        weights[c * length + c % length] += 1
    for count in (1, 4):
        rows = [r + 1 for r in range(count) for _ in range(length)]
        out = (ctypes.c_float * (count * columns))()
        kernel.cblas_sgemm(
            _ROW_MAJOR, _PLAIN, _TRANSPOSED, count, columns, length, ctypes.c_float(1),
            (ctypes.c_float * len(rows))(*rows), length, weights, length, ctypes.c_float(0), out, columns,
        )  # fmt: skip
        wanted = [(r + 1) * (c % 7 * length + 1) for r in range(count) for c in range(columns)]
        if list(out) != wanted:
            return False
    return True
