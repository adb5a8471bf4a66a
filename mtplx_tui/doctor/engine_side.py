"""MLX, the matrix library and the kernels, as a short-lived process of the engine's tells them."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from mtplx_tui.config import load_settings
from mtplx_tui.doctor.check import Check, NotLookedAt, Severity
from mtplx_tui.doctor.surroundings import Surroundings

__all__ = ["check_engine"]

TIMEOUT_S = 900.0
"""On a GPU the kernels are compiled when they first run: 113 s on an H200 that had compiled nothing."""
_LOOK_S = 0.05
_INSTALL = "install one backend: mtplx-tui[cpu], mtplx-tui[cuda], or on a Mac mlx with mlx-metal"
_SLOW = "answers are slower: install mtplx-tui[cpu], and see that the cache folder can be written"
_NO_FEW_ROWS = (
    "answers are slower: install a C compiler, gcc or clang, and see that the cache folder can be "
    "written and holds programs that run"
)
_KERNELS_OFF = "unset MTPLX_TUI_KERNELS for full speed"


def check_engine(s: Surroundings) -> Iterator[Check]:
    """Ask the engine's process."""
    answer = _ask(s)
    failure = answer.get("failure")
    if failure is not None:
        yield Check("MLX", "computes", str(failure), Severity.ERROR, _INSTALL)
        return
    yield _mlx(answer)
    if answer.get("blas"):
        yield _blas(str(answer["blas"]), str(answer.get("blas_note", "")))
        why_not = str(answer.get("few_rows", ""))
        if why_not:
            yield Check("few rows", "a kernel for this CPU", why_not, Severity.NOTE, _NO_FEW_ROWS)
    yield from _kernels(answer)


def _mlx(answer: Mapping[str, object]) -> Check:
    device = " ".join(str(answer.get(part, "")) for part in ("device", "device_name"))
    found = f"{answer.get('mlx')} on {device.strip()}"
    if answer.get("computes") is True:
        return Check("MLX", "computes", found)
    wrong = f"{found}, and a product of small matrices comes out wrong"
    return Check("MLX", "computes", wrong, Severity.ERROR, "reinstall mlx and its backend")


def _blas(name: str, note: str) -> Check:
    if note:
        return Check("matrix library", "an optimised one", note, Severity.WARNING, _SLOW)
    if name == "stock":
        remedy = 'chosen by MTPLX_TUI_BLAS or config.toml; blas = "auto" is faster'
        return Check("matrix library", "an optimised one", "MLX's own", Severity.NOTE, remedy)
    return Check("matrix library", "an optimised one", name)


def _kernels(answer: Mapping[str, object]) -> Iterator[Check]:
    kernels = answer.get("kernels")
    for kernel in kernels if isinstance(kernels, list) else ():
        name, off, trouble = (str(kernel.get(key, "")) for key in ("name", "off", "trouble"))
        expected, shown = "runs where there is a GPU", name.replace("_", " ")
        if trouble:
            remedy = "plain MLX runs in its place, slower; please report it with a bundle"
            yield Check(shown, expected, trouble, Severity.WARNING, remedy)
        elif "switched off" in off:
            yield Check(shown, expected, off, Severity.NOTE, _KERNELS_OFF)
        else:
            yield Check(shown, expected, off or f"runs on {kernel.get('runs')}")
    unknown = answer.get("unknown_kernels")
    if isinstance(unknown, list) and unknown:
        named = ", ".join(ascii(str(name)) for name in unknown)
        remedy = "the names are off, and those above; a plus sign before one switches it on"
        yield Check(
            "MTPLX_TUI_KERNELS", "names of kernels", f"no kernel: {named}", Severity.WARNING, remedy
        )


def _ask(s: Surroundings) -> Mapping[str, object]:
    """Return what the process says; its failure where it says nothing. Raises NotLookedAt."""
    blas, cache = "stock", Path(tempfile.gettempdir())
    if s.places is not None:
        blas, cache = load_settings(s.places)[0].blas, s.places.cache
    command = [*s.examining, "--blas", blas, "--cache", str(cache)]
    with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as trouble:
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=told, stderr=trouble, start_new_session=True
        ) as process:
            is_late = not _ended(s, process)
            if is_late:
                process.kill()
        if is_late:
            return {"failure": f"it did not answer in {TIMEOUT_S:.0f} s"}
        told.seek(0)
        try:
            answer = json.loads(told.read())
        except ValueError:
            trouble.seek(0)
            return {"failure": _obituary(process.returncode, trouble.read())}
    return answer if isinstance(answer, dict) else {"failure": "it gave no answer"}


def _ended(s: Surroundings, process: subprocess.Popen[bytes]) -> bool:
    """Wait for the process; whether it ended in time. Raises NotLookedAt where nobody waits any more."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            process.wait(_LOOK_S)
        except subprocess.TimeoutExpired:
            if s.is_over.is_set():
                process.kill()
                raise NotLookedAt("it was stopped") from None
        else:
            return True
    return False


def _obituary(code: int, trouble: bytes) -> str:
    lines = trouble.decode("utf-8", "replace").strip().splitlines()
    last = f": {' '.join(lines[-1].split())[:200]}" if lines else ""
    how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return f"the engine's process {how}{last}"
