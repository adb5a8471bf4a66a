"""Compiles the C kernels for the machine they run on, and puts them before the matrix library. Imports no mlx.

They are `kernels/few_rows.c` and, for packed weights, `packed_rows.c`.

Where there is no C compiler, or what it made multiplies wrongly, the library does all products.
"""

from __future__ import annotations

import ctypes
import hashlib
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from engine.made_files import in_memory, made_whole

__all__ = ["LeftToLibrary", "compiled", "stand_before"]

_COMPILERS = ("cc", "gcc", "clang")
_NATIVE = "-mcpu=native" if platform.machine() == "aarch64" else "-march=native"
_OPTIONS = (
    *("-std=gnu11", "-O3", _NATIVE, "-shared", "-fPIC", "-fvisibility=hidden", "-pthread"),
    # All sums by fused steps: tuned for some processors, GCC takes them apart where a sum is alone.
    *("-ffp-contract=fast", "--param", "avoid-fma-max-bits=0"),
)
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
    """Return the kernel as a library for this machine: made once and kept, or, where that can't be, in memory.

    Raises:
        LeftToLibrary: it can't be compiled.
        OSError: there is no place to compile it at.
    """
    sources = _sources()
    facts = [*(source.read_text("utf-8") for source in sources), *_OPTIONS, _cpu()]
    key = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
    kept = cache_folder / "blas" / f"few-rows-{key}.so"
    if kept.exists():
        return kept
    compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if compiler is None:
        raise LeftToLibrary("there is no C compiler")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, kept.name)
        own = [str(source) for source in sources if source.suffix == ".c"]
        _run(compiler, *_OPTIONS, *own, "-o", str(made))
        content = made.read_bytes()
    try:
        with made_whole(kept) as place:
            place.write_bytes(content)
    except OSError:
        return in_memory("few-rows", content)
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


def _sources() -> list[Path]:
    folder = Path(__file__).parents[1] / "kernels"
    return [folder / name for name in ("few_rows.h", "few_rows.c", "packed_rows.c")]


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
