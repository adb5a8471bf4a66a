"""What is installed is what pyproject.toml says, to the version; looked up without a network."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PYPROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]
INSTALLERS = {"pip", "setuptools", "uv", "wheel"}
"""An environment may hold these beside what the project needs."""


def direct() -> list[Requirement]:
    lists = [
        PROJECT["dependencies"],
        *PROJECT["optional-dependencies"].values(),
        *PYPROJECT["dependency-groups"].values(),
        PYPROJECT["build-system"]["requires"],
    ]
    every = [Requirement(text) for each in lists for text in each]
    return [requirement for requirement in every if requirement.name != PROJECT["name"]]


def constraints(key: str) -> list[Requirement]:
    return [Requirement(text) for text in PYPROJECT["tool"]["uv"][key]]


def exact_version(requirement: Requirement) -> str | None:
    match = re.fullmatch(r"==([^,*]+)", str(requirement.specifier))
    return match[1] if match else None


def drifted(installed: Mapping[str, str], pins: Iterable[Requirement]) -> dict[str, str]:
    """Return what is installed in another version than pinned, or pinned nowhere."""
    wanted = {
        canonicalize_name(pin.name): exact_version(pin)
        for pin in pins
        if pin.marker is None or pin.marker.evaluate()
    }
    return {name: version for name, version in installed.items() if wanted.get(name) != version}


def test_direct_dependencies_are_pinned_exactly() -> None:
    loose = [str(requirement) for requirement in direct() if exact_version(requirement) is None]
    assert loose == []


def test_constraints_are_pinned_exactly_and_not_twice() -> None:
    for key in ("constraint-dependencies", "build-constraint-dependencies"):
        pins = constraints(key)
        assert pins
        assert all(exact_version(pin) for pin in pins)
        assert len({str(pin) for pin in pins}) == len(pins)
    names = {canonicalize_name(pin.name) for pin in constraints("constraint-dependencies")}
    built_with = {Requirement(text).name for text in PYPROJECT["build-system"]["requires"]}
    assert names & {canonicalize_name(pin.name) for pin in direct()} - built_with == set()


def test_what_is_installed_is_what_is_pinned() -> None:
    installed = {
        str(canonicalize_name(found.metadata["Name"])): found.version
        for found in importlib.metadata.distributions()
    }
    ours = {name: installed[name] for name in installed.keys() - INSTALLERS - {PROJECT["name"]}}
    assert len(ours) > 30
    pins = [*direct(), *constraints("constraint-dependencies")]
    assert drifted(ours, pins) == {}, "run: uv run .ci/constraints.py"


def test_drift_is_seen() -> None:
    pins = [Requirement("a==1"), Requirement("b==2; python_version < '3'"), Requirement("c==3")]
    assert drifted({"a": "1", "b": "2", "c": "4", "d": "5"}, pins) == {"b": "2", "c": "4", "d": "5"}
