"""What the set-up asks next in the app, and what becomes of the answer."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from textual.screen import ModalScreen

from engine.protocol import ModelInfo
from mtplx_tui.library.disk import DEMO
from mtplx_tui.screens.dialogs import Choose, Confirm
from mtplx_tui.screens.set_up import SetUp
from mtplx_tui.setup.flow import Step
from mtplx_tui.setup.offers import Offer
from mtplx_tui.view import EngineState

if TYPE_CHECKING:
    from mtplx_tui.app import MtplxApp

__all__ = ["go_on"]

TUNING = (
    "What each depth costs was measured briefly when the model was first loaded. Tuning has it give eight "
    "answers of its own, walking the depths, so that an automatic depth starts from better figures. "
    "You can go on talking meanwhile."
)


def go_on(app: MtplxApp) -> None:
    """Ask what is to be asked next; nothing while something else is asked."""
    guide = app.guide
    if isinstance(app.screen, ModalScreen):
        return
    if guide.words:
        guide.stop_tuning("you stopped it")
        return
    match guide.step:
        case Step.TALK if app.desk.running is None:
            app.notify("ask something first (F2): the tour shows how the answer was made")
        case Step.TALK | Step.TOUR:
            app.call_later(app.action_tour)
        case Step.FETCH:
            _ask_of_download(app)
        case Step.TUNE:
            _ask_of_tuning(app)
        case _:
            app.push_screen(SetUp(guide.progress.model), functools.partial(_take_offer, app))


def _take_offer(app: MtplxApp, offer: Offer | None) -> None:
    guide = app.guide
    if offer is None:
        if guide.is_new:
            guide.skip_all(DEMO)
        return
    guide.choose(offer.name, is_here=offer.is_here)
    if offer.is_here:
        loaded = app.view.model
        if app.loads.wanted != offer.name and (loaded is None or loaded.name != offer.name):
            app.loads.open(offer.name)
        app.loads.remember(offer.name)
        told = f"{offer.name} is opened from now on"
        app.notify(f"{told}: last_model in {app.places.config_file}", markup=False)
        return
    app.errands.downloads.start(offer.name)
    app.notify(
        f"{offer.name} is downloaded; talk with the demo meanwhile. F4 shows how far it is",
        markup=False,
    )


def _ask_of_download(app: MtplxApp) -> None:
    name = app.guide.progress.model
    job = app.errands.downloads.job(name)
    state = "not begun" if job is None else str(job.state)

    def take(answer: str | None) -> None:
        if answer == "0":
            app.errands.downloads.start(name)
        elif answer == "1":
            app.errands.downloads.pause(name)
            app.guide.drop_download()
            app.loads.remember(DEMO)

    choices = ("go on with it in the background", "leave it, and stay with the demo")
    app.push_screen(Choose(f"The download of {name}: {state}", choices), take)


def _ask_of_tuning(app: MtplxApp) -> None:
    name, model = app.guide.progress.model, app.view.model
    if app.view.state is not EngineState.READY or model is None:
        app.notify("the engine is at work: {app.set_up} again when it is ready")
        return
    if app.loads.wanted != name and model.name != name:
        app.push_screen(
            Choose(f"{name} is here", ("open it", "not now")),
            lambda answer: app.loads.open(name) if answer == "0" else None,
        )
        return
    if model.head is None:
        app.guide.skip_tuning()
        app.notify("the set-up is done: this model has no head, so there is nothing to tune")
        return
    app.push_screen(Confirm(f"Tune {name}?", TUNING), functools.partial(_take_tuning, app, model))


def _take_tuning(app: MtplxApp, model: ModelInfo, answer: str | None) -> None:
    if answer is None:
        app.guide.skip_tuning()
        app.notify("the set-up is done; {app.set_up} sets up again")
    else:
        app.guide.tune(model)
