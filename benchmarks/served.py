"""A server of `mtplx-tui serve` in a process of its own, for benchmarks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

__all__ = ["Served", "resident_kb"]

PROGRAM = Path(sys.executable).with_name("mtplx-tui")


class Served:
    """A server that serves.

    Args:
        process: its own.
        told: what it said of itself.
    """

    def __init__(self, process: subprocess.Popen[str], told: dict[str, Any]) -> None:
        self.process = process
        self.model: str = told["model"]
        self.address: str = told["address"].removeprefix("http://")

    @classmethod
    @contextmanager
    def run(cls, home: Path, *words: str) -> Generator[Served]:
        """Serve as long as the context lasts."""
        command = [PROGRAM, "serve", "--port", "0", "--json", *words]
        environment = {**os.environ, "MTPLX_TUI_HOME": str(home)}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as made:
            assert made.stdout is not None
            try:
                yield cls(made, json.loads(made.stdout.readline()))
            finally:
                made.send_signal(signal.SIGTERM)

    def post(self, path: str, body: dict[str, Any]) -> tuple[HTTPConnection, HTTPResponse]:
        """Post JSON; the caller closes the connection."""
        connection = HTTPConnection(self.address, timeout=120)
        headers = {"Content-Type": "application/json"}
        connection.request("POST", path, json.dumps(body), headers)
        return connection, connection.getresponse()

    def get(self, path: str) -> str:
        """Return what a path gives."""
        connection = HTTPConnection(self.address, timeout=30)
        connection.request("GET", path)
        text = connection.getresponse().read().decode()
        connection.close()
        return text


def resident_kb(process: int) -> int:
    """Return what a process holds in memory."""
    told = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(process)], capture_output=True, text=True, check=True
    )
    return int(told.stdout)
