"""Downloads against the fake hub: what the tests of this folder share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from mtplx_tui.library.download import Download
from mtplx_tui.library.hub import Hub
from mtplx_tui.library.progress import Pace, Progress
from tests.fakes.hub import FakeHub, safetensors_bytes

PART = 2**20
QUICK = Pace(workers=3, part_bytes=PART, tries=3, first_wait_s=0.01, most_wait_s=0.02)
"""Small parts, and no patience."""
SHARD = safetensors_bytes({"model.w": ("BF16", (1024, 2100))}, metadata={"format": "mlx"})
OTHER = safetensors_bytes({"model.v": ("BF16", (1000, 1000))}, seed=1)
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "README.md": b"# Hello\n",
    "model-00001-of-00002.safetensors": SHARD,
    "model-00002-of-00002.safetensors": OTHER,
    "mtp/weights.safetensors": safetensors_bytes({"mtp.fc": ("BF16", (8, 8))}, seed=2),
    "empty.txt": b"",
}
CODE = {"modeling.py": b"import os", "pytorch_model.bin": b"pickle", "onnx/model.json": b"{}"}
NAME = "org/tiny"
FIRST = "*/model-00001-of-00002.safetensors"


def download(
    hub: FakeHub,
    cache: Path,
    *,
    name: str = NAME,
    revision: str = "main",
    pace: Pace = QUICK,
    token: str = "",
) -> Download:
    return Download(Hub(hub.url, token), cache, name, revision, pace=pace)


def pull(hub: FakeHub, cache: Path, *, pace: Pace = QUICK, name: str = NAME) -> Path:
    """Download to the end and return the snapshot's folder."""
    return download(hub, cache, name=name, pace=pace).run(lambda _: None)


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file under a folder by its path there."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


class InBackground:
    """A download in a thread of its own."""

    def __init__(self, work: Download) -> None:
        self.seen: list[Progress] = []
        self.error: Exception | None = None
        self.path: Path | None = None
        self._work = work
        self._arrived = threading.Condition()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.path = self._work.run(self._tell)
        except Exception as error:  # noqa: BLE001 - handed to the test
            self.error = error
        with self._arrived:
            self._arrived.notify_all()

    def _tell(self, progress: Progress) -> None:
        with self._arrived:
            self.seen.append(progress)
            self._arrived.notify_all()

    def until(self, is_so: Callable[[Progress], bool]) -> Progress:
        """Wait for progress of a kind."""
        with self._arrived:
            met = self._arrived.wait_for(
                lambda: any(map(is_so, self.seen)) or not self._thread.is_alive(), timeout=20
            )
            assert met
            return next(filter(is_so, self.seen))

    def end(self) -> None:
        self._thread.join(timeout=20)
        assert not self._thread.is_alive()
