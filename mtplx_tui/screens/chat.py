"""The chat: a conversation, the prompt under it, the chats and the sampling panel beside it.

Reads `app.view` and `app.desk`; changes a chat only through the desk and the engine only
through `app.send`. Hidden, it does nothing; shown again, it brings itself up to date.
"""

from __future__ import annotations

import functools
from time import monotonic
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Horizontal, Vertical
from textual.content import Content
from textual.events import DescendantFocus, Resize, ScreenResume
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static

from engine.protocol import Cancel, RequestFailed
from mtplx_tui.chats.model import Turn
from mtplx_tui.keymap import CHAT, bindings
from mtplx_tui.messages import EngineChanged
from mtplx_tui.requests import Options
from mtplx_tui.screens.chat_asking import ChatAsking
from mtplx_tui.widgets.chat_list import ChatList
from mtplx_tui.widgets.chat_search import ChatSearch
from mtplx_tui.widgets.conversation import Conversation
from mtplx_tui.widgets.find_bar import FindBar
from mtplx_tui.widgets.prompt import Prompt
from mtplx_tui.widgets.sampling_panel import SamplingPanel
from mtplx_tui.widgets.status_bar import StatusBar
from mtplx_tui.widgets.tab_bar import TabBar
from mtplx_tui.widgets.turn import TurnBlock
from mtplx_tui.widgets.welcome import Welcome
from mtplx_tui.wording import showable

SYNC_S = 0.1
"""Least time between two looks at what the engine sent."""
LAYOUTS = 40
"""How often it is looked whether turns are laid out before they are searched as they are."""
LIST_FITS = 110
"""Columns from which on the chats are shown beside the conversation without being asked for."""


class ChatScreen(ChatAsking):
    """Talks with the loaded model."""

    CSS_PATH = "chat.tcss"
    AUTO_FOCUS = "#prompt"
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012 - Textual reads it from the class
        (0, "-narrow"),
        (LIST_FITS, "-wide"),
    ]
    BINDINGS: ClassVar[list[BindingType]] = bindings(CHAT)

    def __init__(self) -> None:
        super().__init__()
        self._told_problem = ""
        self._listed: tuple[object, ...] = ()
        self._synced_at = 0.0
        self._sync_timer: Timer | None = None

    @functools.cached_property
    def _finder(self) -> ChatSearch:
        return ChatSearch(self.conversation)

    def compose(self) -> ComposeResult:
        """Lay out list, conversation and panel side by side.

        The class that the width asks for is set before: set later, as Textual does it by itself,
        it has everything styled twice before the first frame.
        """
        is_wide = self.app.size.width >= LIST_FITS
        self.update_classes({"-wide": is_wide, "-narrow": not is_wide}, update=False)
        yield TabBar()
        with Horizontal(id="chat-columns"):
            yield ChatList(id="chat-list")
            with Vertical(id="chat-middle"):
                with Container(id="welcome-place"):
                    yield Welcome(id="welcome")
                yield Conversation(id="conversation")
                yield FindBar(id="find")
                yield Static(id="chat-notice", markup=False)
                yield Prompt(id="prompt")
            yield SamplingPanel(self._take_options, id="sampling")
        yield StatusBar()

    def on_mount(self) -> None:
        """Begin in the prompt, with the panels as the width allows."""
        self.query_one("#chat-list").display = self.app.size.width >= LIST_FITS
        self.take_up(self.mtplx.bookmark.now)
        self.watch(self.conversation, "scroll_y", self.note_place, init=False)

    @on(Prompt.Changed, "#prompt")
    def _note_draft(self) -> None:
        self.note_place()
        if not self.is_held:
            self.take_back_held()

    @on(ScreenResume)
    def bring_up_to_date(self) -> None:
        """Show everything as it is now, also what came while the screen was hidden."""
        if self._sync_timer is not None:
            self._sync_timer.stop()
            self._sync_timer = None
        self._synced_at = monotonic()
        desk, view = self.mtplx.desk, self.mtplx.view
        is_empty = not desk.chat.path()
        self.query_one("#welcome-place").display = is_empty
        self.conversation.display = not is_empty
        if is_empty:
            self.query_one(Welcome).show(view)
        self.conversation.show(desk.chat, view)
        if self.query_one(FindBar).is_open:
            self.call_after_refresh(self._look_again)
        own = view.model.sampling if view.model is not None else None
        self.query_one(SamplingPanel).show(desk.chat.options, own)
        self._show_list()
        self._show_notice()
        self.show_hint()
        self.send_held()

    def refresh_chats(self) -> None:
        """Show that a chat was renamed, deleted or opened."""
        self._listed = ()
        self.bring_up_to_date()

    @on(EngineChanged)
    def _take_events(self, message: EngineChanged) -> None:
        for event in message.events:
            if isinstance(event, RequestFailed):
                self.give_back(event)
        wait = self._synced_at + SYNC_S - monotonic()
        if wait <= 0:
            self.bring_up_to_date()
        elif self._sync_timer is None:
            self._sync_timer = self.set_timer(wait, self.bring_up_to_date)

    def _show_list(self) -> None:
        chats = self.query_one(ChatList)
        if not chats.display:
            return
        desk = self.mtplx.desk
        listed = (desk.chat.id, desk.chat.title, len(desk.chat.turns))
        if listed != self._listed:
            self._listed = listed
            found = chats.search_text.strip()
            chats.show(desk.search(found) if found else desk.summaries(), desk.chat.id)

    def _show_notice(self) -> None:
        problem = self.mtplx.desk.problem
        notice = self.query_one("#chat-notice", Static)
        notice.display = bool(problem)
        if problem != self._told_problem:
            self._told_problem = problem
            notice.update(Content(showable(problem)))
            if problem:
                self.notify(showable(problem), severity="warning", markup=False)

    def on_descendant_focus(self, _: DescendantFocus) -> None:
        """Show the keys of what has the focus now."""
        self.show_hint()

    @on(Resize)
    def _fit(self, event: Resize) -> None:
        """Hide the chats where they would leave no room, unless they are in use."""
        chats = self.query_one("#chat-list")
        if event.size.width < LIST_FITS and not chats.has_focus_within:
            chats.display = False

    def action_back(self) -> None:
        """Leave a panel, stop the running answer, take a waiting question back or give up an edit.

        With none of these it takes the notices away, which may lie over what is typed.
        """
        desk = self.mtplx.desk
        if self.focused is not None and self.focused is not self.prompt:
            if self.has_class("-narrow"):
                self.query_one(ChatList).display = False
                self.query_one(SamplingPanel).display = False
            self.set_focus(self.prompt)
        elif desk.running is not None:
            self.mtplx.send(Cancel(desk.running))
        elif self.is_held:
            self.take_back_held()
        elif self.editing is not None:
            self.stop_editing()
            self.show_hint()
        else:
            self.app.clear_notifications()

    # One turn

    @on(TurnBlock.Acted)
    def _act(self, message: TurnBlock.Acted) -> None:
        turn = next(t for t in self.mtplx.desk.chat.path() if t.id == message.turn_id)
        match message.action:
            case "copy":
                self.copy_turn(turn)
            case "copy_code":
                self.copy_code(turn)
            case "save":
                self.save_turn(turn)
            case "edit":
                self.edit(turn)
            case "regenerate":
                self.regenerate(turn)
            case "fold":
                self.conversation.fold(turn.id)
            case "previous_branch":
                self._branch(turn, -1)
            case "next_branch":
                self._branch(turn, 1)

    def _branch(self, turn: Turn, by: int) -> None:
        """Show a neighbour branch at this turn and keep the focus there."""
        desk = self.mtplx.desk
        siblings = desk.chat.siblings(turn.id)
        at = siblings.index(turn.id) + by
        if not 0 <= at < len(siblings):
            return
        desk.select(siblings[at])
        self.bring_up_to_date()
        self.call_after_refresh(self.conversation.focus_turn, siblings[at])

    @on(Prompt.LeaveWanted)
    def _enter_conversation(self) -> None:
        if not self.conversation.focus_newest():
            self.focus_next()

    @on(Conversation.Left)
    def _leave_conversation(self) -> None:
        self.set_focus(self.prompt)

    def action_fold(self) -> None:
        """Show or hide the reasoning of the newest answer that has one."""
        with_thought = [turn for turn in self.answers() if turn.reasoning]
        if with_thought:
            self.conversation.fold(with_thought[-1].id)

    def action_copy(self) -> None:
        """Copy the newest answer."""
        answers = self.answers()
        if answers:
            self.copy_turn(answers[-1])

    # Searching

    async def action_find(self) -> None:
        """Look for a text in this chat."""
        if self.conversation.display:
            await self.query_one(FindBar).open()

    @on(FindBar.Changed)
    def _look(self, message: FindBar.Changed) -> None:
        self._finder.look(message.query, self.mtplx.desk.chat.path())
        self._finder.go()
        self.query_one(FindBar).show(self._finder.words)

    def _look_again(self) -> None:
        """Look for the same in what is shown now."""
        bar = self.query_one(FindBar)
        if bar.is_open:
            self._finder.look(self._finder.finding.query, self.mtplx.desk.chat.path())
            bar.show(self._finder.words)

    @on(FindBar.Stepped)
    def _step(self, message: FindBar.Stepped) -> None:
        path, shown = self.mtplx.desk.chat.path(), len(self.conversation.blocks)
        earlier = self._finder.earlier(message.by)
        if earlier is None:
            self._finder.step(message.by)
            self.query_one(FindBar).show(self._finder.words)
            return
        self.conversation.show_from(earlier, path)
        self.bring_up_to_date()
        self._go_on(shown, LAYOUTS)

    def _go_on(self, shown: int, patience: int) -> None:
        """Go to the last place in the turns that came, once they are laid out."""
        if patience and not self._finder.is_laid_out:
            self.set_timer(SYNC_S / 2, functools.partial(self._go_on, shown, patience - 1))
            return
        self._finder.go_on(shown, self.mtplx.desk.chat.path())
        self.query_one(FindBar).show(self._finder.words)

    @on(FindBar.Closed)
    def _end_search(self) -> None:
        self._finder.end()
        self.set_focus(self.prompt)

    # Beside and around the conversation

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Leave the paging keys to lists and fields that have the focus."""
        if action in ("page", "earlier", "latest"):
            return self.focused in (None, self.prompt) or isinstance(self.focused, TurnBlock)
        return super().check_action(action, parameters)

    def action_page(self, by: str | int) -> None:
        """Scroll the conversation by a page."""
        if int(by) < 0:
            self.conversation.scroll_page_up(animate=False)
        else:
            self.conversation.scroll_page_down(animate=False)

    @on(Conversation.EarlierWanted)
    def action_earlier(self) -> None:
        """Go to the top, and show more turns where some are hidden."""
        self.conversation.show_earlier()
        self.bring_up_to_date()
        self.conversation.scroll_home(animate=False)

    def action_latest(self) -> None:
        """Go to the newest text and follow it."""
        self.conversation.anchor()

    def action_new_chat(self) -> None:
        """Begin a chat; the one before stays in the list."""
        self.mtplx.desk.new()
        self._leave_chat()

    def _leave_chat(self) -> None:
        if self.editing is not None:
            self.stop_editing()
        self.set_focus(self.prompt)
        self.refresh_chats()

    def action_toggle_list(self) -> None:
        """Go to the chats; from there, hide them."""
        chats = self.query_one(ChatList)
        if self._toggle(chats, self.query_one(SamplingPanel)):
            self._listed = ()
            self._show_list()
            chats.focus_list()

    async def action_toggle_sampling(self) -> None:
        """Go to system prompt and sampling; from there, hide them."""
        panel = self.query_one(SamplingPanel)
        if self._toggle(panel, self.query_one(ChatList)):
            await panel.lay_out()
            panel.focus_first()

    def _toggle(self, panel: Widget, other: Widget) -> bool:
        """Show a panel, or hide the one that has the focus; return whether it is shown."""
        panel.display = not (panel.display and panel.has_focus_within)
        if not panel.display:
            self.set_focus(self.prompt)
        elif self.has_class("-narrow"):
            other.display = False
        return bool(panel.display)

    def _take_options(self, now: Options) -> None:
        desk = self.mtplx.desk
        was = desk.chat.options
        desk.set_options(now)
        if now.depth != was.depth:
            self.mtplx.drafting.set_depth(now.depth)

    @on(ChatList.Searched)
    def _search(self) -> None:
        self._listed = ()
        self._show_list()

    @on(ChatList.Chosen)
    def _open(self, message: ChatList.Chosen) -> None:
        self.mtplx.desk.open(message.chat_id)
        if self.has_class("-narrow"):
            self.query_one(ChatList).display = False
        self._leave_chat()

    @on(ChatList.Acted)
    def _act_on_chat(self, message: ChatList.Acted) -> None:
        desk = self.mtplx.desk
        title = next((s.title for s in desk.summaries() if s.id == message.chat_id), "")
        match message.action:
            case "rename":
                self.rename_chat(message.chat_id, title)
            case "delete":
                self.delete_chat(message.chat_id, title)
            case "export":
                self.export_chat(message.chat_id)
