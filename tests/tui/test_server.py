"""The server tab: started and stopped, asked by clients, watched and copied from."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

from textual.widgets import Input, Static

from engine.protocol import ErrorInfo, PromptShown, ShowPrompt
from mtplx_tui.client_settings import CLIENTS
from mtplx_tui.screens.prompt_page import PromptPage
from mtplx_tui.widgets.ribbon import Ribbon
from tests.tui.server_talk import ServerTalk


async def test_a_request_is_seen_here_and_its_tokens_in_the_speculation_tab(tmp_path: Path) -> None:
    talk = ServerTalk(tmp_path)
    async with talk.at(120, 40):
        await talk.serves()
        asked = talk.asks()
        await talk.until(lambda: bool(talk.served))
        await talk.replies(20, to_the_end=False)
        page = talk.page()
        assert "Running 1" in page
        assert "api-1" in page
        assert "writing" in page
        assert "agent/1.0" in page
        newest = talk.app.view.newest
        assert newest is not None
        assert newest.request == talk.served[0].request
        await talk.press("f3")
        await talk.settle()
        ribbon = talk.app.screen_stack[0].query_one(Ribbon)
        assert "".join(ribbon._lines.texts).startswith("The sky")
        await talk.press("f7")
        await talk.replies(20)
        await asked
        await talk.settle()
        assert asked.result().status_code == 200
        page = talk.page()
        assert "nothing runs now" in page
        assert "Ended 1" in page


async def test_a_marked_request_is_cancelled(tmp_path: Path) -> None:
    talk = ServerTalk(tmp_path)
    async with talk.at(120, 40):
        await talk.serves()
        asked = [talk.asks()]
        await talk.until(lambda: len(talk.served) == 1)
        asked.append(talk.asks())
        await talk.until(lambda: len(talk.served) == 2)
        await talk.settle()
        await talk.press("down", "x")
        await talk.until(lambda: bool(talk.cancelled()))
        assert talk.cancelled() == [talk.served[1].request]
        await talk.until(lambda: "cancelled" in talk.page())
        assert "Running 1" in talk.page()
        await talk.replies()
        for each in asked:
            each.cancel()


async def test_what_the_model_saw_is_shown(tmp_path: Path) -> None:
    talk = ServerTalk(tmp_path)
    async with talk.at(120, 40):
        await talk.serves()
        asked = talk.asks()
        await talk.until(lambda: bool(talk.served))
        await talk.press("w")
        await talk.until(lambda: isinstance(talk.heard[-1], ShowPrompt))
        name = talk.served[0].request
        assert talk.heard[-1] == ShowPrompt(name)
        talk.app.feed([PromptShown(name, "<|user|>[b]Hi[/b]\x1b", (5, 6), ("a", "b"))])
        await talk.until(lambda: isinstance(talk.app.screen, PromptPage))
        await talk.settle()
        shown = str(talk.app.screen.query_one(Static).content)
        assert shown == "<|user|>[b]Hi[/b]␛"
        await talk.press("escape")
        await talk.replies()
        await asked


async def test_it_stops_and_starts_again_with_the_same_key(tmp_path: Path) -> None:
    talk = ServerTalk(tmp_path)
    async with talk.at(120, 40):
        await talk.serves()
        key, address = talk.app.serving.key, talk.app.serving.address
        assert address in talk.page()
        await talk.press("enter")
        await talk.until(lambda: not talk.app.serving.is_running)
        await talk.until(lambda: "not running" in talk.page())
        with socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))):
            pass
        await talk.press("n", "enter")
        await talk.until(lambda: talk.app.serving.is_running)
        assert talk.app.serving.key == key
        assert talk.app.serving.needs_key
        assert stat.S_IMODE((talk.app.places.state / "server-key").stat().st_mode) == 0o600


async def test_a_port_in_use_is_told_and_the_next_free_one_taken(tmp_path: Path) -> None:
    talk = ServerTalk(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with talk.at(120, 40):
            talk.listen()
            talk.app.serving.port = port
            await talk.press("f7", "enter")
            await talk.until(lambda: bool(talk.app.serving.problem))
            await talk.settle()
            assert f"port {port} is in use" in talk.page()
            await talk.press("enter")
            await talk.until(lambda: talk.app.serving.is_running)
            assert talk.app.serving.address != f"http://127.0.0.1:{port}"
            assert not talk.app.serving.problem


async def test_an_address_is_asked_for_and_one_for_others_wants_a_key(tmp_path: Path) -> None:
    talk = ServerTalk(tmp_path)
    async with talk.at(120, 40):
        await talk.press("f7", "a")
        field = talk.app.screen.query_one(Input)
        field.value = "nonsense"
        await talk.press("enter")
        assert "give an address and a port" in str(
            talk.app.screen.query_one(".dialog--error").render()
        )
        field.value = "0.0.0.0:9000"
        await talk.press("enter")
        await talk.settle()
        assert "http://0.0.0.0:9000" in talk.page()
        assert "a key is wanted" in talk.page()


async def test_settings_are_copied_whole_and_shown_without_the_key(tmp_path: Path) -> None:
    talk = ServerTalk(tmp_path)
    async with talk.at(120, 40):
        talk.app.serving.wants_key = True
        await talk.serves()
        copied: list[str] = []
        setattr(talk.app, "copy_to_clipboard", copied.append)  # noqa: B010 - a method in place of another
        key = talk.app.serving.key
        for client in CLIENTS:
            assert client.name in talk.page()
            assert key not in talk.page()
            await talk.press("y", "right")
        assert len(copied) == len(CLIENTS)
        assert all(key in text and talk.app.serving.address in text for text in copied)
        await talk.press("k")
        assert key in talk.page()


async def test_an_engine_that_dies_fails_what_runs_and_the_server_lives(tmp_path: Path) -> None:
    talk = ServerTalk(tmp_path)
    async with talk.at(120, 40):
        await talk.serves()
        asked = talk.asks()
        await talk.until(lambda: bool(talk.served))
        talk.app.lose_engine(ErrorInfo("the engine was ended by signal 9", "restart it"))
        answer = await asked
        assert answer.status_code >= 500
        assert "signal 9" in answer.text
        await talk.until(lambda: "failed" in talk.page())
        assert talk.app.serving.is_running


async def test_leaving_the_app_frees_the_port(tmp_path: Path) -> None:
    talk = ServerTalk(tmp_path)
    async with talk.at(120, 40):
        await talk.serves()
        port = int(talk.app.serving.address.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        pass
