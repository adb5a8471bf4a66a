"""`mtplx-tui doctor`: checks the machine, the install and a person's files, each with a remedy."""

from __future__ import annotations

import json
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mtplx_tui.cli import parser, pass_line, tell
from mtplx_tui.doctor.bundle import BundleRefused, write_bundle
from mtplx_tui.doctor.check import Check
from mtplx_tui.doctor.examination import Examination, examine
from mtplx_tui.doctor.report import as_json, as_text, headline, is_well
from mtplx_tui.doctor.surroundings import find_surroundings

__all__ = ["main"]

_EXAMPLES = """\
examples:
  mtplx-tui doctor
  mtplx-tui doctor --offline --json
  mtplx-tui doctor --bundle report.json      a file to send along, without names, paths and secrets

exit codes: 0 no error, 1 an error was found (or the bundle can't be written), 2 wrong usage
"""


def main(words: list[str]) -> int:
    """Run the command and return its exit code."""
    chosen = parser("mtplx-tui doctor", "Tell what is wrong here, and what to do.", _EXAMPLES)
    chosen.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
    chosen.add_argument("--offline", action="store_true", help="do not ask the hub")
    chosen.add_argument("--bundle", metavar="FILE", help="write a redacted report; a new file")
    options = chosen.parse_args(words)
    s = find_surroundings(is_offline=options.offline)
    checks: list[Check] = []

    def begun(examination: Examination) -> None:
        pass_line(f"{len(checks)} done; {examination.about}")

    for check in examine(s, begun=begun):
        checks.append(check)
    pass_line("")
    sys.stdout.write(f"{_page(checks, is_json=options.json)}\n")
    sys.stdout.flush()
    if options.bundle is None:
        return 0 if is_well(checks) else 1
    try:
        written = write_bundle(Path(options.bundle), s, checks)
    except BundleRefused as error:
        tell(str(error))
        return 1
    tell(f"wrote {written}: {headline(checks)}; look at it before you send it")
    return 0 if is_well(checks) else 1


def _page(checks: list[Check], *, is_json: bool) -> str:
    if is_json:
        return json.dumps(as_json(checks, _version()))
    return as_text(checks, shutil.get_terminal_size((100, 24)).columns)


def _version() -> str:
    try:
        return version("mtplx-tui")
    except PackageNotFoundError:
        return ""
