"""`mtplx-tui pull`: downloads a repository, and goes on with what an earlier one left."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from mtplx_tui.cli import UsageError, parser, pass_line, tell
from mtplx_tui.config import find_hub_cache, find_places, load_settings
from mtplx_tui.library.download import Download, Stopped
from mtplx_tui.library.hub import Hub, HubError
from mtplx_tui.library.hub_cache import CacheRefused
from mtplx_tui.library.naming import parted
from mtplx_tui.library.progress import Limiter, Progress, State
from mtplx_tui.remedies import one_line
from mtplx_tui.wording import duration, in_bytes, read_bytes

__all__ = ["main"]

_EXAMPLES = """\
examples:
  mtplx-tui pull mlx-community/some-model
  mtplx-tui pull mlx-community/some-model@v2 --limit 20MB
  mtplx-tui pull mlx-community/some-model --json

Stopped or killed, the same command goes on where it was. A second one beside the first shares
the work. Files land in the hub's cache, where other programs find them too.
"""
_LINE_S = 10.0
"""Between two lines where standard error is no terminal."""


def main(words: list[str]) -> int:
    """Run the command and return its exit code."""
    options = _parsed(words)
    name, revision = parted(options.repository)
    try:
        limiter = Limiter(options.limit)
        work = Download(Hub(), find_hub_cache(), name, revision, limiter)
        shown = _Shown()
        with _stopped_by_signals(work):
            path = work.run(shown.tell)
    except (HubError, CacheRefused) as error:
        return _failed(one_line(error), 1)
    except Stopped:
        return _failed("stopped; the same command goes on from here", 130)
    _tell_done(shown.last, path, is_json=options.json)
    return 0


@contextmanager
def _stopped_by_signals(work: Download) -> Generator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: work.stop()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _parsed(words: list[str]) -> argparse.Namespace:
    chosen = parser("mtplx-tui pull", "Download a model from the hub.", _EXAMPLES)
    chosen.add_argument("repository", help="owner/name, with @ and a branch, tag or commit")
    chosen.add_argument(
        "--limit",
        help="bytes a second at most, such as 20MB; default download_limit in the settings",
    )
    chosen.add_argument("--json", action="store_true", help="print one JSON object at the end")
    options = chosen.parse_args(words)
    options.limit = options.limit or load_settings(find_places())[0].download_limit
    if options.limit is not None:
        try:
            options.limit = read_bytes(options.limit)
        except ValueError as error:
            raise UsageError(
                f"--limit must be a size such as 20MB, not {options.limit!r}"
            ) from error
    return options


def _tell_done(last: Progress, path: Path, *, is_json: bool) -> None:
    if is_json:
        result = {
            "name": last.name,
            "revision": last.revision,
            "commit": last.commit,
            "path": str(path),
            "bytes": last.total_bytes,
            "files": [{"path": file.path, "size": file.size} for file in last.files],
        }
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        sys.stdout.write(f"{path}\n")


class _Shown:
    """Progress on standard error: one line that changes, or a new one now and then."""

    def __init__(self) -> None:
        self.last = Progress("", "")
        self._told_at = float("-inf")

    def tell(self, progress: Progress) -> None:
        """Show how far it is."""
        is_new = progress.state is not self.last.state or progress.note != self.last.note
        self.last = progress
        line = progress_line(progress)
        if sys.stderr.isatty() and progress.state is not State.DONE:
            name, _, far = line.partition(": ")
            pass_line(f"{far}  {name}")  # a long name is cut before how far it is
        elif is_new or time.monotonic() - self._told_at > _LINE_S:
            self._told_at = time.monotonic()
            pass_line("")
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


def progress_line(progress: Progress) -> str:
    """Return one line on how far a download is."""
    parts = [f"{progress.name}: {progress.state}"]
    if progress.total_bytes:
        share = 100 * progress.done_bytes // progress.total_bytes
        parts.append(
            f"{in_bytes(progress.done_bytes)} of {in_bytes(progress.total_bytes)} ({share} %)"
        )
    if progress.state is State.FETCHING and progress.bytes_per_s:
        parts.append(f"{in_bytes(progress.bytes_per_s)}/s")
        if progress.seconds_left is not None:
            parts.append(f"{duration(progress.seconds_left)} left")
    if progress.note:
        parts.append(progress.note)
    return ", ".join(parts)


def _failed(line: str, exit_code: int) -> int:
    tell(line)
    return exit_code
