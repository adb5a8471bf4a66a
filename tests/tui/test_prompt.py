"""The prompt: Enter sends, several keys break a line, a large paste stays quick, nothing is lost."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult
from textual.events import Paste
from textual.widgets import Button

from mtplx_tui.widgets.prompt import LARGE_PASTE, Prompt


class PromptApp(App[None]):
    """A prompt and what it said."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[str] = []
        self.said: list[str] = []

    def compose(self) -> ComposeResult:
        yield Prompt()
        yield Button("elsewhere")

    def on_prompt_sent(self, message: Prompt.Sent) -> None:
        self.sent.append(message.text)

    def on_prompt_recall_wanted(self) -> None:
        self.said.append("recall")

    def on_prompt_leave_wanted(self) -> None:
        self.said.append("leave")

    @property
    def prompt(self) -> Prompt:
        return self.query_one(Prompt)


async def test_enter_sends_and_the_text_stays_until_it_was_taken() -> None:
    app = PromptApp()
    async with app.run_test() as pilot:
        await pilot.press(*"hi", "enter")
        assert app.sent == ["hi"]
        assert app.prompt.text == "hi"


@pytest.mark.parametrize("key", ["shift+enter", "ctrl+j", "alt+enter"])
async def test_a_line_can_be_broken(key: str) -> None:
    app = PromptApp()
    async with app.run_test() as pilot:
        await pilot.press("a", key, "b")
        assert app.prompt.text == "a\nb"
        assert app.sent == []


async def test_nothing_but_blanks_is_not_sent() -> None:
    app = PromptApp()
    async with app.run_test() as pilot:
        await pilot.press("space", "ctrl+j", "enter")
        assert app.sent == []


async def test_up_in_an_empty_prompt_asks_for_the_last_question() -> None:
    app = PromptApp()
    async with app.run_test() as pilot:
        await pilot.press("up")
        assert app.said == ["recall"]
        await pilot.press("a", "ctrl+j", "up")
        assert app.said == ["recall"]
        assert app.prompt.cursor_location[0] == 0


async def test_tab_leaves() -> None:
    app = PromptApp()
    async with app.run_test() as pilot:
        await pilot.press("a", "tab")
        assert app.said == ["leave"]
        assert app.prompt.text == "a"


async def test_it_grows_to_eight_lines_and_no_further() -> None:
    app = PromptApp()
    async with app.run_test(size=(80, 40)) as pilot:
        assert app.prompt.size.height == 1
        await pilot.press("a", "ctrl+j", "b")
        await pilot.pause()
        assert app.prompt.size.height == 2
        await pilot.press(*["ctrl+j"] * 20)
        await pilot.pause()
        assert app.prompt.size.height == 8


async def test_a_large_paste_is_a_mark_to_the_eye_and_whole_when_sent() -> None:
    app = PromptApp()
    text = "lorem [ipsum] " * 15_000
    async with app.run_test() as pilot:
        await pilot.press("a")
        app.post_message(Paste(text))
        await pilot.pause()
        await pilot.press("b")
        assert app.prompt.text == "a[pasted text 1: 210,000 characters]b"
        assert app.prompt.full_text == f"a{text}b"
        await pilot.press("enter")
        assert app.sent == [f"a{text}b"]


async def test_a_removed_mark_removes_its_paste() -> None:
    app = PromptApp()
    async with app.run_test() as pilot:
        app.post_message(Paste("x" * LARGE_PASTE))
        await pilot.pause()
        app.prompt.clear()
        await pilot.press("a", "enter")
        assert app.sent == ["a"]


async def test_an_ordinary_paste_is_text() -> None:
    app = PromptApp()
    async with app.run_test() as pilot:
        app.post_message(Paste("two\nlines"))
        await pilot.pause()
        assert app.prompt.text == "two\nlines"
        assert app.sent == []


async def test_a_very_long_question_put_back_is_a_mark_too() -> None:
    app = PromptApp()
    async with app.run_test():
        app.prompt.put("y" * 200_000)
        assert len(app.prompt.text) < 60
        assert app.prompt.full_text == "y" * 200_000
