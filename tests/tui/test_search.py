"""Searching in the open conversation and in the ribbon."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Input, Static

from mtplx_tui.finding import Hit, find
from mtplx_tui.widgets.answer import Answer
from mtplx_tui.widgets.conversation import Conversation
from mtplx_tui.widgets.find_bar import FindBar
from mtplx_tui.widgets.found_rows import FoundRows
from mtplx_tui.widgets.ribbon import Ribbon
from mtplx_tui.widgets.turn import Question
from tests.fakes import streams
from tests.tui.chat_talk import Talk

LONG = "\n\n".join(f"Line {number} of the answer." for number in range(60))


def count(talk: Talk) -> str:
    """Return what the bar says was found."""
    return str(talk.app.screen.query_one("#find-count", Static).content).split("  ")[0]


def conversation(talk: Talk) -> Conversation:
    return talk.app.screen.query_one(Conversation)


def marked(talk: Talk) -> list[str]:
    """Return the texts that are painted as found, the marked one in stars."""
    texts = []
    warning = talk.app.theme_variables["warning"].lower()
    for answer in talk.app.screen.query(Answer):
        for y in range(len(answer._rows)):
            for segment in answer.render_line(y):
                style = str(segment.style)
                if f"on {warning}" in style:
                    texts.append(f"*{segment.text}*")
                elif "underline" in style:
                    texts.append(segment.text)
    return texts


@pytest.mark.asyncio
async def test_places_are_counted_painted_and_stepped_through(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    async with talk.at(80, 40):
        await talk.answered("Why?", "The **sky** is blue.\n\nA Sky at night.")
        await talk.press("ctrl+f", *"sky")
        assert count(talk) == "1 of 2"
        assert marked(talk) == ["*sky*", "Sky"]
        await talk.press("enter")
        assert count(talk) == "2 of 2"
        assert marked(talk) == ["sky", "*Sky*"]
        await talk.press("down")
        assert count(talk) == "1 of 2"
        await talk.press("up")
        assert count(talk) == "2 of 2"


@pytest.mark.asyncio
async def test_escape_ends_the_search_and_typing_goes_to_the_prompt(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    async with talk.at(80, 40):
        await talk.answered("Why?", "The sky.")
        await talk.press("ctrl+f", *"sky", "escape", *"next")
        assert marked(talk) == []
        assert talk.prompt.text == "next"
        assert not talk.app.screen.query_one(FindBar).is_open
        assert not talk.app.sent[1:]


@pytest.mark.asyncio
async def test_a_place_out_of_sight_is_brought_into_sight(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    async with talk.at(80, 24):
        await talk.answered("First?", LONG)
        await talk.answered("Second?", LONG)
        there = conversation(talk)
        assert there.is_vertical_scroll_end
        await talk.press("ctrl+f", *"line 7 of")
        assert count(talk) == "2 of 2"
        await talk.press("up")
        await talk.settle()
        answer = there.blocks[1].query(Answer).last()
        row = there.blocks[1].virtual_region.y + answer.virtual_region.y + 14
        assert there.scroll_y <= row < there.scroll_y + there.size.height


@pytest.mark.asyncio
async def test_questions_are_searched_too(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    async with talk.at(80, 24):
        await talk.answered("Why is the\nsky blue?", "Because.")
        await talk.press("ctrl+f", *"the sky")
        assert count(talk) == "1 of 1"
        question = talk.app.screen.query_one(Question)
        assert [str(span.style) for span in question.visual.spans]  # ty: ignore[missing-attribute] - a Content
        await talk.press("escape")
        assert question.searched() == "Why is the sky blue?"


@pytest.mark.asyncio
async def test_an_answer_that_goes_on_is_searched_on(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    async with talk.at(80, 40):
        await talk.ask("Why?")
        talk.starts()
        await talk.says("One fish. ")
        await talk.press("ctrl+f", *"fish")
        await talk.says("Two fish.")
        await talk.settle()
        assert count(talk) == "1 of 2"


@pytest.mark.asyncio
async def test_earlier_turns_that_are_not_shown_are_counted_and_come_when_stepped_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtplx_tui.widgets.conversation.FIRST_ROWS", 30)
    monkeypatch.setattr("mtplx_tui.widgets.conversation.PAGE_ROWS", 20)
    monkeypatch.setattr("mtplx_tui.widgets.conversation.KEPT_ROWS", 20)
    talk = Talk(tmp_path)
    async with talk.at(80, 24):
        for number in range(8):
            needle = "a needle" if number in (0, 7) else "hay"
            await talk.answered(f"Number {number}?", f"It is {needle}.")
        assert conversation(talk).first > 2
        await talk.press("ctrl+f", *"needle")
        assert count(talk) == "1 of 1 and 1 earlier turn"
        await talk.press("up")
        await talk.until(lambda: count(talk) == "1 of 2")
        assert conversation(talk).first <= 1


@pytest.mark.asyncio
async def test_without_a_conversation_there_is_nothing_to_search(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    async with talk.at(80, 24):
        await talk.press("ctrl+f")
        assert not talk.app.screen.query_one(FindBar).is_open


@pytest.mark.asyncio
async def test_the_ribbon_is_searched_across_tokens(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    async with talk.at(120, 40):
        await talk.ask("Why?")
        await talk.plays(streams.answer()[:-2])
        await talk.press("f3", "slash", *"short waves")
        ribbon = talk.app.screen.query_one(Ribbon)
        assert len(ribbon.finding.hits) >= 1
        assert count(talk) == f"1 of {len(ribbon.finding.hits)}"
        tokens = [ribbon.lines.texts[t] for t, paint in ribbon._found.items() if paint == "marked"]
        assert "".join(tokens).strip() == "short waves"
        await talk.press("escape")
        assert ribbon._found == {}
        await talk.press("d")
        assert not ribbon.has_drafts


@pytest.mark.asyncio
async def test_stepping_scrolls_the_ribbon_and_stops_following(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    async with talk.at(80, 24):
        await talk.ask("Why?")
        await talk.plays(streams.answer(count=200)[:-2])
        await talk.press("f3", "slash", *"rayleigh")
        ribbon = talk.app.screen.query_one(Ribbon)
        assert len(ribbon.finding.hits) > 2
        seen = set()
        for _ in ribbon.finding.hits:
            await talk.press("enter")
            hit = ribbon.finding.marked
            assert hit is not None
            row = ribbon.lines.row_of(ribbon.lines.tokens_of(hit.start, hit.end)[0])
            assert ribbon.scroll_offset.y <= row < ribbon.scroll_offset.y + ribbon.size.height
            seen.add(hit)
        assert len(seen) == len(ribbon.finding.hits)


@pytest.mark.asyncio
async def test_what_was_looked_for_last_is_offered_again(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    async with talk.at(80, 24):
        await talk.answered("Why?", "The sky.")
        await talk.press("ctrl+f", *"sky", "escape", "ctrl+f")
        field = talk.app.screen.query_one(FindBar).query_one(Input)
        assert field.value == "sky"
        assert count(talk) == "1 of 1"
        await talk.press(*"the")
        assert field.value == "the"


def test_a_place_across_two_rows_is_painted_in_both() -> None:
    rows = FoundRows(["the blue", "sky above", ""])
    (hit,) = find("blue sky", [rows.text]).hits
    rows.mark([hit], hit)
    assert rows.spans(0) == [(4, 8, True)]
    assert rows.spans(1) == [(0, 3, True)]
    assert rows.spans(2) == []
    assert rows.row_of(hit.end - 1) == 1


def test_wide_signs_before_a_place_move_it_by_cells() -> None:
    rows = FoundRows(["青い光 sky"])
    (hit,) = find("sky", [rows.text]).hits
    assert hit == Hit(0, 4, 7)
