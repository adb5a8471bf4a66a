"""A streaming answer: drawn at most ten times a second, never read as markup, painted once."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from textual.app import App, ComposeResult
from textual.containers import VerticalScroll
from textual.selection import SELECT_ALL
from textual.strip import Strip

from mtplx_tui.widgets import answer as answer_module
from mtplx_tui.widgets.answer import FEED_S, Answer
from mtplx_tui.widgets.markdown_paint import MarkdownPainter
from mtplx_tui.widgets.markdown_sections import Section

PATIENCE = 500
"""Looks, a hundredth of a second apart, at whether a new size was drawn for."""
TEXT = """# Why

Because of **Rayleigh** scattering, `1/λ⁴`, see [here](https://example.org/a).

- one
- two
  1. deep

```python
def f(x: int) -> int:
    return x + 1  # more
```

| a | b |
|---|--:|
| 1 | 2 |

> quoted

The end, and [bold]no markup[/bold].
"""


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class AnswerApp(App[None]):
    """One answer in a scrolling container."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        super().__init__()
        self.answer = Answer(clock=clock) if clock else Answer()

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield self.answer


def rows(answer: Answer) -> list[str]:
    return [answer.render_line(y).text.rstrip() for y in range(answer.size.height)]


async def test_pieces_end_in_the_same_rows_as_the_whole() -> None:
    whole, pieces, clock = AnswerApp(), AnswerApp(Clock()), Clock()
    async with whole.run_test(size=(60, 60)) as pilot:
        whole.answer.show(TEXT, is_finished=True)
        await pilot.pause()
        expected = rows(whole.answer)
    chance = random.Random(4)
    async with pieces.run_test(size=(60, 60)) as pilot:
        at = 0
        while at < len(TEXT):
            at += chance.randint(1, 30)
            clock.now += 1
            pieces.answer.show(TEXT[:at], is_finished=False)
            pieces.answer.draw()
        pieces.answer.show(TEXT, is_finished=True)
        await pilot.pause()
        assert rows(pieces.answer) == expected
    assert len(expected) > 15


async def test_markup_in_the_text_is_shown_as_it_stands() -> None:
    app = AnswerApp()
    async with app.run_test(size=(80, 30)) as pilot:
        app.answer.show(
            "[bold red]hi[/] [@click=app.exit]x[/] <b>y</b>\n\n:smile:", is_finished=True
        )
        await pilot.pause()
        assert rows(app.answer) == ["[bold red]hi[/] [@click=app.exit]x[/] <b>y</b>", "", ":smile:"]


async def test_it_draws_at_most_ten_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    app = AnswerApp(clock)
    drawn: list[float] = []
    draw = Answer.draw
    monkeypatch.setattr(Answer, "draw", lambda self: (drawn.append(clock.now), draw(self)))
    async with app.run_test(size=(80, 30)) as pilot:
        await pilot.pause()
        drawn.clear()
        for tick in range(100):
            clock.now += FEED_S / 10
            app.answer.show("word " * (tick + 1), is_finished=False)
        assert 1 <= len(drawn) <= 11


async def test_finished_sections_are_painted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    painted: list[str] = []
    paint = MarkdownPainter.paint

    def counting(self: MarkdownPainter, section: Section, width: int) -> list[Strip]:
        painted.append(section.source)
        return paint(self, section, width)

    monkeypatch.setattr(MarkdownPainter, "paint", counting)
    clock = Clock()
    app = AnswerApp(clock)
    async with app.run_test(size=(80, 30)):
        text = ""
        for number in range(40):
            clock.now += 1
            text += f"paragraph {number}\n\n"
            app.answer.show(text, is_finished=False)
            app.answer.draw()
    assert sum("paragraph 0\n" in source or source == "paragraph 0" for source in painted) <= 4
    assert max(map(len, painted)) < 100


async def test_above_300_tokens_a_second_the_tail_is_plain_until_it_settles() -> None:
    clock = Clock()
    app = AnswerApp(clock)
    async with app.run_test(size=(80, 30)) as pilot:
        text = ""
        for _ in range(30):
            clock.now += FEED_S
            text += "**bold** word " * 15
            app.answer.show(text, is_finished=False)
        assert app.answer.is_fast
        assert "**bold**" in "\n".join(rows(app.answer)) or app.answer._rows[-1].text.count("**")
        app.answer.show(text, is_finished=True)
        await pilot.pause()
        assert not app.answer.is_fast
        assert "**" not in "\n".join(rows(app.answer))


async def test_a_new_width_paints_everything_anew() -> None:
    app = AnswerApp()
    async with app.run_test(size=(100, 30)) as pilot:
        app.answer.show("word " * 60, is_finished=True)
        await pilot.pause()
        wide = len(rows(app.answer))
        await pilot.resize_terminal(50, 30)
        for _ in range(PATIENCE):
            if len(rows(app.answer)) > wide:
                break
            await pilot.pause(0.01)
        assert len(rows(app.answer)) > wide
        assert " ".join(rows(app.answer)).split() == ["word"] * 60


async def test_a_text_that_does_not_continue_starts_over() -> None:
    app = AnswerApp()
    async with app.run_test(size=(80, 30)) as pilot:
        app.answer.show("first", is_finished=True)
        app.answer.show("second", is_finished=True)
        await pilot.pause()
        assert rows(app.answer) == ["second"]


async def test_the_mouse_can_select_text() -> None:
    app = AnswerApp()
    async with app.run_test(size=(80, 30)) as pilot:
        app.answer.show("one **two**\n\nthree", is_finished=True)
        await pilot.pause()
        assert app.answer.get_selection(SELECT_ALL) == ("one two\n\nthree", "\n")


async def test_links_are_links_and_other_schemes_are_text() -> None:
    app = AnswerApp()
    async with app.run_test(size=(80, 30)) as pilot:
        app.answer.show("[a](https://example.org) [b](javascript:alert)", is_finished=True)
        await pilot.pause()
        links = {
            segment.style.link for segment in app.answer.render_line(0) if segment.style is not None
        }
        assert links == {None, "https://example.org"}


async def test_a_theme_change_repaints() -> None:
    app = AnswerApp()
    async with app.run_test(size=(80, 30)) as pilot:
        app.answer.show("text", is_finished=True)
        await pilot.pause()
        before = app.answer.render_line(0)._segments[0].style
        app.theme = "textual-light"
        await pilot.pause()
        assert app.answer.render_line(0)._segments[0].style != before


async def test_a_focus_repaints_nothing() -> None:
    app = AnswerApp()
    async with app.run_test(size=(80, 30)) as pilot:
        app.answer.show(TEXT, is_finished=True)
        await pilot.pause()
        before = app.answer._rows[0]
        app.screen.query_one(VerticalScroll).focus()
        await pilot.pause()
        app.screen.set_focus(None)
        await pilot.pause()
        assert app.answer._rows[0] is before


@pytest.mark.parametrize("seed", range(8))
async def test_no_text_breaks_it(seed: int) -> None:
    chance = random.Random(seed)
    bits = ["# ", "- ", "1. ", "> ", "```", "|", "---", "\n", "\n\n", "    ", "`", "**", "[", "](",
            ")", "!", "<", "&amp;", "\t", "\x1b", "é", "漢字", "👩‍👩‍👧", "\u0301", "x" * 200, "word ", "~~",
            "===", "| a | b |\n|---|---|\n", "* * *", "\\", "\ud83d", "[r]: /u\n"]  # fmt: skip
    text = "".join(chance.choice(bits) for _ in range(400))
    app = AnswerApp()
    async with app.run_test(size=(40, 20)) as pilot:
        for at in range(0, len(text), 37):
            app.answer.show(text[:at], is_finished=False)
            app.answer.draw()
        app.answer.show(text, is_finished=True)
        await pilot.pause()
        assert all(strip.cell_length == app.answer.size.width for strip in app.answer._rows)


def test_the_pace_is_the_one_that_was_measured() -> None:
    assert answer_module.FEED_S == 0.1
