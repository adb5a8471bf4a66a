"""The x-ray in the speculation tab: what is asked of the engine, and words its numbers bear out."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from pathlib import Path

import pytest

from engine.protocol import Candidate, CycleDone, DraftDetail, Ended, SetDetail, WindowDetail
from mtplx_tui.marks import ASCII, UNICODE
from mtplx_tui.verdict_words import Signs, draft_words, last_words
from mtplx_tui.widgets.draft_xray import NOT_RECORDED, DraftXray, Place, xray_page
from tests.fakes import streams
from tests.tui.chat_talk import Talk
from tests.tui.test_speculation import QUESTION, text_of, watch

SIGNS = Signs()


@pytest.fixture
def talk(tmp_path: Path) -> Talk:
    return Talk(tmp_path)


def draft(target: float, head: float, uniform: float | None, **block: float) -> DraftDetail:
    top = (Candidate(1, " sky", 0.7), Candidate(2, "\x1b[2J", 0.3))
    return DraftDetail(
        target, head, uniform, block.get("reach"), block.get("chance"), top, (top[0],)
    )


def cycle(accepted: int, *drafts: DraftDetail, uniform: float | None = 0.5) -> CycleDone:
    detail = WindowDetail(drafts, 0.25, uniform, (Candidate(9, " red", 0.25),))
    depth = len(drafts)
    return replace(
        streams.cycles_of(count=1)[0],
        depth=depth,
        accepted=accepted,
        drafted=tuple(range(1, depth + 1)),
        drafted_pieces=(" sky", "\x1b[2J", " [b]x", " y")[:depth],
        emitted=(*range(1, accepted + 1), 9),
        emitted_pieces=("a",) * accepted + (" red",),
        ended=Ended.BONUS if accepted == depth else Ended.RESIDUAL,
        detail=detail,
    )


def words(of: CycleDone, at: int, *, is_greedy: bool = False) -> str:
    return draft_words(of, at, SIGNS, is_greedy=is_greedy)


class TestWords:
    def test_the_token_rule(self) -> None:
        made = cycle(1, draft(0.84, 0.92, 0.31), draft(0.1, 0.5, 0.9), draft(0.5, 0.5, 0.1))
        assert words(made, 0) == "accepted: u 0.31 < 0.84 / 0.92"
        assert words(made, 1) == "rejected: u 0.90 ≥ 0.10 / 0.50"
        assert words(made, 2) == "not judged: draft 2 was rejected before it"

    def test_a_draft_the_trunk_would_never_draw(self) -> None:
        assert (
            words(cycle(0, draft(0.0, 0.5, 0.0)), 0)
            == "rejected: the trunk would never draw it here"
        )

    def test_the_block_rule_takes_the_longest_run_that_passes(self) -> None:
        made = cycle(
            2,
            draft(0.1, 0.5, 0.9, reach=0.2, chance=0.1),
            draft(0.9, 0.5, 0.2, reach=0.36, chance=0.3),
            draft(0.1, 0.9, 0.6, reach=0.04, chance=0.04),
        )
        assert words(made, 0) == "accepted in the run of 2; alone it would not be: u 0.90 ≥ h 0.10"
        assert words(made, 1) == "accepted: u 0.20 < h 0.30, so the run of 2 passes"
        assert words(made, 2) == "rejected: u 0.60 ≥ h 0.04, and no longer run passes"

    def test_seeded_and_greedy(self) -> None:
        seeded = cycle(1, draft(0.5, 0.5, None), draft(0.5, 0.5, None), uniform=None)
        assert words(seeded, 0) == "accepted: the trunk's own draw is the same token"
        assert words(seeded, 1) == "rejected: the trunk's own draw is another token"
        greedy = cycle(1, draft(1.0, 1.0, 0.3), draft(0.0, 1.0, 0.3))
        assert words(greedy, 0, is_greedy=True) == "accepted: it is the trunk's likeliest token"
        assert words(greedy, 1, is_greedy=True) == "rejected: it is not the trunk's likeliest token"

    def test_the_last_token(self) -> None:
        assert last_words(cycle(0, draft(0.1, 0.5, 0.9))).startswith("residual")
        assert last_words(cycle(1, draft(0.5, 0.5, 0.1))).startswith("bonus")
        assert last_words(cycle(0)).startswith("plain")
        assert last_words(cycle(0, draft(0.5, 0.5, None), uniform=None)).startswith(
            "the trunk's own"
        )

    def test_the_numbers_shown_bear_the_verdict_out_however_close_it_was(self) -> None:
        chance = random.Random(5)
        for _ in range(2_000):
            target, head = chance.uniform(0.001, 1), chance.uniform(0.001, 1)
            close = min(
                0.9999999,
                max(0.0, target / head + chance.gauss(0, 1) * 10 ** -chance.randint(1, 6)),
            )
            accepted = close * head < target
            text = words(cycle(int(accepted), draft(target, head, close)), 0)
            uniform, top, bottom = (float(n) for n in re.findall(r"[0-9.]+", text))
            assert ("<" in text) == accepted == text.startswith("accepted")
            assert (uniform < top / bottom) == accepted, text


class TestPage:
    def test_it_shows_numbers_and_the_likeliest_tokens_of_each_distribution(self) -> None:
        made = cycle(0, draft(0.31, 0.62, 0.93), draft(0.5, 0.5, 0.1))
        page = xray_page(Place(made, 0, is_greedy=False), UNICODE).plain.splitlines()
        assert page[0] == "draft 1 of 2  ¹sky  rejected: u 0.93 ≥ 0.31 / 0.62"
        assert page[1].split() == ["trunk", "0.3100", "head", "0.6200", "uniform", "0.9300"]
        assert page[2].split("  ")[0] == "the trunk"
        assert "the residual" in page[2]
        assert page[3].split()[:2] == ["sky", "0.700"]
        assert "red" in page[3]
        assert len(page) == 8
        assert not any("\x1b" in line for line in page)

    def test_the_residual_stands_only_where_it_was_drawn_from(self) -> None:
        made = cycle(1, draft(0.5, 0.5, 0.1), draft(0.1, 0.5, 0.9), draft(0.5, 0.5, 0.1))
        has = [
            "the residual" in xray_page(Place(made, at, is_greedy=False), UNICODE).plain
            for at in range(4)
        ]
        assert has == [False, True, False, True]

    def test_the_block_rules_numbers_are_there_where_it_judged(self) -> None:
        made = cycle(
            0,
            draft(0.1, 0.5, 0.9, reach=0.2, chance=0.125),
            draft(0.1, 0.5, 0.9, reach=0.1, chance=0.1),
        )
        page = xray_page(Place(made, 0, is_greedy=False), ASCII).plain
        assert "reach p 0.2000" in page
        assert "chance h 0.1250" in page
        assert page.isascii()

    def test_a_cycle_that_was_not_recorded_says_so_and_how_to(self) -> None:
        made = replace(cycle(0, draft(0.1, 0.5, 0.9)), detail=None)
        assert NOT_RECORDED in xray_page(Place(made, 0, is_greedy=False), UNICODE).plain

    def test_a_stop_before_the_last_token_is_told(self) -> None:
        made = cycle(1, draft(0.5, 0.5, 0.1))
        cut = replace(made, ended=Ended.STOP, emitted=(1,), emitted_pieces=("a",))
        assert "dropped by a stop" in xray_page(Place(cut, 1, is_greedy=False), UNICODE).plain


class TestTab:
    async def test_x_asks_the_engine_and_asks_again_for_each_new_answer(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await watch(talk, streams.answer()[:20])
            name = talk.generates[-1].request
            await talk.press("x")
            assert talk.app.sent[-1] == SetDetail(name, is_on=True)
            await talk.press("x")
            assert talk.app.sent[-1] == SetDetail(name, is_on=False)
            await talk.press("x")
            await talk.plays(streams.answer()[20:])
            await talk.press("f2")
            await talk.ask("And at night?")
            talk.starts()
            assert talk.app.sent[-1] == SetDetail(talk.generates[-1].request, is_on=True)

    async def test_nothing_is_asked_for_until_somebody_does(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await watch(talk, streams.answer())
            await talk.press("tab", "tab", "left", "p", "space")
            assert not [each for each in talk.app.sent if isinstance(each, SetDetail)]

    @pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
    async def test_tab_walks_the_drafts_and_the_last_token(
        self, talk: Talk, size: tuple[int, int]
    ) -> None:
        made = cycle(1, draft(0.5, 0.5, 0.1), draft(0.1, 0.5, 0.9), draft(0.5, 0.5, 0.1))
        async with talk.at(*size):
            await watch(talk, [streams.started(), made])
            seen = []
            for key in ("tab", "tab", "tab", "tab", "tab", "shift+tab", "shift+tab"):
                await talk.press(key)
                seen.append(text_of(talk, DraftXray).split("  ")[0])
            last, third = "last token", "draft 3 of 3"
            assert seen == [
                "draft 1 of 3",
                "draft 2 of 3",
                third,
                last,
                "draft 1 of 3",
                last,
                third,
            ]
            assert talk.app.screen.query_one("#panels").display == (size[0] > 80)
            await talk.press("escape")
            assert not talk.app.screen.query_one(DraftXray).display
            assert talk.app.screen.query_one("#panels").display

    async def test_a_walk_to_another_cycle_keeps_the_x_ray_open(self, talk: Talk) -> None:
        async with talk.at(120, 40):
            await watch(talk, streams.answer()[:40])
            await talk.press("tab", "left", "left")
            assert NOT_RECORDED in text_of(talk, DraftXray)
            assert QUESTION in talk.text_of("#heading")
