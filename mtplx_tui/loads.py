"""Which model is wanted, and the load that is under way: owns both. Knows no screen."""

from __future__ import annotations

import functools
from collections.abc import Callable

from engine.protocol import CancelLoad, Command, ErrorInfo, LoadModel
from mtplx_tui.library.disk import DEMO, Location, ModelNotFound, resolve
from mtplx_tui.preferences import Preferences
from mtplx_tui.telling import SetTimer
from mtplx_tui.view import EngineState

__all__ = ["Loads"]

CANCEL_WAIT_S = 2.0
"""How long a cancelled load may take before the engine is started anew."""


class Loads:
    """See the module.

    Args:
        wanted: the model that an engine which starts is to load.
        preferences: keep what is opened at the next start.
        send: gives the engine a command; False where there is none.
        restart: starts an engine in place of the one there is.
        engine_state: tells how the engine is now.
        tell_error: tells of a model that is not there.
        set_timer: calls something later.
    """

    def __init__(  # noqa: PLR0913 - a load needs the engine, the settings and the person
        self,
        wanted: str,
        *,
        preferences: Preferences,
        send: Callable[[Command], bool],
        restart: Callable[[], None],
        engine_state: Callable[[], EngineState],
        tell_error: Callable[[ErrorInfo], None],
        set_timer: SetTimer,
    ) -> None:
        self.wanted: str | None = wanted
        """The model that is loaded, or is to be, as a person names it."""
        self._preferences = preferences
        self._send, self._restart, self._engine_state = send, restart, engine_state
        self._tell_error, self._set_timer = tell_error, set_timer
        self._opening: Location | None = None
        self._load: str | None = None
        """The load that was asked for and not answered yet."""
        self._count = 0

    @property
    def is_loading(self) -> bool:
        """Whether a load was asked for that has not ended yet."""
        return self._load is not None

    def open(self, name: str) -> None:
        """Load a model in place of the present one."""
        try:
            self._opening = resolve(name)
        except ModelNotFound as error:
            self._tell_error(ErrorInfo(error.message, error.remedy))
            return
        self.wanted = self._opening.path if self._opening.kind == "folder" else name
        state = self._engine_state()
        if state is EngineState.DEAD:
            self._restart()
        elif state is not EngineState.STARTING:
            self._ask(self._opening)

    def open_wanted(self) -> None:
        """Have an engine that started load what was wanted, or else the demo."""
        if self.wanted is None:
            return
        self.open(self.wanted)
        if self._load is None and self.wanted != DEMO:
            self.open(DEMO)

    def _ask(self, location: Location) -> None:
        if self._load is not None:
            self._send(CancelLoad(self._load))
        self._count += 1
        self._load = f"load-{self._count}"
        self._send(LoadModel(self._load, location.name, location.path))

    def cancel(self) -> None:
        """End the load; an engine that doesn't is started anew."""
        if self._load is not None and self._send(CancelLoad(self._load)):
            self._set_timer(CANCEL_WAIT_S, functools.partial(self._insist, self._load))

    def _insist(self, request: str) -> None:
        if self._load == request:
            self.wanted = None
            self._restart()

    def loaded(self, name: str) -> None:
        """Take it that a model is loaded: it is opened at the next start too."""
        self._load = None
        if self._opening is not None and self._opening.name == name:
            name = self.wanted or name
        self.remember(name)

    def ended(self) -> None:
        """Take it that nothing is loading any more."""
        self._load = None

    def remember(self, name: str) -> None:
        """Open a model at the next start, where none is named."""
        if name != self._preferences.now.last_model:
            self._preferences.keep(last_model=name)
