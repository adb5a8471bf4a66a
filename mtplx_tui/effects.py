"""What a changed setting does at once in the running app."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mtplx_tui import requests
from mtplx_tui.pace import Pace
from mtplx_tui.view import EngineState

if TYPE_CHECKING:
    from mtplx_tui.app import MtplxApp

__all__ = ["take_effect"]


def take_effect(app: MtplxApp, name: str) -> None:
    """Let a setting that was changed count as far as it does at once."""
    settings = app.settings
    match name:
        case "theme":
            app.wear_theme(settings.theme)
        case "feed_hz":
            app.telling.pace = Pace(settings.feed_hz, is_ssh=app.terminal.is_ssh)
        case "depth":
            app.drafting.set_depth(settings.depth)
        case "download_limit":
            app.errands.limit_downloads(settings.download_limit)
        case "prefix_memory" | "prefix_disk":
            if app.view.state not in (EngineState.STARTING, EngineState.DEAD):
                app.send(app.preferences.prefix_limits)
        case "server_host" | "server_port":
            if not app.serving.is_running:
                app.serving.host, app.serving.port = settings.server_host, settings.server_port
        case "mode":
            app.desk.set_options(replace(app.desk.chat.options, mode=settings.mode))
    _renew_chat(app)


def _renew_chat(app: MtplxApp) -> None:
    """Have new chats begin as the settings say; one without a question is new."""
    desk = app.desk
    was, desk.defaults = desk.defaults, requests.chosen(app.settings)
    chat = desk.chat
    if was != desk.defaults and not chat.turns:
        own = replace(desk.defaults, depth=chat.options.depth, mode=chat.options.mode)
        desk.set_options(replace(own, system=chat.options.system, seed=chat.options.seed))
