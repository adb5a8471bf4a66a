"""The app's certificates: asks for one as soon as its model is loaded, follows it, and keeps it.

Fed with all events by the app; takes none of them away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from engine.protocol import (
    Cancel,
    Certificate,
    Certify,
    CertifyDone,
    CertifyProgress,
    Command,
    ErrorInfo,
    Event,
    LoadFailed,
    ModelLoaded,
    RequestFailed,
)
from mtplx_tui.library.certificates import keep
from mtplx_tui.view import EngineState, EngineView

__all__ = ["Certifier"]

PREFIX = "certify-"
"""Of its requests' names."""


class Certifier:
    """See the module.

    Args:
        send: gives the engine a command; False where there is none.
        folder: where certificates are kept.
        changed: called when there is something new to see.
    """

    def __init__(
        self, send: Callable[[Command], bool], folder: Path, changed: Callable[[], None]
    ) -> None:
        self._send, self._folder, self._changed = send, folder, changed
        self._runs = 0
        self._request = ""
        """The newest one's, once it was asked for."""
        self._path = ""
        self._budget_s = 0.0
        self.model = ""
        """Whose certificate it is, as a person names the model."""
        self.is_active = False
        self.share = 0.0
        """Of its time."""
        self.note = ""
        """What the newest one came to, in one line; empty while it goes on."""

    @property
    def words(self) -> str:
        """How far it is, in a few words; empty while none is under way."""
        if not self.is_active:
            return ""
        if not self._request:
            return f"certifying {self.model}: waits for it to be loaded"
        return f"certifying {self.model}: {100 * self.share:.0f} %"

    def start(self, model: str, path: str, budget_s: float, view: EngineView) -> str:
        """Certify a model that is loaded, or is being loaded; return why not, empty where it can.

        Args:
            model: as a person names it.
            path: its folder, or the demo's file.
            budget_s: time to take.
            view: of the engine.
        """
        if self.is_active:
            return f"{self.model} is being certified"
        if view.state is EngineState.DEAD:
            return "the engine has stopped: {app.restart} starts it again"
        self.model, self._path, self._budget_s = model, path, budget_s
        self._request, self.share, self.note, self.is_active = "", 0.0, "", True
        if view.model is not None and view.model.path == path and view.load is None:
            self._ask()
        self._changed()
        return ""

    def stop(self) -> None:
        """End it; nothing is kept."""
        if self.is_active:
            if self._request:
                self._send(Cancel(self._request))
            self._end("stopped; nothing was certified")

    def take(self, events: Iterable[Event]) -> None:
        """Look at what the engine says."""
        for event in events:
            if self.is_active:
                self._take(event)

    def engine_died(self, error: ErrorInfo) -> None:
        """End: the engine that was held to the law is gone."""
        if self.is_active:
            self._end(f"{self.model} was not certified: {error.message}")

    def _take(self, event: Event) -> None:
        match event:
            case ModelLoaded(model=model) if not self._request and model.path == self._path:
                self._ask()
            case LoadFailed():
                self._end(f"{self.model} was not certified: it could not be loaded")
            case ModelLoaded():
                self._end(f"{self.model} was not certified: another model was opened")
            case CertifyProgress(request=self._request):
                self.share = min(1.0, event.done_s / event.budget_s)
                self._changed()
            case CertifyDone(request=self._request):
                self._end(self._kept(event.certificate))
            case RequestFailed(request=self._request, error=error):
                self._end(f"{self.model} can't be certified: {error.message}")

    def _ask(self) -> None:
        self._runs += 1
        self._request = f"{PREFIX}{self._runs}"
        if not self._send(Certify(self._request, self._budget_s)):
            self._end(f"{self.model} was not certified: there is no engine")

    def _kept(self, certificate: Certificate) -> str:
        try:
            keep(certificate, self._folder)
        except OSError as error:
            return f"the certificate could not be kept: {error.strerror}"
        return f"{self.model}: {certificate.verdict}: {certificate.summary}"

    def _end(self, note: str) -> None:
        self.is_active, self.note = False, note
        self._changed()
