"""Which models the list shows, and what it tells of each: from what is known and what is wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Literal

from mtplx_tui.library.catalog import Report, fits
from mtplx_tui.library.hub import Found, Query
from mtplx_tui.library.queue import Job, JobState
from mtplx_tui.library.shelf import Shelved
from mtplx_tui.widgets.model_table import ModelRow

__all__ = ["NARROWINGS", "NEXT_SORT", "Filters", "Known", "Narrowing", "read_query"]

Sort = Literal["downloads", "likes", "lastModified"]
Narrowing = Literal["author", "family", "packing"]
SORTS: dict[Sort, str] = {
    "downloads": "by downloads",
    "likes": "by likes",
    "lastModified": "newest first",
}
NEXT_SORT: dict[Sort, Sort] = {
    "downloads": "likes",
    "likes": "lastModified",
    "lastModified": "downloads",
}
NARROWINGS: dict[Narrowing, str] = {
    "author": "any author",
    "family": "any type",
    "packing": "any quantisation",
}
"""What is wanted while a filter is off; their keys are a, t and q."""
PACKINGS = ("4-bit", "8-bit", "6-bit", "3-bit", "2-bit")
"""As the hub's tags name them."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What a person wants to see."""

    is_local: bool = False
    has_mlx: bool = True
    wants_head: bool = False
    wants_fit: bool = False
    sort: Sort = "downloads"
    author: str = ""
    family: str = ""
    """A model type; on the hub its tag."""
    packing: str = ""
    """A quantisation, such as 4-bit."""

    @property
    def words(self) -> list[tuple[str, str, bool]]:
        """Return key, words and whether it is on, of each filter that is worth a word."""
        parts = [
            ("l", "on this machine" if self.is_local else "the hub", True),
            *([] if self.is_local else [("m", "MLX", self.has_mlx)]),
            ("h", "with a head", self.wants_head),
            ("f", "fits here", self.wants_fit),
            *([] if self.is_local else [("o", SORTS[self.sort], True)]),
        ]
        narrowed = (("a", self.author), ("t", self.family), ("q", self.packing))
        return [*parts, *((key, value, True) for key, value in narrowed if value)]

    def query(self, text: str) -> Query:
        """Return what the hub is asked for."""
        tags = (*(("mlx",) if self.has_mlx else ()), self.family, self.packing)
        query = read_query(text, tuple(tag for tag in tags if tag), self.sort)
        return replace(query, author=query.author or self.author)


@dataclass(slots=True)
class Known:
    """What was found out so far, by model."""

    found: tuple[Found, ...] = ()
    here: dict[str, Shelved] = field(default_factory=dict)
    reports: dict[str, Report] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def forget(self, name: str) -> None:
        """Have a model judged anew."""
        self.reports.pop(name, None)
        self.errors.pop(name, None)

    def model_here(self, name: str | None) -> Shelved | None:
        """Return a model of this machine that can be opened."""
        here = None if name is None else self.here.get(name)
        return here if here is not None and here.is_model else None

    def choices(self, what: Narrowing) -> tuple[str, ...]:
        """Return what a filter can be narrowed to, by what is known of the models listed."""
        match what:
            case "author":
                owners = (found.name.partition("/")[0] for found in self.found)
                return tuple(sorted(set(owners)))
            case "family":
                types = {found.model_type for found in self.found}
                types |= {report.verdict.model_type for report in self.reports.values()}
                return tuple(sorted(types - {""}))
            case _:
                return PACKINGS

    def local_rows(self, filters: Filters, words: Iterable[str], job: _JobOf) -> list[ModelRow]:
        """Return what is on this machine and has all the words in its name."""
        wanted = [word.lower() for word in words]
        return [
            self.judged(_local_row(model), job)
            for model in self.here.values()
            if all(word in model.name.lower() for word in wanted) and self._is_kind(model, filters)
        ]

    def hub_rows(self, picks: Iterable[str], job: _JobOf) -> list[ModelRow]:
        """Return what was found, behind models that are picked out for a person who looks around."""
        rows = [_hub_row(found) for found in self.found]
        known = {row.name for row in rows} | self.errors.keys()  # another hub need not have them
        chosen = [ModelRow(name, is_recommended=True) for name in picks if name not in known]
        return [self.judged(row, job) for row in (*chosen, *rows)]

    def judged(self, row: ModelRow, job: _JobOf) -> ModelRow:
        """Return a row with its tier, and how far its download is."""
        report = self.reports.get(row.name)
        if report is not None:
            row = replace(row, tier=str(report.verdict.tier), size=report.weights_bytes or row.size)
        elif row.name in self.errors:
            row = replace(row, tier="error")
        work = job(row.name)
        if work is not None and work.is_open and work.state is not JobState.FAILED:
            total = work.progress.total_bytes
            row = replace(row, share=100 * work.progress.done_bytes // total if total else 0)
        return replace(row, is_here=self.model_here(row.name) is not None)

    def is_wanted(self, row: ModelRow, filters: Filters, machine: int) -> bool:
        """Return whether a model passes what only its verdict can tell."""
        report = self.reports.get(row.name)
        if filters.wants_head and row.tier == "no-mtp":
            return False
        if filters.wants_fit and report is not None:
            needed = report.memory[0][1]
            return needed is None or fits(needed, machine)
        return True

    def _is_kind(self, model: Shelved, filters: Filters) -> bool:
        """Return whether a model of this machine passes the filters that the hub has as tags."""
        if filters.author and model.name.partition("/")[0] != filters.author:
            return False
        report = self.reports.get(model.name)
        if report is None:
            return True
        return (
            filters.family in ("", report.verdict.model_type)
            and filters.packing in report.verdict.quantization
        )


_JobOf = Callable[[str], Job | None]


def _hub_row(found: Found) -> ModelRow:
    return ModelRow(found.name, size=found.size, downloads=found.downloads, changed=found.changed)


def _local_row(model: Shelved) -> ModelRow:
    used = "" if model.used_at is None else str(date.fromtimestamp(model.used_at))
    tier = "" if model.is_model else "partial"
    return ModelRow(model.name, tier=tier, size=model.size_bytes, changed=used)


def read_query(text: str, tags: tuple[str, ...], sort: Sort) -> Query:
    """Return what a text asks for: words, and author: and tag: before others."""
    words: list[str] = []
    author = ""
    for word in text.split():
        kind, colon, value = word.partition(":")
        if colon and value and kind == "author":
            author = value
        elif colon and value and kind == "tag":
            tags = (*tags, value)
        else:
            words.append(word)
    return Query(" ".join(words), author, tags, sort)
