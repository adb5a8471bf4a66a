"""The steps of the set-up as a pure machine: what was answered so far tells what comes next.

A step that was interrupted is asked again; one that was answered never is. Knows no file, no
terminal and no engine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

__all__ = [
    "Offered",
    "Place",
    "Progress",
    "Step",
    "answered",
    "choose",
    "drop",
    "fetched",
    "next_step",
    "place",
    "progress_from",
    "progress_to_plain",
    "reconcile",
    "skip_rest",
    "toured",
    "tuned",
]


class Step(StrEnum):
    """What is to be done next."""

    MODEL = "model"
    """A model is chosen."""
    TALK = "talk"
    """A first answer is seen."""
    TOUR = "tour"
    """How it was made is shown."""
    FETCH = "download"
    """The chosen model is downloaded."""
    TUNE = "tune"
    """What its depths cost is measured."""
    PLACE = "place"
    """Where to talk from now on is chosen."""
    DONE = "done"


class Offered(StrEnum):
    """What became of something offered."""

    OPEN = ""
    TAKEN = "taken"
    SKIPPED = "skipped"


class Place(StrEnum):
    """Where a person talks."""

    UNKNOWN = ""
    APP = "app"
    TERMINAL = "terminal"


@dataclass(frozen=True, slots=True)
class Progress:
    """What was answered so far."""

    model: str = ""
    """As a person names it; empty while none was chosen."""
    is_here: bool = False
    """Whether it can be opened, or is still to be downloaded."""
    has_answer: bool = False
    tour: Offered = Offered.OPEN
    tuning: Offered = Offered.OPEN
    place: Place = Place.UNKNOWN


def next_step(progress: Progress, *, has_demo: bool = True) -> Step:
    """Return what comes next.

    Args:
        progress: what was answered.
        has_demo: whether there is a demo to talk with while a model is downloaded.
    """
    is_open = {
        Step.MODEL: not progress.model,
        Step.TALK: not progress.has_answer,
        Step.TOUR: progress.tour is Offered.OPEN,
        Step.FETCH: not progress.is_here,
        Step.TUNE: progress.tuning is Offered.OPEN,
        Step.PLACE: progress.place is Place.UNKNOWN,
        Step.DONE: True,
    }
    if not has_demo and progress.model and not progress.is_here:
        return Step.FETCH
    return next(step for step in Step if is_open[step])


def choose(progress: Progress, model: str, *, is_here: bool) -> Progress:
    """Choose a model. What was seen of another one need not be seen again, but for its tuning.

    Raises:
        ValueError: it has no name.
    """
    if not model:
        raise ValueError("a model needs a name")
    tuning = progress.tuning if model == progress.model else Offered.OPEN
    return replace(progress, model=model, is_here=is_here, tuning=tuning)


def fetched(progress: Progress) -> Progress:
    """Take it that the chosen model can be opened."""
    return replace(progress, is_here=True)


def reconcile(progress: Progress, *, is_found: bool) -> Progress:
    """Take it that the chosen model was looked for: it may have come, or been deleted, meanwhile."""
    if not progress.model or is_found == progress.is_here:
        return progress
    if is_found:
        return fetched(progress)
    return replace(progress, model="", is_here=False, tuning=Offered.OPEN)


def drop(progress: Progress, instead: str) -> Progress:
    """Give a chosen model up for another one, which is here and is left as it is."""
    return replace(progress, model=instead, is_here=True, tuning=Offered.SKIPPED)


def answered(progress: Progress) -> Progress:
    """Take it that an answer was seen."""
    return replace(progress, has_answer=True)


def toured(progress: Progress, *, was_seen: bool) -> Progress:
    """Take it that the tour was seen, or not wanted."""
    return replace(progress, tour=_offered(was_taken=was_seen))


def tuned(progress: Progress, *, was_done: bool) -> Progress:
    """Take it that the chosen model was tuned, or is not to be."""
    return replace(progress, tuning=_offered(was_taken=was_done))


def place(progress: Progress, where: Place) -> Progress:
    """Choose where to talk."""
    return replace(progress, place=where)


def skip_rest(progress: Progress, model: str, where: Place) -> Progress:
    """Be done: a model that is here is chosen, and nothing more is offered."""
    chosen = drop(progress, model)
    tour = Offered.SKIPPED if chosen.tour is Offered.OPEN else chosen.tour
    return replace(chosen, has_answer=True, tour=tour, place=where)


def progress_to_plain(progress: Progress) -> dict[str, object]:
    """Return what JSON can hold."""
    return {
        "model": progress.model,
        "is_here": progress.is_here,
        "has_answer": progress.has_answer,
        "tour": str(progress.tour),
        "tuning": str(progress.tuning),
        "place": str(progress.place),
    }


def progress_from(content: object) -> Progress:
    """Return what `progress_to_plain` gave. Raises ValueError where it is something else."""
    if not isinstance(content, dict):
        raise ValueError("no record of a set-up")
    found = {str(name): value for name, value in content.items()}
    model, is_here, has_answer = (found.get(name) for name in ("model", "is_here", "has_answer"))
    if not (isinstance(model, str) and isinstance(is_here, bool) and isinstance(has_answer, bool)):
        raise ValueError("no record of a set-up")
    return Progress(
        model=model,
        is_here=is_here,
        has_answer=has_answer,
        tour=Offered(str(found.get("tour"))),
        tuning=Offered(str(found.get("tuning"))),
        place=Place(str(found.get("place"))),
    )


def _offered(*, was_taken: bool) -> Offered:
    return Offered.TAKEN if was_taken else Offered.SKIPPED
