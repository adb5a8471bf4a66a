"""What passes the gate: every route that there is, found by enumeration, is tried."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.routing import Route

from mtplx_tui.server.events import EventFeed
from mtplx_tui.server.metrics import Metrics
from mtplx_tui.server.routes import Endpoints, application
from mtplx_tui.server.server import ServerOptions, kept_key
from tests.server.talk import Place, chat, serving

KEY = "a key of more than sixteen characters"
UNUSED: Any = None


def routes() -> list[tuple[str, str]]:
    """Return method and path of every route, with something in the place of a name."""
    metrics = Metrics(lambda: 0, lambda: 0)
    app = application(Endpoints(ServerOptions(), UNUSED, EventFeed(1), metrics, 0))
    assert all(isinstance(route, Route) for route in app.routes)
    return [
        (method, route.path.replace("{name:path}", "demo").replace("{name}", "api-1"))
        for route in app.routes
        if isinstance(route, Route)
        for method in sorted(route.methods or ())
    ]


ROUTES = routes()


async def call(place: Place, method: str, path: str, **headers: str) -> httpx2.Response:
    """Call a route, and read no more of the answer than its head."""
    content = b"{}" if method == "POST" else None
    kind = {"content-type": "application/json"} if content else {}
    async with place.http.stream(
        method, path, content=content, headers={**kind, **headers}
    ) as response:
        if "event-stream" not in response.headers.get("content-type", ""):
            await response.aread()
        return response


def test_all_that_the_design_names_is_there() -> None:
    paths = {path for _, path in ROUTES}
    assert paths >= {
        "/v1/models",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/responses",
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/health",
        "/metrics",
        "/events",
        "/",
    }


class TestEveryRoute:
    @pytest.mark.parametrize(
        "headers",
        [
            {"host": "evil.example"},
            {"host": "127.0.0.1.evil.example"},
            {"host": "127.0.0.1"},
            {"origin": "http://evil.example"},
            {"origin": "null"},
            {"origin": "http://127.0.0.1:1"},
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
        ],
    )
    async def test_a_foreign_page_gets_nothing(self, place: Place, headers: dict[str, str]) -> None:
        for method, path in [*ROUTES, ("GET", "/nothing"), ("OPTIONS", "/v1/models")]:
            got = await call(place, method, path, **headers)
            assert got.status_code == (421 if "host" in headers else 403), (method, path)
            assert method == "HEAD" or "error" in got.json()
        assert place.engine.heard == []

    async def test_a_head_that_was_asked_for_alone_is_all_of_the_answer(self, place: Place) -> None:
        """An answer that went on would hold up whatever is asked next over its connection."""
        shown = {"authorization": f"Bearer {place.server.key}"}
        asked = [path for method, path in ROUTES if method == "HEAD"]
        assert "/events" in asked
        for path in asked:
            async with asyncio.timeout(5):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", int(place.server.address.rpartition(":")[2])
                )
                host = place.server.address.removeprefix("http://")
                lines = [f"host: {host}", *(f"{name}: {value}" for name, value in shown.items())]
                rest = "\r\n".join([*lines, "", ""])
                writer.write(f"HEAD {path} HTTP/1.1\r\n{rest}".encode())
                await reader.readuntil(b"\r\n\r\n")
                writer.write(f"GET /health HTTP/1.1\r\n{rest}".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200"), path
                writer.close()

    @pytest.mark.parametrize("sent", ["rubbish", "GET /health HTTP/1.1\r\nupgrade: websocket"])
    async def test_what_is_no_request_writes_into_no_log(
        self, place: Place, caplog: pytest.LogCaptureFixture, sent: str
    ) -> None:
        """Else whoever can connect fills it, or the terminal that the server runs in."""
        host = place.server.address.removeprefix("http://")
        reader, writer = await asyncio.open_connection(*host.split(":"))
        writer.write(f"{sent}\r\nhost: {host}\r\nconnection: upgrade\r\n\r\n".encode())
        async with asyncio.timeout(5):
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 ")
        writer.close()
        assert caplog.records == []

    async def test_answers_carry_what_guards_a_page(self, place: Place) -> None:
        for method, path in [*ROUTES, ("GET", "/nothing")]:
            got = await call(place, method, path)
            assert "default-src 'none'" in got.headers["content-security-policy"], path
            assert "unsafe" not in got.headers["content-security-policy"]
            assert got.headers["x-content-type-options"] == "nosniff"
            assert not [name for name in got.headers if name.startswith("access-control-")]
            assert got.headers["request-id"].startswith("req_")

    async def test_its_own_page_and_names_pass(self, place: Place) -> None:
        address = place.server.address
        port = address.rpartition(":")[2]
        for headers in (
            {"origin": address, "sec-fetch-site": "same-origin"},
            {"host": f"localhost:{port}"},
            {"host": f"LOCALHOST:{port}", "sec-fetch-site": "none"},
        ):
            assert (await call(place, "GET", "/v1/models", **headers)).status_code == 200

    async def test_at_every_address_of_the_machine_it_goes_by_bare_addresses(self) -> None:
        async with serving(host="0.0.0.0", key=KEY) as place:
            port = place.server.address.rpartition(":")[2]
            shown = {"authorization": f"Bearer {KEY}"}
            for host, origin, status in (
                ("192.168.1.5", "192.168.1.5", 200),
                ("[fd00::5]", "[fd00::5]", 200),
                ("192.168.1.5", "192.168.1.6", 403),
                ("evil.example", "evil.example", 421),
                ("1.2.3.4.evil.example", "1.2.3.4.evil.example", 421),
            ):
                headers = {"host": f"{host}:{port}", "origin": f"http://{origin}:{port}"}
                got = await call(place, "GET", "/v1/models", **headers, **shown)
                assert got.status_code == status, host

    async def test_a_form_can_post_nothing(self, place: Place) -> None:
        for method, path in ROUTES:
            if method == "POST":
                for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
                    got = await call(place, method, path, **{"content-type": kind})
                    assert got.status_code in (401, 415), path
        assert place.engine.heard == []

    async def test_with_a_key_nothing_but_the_page_is_open(self) -> None:
        async with serving(needs_key=True, key=KEY) as place:
            for method, path in ROUTES:
                got = await call(place, method, path)
                is_open = path in ("/", "/health", "/web/demo")
                assert (got.status_code != 401) == is_open, path
                wrong = await call(place, method, path, authorization="Bearer " + KEY[:-1])
                assert (wrong.status_code != 401) == is_open, path
            assert place.engine.heard == []

    async def test_without_one_what_others_ask_is_still_guarded(self, place: Place) -> None:
        guarded = {path for _, path in ROUTES if path.startswith(("/events", "/v1/requests"))}
        assert len(guarded) == 4
        for method, path in ROUTES:
            if path in guarded:
                assert (await call(place, method, path)).status_code == 401


class TestKey:
    @pytest.mark.parametrize("name", ["authorization", "x-api-key"])
    async def test_both_headers_do(self, name: str) -> None:
        async with serving(needs_key=True, key=KEY) as place:
            shown = f"Bearer {KEY}" if name == "authorization" else KEY
            got = await place.post("/v1/chat/completions", chat(), **{name: shown})
            assert got.status_code == 200

    async def test_the_page_gets_a_cookie_that_opens_what_it_needs(self, place: Place) -> None:
        got = await place.http.get("/")
        cookie = got.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "samesite=strict" in cookie.lower()
        assert (await call(place, "GET", "/events")).status_code == 200
        assert (await place.ask()).status_code == 200
        shown = await place.http.get(f"/v1/requests/{place.server.recent[0].id}/prompt")
        assert shown.json()["token_ids"] == [1, 2, 3]
        assert (await place.http.get("/v1/requests/api-99/prompt")).status_code == 404

    @pytest.mark.parametrize(
        "other", ["theme[0]=dark", 'seen={"a": 1}', "who@here=1", 'half="open', "=", "a=b c"]
    )
    async def test_a_cookie_of_another_server_hides_it_not(self, place: Place, other: str) -> None:
        """All that listens at 127.0.0.1 shares its cookies, whatever the port."""
        own = (await place.http.get("/")).headers["set-cookie"].partition(";")[0]
        place.http.cookies.clear()
        for cookie in (f"{other}; {own}", f"{own}; {other}"):
            assert (await call(place, "GET", "/events", cookie=cookie)).status_code == 200
        assert (await call(place, "GET", "/events", cookie=other)).status_code == 401

    async def test_with_a_key_the_page_has_to_show_it_once(self) -> None:
        async with serving(needs_key=True, key=KEY) as place:
            assert "set-cookie" not in (await place.http.get("/")).headers
            assert (await place.post("/session", {})).status_code == 401
            shown = await place.post("/session", {}, authorization=f"Bearer {KEY}")
            assert shown.status_code == 204
            assert (await place.http.get("/v1/models")).status_code == 200

    def test_off_this_machine_it_is_always_wanted(self) -> None:
        assert ServerOptions(host="0.0.0.0").asks_for_key
        assert ServerOptions(host="192.168.1.5").asks_for_key
        assert ServerOptions(host="::").asks_for_key
        assert not ServerOptions(host="127.0.0.1").asks_for_key
        assert not ServerOptions(host="::1").asks_for_key

    @pytest.mark.parametrize("key", ["", "short", "with\nline and more than sixteen"])
    def test_a_weak_one_is_refused(self, key: str) -> None:
        with pytest.raises(ValueError, match="key must"):
            ServerOptions(key=key)

    def test_one_is_made_and_kept_for_its_owner_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "state" / "server-key"
        key = kept_key(path)
        assert len(key) > 40
        assert path.stat().st_mode & 0o777 == 0o600
        path.chmod(0o644)
        assert kept_key(path) == key
        assert path.stat().st_mode & 0o777 == 0o600


class TestPage:
    @pytest.mark.parametrize(
        "name", ["../secret.js", "..%2fsecret.js", "%2e%2e/secret.js", "/etc/passwd", "x.js", ""]
    )
    async def test_no_name_leads_out_of_its_folder(self, place: Place, name: str) -> None:
        assert (await place.http.get(f"/web/{name}")).status_code == 404

    async def test_its_files_come_with_their_kind_and_are_not_sent_twice(
        self, place: Place
    ) -> None:
        got = await place.http.get("/web/app.js")
        assert got.headers["content-type"] == "text/javascript; charset=utf-8"
        again = await place.http.get("/web/app.js", headers={"if-none-match": got.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")

    async def test_what_is_told_to_anyone_names_no_path(self, place: Place) -> None:
        for path in ("/health", "/metrics", "/v1/models"):
            text = (await place.http.get(path)).text
            assert "/models/" not in text
            assert "gguf" not in text
