"""System text, sampling, seed, depth and mode of the open chat; checked as they are typed.

A change is handed on at once and not by a message: on its way the chat would still have the options of
before, and whatever shows them meanwhile would take the newest letters back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Input, Label, Select, Static, TextArea

from engine.protocol import MAX_DEPTH, Mode, Sampling, check_depth
from mtplx_tui.requests import Options

MAX_SEED = 2**64 - 1


def _temperature(text: str) -> float:
    return Sampling(temperature=_number(text)).temperature


def _top_p(text: str) -> float:
    return Sampling(top_p=_number(text)).top_p


def _top_k(text: str) -> int:
    return Sampling(top_k=_whole(text)).top_k


def _min_p(text: str) -> float:
    return Sampling(min_p=_number(text)).min_p


def _seed(text: str) -> int:
    seed = _whole(text)
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"must be between 0 and {MAX_SEED}")
    return seed


def _depth(text: str) -> int | None:
    if text == "auto":
        return None
    depth = _whole(text)
    check_depth(depth)
    return depth


def _max_tokens(text: str) -> int:
    tokens = _whole(text)
    if tokens < 1:
        raise ValueError("must be 1 or more")
    return tokens


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"not a number: {text}") from None


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"not a whole number: {text}") from None


@dataclass(frozen=True, slots=True)
class Field:
    """One value a person can set.

    `name` is the field of Options; `parse` raises ValueError with the reason.
    """

    name: str
    label: str
    parse: Callable[[str], float | None]
    when_empty: str


FIELDS = (
    Field("temperature", "temperature", _temperature, "the model's"),
    Field("top_p", "top_p", _top_p, "the model's"),
    Field("top_k", "top_k", _top_k, "the model's"),
    Field("min_p", "min_p", _min_p, "the model's"),
    Field("seed", "seed", _seed, "random"),
    Field("depth", "depth", _depth, f"auto, or 0 to {MAX_DEPTH}"),
    Field("max_tokens", "max tokens", _max_tokens, "no limit"),
)


def read(options: Options, name: str, text: str) -> Options:
    """Return the options with one field set from what was typed; empty is its default.

    Raises:
        ValueError: the text is not a value of this field; says why in one line.
    """
    field = next(field for field in FIELDS if field.name == name)
    text = text.strip()
    value = field.parse(text) if text else getattr(Options(), name)
    return replace(options, **{name: value})


class SamplingPanel(VerticalScroll, can_focus=False):
    """Shows the options of a chat and says when a valid change was made.

    Its fields are made when it is first opened: they are half of all the widgets of the chat, and a
    person waits for those at the start.

    Args:
        take: is given the options that count from now on; every value in them is valid.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "app.focus_next", "next field", show=False, priority=True),
        Binding("shift+tab", "app.focus_previous", "field before", show=False, priority=True),
    ]

    def __init__(self, take: Callable[[Options], None], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._take_options = take
        self._options = Options()
        self._is_filled = False
        self._own: Sampling | None = None
        self._wanted: tuple[Options, Sampling | None] | None = Options(), None
        """What to show once there are fields; None when there are."""

    async def lay_out(self) -> None:
        """Make the fields, where they are not made yet, and fill them."""
        if self._wanted is not None:
            wanted, self._wanted = self._wanted, None
            await self.recompose()
            self.show(*wanted)

    def compose(self) -> ComposeResult:
        """Lay out one row a field, with room for its error under it."""
        if self._wanted is not None:
            return
        yield Label("System prompt", classes="panel--title")
        yield TextArea(id="system", compact=True, highlight_cursor_line=False)
        yield Label("Sampling", classes="panel--title")
        for field in FIELDS:
            with Vertical(classes="panel--field"):
                with Horizontal():
                    yield Label(field.label)
                    yield Input(id=field.name, compact=True, placeholder=field.when_empty)
                yield Static(id=f"{field.name}-error", classes="panel--error", markup=False)
        with Horizontal(classes="panel--field", id="mode-row"):
            yield Label("mode")
            yield Select(
                [(mode.value, mode) for mode in Mode],
                value=Mode.TOKEN,
                allow_blank=False,
                compact=True,
                id="mode",
            )
        yield Static("Used from the next answer on.", classes="panel--hint", markup=False)

    def show(self, options: Options, own: Sampling | None) -> None:
        """Show a chat's options; `own` is what an empty sampling field stands for."""
        if self._wanted is not None:
            self._wanted = options, own
            return
        if own != self._own:
            self._own = own
            for name in ("temperature", "top_p", "top_k", "min_p"):
                value = "the model's" if own is None else f"{getattr(own, name):g} (model's)"
                self.query_one(f"#{name}", Input).placeholder = value
        if self._is_filled and options == self._options:
            return
        before, self._options, self._is_filled = self._options, options, True
        self._fill_system(before)
        for field in FIELDS:
            self._fill(field.name, before)
        self.query_one("#mode", Select).value = options.mode

    def _fill_system(self, before: Options) -> None:
        """Show the system text, unless a person types it: that is one that changed here alone."""
        system, text = self.query_one("#system", TextArea), self._options.system or ""
        is_typed = system.has_focus and self._options.system == before.system
        if system.text != text and not is_typed:
            system.text = text

    def _fill(self, name: str, before: Options) -> None:
        """Show a value, unless a person types it, or what is typed there already means the same."""
        field, value = self.query_one(f"#{name}", Input), getattr(self._options, name)
        try:
            is_same = getattr(read(self._options, name, field.value), name) == value
        except ValueError:
            is_same = False
        is_typed = field.has_focus and (is_same or value == getattr(before, name))
        if not is_typed:
            field.value = "" if value is None else f"{value}"

    def focus_first(self) -> None:
        """Give the focus to the first field."""
        self.screen.set_focus(self.query_one("#system", TextArea))

    @on(Input.Changed)
    def _take(self, event: Input.Changed) -> None:
        event.stop()
        name = event.input.id or ""
        error = self.query_one(f"#{name}-error", Static)
        try:
            options = read(self._options, name, event.value)
        except ValueError as reason:
            error.update(f"not applied: {reason}")
            error.display = True
            event.input.add_class("-invalid")
            return
        error.display = False
        event.input.remove_class("-invalid")
        self._apply(options)

    @on(Input.Submitted)
    def _move_on(self, event: Input.Submitted) -> None:
        event.stop()
        self.screen.focus_next()

    @on(TextArea.Changed, "#system")
    def _take_system(self, event: TextArea.Changed) -> None:
        event.stop()
        self._apply(replace(self._options, system=event.text_area.text.strip() or None))

    @on(Select.Changed, "#mode")
    def _take_mode(self, event: Select.Changed) -> None:
        event.stop()
        if isinstance(event.value, Mode):
            self._apply(replace(self._options, mode=event.value))

    def _apply(self, options: Options) -> None:
        if options != self._options:
            self._options = options
            self._take_options(options)
