"""What goes wrong over HTTP, in the shape that each API's clients read.

OpenAI: `{"error": {"message", "type", "param", "code"}}`. Anthropic: `{"type": "error", "error":
{"type", "message"}, "request_id"}`.
"""

from __future__ import annotations

from typing import Any

from engine.protocol import ErrorInfo
from mtplx_tui.remedies import one_line

__all__ = [
    "RETRY_S",
    "Fault",
    "anthropic_body",
    "bad_request",
    "busy",
    "engine_fault",
    "not_ready",
    "openai_body",
]

RETRY_S = 5
"""What Retry-After says where nothing better is known."""

_OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_TOO_BUSY_FOR_ANTHROPIC = 529


class Fault(Exception):
    """An answer that is an error; `str()` is one line.

    Args:
        status: of HTTP.
        message: what was wrong, and what to do.
        param: the field that was wrong.
        code: a word that clients look for.
        retry_after: seconds after which it is worth another try; None where it never is.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.retry_after = retry_after

    def headers(self) -> dict[str, str]:
        """Return the headers that go with it: the official clients retry by them."""
        if self.retry_after is not None:
            return {"retry-after": str(self.retry_after)}
        return {"x-should-retry": "false"}


def bad_request(message: str, param: str | None = None, code: str | None = None) -> Fault:
    """Return the fault of a field with a bad value."""
    return Fault(400, message, param=param, code=code)


def busy() -> Fault:
    """Return the fault of a queue that is full."""
    return Fault(
        429,
        "too many requests are waiting; try again in a moment",
        code="rate_limit_exceeded",
        retry_after=RETRY_S,
    )


def not_ready(message: str) -> Fault:
    """Return the fault of an engine that can't answer yet, or not any more."""
    return Fault(503, message, code="engine_not_ready", retry_after=RETRY_S)


def engine_fault(error: ErrorInfo) -> Fault:
    """Return what an engine's error is over HTTP: the request's fault, or the server's."""
    line = one_line(error)
    if error.exit_code == 2:
        is_long = "tokens, but" in error.message
        return bad_request(
            line, "messages" if is_long else None, "context_length_exceeded" if is_long else None
        )
    return Fault(500, line, code="engine_error")


def openai_body(fault: Fault) -> dict[str, Any]:
    """Return the body of an error as OpenAI's clients read it."""
    kind = _OPENAI_TYPES.get(
        fault.status, "server_error" if fault.status >= 500 else "invalid_request_error"
    )
    return {
        "error": {
            "message": fault.message,
            "type": kind,
            "param": fault.param,
            "code": fault.code,
        }
    }


def anthropic_body(fault: Fault, request_id: str) -> dict[str, Any]:
    """Return the body of an error as Anthropic's clients read it."""
    fallback = "api_error" if fault.status >= 500 else "invalid_request_error"
    kind = _ANTHROPIC_TYPES.get(anthropic_status(fault), fallback)
    return {
        "type": "error",
        "error": {"type": kind, "message": fault.message},
        "request_id": request_id,
    }


def anthropic_status(fault: Fault) -> int:
    """Return the status that Anthropic's clients know for a fault."""
    return _TOO_BUSY_FOR_ANTHROPIC if fault.status == 429 else fault.status
