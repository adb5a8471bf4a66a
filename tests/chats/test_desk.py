from __future__ import annotations

from pathlib import Path

import pytest

from engine.protocol import ChatMessage, DepthSet, Finish, Mode, PrefillProgress, Role
from mtplx_tui.chats.desk import Desk
from mtplx_tui.chats.model import TurnStatus
from mtplx_tui.chats.store import Store
from mtplx_tui.requests import Options
from tests.chats.talk import MODEL, Clock, answer, done, failed, said, started


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def desk(tmp_path: Path, clock: Clock) -> Desk:
    return Desk(Store(tmp_path / "chats"), clock)


def texts(desk: Desk) -> list[str]:
    return [turn.text for turn in desk.chat.path()]


class TestAsking:
    def test_the_command_holds_the_conversation(self, desk: Desk) -> None:
        answer(desk, desk.ask("Hi", MODEL), "Hel", "lo")
        command = desk.ask("And you?", MODEL)
        assert command.messages == (
            ChatMessage(Role.USER, "Hi"),
            ChatMessage(Role.ASSISTANT, "Hello"),
            ChatMessage(Role.USER, "And you?"),
        )
        assert command.sampling == MODEL.sampling

    def test_the_request_is_the_turn_that_streams(self, desk: Desk) -> None:
        command = desk.ask("Hi", MODEL)
        turn = desk.chat.path()[-1]
        assert (turn.id, turn.status) == (command.request, TurnStatus.STREAMING)
        assert desk.running == command.request

    def test_the_turn_knows_seed_and_sampling_it_was_made_with(self, desk: Desk) -> None:
        command = desk.ask("Hi", MODEL)
        options = desk.chat.path()[-1].options
        assert options is not None
        assert options.seed == command.seed
        assert options.temperature == 0.5
        assert desk.chat.options.seed is None

    def test_reasoning_is_not_sent_back(self, desk: Desk) -> None:
        command = desk.ask("Hi", MODEL)
        desk.apply(said(command.request, "Hello", thought="what to say"))
        desk.apply(done(command.request))
        assert desk.chat.path()[-1].reasoning == "what to say"
        assert "what" not in str(desk.ask("More", MODEL).messages)

    def test_a_system_text_goes_first(self, desk: Desk) -> None:
        desk.set_options(Options(system="Be brief."))
        assert desk.ask("Hi", MODEL).messages[0] == ChatMessage(Role.SYSTEM, "Be brief.")

    def test_nothing_is_refused_and_changes_nothing(self, desk: Desk) -> None:
        with pytest.raises(ValueError, match="nothing to ask"):
            desk.ask(" \n", MODEL)
        assert desk.chat.path() == ()

    def test_a_second_question_waits_for_the_answer(self, desk: Desk) -> None:
        desk.ask("Hi", MODEL)
        with pytest.raises(ValueError, match="still being written"):
            desk.ask("Again", MODEL)

    def test_options_that_will_not_do_leave_the_chat_as_it_was(self, desk: Desk) -> None:
        desk.set_options(Options(temperature=-1))
        with pytest.raises(ValueError, match="temperature must be"):
            desk.ask("Hi", MODEL)
        assert desk.chat.path() == ()
        assert desk.summaries() == ()


class TestAnswer:
    def test_text_and_reasoning_grow(self, desk: Desk) -> None:
        request = desk.ask("Hi", MODEL).request
        assert not desk.apply(started(request))
        assert not desk.apply(PrefillProgress(request, 5, 12))
        assert desk.apply(said(request, "", thought="hm"))
        assert desk.apply(said(request, "Hel"))
        assert desk.apply(said(request, "lo"))
        turn = desk.chat.path()[-1]
        assert (turn.text, turn.reasoning) == ("Hello", "hm")

    def test_it_ends_with_its_facts(self, desk: Desk) -> None:
        request = desk.ask("Hi", MODEL).request
        desk.apply(started(request))
        desk.apply(DepthSet(request, 5))
        desk.apply(said(request, "Hel"))
        desk.apply(said(request, "lo"))
        assert desk.apply(done(request, text="!"))
        turn = desk.chat.path()[-1]
        assert (turn.text, turn.status, turn.note) == ("Hello!", TurnStatus.DONE, "")
        assert turn.facts is not None
        assert (turn.facts.tokens, turn.facts.cycles, turn.facts.depth) == (4, 2, 5)
        assert (turn.facts.tokens_per_s, turn.facts.tokens_per_cycle) == (8.0, 2.0)
        assert (turn.facts.model, turn.facts.prompt_tokens) == ("demo", 12)
        assert desk.running is None

    def test_at_the_limit_it_says_so(self, desk: Desk) -> None:
        request = desk.ask("Hi", MODEL).request
        desk.apply(done(request, Finish.LENGTH))
        assert desk.chat.path()[-1].note == "ended at the token limit"

    def test_cancelled_it_is_stopped(self, desk: Desk) -> None:
        request = desk.ask("Hi", MODEL).request
        desk.apply(said(request, "Hel"))
        desk.apply(done(request, Finish.CANCELLED))
        turn = desk.chat.path()[-1]
        assert (turn.status, turn.text) == (TurnStatus.STOPPED, "Hel")

    def test_failed_it_tells_why(self, desk: Desk) -> None:
        request = desk.ask("Hi", MODEL).request
        assert desk.apply(failed(request))
        turn = desk.chat.path()[-1]
        assert turn.status is TurnStatus.FAILED
        assert turn.note == "the prompt is too long; start a new chat"

    def test_with_the_engine_it_is_cut_and_keeps_its_text(self, desk: Desk) -> None:
        request = desk.ask("Hi", MODEL).request
        desk.apply(said(request, "Hel"))
        desk.engine_died()
        turn = desk.chat.path()[-1]
        assert (turn.status, turn.text) == (TurnStatus.CUT, "Hel")
        assert desk.running is None

    def test_what_comes_after_the_end_changes_nothing(self, desk: Desk) -> None:
        request = desk.ask("Hi", MODEL).request
        desk.apply(done(request))
        before = desk.chat
        assert not desk.apply(said(request, "late"))
        assert desk.chat is before

    def test_an_event_of_another_request_changes_nothing(self, desk: Desk) -> None:
        desk.ask("Hi", MODEL)
        assert not desk.apply(said("someone-else", "text"))


class TestBranches:
    def test_another_answer_is_a_sibling(self, desk: Desk) -> None:
        first = desk.ask("Hi", MODEL)
        answer(desk, first, "one")
        second = desk.regenerate(first.request, MODEL)
        answer(desk, second, "two")
        assert second.messages == first.messages
        assert texts(desk) == ["Hi", "two"]
        assert desk.chat.siblings(first.request) == (first.request, second.request)

    def test_a_question_can_be_answered_anew(self, desk: Desk) -> None:
        first = desk.ask("Hi", MODEL)
        answer(desk, first, "one")
        answer(desk, desk.regenerate(desk.chat.path()[0].id, MODEL), "two")
        assert texts(desk) == ["Hi", "two"]

    def test_another_wording_is_a_sibling_with_its_own_answer(self, desk: Desk) -> None:
        answer(desk, desk.ask("Hi", MODEL), "one")
        question = desk.chat.path()[0]
        command = desk.edit(question.id, "Hello", MODEL)
        answer(desk, command, "two")
        assert command.messages == (ChatMessage(Role.USER, "Hello"),)
        assert texts(desk) == ["Hello", "two"]
        assert len(desk.chat.siblings(question.id)) == 2

    def test_an_answer_is_not_edited(self, desk: Desk) -> None:
        command = desk.ask("Hi", MODEL)
        answer(desk, command, "one")
        with pytest.raises(ValueError, match="there is no user"):
            desk.edit(command.request, "x", MODEL)

    def test_selecting_shows_the_branch(self, desk: Desk) -> None:
        first = desk.ask("Hi", MODEL)
        answer(desk, first, "one")
        answer(desk, desk.ask("More", MODEL), "three")
        answer(desk, desk.regenerate(first.request, MODEL), "two")
        desk.select(first.request)
        assert texts(desk) == ["Hi", "one", "More", "three"]

    def test_an_unknown_turn_is_refused(self, desk: Desk) -> None:
        with pytest.raises(ValueError, match="no turn x"):
            desk.select("x")


class TestSeveralChats:
    def test_a_chat_left_goes_on_with_its_answer(self, desk: Desk) -> None:
        request = desk.ask("Hi", MODEL).request
        left = desk.chat.id
        desk.new()
        assert desk.running is None
        assert not desk.apply(said(request, "Hello"))
        assert not desk.apply(done(request))
        desk.open(left)
        assert texts(desk) == ["Hi", "Hello"]

    def test_one_opened_again_while_it_answers_is_the_same(self, desk: Desk) -> None:
        request = desk.ask("Hi", MODEL).request
        left = desk.chat.id
        desk.new()
        desk.apply(said(request, "Hel"))
        desk.open(left)
        assert desk.running == request
        assert desk.apply(said(request, "lo"))
        assert texts(desk) == ["Hi", "Hello"]

    def test_a_new_chat_is_none_before_its_first_question(self, desk: Desk, tmp_path: Path) -> None:
        desk.rename(desk.chat.id, "A name")
        desk.new()
        assert desk.summaries() == ()
        assert not (tmp_path / "chats").exists()

    def test_a_new_chat_keeps_depth_and_mode(self, desk: Desk) -> None:
        desk.set_options(Options(system="x", seed=5, depth=7, mode=Mode.SEEDED))
        desk.new()
        assert desk.chat.options == Options(depth=7, mode=Mode.SEEDED)

    def test_the_newest_is_first(self, desk: Desk, clock: Clock) -> None:
        for name in ("one", "two", "three"):
            answer(desk, desk.ask(name, MODEL), "x")
            clock.passes(10)
            desk.new()
        assert [summary.title for summary in desk.summaries()] == ["three", "two", "one"]

    def test_deleting_the_open_chat_opens_a_new_one(self, desk: Desk, tmp_path: Path) -> None:
        request = desk.ask("Hi", MODEL).request
        desk.delete(desk.chat.id)
        assert desk.chat.path() == ()
        assert desk.summaries() == ()
        assert list((tmp_path / "chats").iterdir()) == []
        assert not desk.apply(said(request, "late"))
        desk.tick()
        assert list((tmp_path / "chats").iterdir()) == []

    def test_search_finds_titles_and_texts_in_any_case(self, desk: Desk) -> None:
        answer(desk, desk.ask("Why is the sky blue?", MODEL), "Ray", "leigh scattering")
        desk.rename(desk.chat.id, "Straße")
        desk.new()
        answer(desk, desk.ask("Other", MODEL), "words")
        assert [s.title for s in desk.search("RAYLEIGH")] == ["Straße"]
        assert [s.title for s in desk.search("STRASSE")] == ["Straße"]
        assert [s.title for s in desk.search("straße")] == ["Straße"]
        assert [s.title for s in desk.search("WORDS")] == ["Other"]
        assert desk.search("nowhere") == ()
        assert len(desk.search("")) == 2
