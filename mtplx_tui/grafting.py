"""`mtplx-tui graft`: gives a converted trunk that lost its head the one of the original release."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from mtplx_tui.cli import UsageError, parser, tell
from mtplx_tui.library.disk import ModelNotFound, resolve
from mtplx_tui.wording import in_bytes

__all__ = ["main"]

SIDECAR = "mtp.safetensors"
_EXAMPLES = """\
examples:
  mtplx-tui graft ~/models/my-4bit --head ~/models/original
  mtplx-tui graft owner/converted --head owner/original --out ~/models/with-head --bits 4

The head is written beside the trunk as mtp.safetensors. With --out a new folder gets the trunk's
files, linked where the disk allows it, and the head. Of the original release only config.json and
the files that hold the head need be there.
"""


def main(words: list[str]) -> int:
    """Run the command and return its exit code."""
    options = _parsed(words)
    try:
        trunk, head = resolve(options.trunk), resolve(options.head)
    except ModelNotFound as error:
        tell(f"{error.message}; {error.remedy}")
        return 1
    if "demo" in (trunk.kind, head.kind):
        raise UsageError("the demo has its own head, which fits no other trunk")
    if trunk.kind == "hub" and options.out is None:
        raise UsageError("the hub's cache is not written to: give --out and a new folder")
    out = Path(trunk.path if options.out is None else options.out).expanduser().absolute()
    try:
        answer = _grafted(options, Path(trunk.path), Path(head.path), out)
    except OSError as error:
        tell(f"{out} can't be written: {error.strerror}")
        return 1
    if "error" in answer:
        tell("; ".join(str(answer[key]) for key in ("error", "remedy") if answer[key]))
        return 1
    _tell_done(out / SIDECAR, answer, is_json=options.json)
    return 0


def _parsed(words: list[str]) -> argparse.Namespace:
    chosen = parser("mtplx-tui graft", "Give a trunk the head of its original release.", _EXAMPLES)
    chosen.add_argument("trunk", help="a folder, or owner/name in the hub's cache")
    chosen.add_argument("--head", required=True, help="the same, with the head's tensors")
    chosen.add_argument("--out", help="a new folder for trunk and head")
    chosen.add_argument("--bits", type=int, choices=(4, 8), help="quantise the head")
    chosen.add_argument("--group-size", type=int, choices=(32, 64, 128), default=64)
    chosen.add_argument("--json", action="store_true", help="print one JSON object")
    return chosen.parse_args(words)


def _grafted(options: argparse.Namespace, trunk: Path, head: Path, out: Path) -> dict[str, object]:
    """Write the head in place, or a new folder that is there whole or not at all."""
    if options.out is None:
        if os.path.lexists(out / SIDECAR):
            return {"error": f"{out / SIDECAR} is there already", "remedy": "give --out"}
        return _asked(options, trunk, head, out / SIDECAR)
    if os.path.lexists(out):
        return {"error": f"{out} is there already", "remedy": "give a new folder"}
    fresh = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        shutil.copytree(trunk, fresh, copy_function=_link)
        answer = _asked(options, trunk, head, fresh / SIDECAR)
        if "error" not in answer:
            fresh.rename(out)
        return answer
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _link(source: str, target: str) -> None:
    """Link a file, or copy it where it lies on another disk. Links are followed."""
    real = os.path.realpath(source)
    try:
        os.link(real, target)
    except OSError:
        shutil.copyfile(real, target)


def _asked(options: argparse.Namespace, trunk: Path, head: Path, target: Path) -> dict[str, object]:
    """Let an engine's process do it, and return its answer."""
    command = [sys.executable, "-P", "-m", "engine.grafting", str(trunk), str(head), str(target)]
    command += ["--name", options.head, "--group-size", str(options.group_size)]
    command += ["--bits", str(options.bits)] if options.bits else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        reason = " ".join(done.stderr.split())[-200:]
        return {"error": f"the engine's process ended with {done.returncode}", "remedy": reason}
    return answer if isinstance(answer, dict) else {"error": "no answer", "remedy": ""}


def _tell_done(sidecar: Path, answer: dict[str, object], *, is_json: bool) -> None:
    if is_json:
        line = json.dumps({"path": str(sidecar), **answer})
    else:
        size = answer["bytes"]
        shown = in_bytes(size) if isinstance(size, int) else ""
        line = f"{sidecar}: {shown}, a head of the family {answer['family']}"
    sys.stdout.write(f"{line}\n")
