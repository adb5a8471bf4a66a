"""Gives a trunk that lost its head the one of its original release, by a process of the engine's.

What is not on this machine of a release is fetched from the hub: the head's own tensors, kept for
as long as it takes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine.errors import ModelError
from engine.verdict.checkpoint import check_folder
from mtplx_tui.config import find_hub_cache, find_places
from mtplx_tui.library.disk import Location
from mtplx_tui.library.head_fetch import fetch_head, plan_head
from mtplx_tui.library.header import HubSource
from mtplx_tui.library.hub import Hub, HubError
from mtplx_tui.library.hub_cache import CacheRefused
from mtplx_tui.library.naming import OnHub
from mtplx_tui.remedies import one_line

__all__ = ["NotGrafted", "Order", "graft", "refusal"]

SIDECAR = "mtp.safetensors"
_CACHE = "the hub's cache is not written to: give --out and a new folder"

Tell = Callable[[int, int], object]
"""Told how many bytes of a head came from the hub, and how many there are."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be joined."""

    trunk: Location
    head: Location | OnHub
    out: Path | None
    """A new folder for trunk and head; None writes the head beside the trunk."""
    bits: int | None = None
    """Of a weight of the head; None keeps it as it is."""
    group_size: int = 64


class NotGrafted(Exception):
    """It can't be done, or came to nothing; one line with what to do."""


def refusal(order: Order) -> str:
    """Return why an order makes no sense; empty where it does."""
    kinds = (order.trunk.kind, order.head.kind if isinstance(order.head, Location) else "hub")
    if "demo" in kinds:
        return "the demo has its own head, which fits no other trunk"
    place = order.out or Path(order.trunk.path)
    if place.resolve().is_relative_to(find_hub_cache().resolve()):
        return _CACHE
    return ""


def graft(order: Order, tell: Tell = lambda *_: None) -> tuple[Path, dict[str, object]]:
    """Join trunk and head; return the head's file, and its bytes and family.

    Args:
        order: one that makes sense.
        tell: of a fetch.

    Raises:
        NotGrafted: it can't be done; nothing is left behind.
    """
    out = order.out or Path(order.trunk.path)
    taken = out / SIDECAR if order.out is None else out
    if os.path.lexists(taken):
        remedy = "give --out" if order.out is None else "give a new folder"
        raise NotGrafted(f"{taken} is there already; {remedy}")
    try:
        with _head(order, tell) as head:
            return out / SIDECAR, _written(order, head, out)
    except OSError as error:
        raise NotGrafted(f"{out} can't be written: {error.strerror}") from error
    except (ModelError, HubError, CacheRefused) as error:
        raise NotGrafted(one_line(error)) from error


@contextmanager
def _head(order: Order, tell: Tell) -> Generator[Location]:
    """Give the folder with the head; one that is fetched is there for as long as it is needed."""
    if isinstance(order.head, Location):
        yield order.head
        return
    facts = check_folder(Path(order.trunk.path))
    if facts.head is not None:
        raise ModelError("the trunk has a head already", "inspect it")
    hub = Hub()
    listing = hub.listing(order.head.name, order.head.revision)
    cache = find_places().cache
    cache.mkdir(parents=True, exist_ok=True)
    with (
        HubSource(hub, listing) as source,
        tempfile.TemporaryDirectory(prefix="head-", dir=cache) as folder,
    ):
        fetch_head(source, plan_head(source, facts.config), Path(folder), tell)
        yield Location(f"{listing.name}@{listing.commit}", folder, "folder")


def _written(order: Order, head: Location, out: Path) -> dict[str, object]:
    """Write the head in place, or a new folder that is there whole or not at all."""
    if order.out is None:
        return _asked(order, head, out / SIDECAR)
    fresh = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        _copy(order.trunk.path, fresh)
        answer = _asked(order, head, fresh / SIDECAR)
        fresh.rename(out)
        return answer
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _copy(folder: str, fresh: Path) -> None:
    """Bring the files of a folder to a new one, which may lie in it. Raises OSError."""
    for place, _, names in [*os.walk(folder, onerror=_raised, followlinks=True)]:
        there = fresh / os.path.relpath(place, folder)
        there.mkdir(parents=True)
        for name in names:
            _link(os.path.join(place, name), str(there / name))


def _raised(error: OSError) -> None:
    raise error


def _link(source: str, target: str) -> None:
    """Link weights, or copy them where they lie on another disk; copy what a person may edit."""
    real = os.path.realpath(source)
    if not source.endswith(".safetensors"):
        shutil.copyfile(real, target)
        return
    try:
        os.link(real, target)
    except OSError:
        shutil.copyfile(real, target)


def _asked(order: Order, head: Location, target: Path) -> dict[str, object]:
    """Let an engine's process do it, and return its answer.

    Raises:
        ModelError: it could not.
    """
    words = [order.trunk.path, head.path, str(target)]
    words += ["--name", head.name, "--group-size", str(order.group_size)]
    words += ["--bits", str(order.bits)] if order.bits is not None else []
    answer = _run(words)
    if "error" in answer:
        raise ModelError(str(answer["error"]), str(answer.get("remedy", "")))
    return answer


def _run(words: Sequence[str]) -> dict[str, object]:
    command = [sys.executable, "-P", "-m", "engine.grafting", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        reason = " ".join(done.stderr.split())[-200:]
        return {"error": f"the engine's process ended with {done.returncode}", "remedy": reason}
    return answer if isinstance(answer, dict) else {"error": "no answer"}
