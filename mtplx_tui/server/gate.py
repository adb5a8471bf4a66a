"""What every request passes before any route sees it: Host, Origin, key; and what every answer carries.

A web page the person has open elsewhere can send requests to this machine. So the Host header has to
be one of the server's own names (DNS rebinding), and a browser has to say that the request comes
from the server's own page. No CORS header is ever sent.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mtplx_tui.server.faults import Fault, anthropic_body, anthropic_status, openai_body
from mtplx_tui.server.options import ServerOptions

__all__ = ["Gate", "fault_response", "new_key"]

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_ALWAYS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
_OPEN_PATHS = ("/", "/health", "/session")
"""Without a key, always: they tell nothing, or look at the key themselves."""
_GUARDED_PATHS = ("/events", "/v1/requests/")
"""With a key, always: they tell what others ask."""
_COOKIE_S = 30 * 86_400


def new_key() -> str:
    """Return a key of 256 random bits."""
    return f"sk-mtplx-{secrets.token_urlsafe(32)}"


class Gate:
    """An ASGI application before another one.

    Args:
        app: gets what passes.
        options: the server's.
        key: that callers show.
        port: the server listens at.
    """

    def __init__(self, app: ASGIApp, options: ServerOptions, key: str, port: int) -> None:
        self._app = app
        self._options = options
        self._key = key
        self._cookie = secrets.token_urlsafe(32)
        self._cookie_name = f"mtplx_page_{port}"
        self._port = str(port)
        self._is_everywhere = options.host in ("0.0.0.0", "::")
        names = {"127.0.0.1", "localhost", "[::1]", _bracketed(options.host), *options.hosts}
        self._hosts = {f"{name.lower()}:{port}" for name in names}
        if port == 80:
            self._hosts |= {name.lower() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refusal, or hand the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        name = f"req_{secrets.token_hex(12)}"
        scope["state"] = {"request_id": name}

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = MutableHeaders(scope=message)
                for key, value in _ALWAYS.items():
                    sent.setdefault(key, value)
                sent.setdefault("cache-control", "no-store")
                sent["request-id"] = sent["x-request-id"] = name
            await send(message)

        try:
            self._check(scope, headers)
        except Fault as fault:
            await fault_response(scope, fault)(scope, receive, send_on)
            return
        await self._app(scope, receive, send_on)

    def _check(self, scope: Scope, headers: Headers) -> None:
        """Raise the Fault of a request that may not pass."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_own(hosts[0].lower()):
            raise Fault(421, "this server is not called by that name; see its option --allow-host")
        self._check_origin(headers, hosts[0].lower())
        path = scope["path"]
        if path in _OPEN_PATHS or path.startswith("/web/"):
            return
        is_wanted = self._options.asks_for_key or path.startswith(_GUARDED_PATHS)
        if is_wanted and not (self.has_key(headers) or self._has_cookie(headers)):
            raise Fault(401, "the server's key is wanted: Authorization: Bearer KEY, or x-api-key")

    def _is_own(self, host: str) -> bool:
        """Whether a Host header names this server; no name of DNS leads to a bare address."""
        if host in self._hosts:
            return True
        address, _, port = host.rpartition(":")
        return self._is_everywhere and port == self._port and _is_address(address)

    def _check_origin(self, headers: Headers, host: str) -> None:
        for origin in headers.getlist("origin"):
            scheme, _, named = origin.lower().partition("://")
            if scheme not in ("http", "https") or named not in (host, *self._hosts):
                raise Fault(403, "pages of another origin may not call this server")
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise Fault(403, "pages of another origin may not call this server")

    def has_key(self, headers: Headers) -> bool:
        """Whether a request shows the key."""
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        shown = [headers.get("x-api-key", "")]
        if scheme.lower() == "bearer":
            shown.append(bearer.strip())
        return any(hmac.compare_digest(each.encode(), self._key.encode()) for each in shown)

    def _has_cookie(self, headers: Headers) -> bool:
        # What else listens at this address may have set cookies that the standard library gives up at.
        shown = cookie_parser(headers.get("cookie", "")).get(self._cookie_name, "")
        return hmac.compare_digest(shown.encode(), self._cookie.encode())

    def admit(self, response: Response) -> None:
        """Give the page that gets this response the right to call."""
        response.set_cookie(
            self._cookie_name, self._cookie, max_age=_COOKIE_S, httponly=True, samesite="strict"
        )


def fault_response(scope: Scope, fault: Fault) -> JSONResponse:
    """Return a fault in the shape that the caller's API has."""
    headers = Headers(scope=scope)
    if scope["path"].startswith("/v1/messages") or "anthropic-version" in headers:
        body = anthropic_body(fault, scope["state"]["request_id"])
        return JSONResponse(body, anthropic_status(fault), fault.headers())
    return JSONResponse(openai_body(fault), fault.status, fault.headers())


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
