"""The engine's session in this process, on the demo, driven request by request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmarks.decode import CACHE

if TYPE_CHECKING:
    from engine.protocol import Event, Generate
    from engine.session import Session

__all__ = ["Bench"]


class Bench:
    """A session with the demo loaded, on the matrix library that a person gets."""

    def __init__(self) -> None:
        from engine.blas import prepare
        from engine.mlx_settings import tell_mlx

        blas = prepare("auto", CACHE)
        tell_mlx()
        from engine.protocol import LoadModel
        from engine.session import Session
        from mtplx_tui.library.disk import resolve

        self.blas = blas.name
        self.events: list[Event] = []
        self.session: Session = Session(self.events.append, CACHE, lambda _: False)
        self.session.load(LoadModel("load", "demo", resolve("demo").path))

    def run(self, commands: Sequence[Generate]) -> list[Event]:
        """Take requests, all at once, and return what was told until all had ended."""
        self.events.clear()
        for command in commands:
            self.session.generate(command)
        while self.session.is_busy:
            self.session.step()
        return list(self.events)
