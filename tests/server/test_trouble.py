"""Queues, clients that go, engines that die, ports that are taken."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from engine.protocol import (
    Cancel,
    Channel,
    Generate,
    LoadProgress,
    ModelLoaded,
    SetDepth,
    TextRun,
)
from mtplx_tui.server import answering, bodies, exchange, listening
from mtplx_tui.server.events import snapshot
from mtplx_tui.server.listening import PortTaken, ServerTrouble
from mtplx_tui.server.served import Phase
from mtplx_tui.server.server import Server, ServerOptions
from tests.fakes.streams import MODEL
from tests.fakes.streams import STARTED as STARTED_ANEW
from tests.server.talk import FakeEngine, Place, answer, chat, said, serving

STARTED, READING, WRITING = 2, 3, 4
"""How many of a request's events come before the engine is held."""


async def until(is_so: Callable[[], object]) -> None:
    """Wait, turn by turn of the loop, until something is so."""
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0.005)


@asynccontextmanager
async def streaming(place: Place, **fields: Any) -> AsyncGenerator[httpx2.Response]:
    body = chat(stream=True, **fields)
    async with place.http.stream("POST", "/v1/chat/completions", json=body) as response:
        yield response


def cancelled(place: Place) -> list[str]:
    return [each.request for each in place.engine.heard if isinstance(each, Cancel)]


class TestQueue:
    async def test_one_too_many_is_told_when_to_come_back(self) -> None:
        async with serving(queue=1, parallel=1) as place:
            place.engine.hold_after = WRITING
            async with streaming(place), asyncio.TaskGroup() as group:
                waits = group.create_task(place.ask())
                await until(lambda: len(place.server.live) == 2)
                refused = await place.ask()
                assert refused.status_code == 429
                assert int(refused.headers["retry-after"]) > 0
                refused = await place.post(
                    "/v1/messages",
                    {"model": "demo", "max_tokens": 5, "messages": chat()["messages"]},
                )
                assert (refused.status_code, refused.json()["error"]["type"]) == (
                    529,
                    "overloaded_error",
                )
                place.engine.hold_after = None
                place.server.cancel(place.server.live[0].id)
            assert waits.result().status_code == 200

    async def test_where_none_may_wait_those_run_that_have_room(self) -> None:
        async with serving(queue=0, parallel=1) as place:
            assert (await place.ask()).status_code == 200
            place.engine.hold_after = WRITING
            async with streaming(place):
                assert (await place.ask()).status_code == 429

    async def test_they_are_served_in_their_order(self) -> None:
        async with serving(parallel=1) as place:
            place.engine.hold_after = WRITING
            async with streaming(place), asyncio.TaskGroup() as group:
                for number in range(3):
                    group.create_task(place.ask(seed=number))
                    await until(lambda wanted=number + 2: len(place.server.live) == wanted)
                place.engine.hold_after = None
                place.server.cancel(place.server.live[0].id)
            assert [command.seed for command in place.engine.generated[1:]] == [0, 1, 2]

    async def test_waiting_has_an_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(answering, "QUEUE_S", 0.01)
        async with serving(parallel=1, heartbeat_s=0.02) as place:
            place.engine.hold_after = WRITING
            async with streaming(place):
                got = await place.ask()
            assert got.status_code == 500
            assert "waited too long" in got.json()["error"]["message"]

    @pytest.mark.parametrize("jump_s", [-1e6, 1e6])
    async def test_a_clock_that_jumps_ends_no_waiting(
        self, monkeypatch: pytest.MonkeyPatch, jump_s: float
    ) -> None:
        now = time.time()
        async with serving(parallel=1, heartbeat_s=0.02) as place:
            place.engine.hold_after = WRITING
            async with streaming(place):
                waits = asyncio.create_task(place.ask())
                await until(lambda: len(place.server.live) == 2)
                monkeypatch.setattr("time.time", lambda: now + jump_s)
                await asyncio.sleep(0.1)
                assert not waits.done()
                place.engine.hold_after = None
                place.server.cancel(place.server.live[0].id)
                assert (await waits).status_code == 200
            took = place.server.recent[0].total_s
            assert took is not None
            assert 0 < took < 60


class TestClientsThatGo:
    @pytest.mark.parametrize("held", [STARTED, READING, WRITING])
    async def test_a_stream(self, place: Place, held: int) -> None:
        place.engine.hold_after = held
        async with streaming(place, n=2):
            await until(lambda: len(place.engine.generated) == 2)
            assert cancelled(place) == []
        await until(lambda: not place.server.live)
        assert sorted(cancelled(place)) == [c.request for c in place.engine.generated]
        assert place.server.recent[0].phase is Phase.CANCELLED

    @pytest.mark.parametrize("held", [STARTED, WRITING])
    async def test_one_that_waits_for_the_whole(self, place: Place, held: int) -> None:
        place.engine.hold_after = held
        waiting = asyncio.create_task(place.ask())
        await until(lambda: place.engine.generated)
        waiting.cancel()
        await until(lambda: not place.server.live)
        assert cancelled(place) == [place.engine.generated[0].request]

    async def test_one_in_the_queue_never_reaches_the_engine(self) -> None:
        async with serving(parallel=1) as place:
            place.engine.hold_after = WRITING
            async with streaming(place):
                waiting = asyncio.create_task(place.ask())
                await until(lambda: len(place.server.live) == 2)
                waiting.cancel()
                await until(lambda: len(place.server.live) == 1)
            await until(lambda: not place.server.live)
            assert len(place.engine.generated) == 1

    async def test_one_that_reads_too_slowly_is_given_up(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(exchange, "MOST_WAITING", 50)
        host, _, port = place.server.address.removeprefix("http://").partition(":")
        place.engine.script = said(*["x" * 100_000] * 400)
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        body = json.dumps(chat(stream=True)).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}:{port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await until(lambda: place.server.recent)
        assert "too slowly" in place.server.recent[0].note
        assert cancelled(place)
        writer.transport.abort()
        assert reader is not None

    async def test_one_that_sends_half_a_head_is_cut(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(listening, "HEADER_S", 0.05)
        async with serving() as place:
            host, _, port = place.server.address.removeprefix("http://").partition(":")
            for sent in (b"", b"GET /health HTTP/1.1\r\nHost: "):
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(sent)
                async with asyncio.timeout(10):
                    assert await reader.read() == b""
                writer.close()

    async def test_one_that_sends_half_a_body_is_cut(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bodies, "BODY_S", 0.05)

        host, _, port = place.server.address.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}:{port}\r\n"
            "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n"
        )
        writer.write(head.encode() + b'{"model"')
        async with asyncio.timeout(10):
            assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        writer.close()


class TestSilence:
    async def test_a_prompt_that_is_read_gives_signs_of_life(self) -> None:
        async with serving(heartbeat_s=0.02, empty_delta_s=0.02) as place:
            place.engine.hold_after = READING
            async with streaming(place) as response:
                got: list[str] = []
                async for line in response.aiter_lines():
                    got.append(line)
                    if len([each for each in got if each.startswith(": keepalive 12/12")]) > 2:
                        break
            deltas = [json.loads(line[6:]) for line in got if line.startswith("data: ")]
            assert [each["choices"][0]["delta"]["content"] for each in deltas] == [""] * len(deltas)
            assert len(deltas) > 2

    async def test_anthropic_clients_get_pings(self) -> None:
        async with serving(heartbeat_s=0.02) as place:
            place.engine.hold_after = READING
            body = {"model": "demo", "max_tokens": 5, "stream": True, **chat()}
            async with place.http.stream("POST", "/v1/messages", json=body) as response:
                pings = 0
                async for line in response.aiter_lines():
                    pings += line == "event: ping"
                    if pings > 3:
                        break

    async def test_responses_repeat_that_they_are_in_progress(self) -> None:
        async with serving(heartbeat_s=0.02) as place:
            place.engine.hold_after = READING
            body = {"model": "demo", "input": "Hi", "stream": True}
            async with place.http.stream("POST", "/v1/responses", json=body) as response:
                told: list[Any] = []
                async for line in response.aiter_lines():
                    if line.startswith("data: "):
                        told.append(json.loads(line[6:]))
                    if len(told) > 4:
                        break
            assert {each["type"] for each in told[1:]} == {"response.in_progress"}
            assert [each["sequence_number"] for each in told] == list(range(5))
            assert told[4]["response"]["mtplx"]["prefill"] == {"done": 12, "total": 12}


class TestEngine:
    async def test_one_that_dies_in_mid_stream_is_told_and_the_next_request_works(
        self, place: Place
    ) -> None:
        place.engine.hold_after = WRITING + 1
        address = place.server.address
        async with (
            asyncio.timeout(30),
            AsyncOpenAI(base_url=f"{address}/v1", api_key="x", max_retries=0) as first,
            AsyncAnthropic(base_url=address, api_key="x", max_retries=0) as second,
        ):
            messages: Any = chat()["messages"]
            chunks = await first.chat.completions.create(
                model="demo", messages=messages, stream=True
            )
            events = await second.messages.create(
                model="demo", messages=messages, max_tokens=5, stream=True
            )
            await until(lambda: [each.phase for each in place.server.live] == [Phase.WRITING] * 2)
            waiting = asyncio.create_task(place.ask())
            await until(lambda: len(place.engine.generated) == 3)
            place.engine.die()
            with pytest.raises(openai.APIError, match="signal 9"):
                async for _ in chunks:
                    pass
            with pytest.raises(anthropic.APIStatusError, match="signal 9"):
                async for _ in events:
                    pass
            assert (await waiting).status_code == 500
            refused = await place.ask()
            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) > 0
            assert (await place.http.get("/health")).status_code == 503
            place.engine.hold_after = None
            place.engine.live_again()
            got = await first.chat.completions.create(model="demo", messages=messages)
            assert got.choices[0].message.content == "Hello there."

    async def test_those_that_wait_outlive_it(self) -> None:
        async with serving(parallel=1) as place:
            place.engine.hold_after = WRITING
            async with streaming(place):
                waiting = asyncio.create_task(place.ask())
                await until(lambda: len(place.server.live) == 2)
                place.engine.die()
                assert [each.phase for each in place.server.live] == [Phase.QUEUED]
                place.engine.hold_after = None
                place.engine.live_again()
                assert (await waiting).status_code == 200

    async def test_another_model_is_not_asked_what_was_meant_for_this_one(self) -> None:
        from dataclasses import replace

        async with serving(parallel=1) as place:
            place.engine.hold_after = WRITING
            async with streaming(place):
                waiting = asyncio.create_task(place.ask())
                await until(lambda: len(place.server.live) == 2)
                place.engine.say(ModelLoaded("load-2", replace(MODEL, name="b", path="/b")))
                got = await waiting
            assert got.status_code == 500
            assert "another model" in got.json()["error"]["message"]

    async def test_while_a_model_loads_clients_are_told_to_come_back(self, place: Place) -> None:
        place.engine.say(LoadProgress("load-2", "reading weights", 1, 2))
        got = await place.ask()
        assert got.status_code == 503
        assert "loading" in got.json()["error"]["message"]
        assert "retry-after" in got.headers

    async def test_without_a_model_clients_are_told_so_once(self, place: Place) -> None:
        place.engine.say(STARTED_ANEW)
        got = await place.ask()
        assert got.status_code == 503
        assert got.json()["error"]["message"] == "no model is loaded; try again in a moment"

    async def test_a_request_that_it_cancels_is_an_error(self, place: Place) -> None:
        place.engine.hold_after = STARTED
        waiting = asyncio.create_task(place.ask())
        await until(lambda: place.server.live)
        place.server.cancel(place.server.live[0].id)
        assert "cancelled at the server" in (await waiting).json()["error"]["message"]


class TestFromAfar:
    async def test_a_request_is_steered_while_it_runs(self, place: Place) -> None:
        await place.http.get("/")
        place.engine.hold_after = WRITING
        async with streaming(place):
            await until(lambda: place.server.live)
            name = place.server.live[0].id
            assert (await place.post(f"/v1/requests/{name}/depth", {"depth": 4})).status_code == 204
            assert place.engine.heard[-1] == SetDepth(f"{name}.0", 4)
            await place.post(f"/v1/requests/{name}/depth", {"depth": "auto"})
            assert place.engine.heard[-1] == SetDepth(f"{name}.0", None)
            assert (await place.post(f"/v1/requests/{name}/cancel", {})).status_code == 204
            assert (await place.post(f"/v1/requests/{name}/cancel", {})).status_code == 404

    async def test_the_live_view_gets_a_snapshot_and_all_that_follows(self, place: Place) -> None:
        await place.http.get("/")
        place.engine.hold_after = WRITING
        told: list[tuple[str, Any]] = []
        async with streaming(place), place.http.stream("GET", "/events") as response:
            await until(lambda: place.server.live)
            name = ""
            async for line in response.aiter_lines():
                if line.startswith("event: "):
                    name = line[7:]
                if line.startswith("data: "):
                    told.append((name, json.loads(line[6:])))
                if name == "snapshot" and line == "":
                    place.engine.hold_after = None
                    asyncio.get_running_loop().create_task(place.ask())
                if name == "served" and any(n == "RequestDone" for n, _ in told) and line == "":
                    break
        name, first = told[0]
        assert name == "snapshot"
        assert first["model"]["name"] == "demo"
        assert first["model"]["path"] == ""
        assert [each["phase"] for each in first["live"]] == ["writing"]
        names = [name for name, _ in told]
        assert names.index("RequestStarted") < names.index("CycleDone") < names.index("RequestDone")
        cycles = [data for name, data in told if name == "CycleDone"]
        assert "".join(run["text"] for each in cycles for run in each["runs"]) == "Hello there."
        assert "/models/" not in json.dumps(told)

    async def test_the_live_view_hears_how_far_a_request_is(self, place: Place) -> None:
        """Not of its begin and its end alone: an answer may take minutes."""
        await place.http.get("/")
        place.engine.hold_after = WRITING
        async with place.http.stream("GET", "/events") as response, streaming(place):
            lines = response.aiter_lines()
            phases: list[str] = []
            name = ""
            async with asyncio.timeout(5):
                while "writing" not in phases:
                    line = await anext(lines)
                    if line.startswith("event: "):
                        name = line[7:]
                    elif line.startswith("data: ") and name == "served":
                        phases += [each["phase"] for each in json.loads(line[6:])["live"]]

    async def test_where_nothing_runs_the_snapshot_has_the_newest_answer(
        self, place: Place
    ) -> None:
        for _ in range(2):
            await place.ask()
        first = snapshot(place.engine.view, place.server.live, place.server.recent)
        (newest,) = first["requests"]
        assert newest["request"] == place.engine.view.requests[-1].request
        assert not newest["is_running"]
        text = "".join(run["text"] for each in newest["cycles"] for run in each["runs"])
        assert text == "Hello there."
        assert (len(first["live"]), len(first["recent"])) == (0, 2)


class TestPort:
    async def test_one_that_is_taken_is_told_with_the_next_free_one(self, place: Place) -> None:
        port = int(place.server.address.rpartition(":")[2])
        engine = FakeEngine()
        second = Server(ServerOptions(port=port), engine.send, lambda: engine.view)
        with pytest.raises(PortTaken, match=f"port {port} is in use") as caught:
            await second.start()
        assert caught.value.free is not None
        assert caught.value.free > port
        assert not second.is_running
        third = Server(ServerOptions(port=caught.value.free), engine.send, lambda: engine.view)
        await third.start()
        await third.stop()

    async def test_an_address_of_another_machine(self) -> None:
        engine = FakeEngine()
        server = Server(ServerOptions(host="192.0.2.1", port=0), engine.send, lambda: engine.view)
        with pytest.raises(ServerTrouble, match="can't be listened at"):
            await server.start()

    async def test_stopping_ends_streams_with_an_error_and_frees_the_port(self) -> None:
        async with serving() as place:
            place.engine.hold_after = WRITING
            async with streaming(place) as response:
                await until(lambda: place.server.live)
                stopping = asyncio.create_task(place.server.stop())
                text = (await response.aread()).decode()
                assert "the server is stopping" in text
            await stopping
            assert cancelled(place)
            port = int(place.server.address.rpartition(":")[2])
            with socket.socket() as free:
                free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                free.bind(("127.0.0.1", port))
            place.engine.hold_after = None
            await place.server.start()
            again = f"{place.server.address}/v1/chat/completions"
            assert (await place.post(again, chat())).status_code == 200

    async def test_listeners_hear_of_every_change(self, place: Place) -> None:
        phases: list[str] = []

        def listen() -> None:
            both = (*place.server.live, *place.server.recent)
            phases.extend(each.phase.value for each in both)

        end = place.server.subscribe(listen)
        await place.ask()
        await until(lambda: "done" in phases)
        assert "writing" in phases
        end()
        phases.clear()
        await place.ask()
        assert phases == []


async def test_ten_streams_at_once_get_each_their_own(place: Place) -> None:
    def script(command: Generate) -> list[Any]:
        return answer(command, [TextRun(Channel.ANSWER, f"{command.seed} ")] * 20)

    place.engine.script = script
    got = await asyncio.gather(*(place.ask(seed=seed) for seed in range(10)))
    texts = [each.json()["choices"][0]["message"]["content"] for each in got]
    assert texts == [f"{seed} " * 20 for seed in range(10)]
    assert (place.server.live, len(place.server.recent)) == ((), 10)
    metrics = (await place.http.get("/metrics")).text
    assert 'mtplx_requests_total{api="chat",phase="done"} 10.0' in metrics
    assert 'mtplx_tokens_total{kind="completion"} 200.0' in metrics
