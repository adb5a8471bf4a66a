"""Refreshes the exact versions of transitive dependencies in pyproject.toml.

    uv run .ci/constraints.py

A fresh universal resolution is made in a temporary folder, and what it chose is written to
`constraint-dependencies` and `build-constraint-dependencies`: names and versions, no hosts.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import tomllib
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
KEYS = ("constraint-dependencies", "build-constraint-dependencies")


def main() -> None:
    """Resolve, and rewrite pyproject.toml."""
    text = PROJECT.read_text("utf-8")
    for key in KEYS:
        text = with_list(text, key, [])
    project = tomllib.loads(text)
    text = with_list(text, KEYS[0], constraints(text, direct_names(project)))
    build = project["build-system"]["requires"]
    text = with_list(text, KEYS[1], constraints(build_project(project, build), names(build)))
    PROJECT.write_text(text, "utf-8")


def names(requirements: list[str]) -> set[str]:
    """Return the normalised names of requirements."""
    words = (re.match(r"[A-Za-z0-9._-]+", text) for text in requirements)
    return {re.sub(r"[-_.]+", "-", word[0]).lower() for word in words if word}


def direct_names(project: dict[str, Any]) -> set[str]:
    """Return the names of the project itself and of all it pins directly."""
    own = project["project"]
    lists = [own["dependencies"], *own["optional-dependencies"].values()]
    lists += project["dependency-groups"].values()
    return names([own["name"], *(text for each in lists for text in each)])


def build_project(project: dict[str, Any], requires: list[str]) -> str:
    """Return a pyproject.toml that depends on what builds this one."""
    own = project["project"]["requires-python"]
    return (
        f'[project]\nname = "build"\nversion = "0"\nrequires-python = "{own}"\n'
        f"dependencies = {json.dumps(requires)}\n"
    )


def constraints(text: str, without: set[str]) -> list[str]:
    """Return the pins of a fresh resolution of a pyproject.toml."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "pyproject.toml").write_text(text, "utf-8")
        subprocess.run(["uv", "lock", "--project", folder], check=True)
        lock = tomllib.loads(Path(folder, "uv.lock").read_text("utf-8"))
    packages = [p for p in lock["package"] if "registry" in p["source"]]
    return sorted(pin(package) for package in packages if package["name"] not in without)


def pin(package: dict[str, Any]) -> str:
    """Return the requirement of one package of a lock file, with the marker it is for."""
    markers = package.get("resolution-markers", [])
    condition = (
        " or ".join(f"({marker})" for marker in markers) if len(markers) > 1 else "".join(markers)
    )
    exact = f"{package['name']}=={package['version']}"
    return f"{exact} ; {condition}" if condition else exact


def with_list(text: str, key: str, items: list[str]) -> str:
    """Return a pyproject.toml with one list of [tool.uv] replaced."""
    lines = "".join(f"    {json.dumps(item)},\n" for item in items)
    written = f"{key} = [\n{lines}]" if items else f"{key} = []"
    pattern = rf"^{key} = \[(?:\n(?:    .*\n)*)?\]"
    replaced, count = re.subn(pattern, lambda _: written, text, flags=re.MULTILINE)
    if count != 1:
        raise SystemExit(f"pyproject.toml has no list {key} of its own lines")
    return replaced


if __name__ == "__main__":
    main()
