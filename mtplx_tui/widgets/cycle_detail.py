"""One cycle under the glass: what was drafted, how each draft was judged, what came out."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from engine.protocol import CycleDone, Ended
from mtplx_tui.marks import UNICODE, Marks
from mtplx_tui.widgets.ribbon_lines import BONUS, PLAIN, RESIDUAL, kind_of, mark_of, shown

BECAUSE = {
    Ended.PLAIN: "no draft: one token from the trunk",
    Ended.BONUS: "all accepted: one bonus",
    Ended.RESIDUAL: "one rejected: the residual",
    Ended.STOP: "the answer ends here",
    Ended.LENGTH: "the token limit",
}


class CycleDetail(Static):
    """Shows the cycle at which a paused screen stands."""

    DEFAULT_CSS = """
    CycleDetail {
        height: auto; text-wrap: nowrap; text-overflow: ellipsis; padding: 0 1;
        background: $primary 12%;
        &:ansi { background: ansi_default; }
    }
    """

    def __init__(self, marks: Marks = UNICODE, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self._marks = marks

    def show(self, cycle: CycleDone, of: int, behind: int) -> None:
        """Show a cycle.

        Args:
            cycle: the one to show.
            of: how many the answer has by now.
            behind: how many of them came after it.
        """
        page = detail_page(cycle, of, behind, self._marks)
        if page != self.content:
            self.update(page)


def detail_page(cycle: CycleDone, of: int, behind: int, marks: Marks) -> Content:
    """Return three lines: where we stand, the drafts, what was emitted."""
    judged = f"{cycle.accepted} of {cycle.depth} drafts accepted" if cycle.depth else "no drafts"
    head = Content.assemble(
        (f"{marks.paused} paused at cycle {cycle.cycle + 1:,} of {of:,}", "bold $text-warning"),
        f", {behind:,} behind {marks.dot} {judged}" if behind else f" {marks.dot} {judged}",
    )
    drafts = [_draft(cycle, index, marks) for index in range(len(cycle.drafted_pieces))]
    emitted = [_emitted(cycle, index, marks) for index in range(len(cycle.emitted_pieces))]
    nothing = Content.styled("nothing", "dim")
    return Content("\n").join(
        [
            head,
            Content.assemble(("drafted  ", "dim"), Content("  ").join(drafts or [nothing])),
            Content.assemble(
                ("emitted  ", "dim"),
                Content("  ").join(emitted or [nothing]),
                (f"   {BECAUSE[cycle.ended]}", "dim"),
            ),
        ]
    )


def _draft(cycle: CycleDone, index: int, marks: Marks) -> Content:
    depth = index + 1
    text = shown(cycle.drafted_pieces[index], marks).strip() or marks.space
    mark = (marks.depths[depth], f"$depth-{depth}")
    if index < cycle.accepted:
        color = f"$depth-{depth}"
        return Content.assemble(mark, (text, color), f" {marks.accepted}")
    if index == cycle.accepted:
        quoted = (f"{marks.opening}{text}{marks.closing}", "strike")
        return Content.assemble(mark, quoted, f" {marks.rejected}")
    return Content.assemble(mark, (f"{text} {marks.unjudged}", "dim"))


def _emitted(cycle: CycleDone, index: int, marks: Marks) -> Content:
    kind = kind_of(cycle, index)
    text = shown(cycle.emitted_pieces[index], marks).strip() or marks.space
    if kind in (PLAIN, BONUS, RESIDUAL):
        return Content.assemble((f"{mark_of(kind, marks)}{text}", "bold"))
    return Content.styled(f"{mark_of(kind, marks)}{text}", f"$depth-{kind}")
