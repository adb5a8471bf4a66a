"""What the doctor looked at, a row each: the problems first, then everything by its group."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, groupby, repeat
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from mtplx_tui.doctor.check import Check, Severity, worst_first
from mtplx_tui.marks import UNICODE, Marks
from mtplx_tui.wording import showable

__all__ = ["STYLES", "CheckDetail", "CheckList", "mark_of"]

STYLES = {
    Severity.OK: "$text-success",
    Severity.NOTE: "$text-accent",
    Severity.WARNING: "bold $text-warning",
    Severity.ERROR: "bold $text-error",
}
WORDS = {
    Severity.OK: "all is well",
    Severity.NOTE: "worth knowing",
    Severity.WARNING: "warning",
    Severity.ERROR: "error",
}
_NAME = 20


def mark_of(severity: Severity, marks: Marks) -> str:
    """Return the sign of a severity, which is told by its colour too."""
    signs = {Severity.OK: marks.accepted, Severity.ERROR: marks.rejected, Severity.WARNING: "!"}
    return signs.get(severity, marks.dot)


class CheckList(OptionList):
    """Shows checks as they come; the marked one stays marked."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "cursor_down", show=False),
        Binding("k", "cursor_up", show=False),
    ]
    DEFAULT_CSS = """
    CheckList {
        height: 1fr; border: none; padding: 0 1; background: $background;
        text-wrap: nowrap; text-overflow: ellipsis;
    }
    CheckList:focus { border: none; background: $background; background-tint: $background 0%; }
    CheckList > .option-list--option { padding: 0; }
    CheckList > .option-list--option-disabled { color: $foreground 65%; }
    CheckList:focus > .option-list--option-highlighted {
        background: $primary-muted; color: $foreground; text-style: bold;
    }
    """

    def __init__(self, marks: Marks = UNICODE, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self._marks = marks
        self._checks: tuple[Check, ...] = ()
        self._was_moved = False

    @property
    def chosen(self) -> Check | None:
        """The check that is marked."""
        option = self.highlighted_option
        if option is None or option.id is None:
            return None
        at = int(option.id)
        return self._checks[at] if at < len(self._checks) else None

    def show(self, checks: Sequence[Check]) -> None:
        """Show these; the mark stays where a person put it, else it is on the first row."""
        kept = self.chosen if self._was_moved else None
        kept = kept if kept in checks else None
        self._checks = tuple(checks)
        self._was_moved = kept is not None
        options = self._options_of(self._checks)
        with self.prevent(OptionList.OptionHighlighted):
            self.clear_options()
            self.add_options(options)
            ids = [option.id for option in self.options]
            wanted = "" if kept is None else str(self._checks.index(kept))
            first = next((at for at, name in enumerate(ids) if name is not None), None)
            self.highlighted = ids.index(wanted) if wanted else first
            if kept is None:
                self.scroll_home(animate=False)

    @on(OptionList.OptionHighlighted)
    def _note_move(self) -> None:
        """Take it that a person marked a row: what `show` marks is not told."""
        self._was_moved = True

    def _options_of(self, checks: tuple[Check, ...]) -> list[Option]:
        """Return the rows; what is marked by an id can be chosen, titles can't."""
        problems = worst_first(checks)
        found = [_title("to mend")] if problems else []
        found += [self._row(check) for check in problems]
        for group, members in groupby(checks, key=lambda check: check.group):
            rows = [self._row(check) for check in members if not check.is_problem]
            found += [_title(group), *rows] if rows else []
        return found

    def _row(self, check: Check) -> Option:
        mark = (f" {mark_of(check.severity, self._marks)} ", STYLES[check.severity])
        found = " ".join(showable(check.found).split())
        name = showable(check.name).ljust(_NAME)
        row = Content.assemble(mark, f"{name} ", (found, "" if check.is_problem else "dim"))
        return Option(row, id=str(self._checks.index(check)))


def _title(text: str) -> Option:
    return Option(Content.styled(text, "bold"), disabled=True)


class CheckDetail(Static):
    """Shows all that is known of one check, long texts beside their label."""

    DEFAULT_CSS = "CheckDetail { height: auto; }"

    def __init__(self, marks: Marks = UNICODE, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self._marks = marks
        self._check: Check | None = None

    def show(self, check: Check | None) -> None:
        """Show this one from now on; None shows nothing."""
        self._check = check
        self._draw()

    def on_resize(self) -> None:
        """Lay the texts out for another width."""
        self._draw()

    def _draw(self) -> None:
        page = check_page(self._check, self.content_size.width, self._marks)
        if page != self.content:
            self.update(page)


def check_page(check: Check | None, width: int, marks: Marks) -> Content:
    """Return all that is known of a check, for a width in cells."""
    if check is None:
        return Content("")
    sign = f"{mark_of(check.severity, marks)} {WORDS[check.severity]}"
    lines = [
        Content.assemble((showable(check.name), "bold"), "   ", (sign, STYLES[check.severity]))
    ]
    told = (
        ("found", check.found),
        ("", ", ".join(check.own)),
        ("expected", check.expected),
        (_TO_DO, check.remedy),
    )
    for label, text in told:
        shown = Content.styled(" ".join(showable(text).split()), "bold" if label == _TO_DO else "")
        labels = chain((f"{label:<{_LABEL}}",), repeat(" " * _LABEL))
        if shown:
            wrapped = shown.wrap(max(width - _LABEL, 20))
            lines += [
                Content.assemble((before, "dim"), line)
                for before, line in zip(labels, wrapped, strict=False)
            ]
    return Content("\n").join(lines)


_TO_DO = "what to do"
_LABEL = 11
"""Cells of a label and the gap behind it."""
