"""Slow work in a thread that nobody waits for when the program is left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["in_thread"]

T = TypeVar("T")


def in_thread(run: Callable[[], T]) -> asyncio.Future[T]:
    """Run something in a thread that leaving does not wait for."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def put(result: T | None, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # ty: ignore[invalid-argument-type] - the result itself may be None

    def work() -> None:
        result, failed = None, None
        try:
            result = run()
        except Exception as error:  # noqa: BLE001 - a thread's end; raised where it is waited for
            failed = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(put, result, failed)

    threading.Thread(target=work, daemon=True).start()
    return future
