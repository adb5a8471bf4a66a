"""Machines to be looked at, made of real files, sockets and processes; each test breaks a part."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mtplx_tui.config import HubPlace, Login, Terminal
from mtplx_tui.doctor.check import Check
from mtplx_tui.doctor.examination import EXAMINATIONS, examine
from mtplx_tui.doctor.surroundings import Surroundings
from mtplx_tui.files import Places

TERMINAL = Terminal(
    name="xterm-kitty", is_dumb=False, has_color=True, colors=2**24, is_utf8=True, is_ssh=False
)


def sound(folder: Path, **changes: object) -> Surroundings:
    """A machine where all is well: the real interpreter and engine, folders of its own."""
    home = folder / "home"
    cache = folder / "hub"
    (root := folder / "root").mkdir(exist_ok=True)
    (sysfs := folder / "sys").mkdir(exist_ok=True)
    s = Surroundings(
        places=Places(home, home, home / "cache"),
        hub_cache=cache,
        login=Login("", folder / "token"),
        hub=HubPlace("http://127.0.0.1:1", is_offline=False),
        terminal=TERMINAL,
        size=(120, 40),
        sysfs=sysfs,
        root=root,
        address=("127.0.0.1", 0),
        is_offline=True,
    )
    return replace(s, **changes)


def look(s: Surroundings, about: str) -> tuple[Check, ...]:
    """Return what the examinations of one name say."""
    chosen = tuple(each for each in EXAMINATIONS if each.name == about)
    assert chosen, f"nothing looks at {about}"
    return tuple(examine(s, chosen))


def problem(s: Surroundings, about: str) -> Check:
    """Return the one problem that they find; each has to have a remedy."""
    problems = [check for check in look(s, about) if check.is_problem]
    assert len(problems) == 1, problems
    (found,) = problems
    assert found.remedy
    return found


def install(folder: Path, name: str, version: str, requires: Sequence[str] = ()) -> None:
    """Put a package into a folder, as far as an installer's records go."""
    place = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    place.mkdir(parents=True)
    lines = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {each}" for each in requires]
    (place / "METADATA").write_text("\n".join([*lines, "Requires-Python: >=3.11", ""]))


def packages(folder: Path, *backends: str, mlx: str = "0.32.4", lm: str = "0.32.2") -> Surroundings:
    """Return a machine with made-up packages."""
    place = folder / "packages"
    cpu, cuda = ("mlx-cpu==0.32.4; extra == 'cpu'", "mlx-cuda-13==0.32.4; extra == 'cuda'")
    pins = ["mlx==0.32.4", "mlx-lm==0.32.2", cpu, cuda]
    install(place, "mtplx-tui", "0.1.0", pins)
    install(place, "mlx", mlx)
    install(place, "mlx-lm", lm)
    for backend in backends:
        install(place, backend, "0.32.4")
    return sound(folder, packages=(str(place),), system="linux")


def engine_with(folder: Path, code: str) -> tuple[str, ...]:
    """Return how the engine's process starts where MLX is this code."""
    package = folder / "shadow" / "mlx"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "core.py").write_text(code)
    real = sound(folder).examining
    return ("env", f"PYTHONPATH={package.parent}", *real)


def with_card(s: Surroundings, driver: str) -> Surroundings:
    """Put an NVIDIA card and its driver into a machine."""
    cards = s.root / "proc" / "driver" / "nvidia" / "gpus" / "0000:01:00.0"
    cards.mkdir(parents=True)
    (cards / "information").write_text("Model: \t\t NVIDIA H100 80GB HBM3\nIRQ: 16\n")
    told = f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {driver}  Release Build\n"
    (cards.parents[1] / "version").write_text(told)
    return s


PYTHON = sys.executable
