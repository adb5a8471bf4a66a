"""The small questions: what they take, what they refuse and say, and that escape is always no."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import OptionList, Static

from mtplx_tui.library.disk import Location, ModelNotFound
from mtplx_tui.screens.dialogs import AskText, Choose, Confirm, Dialog
from mtplx_tui.screens.open_model import OpenModel

MODELS = (
    Location("demo", "/demo.gguf", "demo"),
    Location("/models/[tiny]", "/models/[tiny]", "folder"),
    Location("owner/name", "/hub/x", "hub"),
)


def find(name: str) -> Location:
    for model in MODELS:
        if model.name == name:
            return model
    raise ModelNotFound(f"there is no folder {name}", "give another")


class DialogApp(App[None]):
    """Shows one dialog and keeps its answer."""

    def __init__(self, dialog: Dialog) -> None:
        super().__init__()
        self.dialog = dialog
        self.answers: list[str | None] = []

    def on_mount(self) -> None:
        self.push_screen(self.dialog, self.answers.append)

    def error(self) -> str:
        return str(self.screen.query_one(".dialog--error", Static).content)


async def looked(pilot: Pilot[None]) -> OptionList:
    """Wait until the models were found."""
    app = pilot.app
    await app.workers.wait_for_complete()
    await pilot.pause()
    return app.screen.query_one(OptionList)


@pytest.mark.parametrize(
    "dialog",
    [
        lambda: AskText("Name?", "x"),
        lambda: Confirm("Sure?"),
        lambda: Choose("Which?", ["a"]),
        lambda: OpenModel(None, lambda: MODELS, find),
    ],
)
async def test_escape_answers_nothing(dialog) -> None:
    app = DialogApp(dialog())
    async with app.run_test() as pilot:
        await pilot.pause()
        await pilot.press("escape")
        await pilot.pause()
        assert app.answers == [None]


async def test_a_text_is_checked_before_it_is_taken() -> None:
    def check(text: str) -> None:
        if text == "bad":
            raise ValueError("[bad] won't do")

    app = DialogApp(AskText("Name?", "bad", check))
    async with app.run_test() as pilot:
        await pilot.press("enter")
        assert app.error() == "[bad] won't do"
        await pilot.press("x", "enter")
        await pilot.pause()
        assert app.answers == ["badx"]


async def test_an_empty_text_is_refused() -> None:
    app = DialogApp(AskText("Name?"))
    async with app.run_test() as pilot:
        await pilot.press("space", "enter")
        assert app.error() == "please type something"
        assert app.answers == []


@pytest.mark.parametrize(("key", "answer"), [("y", "yes"), ("n", None)])
async def test_a_confirmation_takes_yes_and_no(key: str, answer: str | None) -> None:
    app = DialogApp(Confirm("Sure?", "[all] of it"))
    async with app.run_test() as pilot:
        await pilot.press("enter")
        await pilot.pause()
        assert app.answers == []
        await pilot.press(key)
        await pilot.pause()
        assert app.answers == [answer]


async def test_a_choice_is_an_index() -> None:
    app = DialogApp(Choose("Which?", ["a", "[b]", "c"], 2))
    async with app.run_test() as pilot:
        await pilot.press("up", "enter")
        await pilot.pause()
        assert app.answers == ["1"]


class TestOpenModel:
    async def test_the_models_of_this_machine_are_listed_and_chosen(self) -> None:
        app = DialogApp(OpenModel("owner/name", lambda: MODELS, find))
        async with app.run_test() as pilot:
            listed = await looked(pilot)
            assert listed.option_count == 3
            assert "● owner/name" in str(listed.get_option_at_index(2).prompt)
            await pilot.press("up", "enter")
            await pilot.pause()
            assert app.answers == ["/models/[tiny]"]

    async def test_a_name_can_be_typed_and_a_wrong_one_is_told_in_place(self) -> None:
        app = DialogApp(OpenModel(None, lambda: MODELS, find))
        async with app.run_test() as pilot:
            await looked(pilot)
            await pilot.press(*"demoo", "enter")
            assert app.error() == "there is no folder demoo; give another"
            await pilot.press("backspace", "enter")
            await pilot.pause()
            assert app.answers == ["demo"]

    async def test_without_models_it_says_so(self) -> None:
        def nothing() -> Sequence[Location]:
            return ()

        app = DialogApp(OpenModel(None, nothing, find))
        async with app.run_test() as pilot:
            listed = await looked(pilot)
            assert "no models found" in str(listed.get_option_at_index(0).prompt)
