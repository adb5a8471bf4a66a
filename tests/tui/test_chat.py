"""The chat as a person uses it: keys pressed against an app that is fed made-up events."""

from __future__ import annotations

import errno
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest
from textual.widgets import Input, OptionList, Static, TextArea

from engine.protocol import Cancel, Channel, ErrorInfo, Finish, Mode, Role
from mtplx_tui.chats.model import TurnStatus
from mtplx_tui.requests import Options
from mtplx_tui.screens.chat import ChatScreen
from mtplx_tui.screens.dialogs import LeaveUnkept
from mtplx_tui.widgets.answer import Answer
from mtplx_tui.widgets.chat_list import ChatList
from mtplx_tui.widgets.conversation import Conversation
from mtplx_tui.widgets.prompt import Prompt
from mtplx_tui.widgets.sampling_panel import FIELDS, SamplingPanel
from mtplx_tui.widgets.turn import TurnBlock
from tests.tui.chat_talk import MODEL, Talk

LONG = "\n\n".join(f"paragraph {number} of a long answer" for number in range(60))


@pytest.fixture
def talk(tmp_path: Path) -> Talk:
    return Talk(tmp_path)


class TestAsking:
    async def test_enter_sends_the_question_and_shows_both_turns(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await talk.ask("Why?")
            command = talk.generates[-1]
            assert [(m.role, m.content) for m in command.messages] == [(Role.USER, "Why?")]
            assert talk.prompt.text == ""
            assert talk.shown() == ["You\nWhy?", "Model\nwaiting for the engine"]

    async def test_the_answer_grows_and_ends_with_its_facts(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await talk.ask("Why?")
            talk.starts()
            await talk.says("Because **it** is.", tokens=3)
            assert "85.7 tok/s · 3.0 tokens/cycle · depth auto (3) · 3 tokens" in talk.shown()[-1]
            await talk.ends(tokens=3)
            assert talk.shown()[-1].startswith("demo\nBecause it is.\n85.7 tok/s")
            assert talk.answers()[-1].status is TurnStatus.DONE

    async def test_model_text_is_never_markup(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await talk.ask("[bold]you[/bold] [@click=app.exit]x[/]")
            talk.starts()
            await talk.says("[red]me[/red]")
            await talk.ends()
            assert talk.shown()[0].endswith("[bold]you[/bold] [@click=app.exit]x[/]")
            assert "[red]me[/red]" in talk.shown()[1]

    async def test_without_a_model_the_text_stays_and_the_reason_is_told(self, talk: Talk) -> None:
        async with talk.at(120, 40, model=None):
            await talk.ask("Why?")
            assert talk.generates == []
            assert talk.prompt.text == "Why?"
            assert any("no model is loaded" in text for text in talk.notices())

    async def test_asked_while_the_model_loads_it_goes_off_once_it_is_there(
        self, talk: Talk
    ) -> None:
        async with talk.at(120, 40, model=None):
            await talk.load_is_asked_for()
            await talk.ask("Why?")
            await talk.loading("reading weights", 1, 2)
            assert (talk.generates, talk.prompt.text) == ([], "Why?")
            assert talk.prompt.border_title == "goes off once the model is ready"
            assert talk.notices() == []
            await talk.loads(MODEL)
            assert [command.messages[-1].content for command in talk.generates] == ["Why?"]
            assert (talk.prompt.text, talk.prompt.border_title) == ("", "")

    @pytest.mark.parametrize("key", ["escape", "s", "ctrl+n"])
    async def test_a_waiting_question_that_is_taken_back_or_changed_stays(
        self, talk: Talk, key: str
    ) -> None:
        async with talk.at(120, 40, model=None):
            await talk.load_is_asked_for()
            await talk.ask("Why?")
            await talk.press(key)
            assert talk.prompt.border_title == ""
            await talk.loads(MODEL)
            assert talk.generates == []
            assert talk.prompt.text.startswith("Why?")

    async def test_a_load_that_fails_leaves_the_question(self, talk: Talk) -> None:
        async with talk.at(120, 40, model=None):
            await talk.load_is_asked_for()
            await talk.ask("Why?")
            await talk.load_fails(ErrorInfo("no such file", ""))
            await talk.loads(MODEL)
            assert talk.generates == []
            assert (talk.prompt.text, talk.prompt.border_title) == ("Why?", "")

    async def test_while_an_answer_runs_the_next_question_waits(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await talk.ask("one")
            await talk.ask("two")
            assert len(talk.generates) == 1
            assert talk.prompt.text == "two"
            assert any("esc stops it" in text for text in talk.notices())

    async def test_a_question_whose_answer_failed_comes_back(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await talk.ask("Why?")
            await talk.fails("the context is too short")
            assert talk.prompt.text == "Why?"
            assert "failed: the context is too short" in talk.shown()[-1]
            await talk.press("enter")
            assert [t.text for t in talk.path() if t.role is Role.USER] == ["Why?"]
            assert len(talk.chat.siblings(talk.path()[0].id)) == 2

    async def test_a_question_that_could_not_be_sent_comes_back(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            talk.app.can_send = False
            await talk.ask("Why?")
            assert talk.prompt.text == "Why?"
            assert talk.answers()[-1].status is TurnStatus.FAILED
            assert talk.app.desk.running is None


class TestStopping:
    async def test_escape_stops_the_running_answer(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await talk.ask("Why?")
            talk.starts()
            await talk.says("Beca")
            running = talk.app.desk.running
            assert running is not None
            await talk.press("escape")
            assert talk.app.sent[-1] == Cancel(running)
            await talk.ends(Finish.CANCELLED)
            assert "stopped · " in talk.shown()[-1]
            assert "Beca" in talk.shown()[-1]

    async def test_a_dead_engine_cuts_the_answer_and_says_what_to_do(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await talk.ask("Why?")
            talk.starts()
            await talk.says("Half an ans")
            await talk.dies()
            assert "Half an ans" in talk.shown()[-1]
            assert "cut: " in talk.shown()[-1]
            assert "ctrl+g answers again" in talk.shown()[-1]
            assert talk.prompt.placeholder == "the engine has stopped: ctrl+r starts it again"


class TestBranches:
    async def test_ctrl_g_answers_again_in_a_branch(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await talk.answered("Why?", "first")
            await talk.press("ctrl+g")
            talk.starts()
            await talk.says("second")
            await talk.ends()
            assert talk.shown()[-1].startswith("demo   ‹ 2/2 ›\nsecond")

    async def test_left_and_right_go_through_the_branches(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await talk.answered("Why?", "first")
            await talk.press("ctrl+g")
            talk.starts()
            await talk.says("second")
            await talk.ends()
            await talk.press("tab", "left")
            assert talk.shown()[-1].startswith("demo   ‹ 1/2 ›\nfirst")
            assert isinstance(talk.app.focused, TurnBlock)
            await talk.press("right", "right")
            assert talk.shown()[-1].startswith("demo   ‹ 2/2 ›\nsecond")

    async def test_up_in_an_empty_prompt_words_the_last_question_anew(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await talk.answered("Why?", "first")
            await talk.press("up")
            assert talk.prompt.text == "Why?"
            assert talk.prompt.border_title == "editing an earlier question"
            await talk.press("!", "enter")
            assert [t.text for t in talk.path() if t.role is Role.USER] == ["Why?!"]
            assert len(talk.chat.siblings(talk.path()[0].id)) == 2
            assert talk.prompt.border_title in ("", None)

    async def test_escape_gives_up_an_edit_and_brings_the_draft_back(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await talk.answered("Why?", "first")
            await talk.press(*"draft", "tab", "up", "e")
            assert talk.prompt.text == "Why?"
            await talk.press("x", "escape")
            assert talk.prompt.text == "draft"
            assert len(talk.generates) == 1


class TestReasoning:
    async def test_it_is_folded_and_ctrl_t_unfolds_it(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await talk.ask("Why?")
            talk.starts()
            await talk.says("let me see", channel=Channel.REASONING)
            assert "▸ Thinking, 3 words · ctrl+t unfolds" in talk.shown()[-1]
            assert "let me see" not in talk.shown()[-1]
            await talk.says("So.")
            await talk.ends()
            assert "▸ Thought, 3 words" in talk.shown()[-1]
            await talk.press("ctrl+t")
            assert "▾ Thought, 3 words · ctrl+t folds\nlet me see\nSo." in talk.shown()[-1]
            await talk.press("ctrl+t")
            assert "let me see" not in talk.shown()[-1]


class TestCopying:
    async def test_ctrl_y_sends_the_last_answer_to_the_terminal(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await talk.answered("Why?", "**So** [it] is")
            await talk.press("ctrl+y")
            assert talk.app.clipboard == "**So** [it] is"
            assert any("sent to the terminal" in text for text in talk.notices())

    async def test_one_code_block_is_copied_at_once(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await talk.answered("Why?", "see\n\n```py\nx = 1\n```\n")
            await talk.press("tab", "b")
            assert talk.app.clipboard == "x = 1\n"

    async def test_of_several_code_blocks_one_is_chosen(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await talk.answered("Why?", "```py\na\n```\n\n```sh\nb\n```\n")
            await talk.press("tab", "b", "up", "enter")
            assert talk.app.clipboard == "a\n"

    async def test_a_turn_is_saved_to_a_file(
        self, talk: Talk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        async with talk.at(120, 40):
            await talk.answered("Why is it?", "So.")
            await talk.press("tab", "s", "enter")
            assert (tmp_path / "why-is-it.md").read_text() == "So."
            await talk.press("s", "enter")
            assert (tmp_path / "why-is-it-2.md").read_text() == "So."

    async def test_a_file_that_can_t_be_written_is_told_where_it_was_asked(
        self, talk: Talk, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("")
        async with talk.at(120, 40):
            await talk.answered("Why?", "So.")
            await talk.press("tab", "s")
            talk.app.screen.query_one(Input).value = str(tmp_path / "file" / "below.md")
            await talk.press("enter")
            assert "file" in talk.text_of(".dialog--error").lower()


class TestChats:
    async def test_ctrl_n_begins_a_chat_and_the_list_opens_the_old_one(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await talk.answered("first chat", "one")
            old = talk.chat.id
            await talk.press("ctrl+n")
            assert talk.shown() == []
            await talk.answered("second chat", "two")
            assert talk.chat.id != old
            await talk.press("ctrl+l", "down", "enter")
            assert talk.chat.id == old
            assert "one" in talk.shown()[-1]
            assert talk.app.focused is talk.prompt

    async def test_a_chat_is_renamed(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await talk.answered("q", "a")
            await talk.press("ctrl+l", "r")
            talk.app.screen.query_one(Input).value = "A better name"
            await talk.press("enter")
            assert [s.title for s in talk.app.desk.summaries()] == ["A better name"]

    async def test_a_chat_is_deleted_only_after_yes(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await talk.answered("q", "a")
            await talk.press("ctrl+l", "d", "n")
            assert len(talk.app.desk.summaries()) == 1
            await talk.press("d", "y")
            assert talk.app.desk.summaries() == ()
            assert talk.shown() == []

    async def test_a_chat_is_exported(
        self, talk: Talk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        async with talk.at(120, 40):
            await talk.answered("My question", "My answer")
            await talk.press("ctrl+l", "x", "enter")
            text = (tmp_path / "my-question.md").read_text()
            assert "My question" in text
            assert "My answer" in text

    async def test_the_field_above_searches(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await talk.answered("about whales", "a")
            await talk.press("ctrl+n")
            await talk.answered("about stars", "b")
            await talk.press("ctrl+l", "slash", *"whal")
            chats = talk.app.screen.query_one("#chats", OptionList)
            await talk.until(lambda: chats.option_count == 1)
            assert "whales" in str(chats.get_option_at_index(0).prompt)

    async def test_at_80_columns_the_list_is_hidden_until_it_is_called(self, talk: Talk) -> None:
        async with talk.at(80, 24):
            chats = talk.app.screen.query_one(ChatList)
            assert not chats.display
            await talk.press("ctrl+l")
            assert chats.display
            await talk.press("escape")
            assert not chats.display
            assert talk.app.focused is talk.prompt


class TestOptions:
    async def test_valid_values_are_applied_as_they_are_typed(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await talk.press("ctrl+b", *"Be brief.", "tab", *"0.7", "tab", *"0.9", "tab", *"40")
            await talk.press("tab", *"0.05", "tab", *"11", "tab", "backspace", "5", "tab", *"99")
            await talk.press("escape")
            await talk.ask("q")
            command = talk.generates[-1]
            assert command.messages[0].content == "Be brief."
            sampling = command.sampling
            assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p) == (
                0.7,
                0.9,
                40,
                0.05,
            )
            assert (command.seed, command.depth, command.max_tokens) == (11, 5, 99)

    async def test_an_invalid_value_is_named_and_not_applied(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await talk.press("ctrl+b", "tab", *"-1")
            error = talk.app.screen.query_one("#temperature-error", Static)
            assert error.display
            assert "between 0 and 100" in str(error.content)
            assert talk.chat.options.temperature is None
            await talk.press("backspace", "backspace")
            assert not error.display

    async def test_an_empty_seed_is_random(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await talk.answered("q", "a")
            await talk.answered("q", "a")
            first, second = talk.generates
            assert first.seed != second.seed

    async def test_the_mode_is_chosen(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await talk.press("ctrl+b")
            talk.app.screen.query_one("#mode").focus()
            await talk.press("enter", "down", "enter")
            assert talk.chat.options.mode is Mode.BLOCK

    async def test_what_is_typed_is_kept_while_events_come(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await talk.ask("q")
            talk.starts()
            await talk.press("ctrl+b", "tab", *"0.")
            await talk.says("word")
            assert talk.app.screen.query_one("#temperature", Input).value == "0."
            await talk.press("5")
            assert talk.chat.options.temperature == 0.5

    async def test_the_system_text_is_left_to_who_types_it(self, talk: Talk) -> None:
        """A blank at its end is no part of it, and the depth is changed by a key meanwhile."""
        async with talk.at(120, 40):
            await talk.press("ctrl+b", *"Be ", "alt+up", *"brief.")
            assert talk.app.screen.query_one("#system", TextArea).text == "Be brief."
            assert (talk.chat.options.system, talk.chat.options.depth) == ("Be brief.", 1)

    async def test_a_value_is_left_to_who_types_it(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await talk.press("ctrl+b", "tab", *"0.7x", "alt+up", "backspace", "5")
            assert talk.app.screen.query_one("#temperature", Input).value == "0.75"
            assert (talk.chat.options.temperature, talk.chat.options.depth) == (0.75, 1)

    async def test_a_letter_is_not_taken_back_by_what_comes_with_it(
        self, talk: Talk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The engine's events may be shown at any moment: here as soon as a letter was taken."""
        taken = SamplingPanel._apply

        def taken_as_events_come(panel: SamplingPanel, options: Options) -> None:
            taken(panel, options)
            screen = talk.app.screen
            assert isinstance(screen, ChatScreen)
            screen.bring_up_to_date()

        monkeypatch.setattr(SamplingPanel, "_apply", taken_as_events_come)
        async with talk.at(120, 40):
            await talk.press("ctrl+b", *"Be brief.", "tab", *"0.75")
            assert talk.app.screen.query_one("#system", TextArea).text == "Be brief."
            assert (talk.chat.options.system, talk.chat.options.temperature) == ("Be brief.", 0.75)

    async def test_fields_are_made_when_they_are_first_wanted(self, talk: Talk) -> None:
        talk.app.desk.set_options(replace(talk.chat.options, depth=2, seed=11))
        async with talk.at(120, 40):
            panel = talk.app.screen.query_one(SamplingPanel)
            assert not panel.children
            await talk.press("ctrl+b", "escape", "ctrl+b", "ctrl+b")
            assert len(panel.query(Input)) == len(FIELDS)
            assert panel.query_one("#depth", Input).value == "2"
            assert panel.query_one("#seed", Input).value == "11"

    async def test_another_chat_shows_its_own_options(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await talk.press("ctrl+b", *"Be brief.", "escape")
            await talk.answered("q", "a")
            talk.app.desk.new()
            assert isinstance(talk.app.screen, ChatScreen)
            talk.app.screen.refresh_chats()
            await talk.settle()
            panel = talk.app.screen.query_one(SamplingPanel)
            assert panel.query_one("#system", TextArea).text == (talk.chat.options.system or "")


class TestScrolling:
    async def test_it_follows_until_a_person_scrolls_up(self, talk: Talk) -> None:
        async with talk.at(80, 24):
            await talk.ask("q")
            talk.starts()
            await talk.says(LONG)
            conversation = talk.app.screen.query_one(Conversation)
            assert conversation.scroll_y == conversation.max_scroll_y > 0
            await talk.press("pageup")
            kept = conversation.scroll_y
            assert kept < conversation.max_scroll_y
            await talk.says("\n\n" + LONG)
            assert conversation.scroll_y == kept
            await talk.press("ctrl+end")
            assert conversation.scroll_y == conversation.max_scroll_y
            assert talk.app.focused is talk.prompt

    async def test_old_turns_wait_behind_a_row(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            for number in range(4):
                await talk.answered(f"q{number}", "line\n\n" * 400)
            assert len(talk.shown()) < 8
            assert "earlier turn" in talk.text_of("#earlier")
            shown = len(talk.shown())
            await talk.press("ctrl+home")
            assert len(talk.shown()) > shown


class TestHidden:
    async def test_what_came_while_hidden_is_there_on_return(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await talk.ask("q")
            talk.starts()
            await talk.press("f3")
            talk.feed_says("while away")
            await talk.settle()
            await talk.press("f2")
            await talk.until(lambda: "while away" in talk.shown()[-1])

    async def test_hidden_it_paints_nothing(
        self, talk: Talk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with talk.at(120, 40):
            await talk.ask("q")
            talk.starts()
            await talk.press("f3")
            drawn: list[str] = []
            draw = Answer.draw
            monkeypatch.setattr(Answer, "draw", lambda a: (drawn.append(a.text), draw(a)))
            talk.feed_says("while away")
            await talk.settle()
            assert drawn == []


class TestWelcome:
    async def test_it_tells_the_load_and_then_the_model(self, talk: Talk) -> None:
        async with talk.at(120, 40, model=None):
            await talk.loading("reading weights", 42, 100)
            assert "42 % reading weights" in talk.text_of("#welcome")
            await talk.loads(MODEL)
            assert "demo is ready" in talk.text_of("#welcome")
            await talk.ask("q")
            assert not talk.app.screen.query_one("#welcome-place").display

    async def test_a_failed_load_says_why_and_what_to_do(self, talk: Talk) -> None:
        async with talk.at(120, 40, model=None):
            await talk.load_fails(ErrorInfo("it has no [config].json", "choose a folder"))
            text = talk.text_of("#welcome")
            assert "it has no [config].json" in text
            assert "choose a folder" in text


class TestDisk:
    async def test_a_problem_is_told_once_and_stays_in_a_line(
        self, talk: Talk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with talk.at(120, 40):
            monkeypatch.setattr(type(talk.app.desk), "problem", "no space left on device")
            await talk.answered("q", "a")
            await talk.answered("q", "a")
            told = [text for text in talk.notices() if "no space left" in text]
            assert len(told) == 1
            assert "no space left" in talk.text_of("#chat-notice")


def test_nothing_here_is_bound_to_keys_that_terminals_take(talk: Talk) -> None:
    from mtplx_tui.screens.chat import ChatScreen

    taken = {"ctrl+s", "ctrl+z", "ctrl+h", "ctrl+i", "ctrl+m"}
    bound: set[str] = set()
    for owner in (ChatScreen, TurnBlock, Prompt):
        for binding in owner.BINDINGS:
            bound.update(getattr(binding, "key", "").split(","))
    assert bound
    assert not bound & taken


@pytest.mark.asyncio
async def test_what_was_shown_stays_while_a_chat_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtplx_tui.widgets.conversation.FIRST_ROWS", 30)
    monkeypatch.setattr("mtplx_tui.widgets.conversation.KEPT_ROWS", 60)
    talk = Talk(tmp_path)
    async with talk.at(80, 24):
        for number in range(5):
            await talk.answered(f"Number {number}?", "Yes.")
        assert "Number 0?" in talk.shown()[0]
        for number in range(5, 12):
            await talk.answered(f"Number {number}?", "Yes.")
        assert len(talk.shown()) == 15
        assert "Number 11?" in talk.shown()[-2]
        await talk.press("ctrl+n")
        talk.app.desk.open(talk.app.desk.summaries()[-1].id)
        assert talk.path()


class TestLeaving:
    @pytest.fixture
    def full(self) -> Generator[pytest.MonkeyPatch]:
        """A disk without room; undone, there is some."""

        def refused(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with pytest.MonkeyPatch.context() as disk:
            disk.setattr("mtplx_tui.chats.store.Journal._append", refused)
            yield disk

    async def test_it_asks_before_a_chat_is_lost(
        self, talk: Talk, full: pytest.MonkeyPatch
    ) -> None:
        async with talk.at(80, 24):
            await talk.answered("q", "a")
            await talk.press("ctrl+q")
            assert isinstance(talk.app.screen, LeaveUnkept)
            assert "No space left on device" in talk.app.screen._detail
            await talk.press("escape")
            assert isinstance(talk.app.screen, ChatScreen)
            assert talk.app.is_running
            await talk.press("ctrl+q", "ctrl+q")
            assert not talk.app.is_running

    async def test_it_asks_nothing_once_there_is_room(
        self, talk: Talk, full: pytest.MonkeyPatch
    ) -> None:
        async with talk.at(80, 24):
            await talk.answered("q", "a")
            full.undo()
            await talk.press("ctrl+q")
            assert not talk.app.is_running
        assert "q" in next((talk.app.desk._store.folder).iterdir()).read_text("utf-8")


class TestNotices:
    async def test_escape_takes_them_away_where_nothing_else_is_to_be_left(
        self, talk: Talk
    ) -> None:
        async with talk.at(80, 24):
            await talk.ask("q")
            talk.starts()
            talk.app.notify("something")
            await talk.press("escape")
            assert isinstance(talk.app.sent[-1], Cancel)
            assert talk.notices() == ["something"]
            await talk.ends()
            await talk.press("escape")
            assert talk.notices() == []

    async def test_many_faults_at_the_start_leave_room_for_the_screen(self, talk: Talk) -> None:
        talk.app._problems = ("a is damaged", "b is damaged", "c is damaged")
        async with talk.at(80, 24):
            assert talk.notices() == [
                "a is damaged",
                "and 2 more files have faults; F9 names them",
            ]


async def test_the_palette_has_each_action_once_with_all_its_keys(talk: Talk) -> None:
    async with talk.at(80, 24):
        found = list(talk.app.get_system_commands(talk.app.screen))
        titles = [each.title for each in found]
        assert len(titles) == len(set(titles))
        assert "key: F6 or alt+5" in [each.help for each in found if each.title == "bench"]
