"""`mtplx-tui graft`: gives a converted trunk that lost its head the one of the original release."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from mtplx_tui.cli import UsageError, parser, pass_line, tell
from mtplx_tui.library.disk import ModelNotFound, resolve
from mtplx_tui.library.graft import NotGrafted, Order, graft, refusal
from mtplx_tui.library.naming import find
from mtplx_tui.remedies import one_line
from mtplx_tui.wording import in_bytes

__all__ = ["main"]

_EXAMPLES = """\
examples:
  mtplx-tui graft ~/models/my-4bit --head ~/models/original
  mtplx-tui graft owner/converted --head owner/original --out ~/models/with-head --bits 4

The head is written beside the trunk as mtp.safetensors. With --out a new folder gets the trunk's
files, weights linked where the disk allows it, and the head. Of the original release only
config.json and the files that hold the head need be there; of one that is not there the head's
own tensors are fetched from the hub, and nothing else of its weights.
"""


def main(words: list[str]) -> int:
    """Run the command and return its exit code."""
    options = _parsed(words)
    out = None if options.out is None else Path(options.out).expanduser().absolute()
    try:
        trunk, head = resolve(options.trunk), find(options.head)
        order = Order(trunk, head, out, options.bits, options.group_size)
        if why := refusal(order):
            raise UsageError(why)
        sidecar, answer = graft(order, _Shown(options.head).tell)
        pass_line("")
    except ModelNotFound as error:
        tell(one_line(error))
        return 1
    except NotGrafted as error:
        tell(str(error))
        return 1
    _tell_done(sidecar, answer, is_json=options.json)
    return 0


def _parsed(words: list[str]) -> argparse.Namespace:
    chosen = parser("mtplx-tui graft", "Give a trunk the head of its original release.", _EXAMPLES)
    chosen.add_argument("trunk", help="a folder, or owner/name in the hub's cache")
    chosen.add_argument("--head", required=True, help="a folder, or owner/name on the hub")
    chosen.add_argument("--out", help="a new folder for trunk and head")
    chosen.add_argument("--bits", type=int, choices=(4, 8), help="quantise the head")
    chosen.add_argument("--group-size", type=int, choices=(32, 64, 128), default=64)
    chosen.add_argument("--json", action="store_true", help="print one JSON object")
    return chosen.parse_args(words)


class _Shown:
    """How much of a head came, on standard error: a line that passes, or one at the begin."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._is_told = False

    def tell(self, done: int, total: int) -> None:
        """Show that so much is here."""
        line = f"fetching the head of {self._name}, {in_bytes(total)}"
        if sys.stderr.isatty():
            pass_line(f"{line}, {100 * done // total} %")
        elif not self._is_told:
            self._is_told = True
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


def _tell_done(sidecar: Path, answer: dict[str, object], *, is_json: bool) -> None:
    if is_json:
        line = json.dumps({"path": str(sidecar), **answer})
    else:
        size = answer["bytes"]
        shown = in_bytes(size) if isinstance(size, int) else ""
        line = f"{sidecar}: {shown}, a head of the family {answer['family']}"
    sys.stdout.write(f"{line}\n")
