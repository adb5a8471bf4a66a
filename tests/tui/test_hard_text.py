"""Text that terminals find hard: wide, joined, turned around, combined; and very much of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.events import Paste
from textual.widgets import Input

from mtplx_tui.marks import UNICODE
from mtplx_tui.widgets.answer import Answer
from mtplx_tui.widgets.ribbon import Ribbon
from mtplx_tui.widgets.ribbon_lines import shown
from mtplx_tui.wording import showable
from tests.fakes import streams
from tests.tui.chat_talk import Talk

HARD = {
    "wide": "青い光が空を染める 안녕하세요",
    "joined emoji": "👩‍🚀 👨‍👩‍👧‍👦 🏳️‍🌈 and 👍🏽",
    "flags": "🇩🇪🇫🇷🇯🇵",
    "right to left": "שָׁלוֹם עולם مرحبا بالعالم",
    "combining": "e\u0301a\u0308o\u0302 z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘",
    "keycaps": "1️⃣2️⃣ ❤️ ☀️",
    "turned": "safe \u202egnidloh\u202c \u2067x\u2069 end",
    "thai": "กำลัง ที่นี่",
}
PIECES = [*(sign for text in HARD.values() for sign in text), " a", "\n"]


@pytest.mark.asyncio
@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("columns", [60, 81])
async def test_in_the_chat_every_row_fills_its_width_and_nothing_is_lost(
    name: str, columns: int, tmp_path: Path
) -> None:
    text = HARD[name]
    talk = Talk(tmp_path)
    async with talk.at(columns, 24):
        await talk.answered(
            text, f"{text}\n\n- {text}\n\n`{text}`\n\n| {text} | b |\n|--|--|\n| c | d |"
        )
        answer = talk.app.screen.query(".turn--answer").last(Answer)
        assert answer._rows
        for y, row in enumerate(answer._rows):
            assert row.cell_length == answer.size.width
            assert cell_len(answer.render_line(y).text) == answer.size.width
        assert talk.path()[0].text == text
        words = [word for word in showable(text).split() if len(word) < 20]
        whole = " ".join(row.text for row in answer._rows)
        assert all(word in whole for word in words)


@pytest.mark.asyncio
@pytest.mark.parametrize("columns", [60, 120])
async def test_in_the_ribbon_tokens_of_single_signs_keep_their_columns(
    columns: int, tmp_path: Path
) -> None:
    talk = Talk(tmp_path)
    async with talk.at(columns, 24):
        await talk.ask("Why?")
        await talk.plays([streams.started(depth=0), *streams.plain_cycles("r1", PIECES)])
        await talk.press("f3")
        ribbon = talk.app.screen.query_one(Ribbon)
        lines = ribbon.lines
        for number in range(len(lines.starts)):
            row = "".join(text for _, _, text in lines.placed(number))
            assert cell_len(row) <= lines.width
            for token, column, _ in lines.placed(number):
                before = "".join(text for at, _, text in lines.placed(number) if at < token)
                assert column - cell_len(before) in (0, 1)
        for y in range(ribbon.size.height):
            assert ribbon.render_line(y).cell_length == ribbon.outer_size.width


@pytest.mark.parametrize("one", PIECES)
def test_a_sign_is_as_wide_alone_as_beside_another(one: str) -> None:
    for other in PIECES:
        first, second = shown(one, UNICODE), shown(other, UNICODE)
        assert cell_len(first + second) == cell_len(first) + cell_len(second)


@pytest.mark.parametrize("sign", "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
def test_no_sign_turns_the_rest_of_a_row_around(sign: str) -> None:
    assert showable(f"a{sign}b") == "ab"
    assert sign not in shown(f"a{sign}b", UNICODE)


@pytest.mark.asyncio
@pytest.mark.parametrize("name", HARD)
async def test_the_prompt_gives_back_what_was_typed_into_it(name: str, tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    async with talk.at(60, 24):
        await talk.type_ahead(*HARD[name])
        await talk.press("left", "right", "home", "end")
        assert talk.prompt.full_text == HARD[name]
        await talk.press("enter")
        assert talk.path()[0].text == HARD[name]


@pytest.mark.asyncio
async def test_a_megabyte_is_pasted_sent_and_shown_cut(tmp_path: Path) -> None:
    text = "".join(f"{number:06} and some words behind it\n" for number in range(32_000))
    assert len(text) > 1_000_000
    talk = Talk(tmp_path)
    async with talk.at(80, 24):
        talk.prompt.post_message(Paste(text))
        await talk.settle()
        assert len(talk.prompt.text) < 60
        await talk.press("enter")
        assert talk.path()[0].text == text.strip() or talk.path()[0].text == text
        assert "more characters" in talk.shown()[0]
        assert len(talk.shown()[0]) < 5_000


STEERING = "a\x1b[2Jb\x9b1mc\x07\x11d\r\ne\rf\tg\u202eh"
STEERED = "a␛[2Jb\ufffd1mc␇␑d\ne\nf\tg\u202eh"


@pytest.mark.asyncio
async def test_what_is_pasted_does_not_steer_the_terminal(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    async with talk.at(80, 24):
        talk.app.post_message(Paste(STEERING))
        await talk.settle()
        assert talk.prompt.text == STEERED
        await talk.press("ctrl+b", "tab")
        talk.app.post_message(Paste("0.\x1b5"))
        await talk.settle()
        assert talk.app.screen.query_one("#temperature", Input).value == "0.␛5"


@pytest.mark.asyncio
async def test_a_question_put_back_does_not_steer_the_terminal(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    async with talk.at(80, 24):
        talk.prompt.put(STEERING)
        assert talk.prompt.text == STEERED
