"""Tells at the end what the law was held to, and which test killed which fault."""

from __future__ import annotations

import pytest

from tests.conformance.checks import checked, killed
from tests.conformance.toys import FAMILY_P, POWER, SUITE_P


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    write = terminalreporter.write_line
    if checked:
        terminalreporter.section("law")
        write(
            f"each check at p > {SUITE_P:.2g}, family-wise {FAMILY_P:g}; a bias (total variation) "
            f"of the size told is seen with probability {POWER}"
        )
    for name, fit in sorted(checked.items()):
        write(f"{name}: {fit}")
    if killed:
        terminalreporter.section("faults")
    for fault, test in sorted(killed.items()):
        write(f"{fault}: killed by {test}")
