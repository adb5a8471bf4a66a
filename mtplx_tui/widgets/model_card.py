"""The card of one model: tier with its reasons, what it needs, and its README.

Draws what it is given; knows no hub.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from mtplx_tui.library.catalog import Report, fits
from mtplx_tui.library.progress import State
from mtplx_tui.library.queue import Job, JobState
from mtplx_tui.library.speed import Speed
from mtplx_tui.marks import UNICODE, Marks
from mtplx_tui.widgets.answer import Answer
from mtplx_tui.widgets.model_table import TIER_STYLES
from mtplx_tui.wording import duration, in_bytes, showable

__all__ = [
    "Card",
    "ModelCard",
    "card_content",
    "job_line",
    "named_job_line",
    "without_front_matter",
]

_FRONT_MATTER = re.compile(r"\A---\s*\n.*?\n---\s*(?:\n|\Z)", re.DOTALL)
_BAR = 20


@dataclass(frozen=True, slots=True)
class Card:
    """What the card tells."""

    name: str
    report: Report | None = None
    error: str = ""
    """Why there is no report, and what to do."""
    job: Job | None = None
    is_here: bool = False
    is_loaded: bool = False
    machine_bytes: int = 0
    speed: Speed | None = None
    """None where nothing is known of it."""
    readme: str | None = None
    """Markdown; None while it is not shown."""


class ModelCard(VerticalScroll):
    """See the module."""

    DEFAULT_CSS = """
    ModelCard { background: $background; padding: 0 1; scrollbar-gutter: stable; }
    ModelCard Static { width: 100%; height: auto; }
    ModelCard Answer { margin-top: 1; }
    """
    can_focus = True

    def __init__(self, marks: Marks = UNICODE, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._marks = marks
        self._card: Card | None = None

    def compose(self) -> ComposeResult:
        """Lay out the facts above the README."""
        yield Static(markup=False, id="card-facts")
        yield Answer(id="card-readme")

    def show(self, card: Card | None) -> None:
        """Show this, or nothing."""
        old, self._card = self._card, card
        if card == old:
            return
        facts = Content("") if card is None else card_content(card, self._marks)
        self.query_one("#card-facts", Static).update(facts)
        readme = self.query_one("#card-readme", Answer)
        text = None if card is None else card.readme
        readme.display = text is not None
        if text is not None and (old is None or old.readme != text):
            readme.show(without_front_matter(text), is_finished=True)
        if old is None or card is None or old.name != card.name:
            self.scroll_home(animate=False)


def without_front_matter(text: str) -> str:
    """Return a README without the facts for machines at its head."""
    return _FRONT_MATTER.sub("", text, count=1)


def card_content(card: Card, marks: Marks = UNICODE) -> Content:
    """Return the facts as lines."""
    lines = [_title(card)]
    is_told = card.job is not None and card.job.state is JobState.FAILED and card.error
    if card.job is not None and card.job.is_open and not is_told:
        lines += [job_line(card.job, marks), Content("")]
    if card.error:
        lines.append(Content.styled(showable(card.error), "$text-error"))
    elif card.report is None:
        lines.append(Content.styled("reading its config and headers" + marks.more, "dim"))
    else:
        lines += _report_lines(card.report, card.machine_bytes, marks)
        lines += _speed_lines(card.speed)
    return Content("\n").join(lines)


def _title(card: Card) -> Content:
    title = Content.styled(showable(card.name), "bold")
    if card.is_loaded:
        return Content.assemble(title, ("  loaded", "$text-success"))
    return Content.assemble(title, ("  on this machine", "dim")) if card.is_here else title


def _report_lines(report: Report, machine: int, marks: Marks) -> list[Content]:
    verdict = report.verdict
    style = TIER_STYLES[verdict.tier]
    lines = [
        Content.assemble((str(verdict.tier), style), f"  {showable(verdict.summary)}"),
        Content(""),
    ]
    signs = {
        True: (marks.accepted, "$text-success"),
        False: (marks.rejected, "$text-error"),
        None: ("?", "$text-warning"),
    }
    for reason in verdict.reasons:
        lines.append(
            Content.assemble(
                signs[reason.ok], f" {reason.check}", (f"  {showable(reason.detail)}", "dim")
            )
        )
    lines.append(Content(""))
    lines += [_fact(name, value) for name, value in _facts(report)]
    lines += _memory_lines(report, machine, marks)
    return lines


def _facts(report: Report) -> list[tuple[str, str]]:
    verdict, head = report.verdict, report.verdict.mtp
    facts = [("type", verdict.model_type)]
    if verdict.family is not None:
        facts.append(("family", verdict.family))
    if head is not None:
        size = "" if head.weight_bytes is None else f", {in_bytes(head.weight_bytes)}"
        layers = "1 layer" if head.layers == 1 else f"{head.layers} layers"
        facts.append(("head", f"{layers} in {head.location}{size}"))
    if head is not None and head.concat is not None:
        facts.append(
            (
                "contract",
                f"[{head.concat}], hidden {head.hidden}-norm, recycled {head.recycle}-norm",
            )
        )
    facts.append(
        ("weights", f"{in_bytes(report.weights_bytes)}, quantisation {verdict.quantization}")
    )
    if report.parameters is not None:
        facts.append(("parameters", _in_words(report.parameters)))
    if report.license:
        facts.append(("licence", report.license))
    if report.is_gated:
        facts.append(("gated", "its owner asks for an agreement first"))
    return [(name, showable(value)) for name, value in facts]


def _in_words(count: int) -> str:
    for word, size in (("billion", 1e9), ("million", 1e6)):
        if count >= size:
            return f"{count / size:.3g} {word}"
    return f"{count:,}"


def _memory_lines(report: Report, machine: int, marks: Marks) -> list[Content]:
    lines = []
    for context, needed in report.memory:
        if needed is None:
            continue
        share = needed / machine if machine else 1.0
        is_ok = fits(needed, machine)
        color = "$text-success" if is_ok else "$text-error"
        filled = min(_BAR, max(1, round(_BAR * share)))
        bar = Content.assemble((marks.bar * filled, color), (marks.track * (_BAR - filled), "dim"))
        word = "fits" if is_ok else "too much"
        lines.append(
            Content.assemble(
                (f"{context // 1024:>4}k tokens  ", "dim"), bar,
                f"  {in_bytes(needed)} ", (word, color),
            )
        )  # fmt: skip
    if lines:
        title = Content.styled(f"memory, of {in_bytes(machine)} on this machine", "dim")
        return [Content(""), title, *lines]
    return [Content(""), Content.styled("its config doesn't tell what memory it needs", "dim")]


def _speed_lines(speed: Speed | None) -> list[Content]:
    if speed is None:
        return []
    lines = [Content(""), _fact("plain", f"{speed.plain} tokens/s")]
    if speed.drafting is not None:
        lines.append(_fact("drafting", f"{speed.drafting} tokens/s"))
    return [*lines, Content.styled(showable(speed.rests_on), "dim")]


def _fact(name: str, value: str) -> Content:
    return Content.assemble((f"{name:<12}", "dim"), value)


def job_line(job: Job, marks: Marks = UNICODE) -> Content:
    """Return one line on a download."""
    if job.state is JobState.FAILED:
        return Content.styled(showable(job.error), "$text-error")
    return Content.assemble(_job_bar(job, marks), _job_figures(job))


def named_job_line(job: Job, width: int, marks: Marks = UNICODE) -> Content:
    """Return one line on a download that begins with its name, which is cut before a figure is.

    Args:
        job: the download.
        width: cells; where they don't suffice the bar goes first.
        marks: what it is drawn with.
    """
    if job.state is JobState.FAILED:
        return job_line(job, marks)
    name, figures = Content.styled(showable(job.name), "bold"), _job_figures(job)
    left = width - figures.cell_length
    if name.cell_length + 2 + _BAR <= left:
        return Content.assemble(name, "  ", _job_bar(job, marks), figures)
    if name.cell_length > left:
        name = name.truncate(max(0, left - 1)) + Content.styled(marks.more, "bold")
    return Content.assemble(name, figures)


def _job_bar(job: Job, marks: Marks) -> Content:
    filled = round(_BAR * _share(job))
    return Content.assemble(
        (marks.bar * filled, "$text-accent"), (marks.track * (_BAR - filled), "dim")
    )


def _job_figures(job: Job) -> Content:
    progress = job.progress
    parts: list[tuple[str, str] | str] = [f" {int(100 * _share(job)):>3} %  "]
    if progress.total_bytes:
        parts.append(f"{in_bytes(progress.done_bytes)} of {in_bytes(progress.total_bytes)}  ")
    if job.state is not JobState.RUNNING:
        parts.append((str(job.state), "$text-warning"))
    elif progress.note:
        parts.append((showable(progress.note), "$text-warning"))
    elif progress.state is not State.FETCHING or not progress.bytes_per_s:
        parts.append((str(progress.state), "dim"))
    else:
        left = "" if progress.seconds_left is None else f", {duration(progress.seconds_left)} left"
        parts.append((f"{in_bytes(progress.bytes_per_s)}/s{left}", "dim"))
    return Content.assemble(*parts)


def _share(job: Job) -> float:
    progress = job.progress
    return progress.done_bytes / progress.total_bytes if progress.total_bytes else 0.0
