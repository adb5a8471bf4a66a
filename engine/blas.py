"""Puts an optimised matrix library under MLX on a Linux CPU, before MLX is imported.

MLX's CPU wheel links a reference BLAS. A library loaded with global symbols beforehand takes
its place: scipy-openblas32, whose symbols carry a `scipy_` prefix that patchelf takes off a
private copy, kept in memory where no disk takes it. Before it stands a kernel of our own for few rows (see
`engine.few_rows`). Imports no mlx. `stock` keeps MLX's own, which gives the same bits whatever the
number of rows; an optimised one does not.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from engine.few_rows import LeftToLibrary, stand_before
from engine.made_files import in_memory, made_whole

__all__ = ["BlasInUse", "prepare"]

_WHEEL = "scipy-openblas32"
_PREFIX = "scipy_"


@dataclass(frozen=True, slots=True)
class BlasInUse:
    """The outcome."""

    name: str
    """As in EngineStarted.blas."""
    note: str
    """Why an optimised one is not in use though it was wanted."""
    few_rows: str = ""
    """Why few rows have no kernel of their own beside an optimised one; empty where they have."""


class _CannotUse(Exception):
    """The optimised library can't be put under MLX here."""


def prepare(wanted: str, cache_folder: Path) -> BlasInUse:
    """Load the wanted matrix library.

    Args:
        wanted: "auto" or "stock".
        cache_folder: where the private copy is kept.

    Returns:
        What MLX will use; never raises for want of the optimised one.
    """
    if sys.platform != "linux":
        return BlasInUse("system", "")
    if wanted == "stock" or _has_cuda_backend():
        return BlasInUse("stock", "")
    try:
        version = importlib.metadata.version(_WHEEL)
        library = _private_copy(version, cache_folder)
        few_rows = _few_rows(library, cache_folder)
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    except importlib.metadata.PackageNotFoundError:
        return BlasInUse("stock", f"slow matrix library: {_WHEEL} is not installed")
    except (_CannotUse, OSError) as error:
        reason = " ".join(str(error).split())
        return BlasInUse("stock", f"slow matrix library: OpenBLAS can't be used ({reason})")
    name = f"openblas {version}"
    return BlasInUse(name if few_rows else f"{name} and few_rows", "", few_rows)


def _few_rows(library: Path, cache_folder: Path) -> str:
    """Put our kernel before the library; return why it is not there, or nothing."""
    try:
        stand_before(library, cache_folder)
    except LeftToLibrary as error:
        return str(error)
    return ""


def _has_cuda_backend() -> bool:
    names = ("mlx-cuda-13", "mlx-cuda-12")
    return any(_is_installed(name) for name in names)


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _private_copy(version: str, cache_folder: Path) -> Path:
    """Return the library with plain symbol names: made once and kept, or, where that can't be, in memory.

    A file in memory lasts as long as its descriptor, which nobody closes.
    """
    target = cache_folder / "blas" / f"openblas-{version}-{platform.machine()}.so"
    if target.exists():
        return target
    source = _wheel_library()
    try:
        _keep(source, target)
    except OSError:
        return _in_memory(source)
    return target


def _keep(source: Path, target: Path) -> None:
    """Write the renamed library so that a half-written one is never taken for whole."""
    names = target.with_name(f".{os.getpid()}-names")
    try:
        with made_whole(target) as place:
            place.write_bytes(source.read_bytes())
            names.write_text(_renames(source), "ascii")
            _patchelf("--rename-dynamic-symbols", str(names), str(place))
    finally:
        # A folder that can't be written to refuses this too, whether or not there is a file.
        with contextlib.suppress(OSError):
            names.unlink(missing_ok=True)


def _in_memory(source: Path) -> Path:
    """Return the renamed library as a file that lies on no disk."""
    library = in_memory("openblas", source.read_bytes())
    names = in_memory("names", _renames(source).encode())
    descriptors = int(library.name), int(names.name)
    _patchelf("--rename-dynamic-symbols", str(names), str(library), keep=descriptors)
    os.close(descriptors[1])
    return library


def _wheel_library() -> Path:
    spec = importlib.util.find_spec("scipy_openblas32")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    found = [path for folder in folders for path in Path(folder, "lib").glob("lib*openblas*.so")]
    if not found:
        raise _CannotUse(f"{_WHEEL} holds no library")
    return found[0]


def _renames(library: Path) -> str:
    """Return patchelf's list of old and new names of all prefixed symbols in the file.

    The names are read from the string table: each stands there between NUL bytes.
    """
    prefix = _PREFIX.encode()
    candidates = {word for word in library.read_bytes().split(b"\0") if word.startswith(prefix)}
    names = sorted(word.decode("ascii") for word in candidates if _is_name(word))
    if not names:
        raise _CannotUse(f"{_WHEEL} has no symbols with the prefix {_PREFIX}")
    return "".join(f"{name} {name.removeprefix(_PREFIX)}\n" for name in names)


def _is_name(word: bytes) -> bool:
    return word.isascii() and word.decode("ascii").isidentifier()


def _patchelf(*arguments: str, keep: tuple[int, ...] = ()) -> None:
    """Run patchelf, which gets the descriptors to keep. Raises _CannotUse."""
    program = Path(sys.prefix, "bin", "patchelf")
    command = str(program) if program.exists() else "patchelf"
    try:
        done = subprocess.run(
            [command, *arguments],
            capture_output=True, text=True, check=False, timeout=60, pass_fds=keep,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _CannotUse(f"patchelf can't be run: {error}") from error
    if done.returncode:
        raise _CannotUse(f"patchelf failed: {done.stderr.strip()[:200]}")
