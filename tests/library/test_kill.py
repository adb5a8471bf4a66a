"""Downloads in a process of their own that is killed, and gone on with."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mtplx_tui.library.parts import counted_bytes
from mtplx_tui.library.transport import READ
from tests.fakes.hub import Asked, FakeHub, safetensors_bytes
from tests.library.pulls import NAME, PART, QUICK, contents, pull

ROOT = Path(__file__).parents[2]
KILLS = 20
SIZE = 24 * PART
FILES = {
    "config.json": b"{}",
    "model-1.safetensors": safetensors_bytes({"a": ("U8", (SIZE,))}),
    "model-2.safetensors": safetensors_bytes({"b": ("U8", (SIZE,))}, seed=1),
}
CHILD = f"""
import sys
from pathlib import Path
from mtplx_tui.library.download import Download
from mtplx_tui.library.hub import Hub
from mtplx_tui.library.progress import Pace
work = Download(Hub(sys.argv[1], ""), Path(sys.argv[2]), "{NAME}", pace=Pace(workers=3, part_bytes={PART}))
work.run(lambda _: None)
"""


class Line:
    """A line that is as slow as the test wants: it kills a process once so many bytes passed."""

    def __init__(self) -> None:
        self.pieces = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.kill_at = 0

    def pass_piece(self) -> None:
        """Count a piece of a body."""
        self.pieces += 1
        if self.process is not None and self.pieces >= self.kill_at:
            self.process.send_signal(signal.SIGKILL)


def spans(asked: list[Asked]) -> list[tuple[str, int, int]]:
    """Return the file and the range of each request for weights."""
    found = []
    for request in asked:
        if request.range is not None and request.path.endswith(".safetensors"):
            first, last = request.range.removeprefix("bytes=").split("-")
            found.append((request.path.rpartition("/")[2], int(first), int(last) + 1))
    return found


def safe_bytes(cache: Path) -> int:
    return sum(counted_bytes(path) for path in cache.rglob("*.parts.incomplete")) + sum(
        path.stat().st_size for path in cache.rglob("blobs/*") if "incomplete" not in path.name
    )


@pytest.mark.slow
def test_killed_at_twenty_moments_it_loses_no_byte(tmp_path: Path) -> None:
    chance = random.Random(7)
    cache = tmp_path / "hub"
    total = sum(map(len, FILES.values()))
    line = Line()
    with FakeHub(between=line.pass_piece) as hub:
        hub.add(NAME, FILES)
        killed = 0
        for _ in range(KILLS):
            before = safe_bytes(cache)
            hub.forget()
            line.pieces, line.kill_at = 0, chance.randint(1, 10)
            line.process = subprocess.Popen(
                [sys.executable, "-c", CHILD, hub.url, str(cache)], cwd=ROOT
            )
            killed += line.process.wait(timeout=60) == -signal.SIGKILL
            line.process = None
            # What was asked for is only what was missing.
            asked = sum(end - start for _, start, end in spans(hub.asked))
            assert asked <= total - before
        assert killed >= KILLS - 2
        before = safe_bytes(cache)
        assert 0 < before < total
        hub.forget()
        assert contents(pull(hub, cache, pace=QUICK)) == FILES
        assert hub.bytes_sent <= total - before + 3 * READ
