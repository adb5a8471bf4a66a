"""Models to choose from: what is on this machine, and what the hub has for it.

Slow: to be used from a thread. Each is judged by the library, from headers alone; one that can't be had or
run here says why.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.errors import ModelFileError
from engine.verdict.tiers import Tier
from mtplx_tui.files import Places
from mtplx_tui.library.catalog import Report, fits, judge_here, judge_listing
from mtplx_tui.library.disk import DEMO, Location, ModelNotFound, local_models, resolve
from mtplx_tui.library.download import RESERVE
from mtplx_tui.library.hub import Hub, HubError, Query
from mtplx_tui.library.hub_cache import CacheRefused, check_repository
from mtplx_tui.library.recommended import recommended
from mtplx_tui.library.speed import MachineSpeed, Speed, speed_of
from mtplx_tui.remedies import one_line
from mtplx_tui.setup.survey import Machine
from mtplx_tui.wording import in_bytes

__all__ = ["BUDGET_S", "NoOffer", "Offer", "from_here", "from_hub", "named", "sorted_offers"]

BUDGET_S = 12.0
"""How long the hub's models are judged, unasked."""
SEARCHED = 6
"""Models of a search that are judged beside the recommended ones."""
_SEARCH = Query(words="mtp", tags=("mlx",))


@dataclass(frozen=True, slots=True)
class Offer:
    """A model, as it matters for choosing one."""

    name: str
    is_here: bool
    tier: str
    """Of `inspect`; `unreadable` where it could not be judged."""
    size_bytes: int
    """On this machine, or to be downloaded."""
    memory_bytes: int | None
    """With a short context; None where it can't be told."""
    drafts: bool
    obstacle: str = ""
    """Why it can't be had or run here; empty where it can."""
    report: Report | None = None

    def speed(self, machine: MachineSpeed | None, bench: Path) -> Speed | None:
        """Return what is known of its speed here."""
        reads = None if self.report is None else self.report.reads
        return speed_of(self.name, reads, machine, bench)


class NoOffer(Exception):
    """There is no model of a name; the message is one line and says what to do."""


def from_here(places: Places, machine: Machine) -> tuple[Offer, ...]:
    """Return the models on this machine, the demo first."""
    return tuple(_here(location, places, machine) for location in local_models())


def from_hub(
    places: Places,
    machine: Machine,
    known: Iterable[str] = (),
    hub: Callable[[], Hub] = Hub,
    budget_s: float = BUDGET_S,
) -> Iterator[Offer]:
    """Yield models of the hub as they are judged: recommended ones, and a search's first.

    Args:
        places: where verdicts are kept.
        machine: it must run them.
        known: names that need not be offered again.
        hub: how the hub is reached.
        budget_s: when it is over, the rest is left out.

    Raises:
        HubError: the hub can't be reached, or not searched.
    """
    begin = time.monotonic()
    reached = hub()
    found = [each.name for each in reached.search(_SEARCH, SEARCHED)]
    wanted = dict.fromkeys([*(each.name for each in recommended()), *found])
    for name in wanted:
        if time.monotonic() - begin > budget_s:
            return
        if name in known:
            continue
        try:
            yield _on_hub(reached, name, places, machine)
        except (HubError, CacheRefused, ModelFileError, OSError):
            continue  # Not on this hub, or not fit to be offered: nobody asked for it by name.


def named(name: str, places: Places, machine: Machine, hub: Callable[[], Hub] = Hub) -> Offer:
    """Return a model that a person named: here, or on the hub.

    Raises:
        NoOffer: there is none of this name.
    """
    try:
        return _here(resolve(name), places, machine)
    except ModelNotFound as missing:
        try:
            check_repository(name)
        except CacheRefused:
            raise NoOffer(one_line(missing)) from missing
    try:
        return _on_hub(hub(), name, places, machine)
    except (HubError, CacheRefused, ModelFileError) as error:
        raise NoOffer(one_line(error)) from error
    except OSError as error:
        raise NoOffer(f"{name} can't be judged: {error.strerror}") from error


def sorted_offers(offers: Iterable[Offer]) -> tuple[Offer, ...]:
    """Return those that can be had: the demo, what is here, what drafts, the largest first."""
    fit = (offer for offer in offers if not offer.obstacle)
    return tuple(
        sorted(
            fit,
            key=lambda offer: (
                offer.name != DEMO,
                not offer.is_here,
                not offer.drafts,
                -offer.size_bytes,
                offer.name,
            ),
        )
    )


def _here(location: Location, places: Places, machine: Machine) -> Offer:
    path = Path(location.path)
    try:
        report = judge_here(location.name, path, places.certificates)
    except (ModelFileError, OSError) as error:
        why = error.message if isinstance(error, ModelFileError) else str(error.strerror)
        return Offer(
            name=location.name,
            is_here=True,
            tier="unreadable",
            size_bytes=0,
            memory_bytes=None,
            drafts=False,
            obstacle=why,
        )
    needed = report.memory[0][1]
    return Offer(
        name=location.name,
        is_here=True,
        tier=str(report.verdict.tier),
        size_bytes=report.weights_bytes,
        memory_bytes=needed,
        drafts=_drafts(report),
        obstacle=_too_large(needed, machine),
        report=report,
    )


def _on_hub(hub: Hub, name: str, places: Places, machine: Machine) -> Offer:
    report = judge_listing(hub, hub.listing(name), places.cache)
    needed = report.memory[0][1]
    return Offer(
        name=report.name,
        is_here=False,
        tier=str(report.verdict.tier),
        size_bytes=report.download_bytes,
        memory_bytes=needed,
        drafts=_drafts(report),
        obstacle=_obstacle(report, needed, machine),
        report=report,
    )


def _drafts(report: Report) -> bool:
    return report.verdict.tier in (Tier.VERIFIED, Tier.COMPATIBLE)


def _obstacle(report: Report, needed: int | None, machine: Machine) -> str:
    if report.verdict.tier is Tier.UNSUPPORTED:
        return report.verdict.summary
    if report.is_gated:
        return "it is gated: accept its terms on its page, then run `hf auth login`"
    free = machine.free_bytes
    if free is not None and report.download_bytes + RESERVE > free:
        return (
            f"its {in_bytes(report.download_bytes)} need more disk than the {in_bytes(free)} free"
        )
    return _too_large(needed, machine)


def _too_large(needed: int | None, machine: Machine) -> str:
    if needed is None or fits(needed, machine.memory_bytes):
        return ""
    return (
        f"it needs {in_bytes(needed)} of memory; this machine has {in_bytes(machine.memory_bytes)}"
    )
