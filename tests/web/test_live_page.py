"""The live view in a real Chromium: every token's fate, as the terminal shows it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from playwright.async_api import expect

from engine.protocol import CycleDone, Finish, RequestDone
from mtplx_tui.server import pages
from mtplx_tui.view import EngineView, wilson_interval
from mtplx_tui.widgets.depth_legend import Tally
from mtplx_tui.widgets.ribbon_lines import BONUS, PLAIN, RESIDUAL
from tests.fakes import streams
from tests.server.talk import Place, serving
from tests.web.conftest import Open, needs_chromium

ROOT = Path(__file__).parents[2]
MARKS = [*"⁰¹²³⁴⁵⁶⁷⁸"]


def test_the_depths_have_the_colours_of_the_terminals_themes() -> None:
    style = (pages.FOLDER / "style.css").read_text("utf-8")
    found = dict(re.findall(r"--depth-(\d): light-dark\((#\w+, #\w+)\)", style))
    themes = [tomllib.loads((ROOT / f"themes/{n}.toml").read_text()) for n in ("paper", "dusk")]
    assert found == {
        depth: f"{themes[0]['depths'][depth]}, {themes[1]['depths'][depth]}" for depth in "12345678"
    }


def test_pages_fetch_nothing_from_elsewhere_and_have_nothing_inline() -> None:
    markup = (pages.FOLDER / "index.html").read_text("utf-8")
    assert not re.search(r"\son\w+=|style=|<style|javascript:", markup)
    assert re.findall(r"<script[^>]*>", markup) == ['<script type="module" src="/web/app.js">']
    for path in pages.FOLDER.rglob("*.*"):
        text = path.read_text("utf-8")
        assert "innerHTML" not in text, path
        assert "insertAdjacentHTML" not in text, path
        assert not re.search(r"[\"'(]https?://(?!www\.w3\.org/2000/svg)[\w.]", text), path


@pytest.mark.asyncio(loop_scope="module")
@needs_chromium
class TestLive:
    @staticmethod
    def feed(place: Place, count: int) -> EngineView:
        """Have the engine say an answer of the app's own chat, all but its end."""
        for event in streams.answer("own-1", count):
            if not isinstance(event, RequestDone):
                place.engine.say(event)
        return place.engine.view

    async def test_legend_and_bars_are_those_of_the_terminal(self, visit: Open) -> None:
        async with serving() as place:
            page = (await visit(place)).page
            await expect(page.locator("#state")).to_have_text("ready")
            view = self.feed(place, 60)
            await expect(page.locator("#state")).to_have_text("generating")
            request = view.newest
            assert request is not None
            tally = Tally()
            tally.follow(request)
            expected = [f"{MARKS[at]} {tally.kinds[at]}" for at in range(1, 6)]
            expected += [f"⁺bonus {tally.kinds[BONUS]}", f"⁻residual {tally.kinds[RESIDUAL]}"]
            expected += [f"⁰plain {tally.kinds[PLAIN]}", f"‹rejected› {tally.rejected}"]
            await expect(page.locator("#legend > span")).to_have_text(expected)
            reached, accepted = request.reached_at[0], request.accepted_at[0]
            low, high = wilson_interval(accepted, reached)
            counts = f"{accepted}/{reached} · {100 * low:.0f}–{100 * high:.0f}"
            await expect(page.locator("#bars .counts").first).to_have_text(counts)
            assert request.tokens_per_s is not None
            await expect(page.locator("#live-speed")).to_have_text(f"{request.tokens_per_s:.1f}")

    async def test_the_ribbon_has_every_token_in_its_depths_colour(self, visit: Open) -> None:
        async with serving() as place:
            page = (await visit(place)).page
            await expect(page.locator("#state")).to_have_text("ready")
            view = self.feed(place, 30)
            request = view.newest
            assert request is not None
            tokens = page.locator("#ribbon .token")
            await expect(tokens).to_have_count(request.emitted)
            shown = await tokens.evaluate_all(
                "all => all.map(t => [t.className, [...t.childNodes]"
                ".filter(n => n.nodeType === 3).map(n => n.data).join('')])"
            )
            expected = []
            for cycle in request.cycles:
                for index, piece in enumerate(cycle.emitted_pieces):
                    name = f"token {_class_of(cycle, index)}"
                    expected.append([name, piece.replace("\n", "↵\n").replace("\t", "⇥")])
            assert shown == expected
            color = await page.locator(".token.depth-1").first.evaluate(
                "t => getComputedStyle(t).color"
            )
            assert color == "rgb(91, 198, 248)"
            assert await page.locator("#ribbon .rejected").count() > 0

    @pytest.mark.slow
    async def test_a_page_that_comes_later_begins_with_what_runs(self, visit: Open) -> None:
        async with serving() as place:
            self.feed(place, 20)
            page = (await visit(place)).page
            await expect(page.locator("#state")).to_have_text("generating")
            await expect(page.locator("#ribbon .token").first).to_be_visible()
            place.engine.say(RequestDone("own-1", Finish.STOP, 1, 0.0, 0.0, 0.0))
            await expect(page.locator("#state")).to_have_text("ready")

    @pytest.mark.slow
    async def test_a_page_that_comes_when_nothing_runs_shows_the_newest_answer(
        self, visit: Open
    ) -> None:
        async with serving() as place:
            self.feed(place, 20)
            place.engine.say(RequestDone("own-1", Finish.STOP, 1, 0.0, 0.0, 0.0))
            page = (await visit(place)).page
            await expect(page.locator("#state")).to_have_text("ready")
            await expect(page.locator("#ribbon .token").first).to_be_visible()
            started, *_ = streams.answer("own-2", 1)
            place.engine.say(started)
            await expect(page.locator("#state")).to_have_text("generating")
            place.engine.say(RequestDone("own-2", Finish.STOP, 1, 0.0, 0.0, 0.0))
            await expect(page.locator("#state")).to_have_text("ready")

    @pytest.mark.slow
    async def test_a_server_that_begins_anew_is_found_again(self, visit: Open) -> None:
        async with serving() as place:
            fail = ("401", "ERR_", "502", "CONNECTION")
            page = (await visit(place, may_fail=fail)).page
            await expect(page.locator("#state")).to_have_text("ready")
            await place.server.stop()
            place.server.options = type(place.server.options)(port=int(place.server.address[-5:]))
            await expect(page.locator("#state")).not_to_have_text("ready")
            await place.server.start()
            await expect(page.locator("#state")).to_have_text("ready")
            self.feed(place, 5)
            await expect(page.locator("#ribbon .token").first).to_be_visible()


def _class_of(cycle: CycleDone, index: int) -> str:
    """Say again, in other words, what kind a token is."""
    if cycle.depth == 0:
        return "plain"
    if index < cycle.accepted:
        return f"depth-{index + 1}"
    return "bonus" if cycle.accepted == cycle.depth else "residual"
