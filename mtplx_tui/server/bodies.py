"""Reads what a client sends: within bounds of size, time and nesting, into the wanted shape."""

from __future__ import annotations

import asyncio
import re
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from mtplx_tui.server.faults import Fault, bad_request
from mtplx_tui.server.limits import BODY_BYTES, BODY_S, JSON_DEPTH

__all__ = ["read_body", "read_json"]

T = TypeVar("T")
_WHERE = re.compile(r" - at `(?:key` in `)?\$?\.?(.*?)(?:\[\.\.\.\])?`$")
_MISSING = re.compile(r"missing required field `(\w+)`")
_LARGE = 256 * 1024
"""Bytes from which a body is read in a thread, so that nothing else waits for it."""


async def read_body(request: Request, kind: type[T]) -> T:
    """Return a request's body as a struct.

    Raises:
        Fault: it is no JSON, too large, too slow, too deep, or a field has a bad value.
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise Fault(415, "the body must be JSON: send Content-Type: application/json")
    data = await _received(request)
    if len(data) > _LARGE:
        return await asyncio.to_thread(lambda: read_json(data, kind))
    return read_json(data, kind)


def read_json(data: bytes, kind: type[T]) -> T:
    """Return JSON as a struct. Raises Fault as `read_body`."""
    if data.count(b"[") + data.count(b"{") > JSON_DEPTH:
        _check_depth(data)
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise _bad_field(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise bad_request(f"the body is no JSON: {error}") from error
    except RecursionError as error:
        raise _too_deep() from error


async def _received(request: Request) -> bytes:
    """Return the body, counted as it comes: what a header says of it is not relied on."""
    data = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                data += chunk
                if len(data) > BODY_BYTES:
                    raise Fault(413, f"the body is larger than {BODY_BYTES >> 20} MB")
    except TimeoutError:
        raise Fault(408, "the body did not come in time") from None
    except ClientDisconnect:
        raise Fault(400, "the client went away") from None
    return bytes(data)


def _check_depth(data: bytes) -> None:
    """Raise Fault where arrays and objects lie too deep in each other."""
    try:
        level: list[Any] = [msgspec.json.decode(data)]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return  # told by whoever reads it into a shape
    except RecursionError:
        raise _too_deep() from None
    for _ in range(JSON_DEPTH):
        level = [
            child
            for value in level
            if isinstance(value, (dict, list))
            for child in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return
    if any(isinstance(value, (dict, list)) for value in level):
        raise _too_deep()


def _too_deep() -> Fault:
    return bad_request(f"the body is nested deeper than {JSON_DEPTH} levels")


def _bad_field(message: str) -> Fault:
    """Return the fault of a field, named as clients write it: `messages[0].role`."""
    where, missing = _WHERE.search(message), _MISSING.search(message)
    place = where[1] if where else ""
    text = _WHERE.sub("", message)
    param = ".".join(name for name in (place, missing[1] if missing else "") if name)
    return bad_request(f"{place}: {text}" if place else text, param or None)
