"""Choosing a model in a terminal: the machine is looked at, what fits is listed, one is picked."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from mtplx_tui.bench.tuning import DepthCost
from mtplx_tui.cli import pass_line
from mtplx_tui.config import Settings
from mtplx_tui.files import Places
from mtplx_tui.library.disk import DEMO_REMEDY
from mtplx_tui.library.hub import HubError
from mtplx_tui.library.speed import MachineSpeed, Speed, known, measure
from mtplx_tui.remedies import one_line
from mtplx_tui.setup import offers, survey, words
from mtplx_tui.setup.asking import Asker
from mtplx_tui.setup.offers import NoOffer, Offer
from mtplx_tui.setup.survey import Machine
from mtplx_tui.setup.threads import in_thread
from mtplx_tui.terminal_chat.page import Page
from mtplx_tui.view import RequestView
from mtplx_tui.wording import showable

__all__ = ["Choosing", "Manner", "Seen", "SetupFailed", "indented"]

MEASURE_S = 30.0
"""How long a busy machine is waited for."""


class SetupFailed(Exception):
    """The set-up can't go on; the message is one line and says what to do."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How the set-up is gone through."""

    is_asking: bool
    """Somebody answers; else the defaults are taken."""
    has_terminal: bool
    """The app can be shown."""
    wants_hub: bool
    """The hub's models are looked up."""
    model: str | None = None
    """Named beforehand."""
    is_utf8: bool = True


@dataclass(slots=True)
class Seen:
    """What was found out on the way; for the JSON document."""

    machine: Machine | None = None
    speed: MachineSpeed | None = None
    offers: list[Offer] = field(default_factory=list)
    hub_error: str = ""
    answer: RequestView | None = None
    tuning: tuple[DepthCost, ...] = ()


class Choosing:
    """See the module.

    Args:
        places: where files are.
        settings: as they were loaded.
        manner: how it is gone through.
        page: where it is told.
        asker: who answers.
        seen: is filled with what was found out.
    """

    def __init__(
        self,
        places: Places,
        settings: Settings,
        manner: Manner,
        page: Page,
        asker: Asker,
        seen: Seen,
    ) -> None:
        self._places, self._settings, self._manner = places, settings, manner
        self._page, self._asker, self.seen = page, asker, seen

    async def choose(self) -> Offer:
        """Look at the machine, and return the model that is chosen.

        Raises:
            Left: the person left.
            SetupFailed: there is none, or the one that was named can't be had.
        """
        machine = self.seen.machine = survey.look()
        self._page.tell("\n".join(["This machine", *indented(survey.machine_lines(machine))]))
        speed = self.seen.speed = await self._measured()
        self._page.tell("\n".join(indented(survey.speed_lines(speed))))
        self.seen.offers = list(await in_thread(lambda: offers.from_here(self._places, machine)))
        if self._manner.wants_hub:
            await self._look_at_hub(machine)
        return await (
            self._named(machine) if self._manner.model is not None else self._picked(machine)
        )

    async def _measured(self) -> MachineSpeed | None:
        found = known(self._places)
        if found is not None:
            return found
        pass_line("measuring how fast weights are read, some seconds")
        try:
            wanted = in_thread(lambda: measure(self._places, self._settings.blas))
            return await asyncio.wait_for(wanted, MEASURE_S)
        except TimeoutError:
            return None
        finally:
            pass_line("")

    async def _look_at_hub(self, machine: Machine) -> None:
        names = {offer.name for offer in self.seen.offers}
        found: list[Offer] = []

        def look() -> None:
            found.extend(offers.from_hub(self._places, machine, names))

        pass_line("looking for models on the hub that fit, some seconds")
        try:
            await asyncio.wait_for(in_thread(look), offers.BUDGET_S + 3)
        except HubError as error:
            self.seen.hub_error = one_line(error)
        except TimeoutError:
            self.seen.hub_error = "the hub is slow to answer; what it told so far is shown"
        finally:
            pass_line("")
        self.seen.offers += found

    async def _named(self, machine: Machine) -> Offer:
        """Return the model that was named beforehand."""
        name = self._manner.model or ""
        try:
            offer = await in_thread(lambda: offers.named(name, self._places, machine))
        except NoOffer as error:
            raise SetupFailed(str(error)) from error
        if offer.obstacle:
            raise SetupFailed(f"{showable(name)} can't be used: {showable(offer.obstacle)}")
        return offer

    async def _picked(self, machine: Machine) -> Offer:
        """Return the model that somebody picks; the first that there is for nobody."""
        listed = offers.sorted_offers(self.seen.offers)
        if not listed:
            raise SetupFailed(
                "there is no model here and none that fits was found; "
                f"`{DEMO_REMEDY}` adds the demo"
            )
        if not self._manner.is_asking:
            return listed[0]
        self._show_offers(listed)
        while True:
            answer = await self._asker.line(
                f"enter takes {showable(listed[0].name)}, or type a number, a folder or owner/name: "
            )
            offer = await self._read(answer, listed, machine)
            if offer is not None:
                return offer

    async def _read(self, answer: str, listed: tuple[Offer, ...], machine: Machine) -> Offer | None:
        """Return the model that an answer means; None, told why, where it can't be had."""
        if not answer:
            return listed[0]
        if answer.isascii() and answer.isdigit():
            number = int(answer[:4])
            if 1 <= number <= len(listed):
                return listed[number - 1]
            self._page.warn(f"there is no model {answer[:8]} in the list")
            return None
        try:
            offer = await in_thread(lambda: offers.named(answer, self._places, machine))
        except NoOffer as error:
            self._page.warn(str(error))
            return None
        if offer.obstacle:
            self._page.warn(f"{showable(offer.name)} can't be used: {offer.obstacle}")
            return None
        return offer

    def _show_offers(self, listed: tuple[Offer, ...]) -> None:
        cells = [words.offer_cells(each, self._speed_of(each)) for each in listed]
        where = ["on disk" if each.is_here else "to download" for each in listed]
        name = max(len(row[0]) for row in [words.OFFER_HEADS, *cells])
        lines = [
            "",
            f"      {words.OFFER_HEADS[0]:<{name}}  {'size':>7}  {'':<11}  {'tier':<11}  "
            "tokens/s plain, drafting",
        ]
        for number, (row, place) in enumerate(zip(cells, where, strict=True), 1):
            speeds = row[3] if row[4] == "-" else f"{row[3]}, {row[4]}"
            lines.append(
                f"  {number:>2}  {row[0]:<{name}}  {row[1]:>7}  {place:<11}  {row[2]:<11}  {speeds}"
            )
        note = words.left_out_words(self.seen.offers)
        hub = self.seen.hub_error
        self._page.tell("\n".join([*lines, *([hub] if hub else []), *([note] if note else [])]))

    def _speed_of(self, offer: Offer) -> Speed | None:
        return offer.speed(self.seen.speed, self._places.bench)


def indented(lines: list[str]) -> list[str]:
    """Return lines under a heading."""
    return [f"  {line}" for line in lines]
