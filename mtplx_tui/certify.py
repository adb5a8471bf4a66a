"""`mtplx-tui certify`: does drafting change what this model says, on this machine?"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys

from engine.protocol import (
    Certificate,
    Certify,
    CertifyDone,
    CertifyProgress,
    Verdict,
)
from engine.wire import plain_fields
from mtplx_tui import config
from mtplx_tui.cli import UsageError, parser, pass_line, tell
from mtplx_tui.driving import Engine, EngineTrouble
from mtplx_tui.library.certificates import keep
from mtplx_tui.library.disk import Location, ModelNotFound, resolve
from mtplx_tui.remedies import one_line

__all__ = ["main"]

_EXAMPLES = """\
examples:
  mtplx-tui certify
  mtplx-tui certify ~/models/my-model --budget 20m --json

Holds the loaded model, its kernels and this machine to the law: the rules of acceptance a million
times over real rows, acceptance against the overlap of target and draft, short sequences against
plain decoding in every mode, and greedy text against plain greedy text. The certificate is kept
in the app's data folder, under state/certificates, and makes the model verified in inspect,
models and the app as long as its files, this machine and the versions stay what they are.

exit code: 0 exact, 5 a law is broken, 6 undecided
"""
_EXITS = {Verdict.EXACT: 0, Verdict.BROKEN: 5, Verdict.UNDECIDED: 6}
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}
_STAGES = {
    "cycles": "watching drafts being accepted",
    "rules": "running the rules of acceptance",
    "texts": "holding whole texts to plain decoding's rows",
    "sequences": "comparing short sequences",
    "greedy": "comparing greedy texts",
}


def main(words: list[str]) -> int:
    """Run the command and return its exit code."""
    chosen = parser("mtplx-tui certify", "Hold a model to the law, here.", _EXAMPLES)
    chosen.add_argument("model", nargs="?", default="demo", help="as in generate; default demo")
    chosen.add_argument("--budget", default="5m", help="time to take: 90s, 5m, 1h; default 5m")
    chosen.add_argument("--depth", type=int, default=3, help="drafted to, 2 to 8; default 3")
    chosen.add_argument("--seed", type=int, default=0, help="of all that is drawn; default 0")
    chosen.add_argument("--json", action="store_true", help="print the certificate as JSON")
    options = chosen.parse_args(words)
    command = _command(options)
    try:
        certificate = asyncio.run(_run(resolve(options.model), command))
    except ModelNotFound as error:
        tell(one_line(error))
        return 1
    except EngineTrouble as error:
        tell(str(error))
        return error.exit_code
    _keep(certificate)
    document = json.dumps(plain_fields(certificate), indent=2) if options.json else ""
    sys.stdout.write(f"{document or _told(certificate)}\n")
    return _EXITS[certificate.verdict]


def _command(options: argparse.Namespace) -> Certify:
    """Return the command. Raises UsageError naming what is wrong."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", options.budget)
    if found is None:
        raise UsageError(f"--budget takes a time such as 90s, 5m or 1h, not {options.budget!r}")
    seconds = float(found[1]) * _UNITS[found[2]]
    try:
        return Certify("certify", seconds, options.seed, options.depth)
    except ValueError as error:
        raise UsageError(str(error)) from error


async def _run(location: Location, command: Certify) -> Certificate:
    async with Engine() as engine:
        await engine.load(location)
        engine.send(command)
        while True:
            event = await engine.next_event()
            if isinstance(event, CertifyProgress):
                share = min(1.0, event.done_s / event.budget_s)
                pass_line(f"{_STAGES.get(event.stage, event.stage)} {share:.0%}")
            if isinstance(event, CertifyDone):
                pass_line("")
                return event.certificate


def _keep(certificate: Certificate) -> None:
    """Store the certificate under the hash of what it says."""
    try:
        path = keep(certificate, config.find_places().certificates)
    except OSError as error:
        tell(f"the certificate could not be kept: {error.strerror}")
        return
    sys.stderr.write(f"kept as {path}\n")


def _told(certificate: Certificate) -> str:
    """Return the certificate in words."""
    lines = [f"{certificate.verdict.value}: {certificate.summary}", ""]
    for check in certificate.checks:
        bias = f", sees a bias from {check.least_bias:.2%}" if 0 < check.least_bias < 1 else ""
        lines.append(f"{check.result.value:<9}  {check.name}: {check.claim}")
        lines.append(f"{'':<9}  {check.samples:,} samples, p {check.p:.2g}{bias}")
    return "\n".join(lines)
