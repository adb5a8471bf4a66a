"""The table of models: as many facts as fit, cells changed in place as tiers become known.

All facts of a model are one cell, laid out in columns here: a table's paint is bound by its cells.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Resize
from textual.widgets import DataTable

from mtplx_tui.marks import UNICODE, Marks
from mtplx_tui.wording import in_bytes, showable

__all__ = ["TIER_STYLES", "ModelRow", "ModelTable", "short_count"]

TIER_STYLES = {
    "verified": "bold $text-success",
    "compatible": "$text-success",
    "unsupported": "$text-warning",
    "no-mtp": "$foreground 65%",
    "error": "$text-error",
}
_COLUMNS = (("tier", 12), ("size", 9), ("downloads", 9), ("changed", 10))
"""Beside the name, the most important first; cells of each, without padding."""
_WIDTHS = dict(_COLUMNS)
_LEAST_NAME = 36
_PADDING = 2
_GAP = " " * _PADDING


@dataclass(frozen=True, slots=True)
class ModelRow:
    """What the table tells of a model."""

    name: str
    tier: str = ""
    """Empty while it is not known; error where the model can't be read."""
    size: int | None = None
    downloads: int | None = None
    changed: str = ""
    is_here: bool = False
    is_recommended: bool = False
    share: int | None = None
    """Percent of it that is downloaded, while it is."""


class ModelTable(DataTable[Content]):
    """See the module; the row's key is the model's name."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "cursor_down", show=False),
        Binding("k", "cursor_up", show=False),
    ]
    DEFAULT_CSS = """
    ModelTable { height: 1fr; background: $background; scrollbar-gutter: stable; }
    ModelTable > .datatable--header { background: $surface; color: $foreground 65%; text-style: none; }
    ModelTable > .datatable--cursor { background: $foreground 12%; color: $foreground; text-style: none; }
    ModelTable:focus > .datatable--cursor { background: $primary-muted; color: $foreground; text-style: bold; }
    """

    def __init__(self, marks: Marks = UNICODE, *, id: str | None = None) -> None:
        super().__init__(id=id, cursor_type="row", zebra_stripes=False, header_height=1)
        self._marks = marks
        self._shown: dict[str, ModelRow] = {}
        self._columns: tuple[str, ...] = ()
        self._name_width = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The models shown, in their order."""
        return tuple(self._shown)

    @property
    def selected(self) -> str | None:
        """The model under the cursor."""
        return self.names[self.cursor_row] if self.is_valid_row_index(self.cursor_row) else None

    def on_resize(self, event: Resize) -> None:
        """Lay the columns out for another width."""
        if self._fit(event.size.width):
            self._fill()

    def show(self, rows: Iterable[ModelRow], *, keep: bool = False) -> None:
        """Show these models: changed cells alone where they are the same ones.

        Args:
            rows: in their order; names are unique.
            keep: leave the cursor on its model, if that is still there.
        """
        wanted = {row.name: row for row in rows}
        if tuple(wanted) == self.names:
            for row in wanted.values():
                self.change(row)
            return
        name = self.selected if keep else None
        self._shown = wanted
        self._fill()
        if name in wanted:
            self.move_cursor(row=self.names.index(name), scroll=True)

    def change(self, row: ModelRow) -> None:
        """Show that a model's row changed, if it is shown."""
        old = self._shown.get(row.name)
        if old is None or old == row:
            return
        self._shown[row.name] = row
        for column in self._drawn:
            new = self._cell(row, column)
            if new != self._cell(old, column):
                self.update_cell(row.name, column, new)

    def _fit(self, width: int) -> bool:
        """Choose the columns for a width; True where that changes anything."""
        room = width - _LEAST_NAME - _PADDING - 2
        chosen: list[str] = []
        for name, cells in _COLUMNS:
            if room < cells + _PADDING:
                break
            room -= cells + _PADDING
            chosen.append(name)
        name_width = _LEAST_NAME + max(0, room)
        changed = (tuple(chosen), name_width) != (self._columns, self._name_width)
        self._columns, self._name_width = tuple(chosen), name_width
        return changed

    def _fill(self) -> None:
        at = self.cursor_row
        self.clear(columns=True)
        self.add_column("model", width=self._name_width, key="model")
        if self._columns:
            heads = [name.ljust(_WIDTHS[name]) for name in self._columns]
            label = _GAP.join(heads)
            self.add_column(label, width=len(label), key="facts")
        for row in self._shown.values():
            self.add_row(*(self._cell(row, column) for column in self._drawn), key=row.name)
        if self._shown:
            self.move_cursor(row=min(at, len(self._shown) - 1))

    @property
    def _drawn(self) -> tuple[str, ...]:
        return ("model", "facts") if self._columns else ("model",)

    def _cell(self, row: ModelRow, column: str) -> Content:
        if column == "facts":
            return Content(_GAP).join(self._fact(row, name) for name in self._columns)
        return self._fact(row, column)

    def _fact(self, row: ModelRow, column: str) -> Content:
        match column:
            case "model":
                mark = self._marks.state if row.is_here else "*" if row.is_recommended else " "
                style = "$text-success" if row.is_here else "$text-accent"
                name = Content(showable(row.name))
                room = self._name_width - 2
                if name.cell_length > room:
                    name = name.truncate(room - 1) + Content(self._marks.more)
                return Content.assemble((f"{mark} ", style), name)
            case "tier":
                if row.share is not None:
                    return _wide(f"{row.share:>3} %", "tier", "$text-accent")
                return _wide(row.tier, "tier", TIER_STYLES.get(row.tier, "dim"))
            case "size":
                size = "" if row.size is None else in_bytes(row.size)
                return Content(size.rjust(_WIDTHS["size"]))
            case "downloads":
                count = "" if row.downloads is None else short_count(row.downloads)
                return Content(count.rjust(_WIDTHS["downloads"]))
            case _:
                return _wide(row.changed[:10], "changed", "dim")


def _wide(text: str, column: str, style: str) -> Content:
    """Return a fact as wide as its column."""
    return Content.assemble((text, style), " " * (_WIDTHS[column] - len(text)))


def short_count(count: int) -> str:
    """Return a count in at most five signs."""
    for sign, size in (("M", 1_000_000), ("k", 1_000)):
        if count >= size:
            figure = count / size
            return f"{figure:.1f} {sign}" if figure < 100 else f"{figure:.0f} {sign}"
    return str(count)
