from __future__ import annotations

import random

import pytest

from engine.protocol import Role
from mtplx_tui.chats import lines
from mtplx_tui.chats.model import Chat, Turn, title_for


def question(turn_id: str, parent: str | None) -> Turn:
    return Turn(turn_id, parent, Role.USER, f"question {turn_id}")


def answer(turn_id: str, parent: str) -> Turn:
    return Turn(turn_id, parent, Role.ASSISTANT, f"answer {turn_id}")


def tree() -> Chat:
    """q1 - a1 - q2 - a2, a1's sibling b1 with q3 - a3 below it; b1 - q3 - a3 shown."""
    chat = Chat("c")
    for turn in (
        question("q1", None),
        answer("a1", "q1"),
        question("q2", "a1"),
        answer("a2", "q2"),
        answer("b1", "q1"),
        question("q3", "b1"),
        answer("a3", "q3"),
    ):
        chat = chat.with_turn(turn, 1.0)
    return chat


def ids(chat: Chat) -> list[str]:
    return [turn.id for turn in chat.path()]


class TestTree:
    def test_the_path_leads_from_the_root_to_the_newest_turn(self) -> None:
        assert ids(tree()) == ["q1", "b1", "q3", "a3"]

    def test_siblings_are_the_branches_of_one_turn_in_order(self) -> None:
        assert tree().siblings("b1") == ("a1", "b1")
        assert tree().siblings("a1") == ("a1", "b1")
        assert tree().siblings("q1") == ("q1",)

    def test_a_turn_shown_brings_back_what_was_below_it(self) -> None:
        assert ids(tree().showing("a1", 2.0)) == ["q1", "a1", "q2", "a2"]

    def test_below_a_turn_the_child_used_last_is_followed_not_the_newest(self) -> None:
        chat = tree().with_turn(question("q4", "a1"), 2.0).showing("q2", 3.0).showing("b1", 4.0)
        assert ids(chat.showing("a1", 5.0)) == ["q1", "a1", "q2", "a2"]

    def test_a_turn_in_the_middle_can_be_shown(self) -> None:
        assert ids(tree().showing("q1", 2.0)) == ["q1", "b1", "q3", "a3"]

    def test_an_older_state_is_untouched(self) -> None:
        old = tree()
        old.with_turn(question("q9", None), 2.0)
        assert len(old.turns) == 7
        assert old.leaf == "a3"

    def test_a_turn_without_its_parent_is_refused(self) -> None:
        with pytest.raises(ValueError, match="no turn x to follow"):
            tree().with_turn(question("q9", "x"), 1.0)

    def test_a_turn_comes_in_once(self) -> None:
        with pytest.raises(ValueError, match="a turn q1 already"):
            tree().with_turn(question("q1", None), 1.0)


class TestTitle:
    def test_the_first_question_names_the_chat(self) -> None:
        assert tree().title == "question q1"

    def test_it_is_the_first_line_with_words(self) -> None:
        assert title_for("\n \n  Why  is\tthe sky blue?\nTell me.") == "Why is the sky blue?"

    def test_a_long_line_is_cut_between_words(self) -> None:
        title = title_for("Explain to me in great detail how the sky comes to be blue")
        assert title == "Explain to me in great detail how the sky…"

    def test_a_word_without_end_is_cut_all_the_same(self) -> None:
        assert title_for("x" * 500) == "x" * 47 + "…"

    def test_of_48_characters_none_is_lost(self) -> None:
        assert title_for("y" * 48) == "y" * 48


class TestReading:
    @pytest.mark.parametrize("seed", range(40))
    def test_a_file_gives_the_chat_that_was_made_turn_by_turn(self, seed: int) -> None:
        chance = random.Random(seed)
        chat = Chat("c", created=1.0, changed=1.0)
        written = lines.whole(chat)
        for number in range(40):
            ids = [*chat.turns]
            if ids and chance.random() < 0.3:
                chosen = chance.choice(ids)
                chat = chat.showing(chosen, 2.0 + number)
                written.append(lines.selected(chosen, 2.0 + number))
                continue
            parent = chat.leaf if chance.random() < 0.7 else chance.choice([None, *ids])
            turn = Turn(f"t{number}", parent, chance.choice([Role.USER, Role.ASSISTANT]), "text")
            chat = chat.with_turn(turn, 2.0 + number)
            written.append(lines.turn_added(turn, 2.0 + number))
        assert lines.replay("c", b"".join(written)) == chat
