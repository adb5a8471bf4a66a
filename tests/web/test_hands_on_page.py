"""What a person has in hand when the page draws anew: the focus, an edit, a choice, another tab."""

from __future__ import annotations

from dataclasses import replace

import pytest
from playwright.async_api import Page, expect

from engine.protocol import Channel, Finish, Generate, ModelLoaded, RequestDone, TextRun
from tests.fakes.streams import MODEL
from tests.server.talk import Place, cycle, said, serving
from tests.web.conftest import Open, needs_chromium

pytestmark = [pytest.mark.asyncio(loop_scope="module"), needs_chromium, pytest.mark.slow]

WRITING = 5
"""Events of an answer that holds in the middle of its text."""
FOCUS = "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent"


async def ask(page: Page, text: str) -> None:
    await page.locator("#prompt").fill(text)
    await page.locator("#prompt").press("Enter")


async def answered(page: Page, count: int = 1) -> None:
    await expect(page.locator(".turn.assistant.done")).to_have_count(count)


async def begun(page: Page) -> None:
    await expect(page.locator(".turn.writing .said")).to_contain_text("Hello there")


def end(place: Place) -> Generate:
    """Let the answer that holds come to its end."""
    command = place.engine.generated[-1]
    place.engine.hold_after = None
    place.engine.say(RequestDone(command.request, Finish.STOP, 2, 0.01, 0.02, 0.5))
    return command


async def chats(page: Page, *questions: str) -> None:
    """Have a chat for each question; the last one is shown."""
    for number, question in enumerate(questions):
        if number:
            await page.keyboard.press("Alt+n")
            await expect(page.locator(".turn")).to_have_count(0)
        await ask(page, question)
        await answered(page)


class TestFocus:
    async def test_a_deletion_that_is_asked_for_waits_though_an_answer_ends(
        self, visit: Open
    ) -> None:
        async with serving() as place:
            page = (await visit(place)).page
            await chats(page, "One", "Two")
            place.engine.hold_after = WRITING
            await ask(page, "More")
            await begun(page)
            await page.get_by_label("Delete One").focus()
            await page.keyboard.press("Enter")
            end(place)
            await answered(page, 2)
            assert await page.evaluate(FOCUS) == "Delete One"
            await page.keyboard.press("Enter")
            await expect(page.locator("#chat-list li")).to_have_count(1)
            assert await page.evaluate(FOCUS) == "Two"

    async def test_a_chat_in_hand_stays_though_another_one_comes_before_it(
        self, visit: Open
    ) -> None:
        async with serving() as place:
            page = (await visit(place)).page
            await chats(page, "One", "Two", "Three")
            await page.locator("#chat-list .open", has_text="One").click()
            place.engine.hold_after = WRITING
            await ask(page, "More")
            await begun(page)
            await page.locator("#chat-list .open", has_text="Two").focus()
            end(place)
            await answered(page, 2)
            assert await page.evaluate(FOCUS) == "Two"
            names = await page.locator("#chat-list .open").all_text_contents()
            assert names == ["One", "Three", "Two"]

    async def test_a_deletion_thought_better_of_leaves_the_chat_marked(self, visit: Open) -> None:
        async with serving() as place:
            page = (await visit(place)).page
            await chats(page, "One", "Two")
            await page.get_by_label("Delete One").click()
            await expect(page.get_by_label("Delete One")).to_have_text("Delete?")
            await page.locator("#prompt").focus()
            await expect(page.get_by_label("Delete One")).to_have_text("✕")
            await expect(page.locator("#chat-list li[aria-current]")).to_contain_text("Two")

    async def test_it_goes_from_send_to_stop_and_back(self, visit: Open) -> None:
        async with serving() as place:
            place.engine.hold_after = WRITING
            page = (await visit(place)).page
            await page.locator("#prompt").fill("Go on")
            await page.locator("#send").focus()
            await page.keyboard.press("Enter")
            await begun(page)
            await expect(page.locator("#stop")).to_be_focused()
            end(place)
            await answered(page)
            await expect(page.locator("#send")).to_be_focused()

    async def test_branches_are_walked_by_one_key(self, visit: Open) -> None:
        async with serving() as place:
            page = (await visit(place)).page
            await ask(page, "Hi")
            await answered(page)
            for number in (2, 3):
                await page.get_by_role("button", name="Again").click()
                await expect(page.locator(".branches")).to_contain_text(f"{number}/{number}")
                await answered(page)
            await page.get_by_label("The branch before").focus()
            await page.keyboard.press("Enter")
            await expect(page.locator(".branches")).to_contain_text("2/3")
            await page.keyboard.press("Enter")
            await expect(page.locator(".branches")).to_contain_text("1/3")
            await expect(page.get_by_label("The next branch")).to_be_focused()

    async def test_it_is_nowhere_lost_by_another_answer(self, visit: Open) -> None:
        async with serving() as place:
            page = (await visit(place)).page
            await ask(page, "Hi")
            await answered(page)
            place.engine.hold_after = WRITING
            await page.get_by_role("button", name="Again").focus()
            await page.keyboard.press("Enter")
            await begun(page)
            await expect(page.locator("#stop")).to_be_focused()
            await page.keyboard.press("Enter")
            await expect(page.locator(".turn.stopped")).to_have_count(1)

    async def test_code_that_grows_stays_where_it_was_scrolled_and_its_button_in_hand(
        self, visit: Open
    ) -> None:
        async with serving() as place:
            place.engine.script = said("```python\n", f"a = {'x' * 300}\n", "b = 1\n", "```\n")
            place.engine.hold_after = WRITING
            page = (await visit(place)).page
            await ask(page, "Code")
            code = page.locator(".turn.writing .said pre")
            await expect(code).to_contain_text("xxx")
            await page.locator(".said .head button").focus()
            await code.evaluate(
                """(pre) => {
                  const text = pre.querySelector("code").firstChild;
                  pre.scrollLeft = 90;
                  getSelection().setBaseAndExtent(text, 0, text, 5);
                }"""
            )
            command = place.engine.generated[-1]
            place.engine.say(cycle(command, 2, TextRun(Channel.ANSWER, "b = 1\n")))
            await expect(code).to_contain_text("b = 1")
            assert await code.evaluate("(pre) => pre.scrollLeft") == 90
            assert await page.evaluate("getSelection().toString()") == "a = x"
            place.engine.say(cycle(command, 3, TextRun(Channel.ANSWER, "```\nDone.")))
            await expect(page.locator(".said p")).to_have_text("Done.")
            assert await page.evaluate(FOCUS) == "Copy"
            await page.keyboard.press("Enter")
            await expect(page.locator(".said .head button")).to_have_text("Copied")
            copied = await page.evaluate("navigator.clipboard.readText()")
            assert copied == f"a = {'x' * 300}\nb = 1"
            end(place)
            await answered(page)


class TestEdit:
    async def test_a_question_worded_anew_is_kept_while_an_answer_is_written(
        self, visit: Open
    ) -> None:
        async with serving() as place:
            place.engine.hold_after = WRITING
            page = (await visit(place)).page
            await ask(page, "Hi")
            await begun(page)
            await page.keyboard.press("Alt+e")
            worded = page.get_by_label("The question, worded anew")
            await worded.fill("Long thought about")
            await page.keyboard.press("Enter")
            await expect(page.locator("#trouble")).to_contain_text("still being written")
            await expect(worded).to_have_value("Long thought about")
            end(place)
            await answered(page)
            await expect(worded).to_be_focused()
            await page.keyboard.press("Enter")
            await expect(page.locator(".turn.user .said")).to_have_text("Long thought about")
            await answered(page)

    async def test_one_given_up_leaves_the_focus_at_its_button(self, visit: Open) -> None:
        async with serving() as place:
            page = (await visit(place)).page
            await ask(page, "Hi")
            await answered(page)
            await page.get_by_role("button", name="Edit").click()
            await page.keyboard.press("Escape")
            await expect(page.get_by_role("button", name="Edit")).to_be_focused()


async def test_an_answer_shows_as_over_when_another_one_may_be_asked_for(visit: Open) -> None:
    """It is kept first, which may take a while; what is drawn in between must not run ahead."""
    slow = """
        const told = new Promise((resolve) => { window.letKeep = resolve; });
        Object.defineProperty(IDBTransaction.prototype, "oncomplete", {
          set(then) {
            this.addEventListener("complete", async (event) => {
              if (window.isSlow) { window.waits = true; await told; }
              then(event);
            });
          },
        });
    """
    async with serving() as place:
        place.engine.hold_after = WRITING
        page = (await visit(place, prepared=slow)).page
        await ask(page, "Hi")
        await begun(page)
        await page.evaluate("window.isSlow = true")
        end(place)
        while not await page.evaluate("window.waits ?? false"):
            await page.wait_for_timeout(10)
        place.engine.say(ModelLoaded("load-2", replace(MODEL, name="other")))
        await expect(page.locator("#model")).to_have_text("other")
        over = await page.locator(".turn.assistant.done").count()
        assert over == await page.locator("#send:visible").count()
        await page.evaluate("letKeep()")
        await answered(page)
        await expect(page.locator("#send")).to_be_visible()


class TestTabs:
    async def test_two_of_one_chat_lose_nothing_of_each_other(self, visit: Open) -> None:
        async with serving() as place:
            page = (await visit(place)).page
            await chats(page, "Root")
            other = await _copy(page, place)
            await expect(other.locator(".turn.user .said")).to_have_text("Root")
            await ask(page, "From the first")
            await answered(page, 2)
            await ask(other, "From the second")
            await answered(other, 2)
            await expect(other.locator(".branches")).to_contain_text("2/2")
            await expect(page.locator(".branches")).to_contain_text("1/2")
            for each in (page, other):
                await each.reload()
                await expect(each.locator(".branches")).to_contain_text("/2")

    async def test_what_one_writes_the_other_shows_and_does_not_cut(self, visit: Open) -> None:
        async with serving() as place:
            page = (await visit(place)).page
            await chats(page, "Root")
            place.engine.hold_after = WRITING
            await ask(page, "Go on")
            await begun(page)
            other = await _copy(page, place)
            await expect(other.locator(".turn.cut")).to_have_count(1)
            await other.keyboard.press("Alt+b")
            await other.get_by_label("Temperature").fill("0.5")
            place.engine.say(
                cycle(place.engine.generated[-1], 2, TextRun(Channel.ANSWER, " and more"))
            )
            end(place)
            await answered(page, 2)
            await answered(other, 2)
            await expect(other.locator(".turn.assistant .said").last).to_have_text(
                "Hello there and more"
            )
            await page.reload()
            await answered(page, 2)

    async def test_chats_of_one_are_listed_and_deleted_in_the_other(self, visit: Open) -> None:
        async with serving() as place:
            page = (await visit(place)).page
            other = await page.context.new_page()
            await other.goto(place.server.address)
            await expect(other.locator("#model")).to_have_text("demo")
            await chats(page, "Here")
            await expect(other.locator("#chat-list .open")).to_have_text("Here")
            await other.get_by_label("Delete Here").click()
            await other.get_by_label("Delete Here").click()
            await expect(page.locator("#chat-list li")).to_have_count(0)

    async def test_a_page_that_is_left_in_the_middle_keeps_what_was_said(self, visit: Open) -> None:
        async with serving() as place:
            place.engine.hold_after = WRITING
            page = (await visit(place)).page
            await ask(page, "Go on")
            await begun(page)
            await page.wait_for_timeout(600)
            command = place.engine.generated[-1]
            for number, words in enumerate((" and more", " and the last"), 2):
                place.engine.say(cycle(command, number, TextRun(Channel.ANSWER, words)))
                await expect(page.locator(".turn.writing .said")).to_contain_text(words)
            await page.reload()
            await expect(page.locator(".turn.cut .said")).to_have_text(
                "Hello there and more and the last"
            )
            await expect(page.locator(".turn.cut .facts")).to_contain_text("cut: ")
            place.engine.hold_after = None
            place.engine.script = said("Anew.")
            await page.get_by_role("button", name="Again").click()
            await expect(page.locator(".turn.assistant.done .said")).to_have_text("Anew.")


async def _copy(page: Page, place: Place) -> Page:
    """Open what a browser opens for "duplicate tab": another page of the same chat."""
    chat = await page.evaluate("sessionStorage.getItem('chat')")
    other = await page.context.new_page()
    await other.add_init_script(f"sessionStorage.setItem('chat', {chat!r})")
    await other.goto(place.server.address)
    return other


@pytest.mark.parametrize("refused", [("sessionStorage",), ("indexedDB", "sessionStorage")])
async def test_a_browser_that_keeps_nothing_still_chats(
    visit: Open, refused: tuple[str, ...]
) -> None:
    refusing = "".join(
        f"Object.defineProperty(window, {name!r}, {{ get() {{ throw new DOMException('no'); }} }});"
        for name in (*refused, "localStorage", "BroadcastChannel")
    )
    async with serving() as place:
        page = (await visit(place, prepared=refusing)).page
        await ask(page, "Hi")
        await answered(page)
        told = page.locator("#trouble")
        if "indexedDB" in refused:
            await expect(told).to_contain_text("only while this page is open")


async def test_on_a_phone_a_chosen_chat_is_seen(visit: Open) -> None:
    async with serving() as place:
        page = (await visit(place, size=(390, 800))).page
        await chats(page, "One", "Two")
        await page.locator("#show-chats").click()
        await page.locator("#chat-list .open", has_text="One").click()
        await expect(page.locator("#chats")).to_be_hidden()
        await expect(page.locator(".turn.user .said")).to_have_text("One")
        await page.locator("#show-chats").click()
        await page.locator("#new").click()
        await expect(page.locator("#chats")).to_be_hidden()


async def test_the_answer_that_is_chosen_stays_chosen_while_others_begin(visit: Open) -> None:
    async with serving() as place:
        page = (await visit(place)).page
        await chats(page, "One", "Two")
        await page.evaluate("window.first = document.querySelector('.pick option')")
        await page.locator(".pick").focus()
        await ask(page, "Three")
        await answered(page, 2)
        await expect(page.locator(".pick option")).to_have_count(3)
        assert await page.evaluate("window.first.isConnected")


async def test_a_key_dialog_that_is_dismissed_comes_back(visit: Open) -> None:
    async with serving(needs_key=True) as place:
        page = (await visit(place, may_fail=("401",))).page
        dialog = page.locator("#key-dialog")
        await expect(dialog).to_be_visible()
        for _ in range(3):
            await page.keyboard.press("Escape")
        await expect(dialog).to_be_visible()
        await dialog.get_by_label("Key").fill(place.server.key)
        await page.keyboard.press("Enter")
        await expect(page.locator("#model")).to_have_text("demo")
