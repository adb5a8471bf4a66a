"""Server: the APIs and the browser chat on the app's own engine.

Shows who asks and how fast, and what to tell other programs so that they ask here; nothing is ever
written into their files.
"""

from __future__ import annotations

import time
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Vertical
from textual.content import Content
from textual.events import Resize, ScreenResume
from textual.widgets import Static

from mtplx_tui.client_settings import CLIENTS, Client
from mtplx_tui.keymap import SERVER, bindings
from mtplx_tui.messages import EngineChanged, ServingChanged
from mtplx_tui.screens.app_screen import AppScreen
from mtplx_tui.screens.dialogs import AskText
from mtplx_tui.screens.prompt_page import PromptPage
from mtplx_tui.serving import Serving, read_address
from mtplx_tui.widgets.hints import hint_parts, in_a_row
from mtplx_tui.widgets.request_table import RequestTable
from mtplx_tui.widgets.status_bar import StatusBar
from mtplx_tui.widgets.tab_bar import TabBar
from mtplx_tui.wording import showable

HINT_STOPPED = (
    ("{server.switch}", "starts"),
    ("{server.address}", "address"),
    ("{server.want_key}", "key wanted or not"),
)
HINT_RUNNING = (
    ("{server.switch}", "stops"),
    ("{server.copy_settings}", "copy settings"),
    ("{server.copy_address}", "copy address"),
    ("{server.show_key}", "key"),
)
OTHER_CLIENTS = ("{server.previous}{server.next}", "other clients")
HINT_LIVE = (
    ("{server.switch}", "stops"),
    ("{server.cancel}", "cancels"),
    ("{server.prompt}", "its prompt"),
    ("{server.copy_settings}", "copy settings"),
)

LEAST_ROWS, OTHER_ROWS = 4, 16
"""Rows of a client's settings: at least so many, and the others that have to stay for the rest."""


class ServerScreen(AppScreen):
    """See the module."""

    CSS_PATH = "server.tcss"
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012 - Textual reads it from the class
        (0, "-narrow"),
        (100, "-normal"),
        (160, "-wide"),
    ]
    BINDINGS: ClassVar[list[BindingType]] = bindings(SERVER)

    def __init__(self) -> None:
        super().__init__()
        self._client = 0
        self._chosen = ""
        """The id of the live request that keys act on."""
        self._shows_key = False

    @property
    def _serving(self) -> Serving:
        return self.mtplx.serving

    def compose(self) -> ComposeResult:
        """Lay out the server's state, its requests, and the settings of a client."""
        yield TabBar("server")
        yield Static(id="server-state", markup=False)
        yield Static(id="server-problem", markup=False)
        with Container(id="server-body"):
            yield RequestTable(self.marks, id="server-requests")
            with Vertical(id="server-client"):
                yield Static(id="server-client-name", markup=False)
                yield Static(id="server-client-text", markup=False)
        yield Static(id="server-hint", markup=False)
        yield StatusBar()

    @on(ScreenResume)
    @on(ServingChanged)
    @on(EngineChanged)
    def bring_up_to_date(self) -> None:
        """Show everything as it is now."""
        serving = self._serving
        ids = [each.id for each in serving.live]
        if self._chosen not in ids:
            self._chosen = ids[0] if ids else ""
        self._put("#server-state", self._state())
        self._put("#server-problem", Content(showable(serving.problem)))
        self.query_one("#server-problem").display = bool(serving.problem)
        self.query_one(RequestTable).show(serving.live, serving.recent, self._chosen)
        self._show_client()
        self._put("#server-hint", self._hint())

    @on(Resize)
    def fit(self) -> None:
        """Show as much of a client's settings as there is room for."""
        if self.query(RequestTable):
            self._show_client()

    def _state(self) -> Content:
        serving, marks = self._serving, self.marks
        if not serving.is_running:
            line = Content.assemble(
                (f"{marks.state} ", "dim"),
                ("not running", "bold"),
                f" {marks.dot} {self.mtplx.keys.sign('server.switch')} starts it at ",
            )
            return Content.assemble(line, (serving.address, "bold"), f" {marks.dot} {self._key()}")
        started = time.localtime(serving.started_at or 0)
        return Content.assemble(
            (f"{marks.state} ", "$text-success"),
            ("running at ", ""),
            (serving.address, "bold $text-primary"),
            f" {marks.dot} the browser chat is there too {marks.dot} {self._key()}",
            (f" {marks.dot} since {time.strftime('%H:%M', started)}", "dim"),
        )

    def _key(self) -> str:
        serving = self._serving
        if not serving.needs_key:
            return "this machine needs no key"
        if not serving.key:
            return "a key is wanted"
        return (
            f"key {serving.key}"
            if self._shows_key
            else self.mtplx.keys.fill("a key is wanted ({server.show_key} shows it)")
        )

    def _show_client(self) -> None:
        marks, client = self.marks, self._shown_client
        at = f"{marks.previous} {self._client + 1}/{len(CLIENTS)} {marks.next}  "
        self._put(
            "#server-client-name",
            Content.assemble((at, "dim"), (client.name, "bold"), (f"  {client.place}", "dim")),
        )
        endpoint = self._serving.endpoint(self.mtplx.view.model, is_hidden=not self._shows_key)
        lines = showable(client.text(endpoint).rstrip("\n")).split("\n")
        room = max(LEAST_ROWS, self.size.height - OTHER_ROWS)
        if len(lines) > room:
            left_out = len(lines) - room + 1
            lines[room - 1 :] = [f"{marks.more} {left_out} more lines; y copies all"]
        self._put("#server-client-text", Content("\n".join(lines)))

    @property
    def _shown_client(self) -> Client:
        return CLIENTS[self._client]

    def _hint(self) -> Content:
        hints = HINT_STOPPED
        if self._serving.is_running:
            hints = HINT_LIVE if self._serving.live else HINT_RUNNING
        is_utf8 = self.mtplx.terminal.is_utf8
        return in_a_row(hint_parts((*hints, OTHER_CLIENTS), self.mtplx.keys, is_utf8=is_utf8))

    def _put(self, selector: str, content: Content) -> None:
        part = self.query_one(selector, Static)
        if part.content != content:
            part.update(content)

    # Keys

    def action_switch(self) -> None:
        """Start the server, or stop it."""
        self.run_worker(self._switch(), exclusive=True, group="server")

    async def _switch(self) -> None:
        serving, settings = self._serving, self.mtplx.settings
        if serving.is_running:
            await serving.stop()
        else:
            await serving.start(settings.depth, settings.mode)
        self.bring_up_to_date()

    def action_address(self) -> None:
        """Ask where the server is started next."""
        serving = self._serving
        if serving.is_running:
            self.notify("stop the server first", severity="warning")
            return

        def answered(answer: str | None) -> None:
            if answer is not None:
                serving.host, serving.port = read_address(answer)
                serving.problem = ""
            self.bring_up_to_date()

        at = serving.address.removeprefix("http://")
        title = "Address and port; an address that others can reach makes the key needed"
        self.app.push_screen(AskText(title, at, _check_address), answered)

    def action_want_key(self) -> None:
        """Have the key wanted on this machine too, or no more."""
        if self._serving.is_running:
            self.notify("stop the server first", severity="warning")
            return
        self._serving.wants_key = not self._serving.wants_key
        self.bring_up_to_date()

    def action_show_key(self) -> None:
        """Show the key, or hide it."""
        self._shows_key = not self._shows_key
        self.bring_up_to_date()

    def action_client(self, by: int) -> None:
        """Show the settings of another client."""
        self._client = (self._client + by) % len(CLIENTS)
        self.bring_up_to_date()

    def action_choose(self, by: int) -> None:
        """Mark another of the requests that run."""
        ids = [each.id for each in self._serving.live]
        if ids:
            now = ids.index(self._chosen) if self._chosen in ids else 0
            self._chosen = ids[(now + by) % len(ids)]
            self.bring_up_to_date()

    def action_cancel(self) -> None:
        """End the marked request."""
        if self._chosen:
            self._serving.cancel(self._chosen)
        else:
            self.notify("nothing runs now", severity="warning")

    def action_show_prompt(self) -> None:
        """Show what the model saw of the marked request, or of the newest that ended."""
        recent = self._serving.recent
        name = self._chosen or (recent[0].id if recent else "")
        if name:
            self.run_worker(self._show_prompt(name), exclusive=True, group="prompt")
        else:
            self.notify("no request came yet", severity="warning")

    async def _show_prompt(self, name: str) -> None:
        try:
            prompt = await self._serving.prompt(name)
        except ValueError as error:
            self.notify(str(error), severity="warning", markup=False)
            return
        self.app.push_screen(PromptPage(name, prompt))

    def action_copy_settings(self) -> None:
        """Send the client's settings, with the key, to the terminal's clipboard."""
        client = self._shown_client
        self.app.copy_to_clipboard(client.text(self._serving.endpoint(self.mtplx.view.model)))
        self.notify(f"settings of {client.name}: sent to the terminal's clipboard", markup=False)

    def action_copy_address(self) -> None:
        """Send the address to the terminal's clipboard."""
        self.app.copy_to_clipboard(self._serving.address)
        self.notify("the address: sent to the terminal's clipboard")


def _check_address(answer: str) -> None:
    read_address(answer)
