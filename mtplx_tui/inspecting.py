"""`mtplx-tui inspect`: what a model is and whether it drafts, here or on the hub, before any download."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from engine.errors import ModelFileError
from engine.verdict.tiers import Tier
from mtplx_tui.cli import parser, pass_line, tell
from mtplx_tui.config import find_places, load_settings
from mtplx_tui.library.catalog import (
    Report,
    fits,
    judge_here,
    judge_listing,
    machine_bytes,
    report_json,
)
from mtplx_tui.library.disk import ModelNotFound
from mtplx_tui.library.hub import Hub, HubError
from mtplx_tui.library.hub_cache import CacheRefused
from mtplx_tui.library.naming import OnHub, find
from mtplx_tui.library.speed import Speed, known, measure, measured, predict
from mtplx_tui.remedies import one_line
from mtplx_tui.wording import in_bytes

__all__ = ["main"]

_EXAMPLES = """\
examples:
  mtplx-tui inspect demo
  mtplx-tui inspect ~/models/my-model --json
  mtplx-tui inspect mlx-community/some-model      downloads no weights

exit codes: 0 verified or compatible, 3 no MTP head, 4 a head that can't run here, 1 an error
"""
_EXITS = {Tier.VERIFIED: 0, Tier.COMPATIBLE: 0, Tier.NO_MTP: 3, Tier.UNSUPPORTED: 4}
_SIGNS = {True: "yes", False: "no ", None: "?  "}


def main(words: list[str]) -> int:
    """Run the command and return its exit code."""
    chosen = parser("mtplx-tui inspect", "Tell what a model is, and whether it drafts.", _EXAMPLES)
    chosen.add_argument("model", help="a folder, a file in one, owner/name on the hub, or demo")
    chosen.add_argument("--json", action="store_true", help="print one JSON object")
    options = chosen.parse_args(words)
    try:
        report = _report(options.model)
    except (ModelFileError, HubError, CacheRefused, ModelNotFound) as error:
        tell(one_line(error))
        return 1
    except OSError as error:
        tell(f"{options.model} can't be read: {error.strerror}")
        return 1
    speed = _speed(report)
    document = json.dumps(report_json(report, speed)) if options.json else ""
    text = document or "\n".join(card_lines(report, speed))
    sys.stdout.write(f"{text}\n")
    return _EXITS[report.verdict.tier]


def _report(name: str) -> Report:
    path = Path(name).expanduser()
    if path.is_file() and path.suffix == ".safetensors":
        name = str(path.parent)
    found = find(name)
    if isinstance(found, OnHub):
        hub = Hub()
        return judge_listing(hub, hub.listing(found.name, found.revision), find_places().cache)
    return judge_here(found.name, Path(found.path), find_places().certificates)


def _speed(report: Report) -> Speed | None:
    """Return what is known of the model's speed; the machine's own is measured when first asked."""
    places = find_places()
    found = measured(report.name, places.bench)
    if found is not None or report.reads is None:
        return found
    machine = known(places)
    if machine is None:
        pass_line("measuring once how fast this machine reads weights")
        machine = measure(places, load_settings(places)[0].blas)
        pass_line("")
    return None if machine is None else predict(report.reads, machine)


def card_lines(report: Report, speed: Speed | None = None) -> list[str]:
    """Return the report as lines for a person."""
    verdict, head = report.verdict, report.verdict.mtp
    lines = [f"{report.name}: {verdict.tier}", f"  {verdict.summary}", ""]
    lines += [f"  {_SIGNS[r.ok]}  {r.check}: {r.detail}" for r in verdict.reasons]
    lines += [
        "",
        f"  type           {verdict.model_type}",
        f"  quantisation   {verdict.quantization}",
    ]
    if head is not None:
        size = "" if head.weight_bytes is None else f", {in_bytes(head.weight_bytes)}"
        lines.append(f"  head           {head.layers} layer(s) in {head.location}{size}")
    if head is not None and head.concat is not None:
        lines.append(
            f"  contract       [{head.concat}], trunk hidden {head.hidden}-norm, "
            f"recycled {head.recycle}-norm, norm weights {head.norm}"
        )
    if report.parameters is not None:
        lines.append(f"  parameters     {report.parameters:,}")
    lines.append(f"  weights        {in_bytes(report.weights_bytes)}")
    machine = machine_bytes()
    for context, needed in report.memory:
        if needed is not None:
            word = "fits" if fits(needed, machine) else "too much"
            shown = f"{in_bytes(needed)} of {in_bytes(machine)}, {word}"
            lines.append(f"  at {context:>7,} tokens  {shown}")
    lines += _speed_lines(speed)
    if report.license:
        lines.append(f"  licence        {report.license}")
    if report.is_gated:
        lines.append("  gated          its owner asks for an agreement first")
    return lines


def _speed_lines(speed: Speed | None) -> list[str]:
    if speed is None:
        return []
    lines = [f"  plain          {speed.plain} tokens/s"]
    if speed.drafting is not None:
        lines.append(f"  drafting       {speed.drafting} tokens/s")
    return [*lines, f"                 {speed.rests_on}"]
