"""The browser chat in a real Chromium, over the real server and a scripted engine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from engine.protocol import (
    Cancel,
    Channel,
    Event,
    Generate,
    Mode,
    ModelLoaded,
    Role,
    SetDepth,
    TextRun,
)
from tests.fakes import streams
from tests.fakes.streams import MODEL
from tests.server.talk import answer, cycle, failing, said, serving
from tests.web.conftest import Open, needs_chromium

pytestmark = [pytest.mark.asyncio(loop_scope="module"), needs_chromium, pytest.mark.slow]

HOSTILE = """<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>

![a picture](http://evil.example/leak.png) [a link](javascript:document.title='owned')
[<b>bold</b>](https://example.org/x"onmouseover="alert(1)) `<i>code</i>`

```html
</code></pre><script>document.title='owned'</script>
```

| <u>a</u> | b |
|---|---|
| <svg onload=alert(1)> | [x](data:text/html,<script>) |
"""
MARKDOWN = """# A title

Some **bold**, *slanted* and `code_with_underscores`, 2 * 3 * 4 = 24.

1. first
   - nested
2. second

> quoted

| left | right |
|:-----|------:|
| a    | 1     |

```python
def f():
    return 1
```
"""


async def ask(page: Page, text: str) -> None:
    await page.get_by_label("Question").fill(text)
    await page.keyboard.press("Enter")


async def answered(page: Page, count: int = 1) -> None:
    await expect(page.locator(".turn.assistant.done")).to_have_count(count)


async def test_an_answer_is_shown_as_markdown_and_code_is_copied(visit: Open) -> None:
    async with serving() as place:
        place.engine.script = said(*(MARKDOWN[at : at + 7] for at in range(0, len(MARKDOWN), 7)))
        page = (await visit(place)).page
        await ask(page, "Show me")
        await answered(page)
        said_ = page.locator(".turn.assistant .said")
        await expect(said_.locator("h1")).to_have_text("A title")
        await expect(said_.locator("strong")).to_have_text("bold")
        await expect(said_.locator("p > code")).to_have_text("code_with_underscores")
        await expect(said_.locator("p").first).to_contain_text("2 * 3 * 4 = 24")
        await expect(said_.locator("ol > li")).to_have_count(2)
        await expect(said_.locator("ol ul li")).to_have_text("nested")
        await expect(said_.locator("td.right")).to_have_text("1")
        await said_.get_by_role("button", name="Copy").click()
        copied = await page.evaluate("navigator.clipboard.readText()")
        assert copied == "def f():\n    return 1"


async def test_what_a_model_writes_is_never_html_and_fetches_nothing(visit: Open) -> None:
    async with serving() as place:
        place.engine.script = said(*(HOSTILE[at : at + 9] for at in range(0, len(HOSTILE), 9)))
        page = (await visit(place)).page
        await ask(page, "<img src=x onerror=\"document.title='asked'\">")
        await answered(page)
        assert await page.title() == "mtplx-tui"
        said_ = page.locator(".said")
        assert await said_.locator("img, script, svg, i, u, b, [onerror], [onload]").count() == 0
        addresses = await said_.locator("a").evaluate_all("all => all.map(a => a.protocol)")
        assert set(addresses) <= {"http:", "https:", "mailto:"}
        await expect(said_.last).to_contain_text("<script>")


async def test_reasoning_is_folded_above_the_answer(visit: Open) -> None:
    async with serving() as place:
        place.engine.script = said("Blue.", thought="The sky is what is asked for.")
        page = (await visit(place)).page
        await ask(page, "Which colour?")
        await answered(page)
        thought = page.locator(".turn.assistant details")
        await expect(thought.locator("summary")).to_have_text("Thought, 7 words")
        await expect(thought.locator(".thought")).to_be_hidden()
        await thought.locator("summary").click()
        await expect(thought.locator(".thought")).to_have_text("The sky is what is asked for.")
        await expect(page.locator(".turn.assistant .said")).to_have_text("Blue.")


async def test_text_comes_as_it_is_written_and_escape_stops_it(visit: Open) -> None:
    async with serving() as place:
        place.engine.hold_after = 5
        page = (await visit(place)).page
        await ask(page, "Go on")
        await expect(page.locator(".turn.writing .said")).to_contain_text("Hello there")
        (command,) = place.engine.generated
        place.engine.say(cycle(command, 2, TextRun(Channel.ANSWER, " and more")))
        await expect(page.locator(".turn.writing .said")).to_contain_text("Hello there and more")
        await page.keyboard.press("Escape")
        await expect(page.locator(".turn.stopped .facts")).to_contain_text("stopped")
        await expect(page.locator(".turn.stopped .said")).to_have_text("Hello there and more")
        for _ in range(200):
            if Cancel(command.request) in place.engine.heard:
                break
            await page.wait_for_timeout(10)
        assert Cancel(command.request) in place.engine.heard
        await expect(page.get_by_role("button", name="Send")).to_be_visible()


async def test_other_answers_and_other_wordings_are_branches(visit: Open) -> None:
    async with serving() as place:
        place.engine.script = said("First.")
        page = (await visit(place)).page
        await ask(page, "One?")
        await answered(page)
        place.engine.script = said("Second.")
        await page.get_by_role("button", name="Again").click()
        await expect(page.locator(".turn.assistant .said")).to_have_text("Second.")
        await expect(page.locator(".turn.assistant .branches")).to_contain_text("2/2")
        await page.get_by_role("button", name="The branch before").click()
        await expect(page.locator(".turn.assistant .said")).to_have_text("First.")
        place.engine.script = said("Third.")
        await page.get_by_role("button", name="Edit").click()
        await page.get_by_label("The question, worded anew").fill("Two?")
        await page.keyboard.press("Enter")
        await expect(page.locator(".turn.assistant .said")).to_have_text("Third.")
        assert [m.content for m in place.engine.generated[-1].messages] == ["Two?"]
        await page.get_by_role("button", name="The branch before").click()
        await expect(page.locator(".turn.user .said")).to_have_text("One?")
        await expect(page.locator(".turn.assistant .said")).to_have_text("First.")


async def test_chats_outlive_the_page_and_are_exported(visit: Open, tmp_path: Path) -> None:
    async with serving() as place:
        place.engine.script = said("An *answer*.")
        page = (await visit(place)).page
        await ask(page, "What is kept?")
        await answered(page)
        await page.reload()
        await expect(page.locator(".turn.assistant .said em")).to_have_text("answer")
        await expect(page.locator("#chat-list .open")).to_have_text("What is kept?")
        async with page.expect_download() as begun:
            await page.get_by_label("Export What is kept?").click()
        await (await begun.value).save_as(tmp_path / "chat.md")
        text = (tmp_path / "chat.md").read_text("utf-8")
        assert "## You\n\nWhat is kept?" in text
        assert "An *answer*." in text
        async with page.expect_download() as begun:
            await page.get_by_role("button", name="Export all").click()
        await (await begun.value).save_as(tmp_path / "all.json")
        (chat,) = json.loads((tmp_path / "all.json").read_text("utf-8"))["chats"]
        assert [turn["role"] for turn in chat["turns"].values()] == ["user", "assistant"]
        await page.get_by_label("Delete What is kept?").click()
        await page.get_by_role("button", name="Delete What is kept?").click()
        await expect(page.locator("#chat-list li")).to_have_count(0)
        await page.reload()
        await expect(page.locator(".welcome")).to_be_visible()


async def test_settings_are_sent_and_a_depth_is_changed_while_tokens_flow(visit: Open) -> None:
    async with serving() as place:
        place.engine.hold_after = 4
        page = (await visit(place)).page
        await page.keyboard.press("Alt+b")
        await page.get_by_label("System text").fill("Be brief.")
        await page.get_by_label("Temperature").fill("0.25")
        await page.get_by_label("Depth (").select_option("2")
        await page.get_by_label("Mode (").select_option("seeded")
        await page.get_by_role("spinbutton", name="Seed").fill("77")
        await ask(page, "Hi")
        await expect(page.locator(".turn.writing .said")).to_contain_text("Hello")
        (command,) = place.engine.generated
        assert [m.role for m in command.messages] == [Role.SYSTEM, Role.USER]
        assert (command.sampling.temperature, command.depth, command.seed) == (0.25, 2, 77)
        assert command.mode is Mode.SEEDED
        await page.get_by_label("Depth (").select_option("5")
        for _ in range(200):
            if any(isinstance(each, SetDepth) for each in place.engine.heard):
                break
            await page.wait_for_timeout(10)
        assert SetDepth(command.request, 5) in place.engine.heard
        await page.keyboard.press("Escape")


async def test_a_model_that_loads_takes_away_no_field_that_is_written_in(visit: Open) -> None:
    async with serving() as place:
        page = (await visit(place)).page
        await page.keyboard.press("Alt+b")
        await page.get_by_label("Temperature").fill("0.25")
        await page.get_by_label("Depth (").select_option("8")
        await page.get_by_label("System text").press_sequentially("Be brief ")
        place.engine.say(ModelLoaded("load-2", replace(MODEL, name="other", head=None)))
        await expect(page.locator("#model")).to_have_text("other")
        await page.keyboard.type("and kind.")
        await ask(page, "Hi")
        await answered(page)
        (command,) = place.engine.generated
        assert command.messages[0].role is Role.SYSTEM
        assert command.messages[0].content == "Be brief and kind."
        assert command.sampling.temperature == 0.25
        offered = await page.get_by_label("Depth (").locator("option").all_text_contents()
        assert offered == ["auto", "0", "8"]  # What is chosen stays in sight.
        await page.get_by_role("button", name="As the model has them").click()
        await ask(page, "Hi again")
        await answered(page, 2)
        assert place.engine.generated[-1].messages[0].role is Role.USER


async def test_a_field_out_of_range_is_not_sent(visit: Open) -> None:
    async with serving() as place:
        page = (await visit(place)).page
        await page.keyboard.press("Alt+b")
        await page.get_by_label("Temperature").fill("99")
        await ask(page, "Hi")
        await answered(page)
        assert place.engine.generated[-1].sampling.temperature != 99


async def test_what_the_engine_refuses_is_told_and_can_be_asked_again(visit: Open) -> None:
    async with serving() as place:
        place.engine.script = failing("the prompt is too long", 2)
        page = (await visit(place, may_fail=("400", "500"))).page
        await ask(page, "Much")
        await expect(page.locator(".turn.failed .facts")).to_contain_text("the prompt is too long")
        place.engine.script = said("Now.")
        await page.get_by_role("button", name="Again").click()
        await expect(page.locator(".turn.assistant .said")).to_have_text("Now.")


async def test_an_engine_that_dies_cuts_the_answer_and_the_page_lives(visit: Open) -> None:
    async with serving() as place:
        place.engine.hold_after = 5
        page = (await visit(place)).page
        await ask(page, "Go on")
        await expect(page.locator(".turn.writing .said")).to_contain_text("Hello there")
        place.engine.die()
        await expect(page.locator(".turn.cut .facts")).to_contain_text("ended by signal 9")
        await expect(page.locator("#state")).to_have_text("stopped")
        place.engine.is_there = True
        place.engine.live_again()
        place.engine.hold_after = None
        await expect(page.locator("#state")).to_have_text("ready")
        await page.get_by_role("button", name="Again").click()
        await answered(page)


async def test_a_server_with_a_key_asks_for_it_and_keeps_it_nowhere(visit: Open) -> None:
    async with serving(needs_key=True) as place:
        page = (await visit(place, may_fail=("401",))).page
        dialog = page.locator("#key-dialog")
        await dialog.get_by_label("Key").fill("wrong-wrong-wrong-wrong")
        await dialog.get_by_role("button", name="Go on").click()
        await expect(dialog.locator("#key-trouble")).to_contain_text("not the server's key")
        await dialog.get_by_label("Key").fill(place.server.key)
        await dialog.get_by_role("button", name="Go on").click()
        await expect(page.locator("#model")).to_have_text("demo")
        await ask(page, "Hi")
        await answered(page)
        stored = await page.evaluate(
            "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"
        )
        assert place.server.key not in stored
        assert "mtplx_page" not in stored


async def test_the_keyboard_is_enough(visit: Open) -> None:
    async with serving() as place:
        page = (await visit(place)).page
        await expect(page.locator("#model")).to_have_text("demo")
        await page.keyboard.type("By keys alone")
        await page.keyboard.press("Shift+Enter")
        await page.keyboard.type("in two lines")
        await page.keyboard.press("Enter")
        await answered(page)
        assert place.engine.generated[-1].messages[0].content == "By keys alone\nin two lines"
        await page.keyboard.press("Alt+g")
        await expect(page.locator(".turn.assistant .branches")).to_contain_text("2/2")
        await answered(page)
        await page.keyboard.press("Alt+n")
        await expect(page.locator(".turn")).to_have_count(0)
        await page.locator("#turns").focus()
        await page.keyboard.press("?")
        await expect(page.locator("#help-dialog")).to_contain_text("answer again")
        await page.keyboard.press("Escape")
        await page.keyboard.press("/")
        await expect(page.get_by_label("Question")).to_be_focused()


async def test_a_question_sent_before_the_chats_are_read_is_answered(visit: Open) -> None:
    """Storage that opens late must not take the chat away under the answer."""
    late = """
        const open = IDBFactory.prototype.open;
        IDBFactory.prototype.open = function (...all) {
          const opening = open.apply(this, all);
          const told = new Promise((resolve) => { window.openStorage = resolve; });
          Object.defineProperty(opening, "onsuccess", {
            set(then) { opening.addEventListener("success", (event) => told.then(() => then(event))); },
          });
          return opening;
        };
    """
    async with serving() as place:
        page = (await visit(place, prepared=late)).page
        await page.get_by_label("Question").fill("Early")
        await page.evaluate("document.getElementById('ask').requestSubmit(); openStorage()")
        await answered(page)
        await expect(page.locator(".turn.user .said")).to_have_text("Early")
        await page.reload()
        await page.evaluate("openStorage()")
        await expect(page.locator(".turn.user .said")).to_have_text("Early")


@pytest.mark.parametrize("scheme", ["dark", "light"])
async def test_a_narrow_page_has_all_and_nothing_hangs_over(visit: Open, scheme: str) -> None:
    async with serving() as place:
        place.engine.script = said(MARKDOWN, f"\n{'x' * 400}\n")
        page = (await visit(place, size=(380, 700), scheme=scheme)).page
        await ask(page, f"Wide {'y' * 300}")
        await answered(page)
        for side in ("chats", "settings", "live"):
            await page.locator(f"#show-{side}").click()
            await expect(page.locator(f"#{side}")).to_be_visible()
            right = f"document.getElementById('{side}').getBoundingClientRect().right"
            assert await page.evaluate(right) <= 380
            assert await page.evaluate("document.documentElement.scrollWidth") <= 380
            assert await page.evaluate("document.getElementById('turns').scrollWidth") <= 380
        back = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert back == ("rgb(18, 19, 22)" if scheme == "dark" else "rgb(253, 252, 250)")
        await page.locator("#theme").click()
        await page.locator("#theme").click()
        assert await page.evaluate("document.documentElement.dataset.theme") == "light"


def _recorded(command: Generate) -> list[Event]:
    return [
        answer(command, [])[0],
        *streams.cycles_of(command.request, 40),
        answer(command, [], cached=0)[-1],
    ]


async def test_an_answer_of_many_cycles_reads_as_it_was_said(visit: Open) -> None:
    async with serving() as place:
        place.engine.script = _recorded
        page = (await visit(place)).page
        # What is over by the time the page listens is not told to it.
        await expect(page.locator("#state")).to_have_text("ready")
        await ask(page, "Why is the sky blue?")
        await answered(page)
        await expect(page.locator(".turn.assistant .facts")).to_contain_text("tok/s")
        await expect(page.locator(".turn.assistant .facts")).to_contain_text("tokens/cycle")
        view = place.engine.view.newest
        assert view is not None
        await expect(page.locator("#ribbon .token")).to_have_count(view.emitted)
        await expect(page.locator("#state")).to_have_text("ready")
