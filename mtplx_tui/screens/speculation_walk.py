"""Where the speculation tab stands: which answer, live or paused, and at which cycle.

Pausing keeps the frozen view of that moment; the engine goes on. Knows no widget.
"""

from __future__ import annotations

from mtplx_tui.view import EngineView, RequestView

__all__ = ["Walk"]


class Walk:
    """Live on the newest answer until told otherwise."""

    def __init__(self) -> None:
        self._chosen: str | None = None
        self._frozen: RequestView | None = None
        self._selected: int | None = None
        self._draft: int | None = None

    @property
    def is_paused(self) -> bool:
        """Whether one moment is shown while the engine goes on."""
        return self._frozen is not None

    @property
    def selected(self) -> int | None:
        """The cycle stood at; None while live."""
        return self._selected

    @property
    def draft(self) -> int | None:
        """The draft under the x-ray, from 0; the cycle's depth for its last token; None without."""
        if self._draft is None or self._frozen is None or self._selected is None:
            return None
        return min(self._draft, self._frozen.cycles[self._selected].depth)

    def pick_draft(self, view: EngineView, by: int) -> None:
        """Go to the next draft or the one before, past the last token to the first again."""
        if self._frozen is None and not self.pause(view):
            return
        if self._frozen is None or self._selected is None:
            return
        count = self._frozen.cycles[self._selected].depth + 1
        at = self.draft
        self._draft = (0 if by > 0 else count - 1) if at is None else (at + by) % count

    def request(self, view: EngineView) -> RequestView | None:
        """Return the answer to show, as it is or as it was when paused."""
        return self._frozen or self._current(view)

    def place(self, view: EngineView) -> tuple[int, int]:
        """Return which of the kept answers is shown, counted from 1, and how many there are."""
        names = [request.request for request in view.requests]
        shown = self.request(view)
        known = shown is not None and shown.request in names
        return (names.index(shown.request) + 1 if known and shown else 0), len(names)

    def count(self, view: EngineView) -> int:
        """Return how many cycles the answer has by now."""
        now = self._current(view)
        return 0 if now is None else len(now.cycles)

    def behind(self, view: EngineView) -> int:
        """Return how many cycles came after the one stood at."""
        return 0 if self._selected is None else self.count(view) - self._selected - 1

    def pause(self, view: EngineView) -> bool:
        """Stand at the newest cycle; False where there is none."""
        now = self._current(view)
        if now is None or not len(now.cycles):
            return False
        self._chosen, self._frozen = now.request, now
        self._selected = len(now.cycles) - 1
        return True

    def live(self, view: EngineView) -> None:
        """Follow the answer again; the newest one, if it is that."""
        newest = view.newest
        if newest is not None and newest.request == self._chosen:
            self._chosen = None
        self._frozen = self._selected = self._draft = None

    def step(self, view: EngineView, by: int) -> None:
        """Walk some cycles back or forth; a step back pauses a live view, forth there is nothing."""
        if self._selected is None and (by > 0 or not self.pause(view)):
            return
        self.stand(view, (self._selected or 0) + by)

    def stand(self, view: EngineView, cycle: int) -> None:
        """Stand at a cycle, the nearest there is."""
        if self._frozen is None and not self.pause(view):
            return
        now = self._current(view)
        if self._frozen is not None and now is not None and cycle >= len(self._frozen.cycles):
            self._frozen = now
        if self._frozen is not None:
            self._selected = min(max(cycle, 0), len(self._frozen.cycles) - 1)

    def choose(self, view: EngineView, by: int) -> None:
        """Go to an older or newer answer, live; the newest is followed from then on."""
        at, count = self.place(view)
        if not count:
            return
        index = min(max(at - 1 + by, 0), count - 1)
        self._frozen = self._selected = self._draft = None
        self._chosen = None if index == count - 1 else view.requests[index].request

    def _current(self, view: EngineView) -> RequestView | None:
        """Return the answer as it is now; what is no longer kept gives way to the newest."""
        chosen = None if self._chosen is None else view.request(self._chosen)
        if chosen is None and self._frozen is not None:
            return self._frozen
        return chosen or view.newest
