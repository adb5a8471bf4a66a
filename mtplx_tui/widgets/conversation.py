"""The scrolling conversation: turn blocks of the branch shown, the newest ones only."""

from __future__ import annotations

from textual import on
from textual.containers import VerticalScroll
from textual.content import Content
from textual.events import Click
from textual.geometry import Size
from textual.message import Message
from textual.reactive import Reactive
from textual.widgets import Static

from engine.protocol import Role
from mtplx_tui.chats.model import Chat, Turn
from mtplx_tui.keys_file import keys_of
from mtplx_tui.view import EngineView
from mtplx_tui.widgets.turn import TurnBlock, shortened

FIRST_ROWS = 150
"""About so many rows of a conversation are laid out when it is opened: a few screens."""
PAGE_ROWS = 2_000
"""About so many more come each time earlier ones are wanted."""
KEPT_ROWS = 300
"""About so many more stay while a chat goes on and is followed; each turn off the screen is widgets."""
GO_S = 10.0
"""How long turns may take to be laid out before a place that was asked for is given up."""
_ROW_CELLS = 80
_ROWS_BESIDE = 5


class Conversation(VerticalScroll, can_focus=False):
    """Follows the newest text until a person scrolls up."""

    virtual_size: Reactive[Size] = Reactive(Size(0, 0), layout=False, repaint=False)
    """As the answer's: the layout that changes it is the one under way."""

    class EarlierWanted(Message):
        """The row above the first turn was clicked."""

    class Left(Message):
        """The focus should go back to where a person types."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._chat_id: str | None = None
        self._pages = 1
        self._path: tuple[str, ...] = ()
        self._first = 0
        self._before = 0
        """Turns before this one are to be shown from the next time on; 0 for no wish."""
        self._wanted: tuple[str, int] | None = None
        """The turn, and the row of it, to be brought to the top once it is laid out."""

    @property
    def blocks(self) -> list[TurnBlock]:
        """The turns shown, oldest first."""
        return list(self.query_children(TurnBlock))

    @property
    def first(self) -> int:
        """How many turns are too early to be shown."""
        return self._first

    def block(self, turn_id: str) -> TurnBlock | None:
        """Return the block of a turn, if it is shown."""
        return next((block for block in self.blocks if block.turn.id == turn_id), None)

    def focus_turn(self, turn_id: str) -> None:
        """Give the focus to a turn that is shown."""
        block = self.block(turn_id)
        if block is not None:
            self.screen.set_focus(block)

    def focus_newest(self) -> bool:
        """Give the focus to the newest turn; False where there is none."""
        blocks = self.blocks
        if blocks:
            self.screen.set_focus(blocks[-1])
        return bool(blocks)

    def fold(self, turn_id: str) -> None:
        """Show or hide the reasoning of a turn."""
        block = self.block(turn_id)
        if block is not None:
            block.fold()

    @on(TurnBlock.Stepped)
    def _step(self, message: TurnBlock.Stepped) -> None:
        message.stop()
        blocks = self.blocks
        at = [block.turn.id for block in blocks].index(message.turn_id) + message.by
        if message.by == 0 or at >= len(blocks):
            self.anchor()
            self.post_message(self.Left())
        elif at >= 0:
            self.screen.set_focus(blocks[at])

    def on_mount(self) -> None:
        """Stay at the bottom."""
        self.anchor()

    def place(self) -> tuple[str, int]:
        """Return the turn at the top of what is in sight, and its row there; none at the end."""
        if self._wanted is not None:
            return self._wanted
        top = round(self.scroll_y)
        if not self.is_vertical_scroll_end:
            for block in self.blocks:
                region = block.virtual_region
                if region.bottom > top:
                    return block.turn.id, top - region.y
        return "", 0

    def go_to(self, turn_id: str, row: int) -> None:
        """Bring a row of a turn to the top, as soon as the turn is there."""
        self._wanted = (turn_id, row)
        self.release_anchor()
        self.call_after_refresh(self._go)
        self.set_timer(GO_S, self._arrive)

    def _go(self) -> None:
        if self._wanted is None or not self.virtual_size.height:
            return
        turn_id, row = self._wanted
        block = self.block(turn_id)
        if block is None:
            self._arrive()
            self.anchor()
            return
        wanted = block.virtual_region.y + row
        if wanted <= self.max_scroll_y:
            self._arrive()
        self.scroll_to(y=wanted, animate=False, force=True)

    def _arrive(self) -> None:
        self._wanted = None

    def watch_virtual_size(self) -> None:
        """Go where it was wanted, now that more is laid out."""
        if self._wanted is not None:
            self.call_after_refresh(self._go)

    def show_earlier(self) -> None:
        """Show another page of older turns from the next time on."""
        self.release_anchor()
        if self._first:
            self._before = self._first
            self._path = ()

    def show_from(self, index: int, path: tuple[Turn, ...]) -> None:
        """Show as many pages of older turns as it takes to show one, from the next time on."""
        while first_shown(path, self._rows) > index:
            self._pages += 1
        self._path = ()
        self.release_anchor()

    @property
    def _rows(self) -> int:
        """About how many rows are laid out at most."""
        return FIRST_ROWS + (self._pages - 1) * PAGE_ROWS

    def show(self, chat: Chat, view: EngineView) -> None:
        """Bring the blocks to the branch that the chat shows."""
        if chat.id != self._chat_id:
            self._chat_id, self._pages, self._path, self._before = chat.id, 1, (), 0
            self.anchor()
        path = chat.path()
        ids = tuple(turn.id for turn in path)
        if ids != self._path:
            self._first = self._choose_first(path, ids)
            self._path = ids
        first = self._first
        wanted = path[first:]
        blocks = self.blocks
        if [block.turn.id for block in blocks] != [turn.id for turn in wanted]:
            self._rebuild(chat, view, blocks, wanted, first)
            return
        for block, turn in zip(blocks, wanted, strict=True):
            block.show(turn, _place(chat, turn), view.request(turn.id))

    def _choose_first(self, path: tuple[Turn, ...], ids: tuple[str, ...]) -> int:
        """Return the first turn to show; one that is shown stays, as long as a page has room."""
        if self._before:
            self.show_from(self._before - 1, path)
            self._before = 0
        elif self._wanted is not None and self._wanted[0] in ids:
            self.show_from(ids.index(self._wanted[0]), path)
        elif (
            ids[self._first : self._first + 1]
            and ids[: self._first + 1] == self._path[: self._first + 1]
        ):
            more = KEPT_ROWS if self.is_vertical_scroll_end else PAGE_ROWS
            return max(self._first, first_shown(path, self._rows + more))
        return first_shown(path, self._rows)

    def _rebuild(
        self,
        chat: Chat,
        view: EngineView,
        blocks: list[TurnBlock],
        wanted: tuple[Turn, ...],
        hidden: int,
    ) -> None:
        """Keep the blocks of turns that stay, take the others away, mount what is missing."""
        kept = {block.turn.id: block for block in blocks}
        ids = {turn.id for turn in wanted}
        gone = [block for block in blocks if block.turn.id not in ids]
        with self.app.batch_update():
            self.remove_children(gone)
            self._show_hidden(hidden)
            last: TurnBlock | None = None
            for turn in wanted:
                block = kept.get(turn.id)
                place, request = _place(chat, turn), view.request(turn.id)
                if block is None:
                    block = TurnBlock(turn, place, request)
                    self._mount_after(block, last)
                else:
                    block.show(turn, place, request)
                last = block

    def _mount_after(self, block: TurnBlock, last: TurnBlock | None) -> None:
        if last is not None:
            self.mount(block, after=last)
        elif rows := self.query_children("#earlier"):
            self.mount(block, after=rows.first())
        else:
            self.mount(block, before=0 if self.children else None)

    def _show_hidden(self, hidden: int) -> None:
        rows = self.query_children("#earlier")
        if not hidden:
            rows.remove()
            return
        key = keys_of(self.app).sign("chat.earlier")
        text = Content(f"↑ {hidden} earlier turn{'' if hidden == 1 else 's'} · {key} shows them")
        if rows:
            rows.first(Static).update(text)
        else:
            self.mount(Static(text, id="earlier"), before=0 if self.children else None)

    def on_click(self, event: Click) -> None:
        """Show earlier turns with a click on their row."""
        if event.widget is not None and event.widget.id == "earlier":
            self.post_message(self.EarlierWanted())


def first_shown(path: tuple[Turn, ...], rows: int) -> int:
    """Return the index of the first turn that still fits into about so many rows."""
    used = 0
    for index in range(len(path) - 1, -1, -1):
        used += _rows_of(path[index])
        if used > rows and index < len(path) - 1:
            return index + 1
    return 0


def _rows_of(turn: Turn) -> int:
    text = shortened(turn.text) if turn.role is Role.USER else turn.text
    lines = text.split("\n")
    return _ROWS_BESIDE + sum(1 + len(line) // _ROW_CELLS for line in lines)


def _place(chat: Chat, turn: Turn) -> tuple[int, int]:
    """Return which of its siblings a turn is, counted from 1, and how many there are."""
    siblings = chat.siblings(turn.id)
    return siblings.index(turn.id) + 1, len(siblings)
