"""How deep is drafted, and whether windows are recorded, in running answers and those to come.

Owns whether they are recorded; the depth is the chat's and the settings'. Knows no screen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from engine.protocol import MAX_DEPTH, Command, SetDepth, SetDetail
from mtplx_tui.chats.desk import Desk
from mtplx_tui.preferences import Preferences
from mtplx_tui.view import EngineView

__all__ = ["Drafting"]


class Drafting:
    """See the module.

    Args:
        desk: holds the chat's own depth.
        preferences: keep the depth of new chats.
        engine_view: tells what is known of the engine now.
        send: gives the engine a command; False where there is none.
        changed: called after each change.
    """

    def __init__(
        self,
        desk: Desk,
        preferences: Preferences,
        engine_view: Callable[[], EngineView],
        send: Callable[[Command], bool],
        changed: Callable[[], None],
    ) -> None:
        self.has_xray = False
        """Whether answers are asked to tell what their windows were judged by."""
        self._desk, self._preferences, self._engine_view = desk, preferences, engine_view
        self._send, self._changed = send, changed

    def set_depth(self, depth: int | None) -> None:
        """Draft to this depth from the next cycle on, in the running answer and the next ones.

        Args:
            depth: brought within 0 and the deepest there is; None: automatic.
        """
        depth = None if depth is None else min(max(depth, 0), MAX_DEPTH)
        if depth != self._desk.chat.options.depth:
            self._desk.set_options(replace(self._desk.chat.options, depth=depth))
        for request in self._running():
            self._send(SetDepth(request, depth))
        if depth != self._preferences.now.depth:
            self._preferences.keep(depth=depth)
        self._changed()

    def change_depth(self, by: int) -> None:
        """Draft deeper or less deep, from what an automatic depth came to."""
        depth, newest = self._desk.chat.options.depth, self._engine_view().newest
        if depth is None:
            depth = newest.depth_now if newest is not None else 0
        self.set_depth(depth + by)

    def toggle_xray(self) -> None:
        """Ask running answers and those to come to tell what windows are judged by, or no more."""
        self.has_xray = not self.has_xray
        for request in self._running():
            self._send(SetDetail(request, self.has_xray))
        self._changed()

    def begin(self, request: str) -> None:
        """Take it that an answer began."""
        if self.has_xray:
            self._send(SetDetail(request, is_on=True))

    def _running(self) -> list[str]:
        return [request.request for request in self._engine_view().requests if request.is_running]
