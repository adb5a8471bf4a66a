"""The tabs, each imported when it is first opened."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textual.screen import Screen

__all__ = ["TABS"]


def _chat() -> Screen[None]:
    from mtplx_tui.screens.chat import ChatScreen

    return ChatScreen()


def _speculation() -> Screen[None]:
    from mtplx_tui.screens.speculation import SpeculationScreen

    return SpeculationScreen()


def _models() -> Screen[None]:
    from mtplx_tui.screens.models import ModelsScreen

    return ModelsScreen()


def _thermals() -> Screen[None]:
    from mtplx_tui.screens.thermals import ThermalsScreen

    return ThermalsScreen()


def _server() -> Screen[None]:
    from mtplx_tui.screens.server import ServerScreen

    return ServerScreen()


def _bench() -> Screen[None]:
    from mtplx_tui.screens.bench import BenchScreen

    return BenchScreen()


TABS: dict[str, str | Callable[[], Screen[Any]]] = {
    "chat": _chat,
    "speculation": _speculation,
    "models": _models,
    "thermals": _thermals,
    "bench": _bench,
    "server": _server,
}
"""What makes each tab's screen, by the tab's name; of the type that Textual wants."""
