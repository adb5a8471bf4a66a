"""The doctor's screen: it looks while the app goes on, and shows what is found as it is found."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from mtplx_tui.config import Terminal
from mtplx_tui.doctor.check import Check, Severity
from mtplx_tui.doctor.examination import Begun, Examination
from mtplx_tui.doctor.surroundings import Surroundings
from mtplx_tui.screens.doctor import DoctorScreen
from mtplx_tui.widgets.check_list import CheckDetail, CheckList
from tests.doctor.broken import sound
from tests.tui.chat_talk import TERMINAL, Talk

SIZES = [(80, 24), (120, 40), (200, 60)]
WELL = tuple(
    Check(name, f"{name} is well", found, group=group)
    for group, name, found in (
        ("install", "Python", "3.13.2"),
        ("install", "packages", "all 17 fit"),
        ("engine", "MLX", "0.32.4 on metal Apple M4 Max"),
        ("engine", "gated delta", "runs on metal"),
        ("machine", "memory", "40.1 GB of 68.7 GB free"),
        ("disk", "data", "/home/ada/.local/share/mtplx-tui"),
        ("disk", "cache", "/home/ada/.cache/mtplx-tui"),
        ("network", "hub", "huggingface.co answers, and knows the login"),
        ("terminal", "terminal", "xterm-ghostty in ghostty"),
        ("your files", "settings", "all is well"),
        ("leftovers", "temporary files", "none"),
    )
)
NOTE = Check("login", "a token", "none", Severity.NOTE, "run `hf auth login`", group="network")
WARNING = Check(
    "downloads", "none is half done", "2 not done, 4.21 GB of them here", Severity.WARNING,
    "`mtplx-tui pull NAME` goes on; to drop one, delete its folder in /home/ada/.cache/huggingface/hub",
    ("mlx-community/some-model-4bit", "owner/another"), "leftovers",
)  # fmt: skip
ERROR = Check(
    "fan guard", "no fan is left held", "a guard died; the fans may still be held", Severity.ERROR,
    "run `mtplx-tui fans restore`", group="machine",
)  # fmt: skip


def _nothing(_: Surroundings) -> Iterator[Check]:
    return iter(())


class Gate:
    """Lets a check say things one at a time, whenever the test wants it."""

    def __init__(self) -> None:
        self._turn = threading.Semaphore(0)
        self.looked: list[Surroundings] = []

    def open(self, turns: int = 100) -> None:
        self._turn.release(turns)

    def run(self, s: Surroundings, begun: Begun) -> Iterator[Check]:
        self.looked.append(s)
        for check in (*WELL[:8], NOTE, *WELL[8:], WARNING, ERROR):
            begun(Examination(check.group, check.name, _nothing, "it takes long"))
            self._turn.acquire(timeout=20)
            if s.is_over.is_set():
                return
            yield check


class Patient(Talk):
    """A Talk beside whose chat the doctor looks at a machine."""

    def __init__(self, folder: Path, gate: Gate, terminal: Terminal = TERMINAL) -> None:
        super().__init__(folder, terminal=terminal)
        self.gate = gate
        self.surroundings = sound(folder)

    async def show(self) -> None:
        """Open the screen."""
        screen = DoctorScreen(lambda: self.surroundings, self.gate.run)
        await self.app.push_screen(screen)
        await self.settle()

    @property
    def doctor(self) -> DoctorScreen:
        screen = self.app.screen
        assert isinstance(screen, DoctorScreen)
        return screen

    @property
    def headline(self) -> str:
        return str(self.doctor.query_one("#doctor-headline", Static).content)

    @property
    def rows(self) -> list[str]:
        options = self.doctor.query_one(CheckList).options
        return [" ".join(str(option.prompt).split()) for option in options]

    @property
    def detail(self) -> str:
        return str(self.doctor.query_one(CheckDetail).content)

    @property
    def said(self) -> str:
        """All notices."""
        return "\n".join(self.notices())

    async def seen(self, text: str) -> None:
        """Wait until the headline says something."""
        await self.until(lambda: text in self.headline)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open()


class TestWhatIsShown:
    async def test_checks_come_one_by_one_and_problems_go_first(
        self, tmp_path: Path, gate: Gate
    ) -> None:
        async with (patient := Patient(tmp_path, gate)).at(80, 24):
            await patient.show()
            await patient.seen("looking: 0 done; install, Python (it takes long)")
            gate.open(1)
            await patient.seen("looking: 1 done; install, packages")
            assert patient.rows == ["install", "✓ Python 3.13.2"]
            gate.open()
            await patient.seen("1 error and 1 warning in 14 checks")
            assert patient.rows[:3] == [
                "to mend",
                "✗ fan guard a guard died; the fans may still be held",
                "! downloads 2 not done, 4.21 GB of them here",
            ]
            assert "what to do run `mtplx-tui fans restore`" in patient.detail

    async def test_the_marked_row_is_told_in_full_and_stays_marked(
        self, tmp_path: Path, gate: Gate
    ) -> None:
        async with (patient := Patient(tmp_path, gate)).at(80, 24):
            await patient.show()
            gate.open(3)
            await patient.seen("looking: 3")
            await patient.press("down")
            assert "packages is well" in patient.detail
            gate.open()
            await patient.seen("in 14 checks")
            assert "packages is well" in patient.detail

    async def test_signs_are_plain_where_the_terminal_has_no_others(
        self, tmp_path: Path, gate: Gate
    ) -> None:
        terminal = replace(TERMINAL, is_utf8=False)
        async with (patient := Patient(tmp_path, gate, terminal=terminal)).at(80, 24):
            gate.open()
            await patient.show()
            await patient.seen("in 14 checks")
            shown = "".join([*patient.rows, patient.headline, patient.detail])
            assert shown.isascii()
            assert any(row.startswith("n fan guard") for row in patient.rows)


class TestTheAppGoesOn:
    async def test_keys_work_while_a_check_hangs(self, tmp_path: Path, gate: Gate) -> None:
        async with (patient := Patient(tmp_path, gate)).at(80, 24):
            await patient.show()
            await patient.press("escape")
            assert not isinstance(patient.app.screen, DoctorScreen)
            assert gate.looked[0].is_over.is_set()
            await patient.ask("still there?")

    async def test_looking_again_forgets_the_run_before(self, tmp_path: Path, gate: Gate) -> None:
        async with (patient := Patient(tmp_path, gate)).at(80, 24):
            await patient.show()
            gate.open(2)
            await patient.seen("looking: 2")
            await patient.press("r")
            assert gate.looked[0].is_over.is_set()
            gate.open()
            await patient.seen("in 14 checks")
            assert len(patient.rows) == len(set(patient.rows))

    async def test_f9_opens_it_once(self, tmp_path: Path) -> None:
        async with (talk := Talk(tmp_path)).at(80, 24):
            await talk.press("f9", "f9")
            assert [type(screen) for screen in talk.app.screen_stack].count(DoctorScreen) == 1
            await talk.press("escape")

    async def test_it_looks_at_what_the_app_uses(self, tmp_path: Path, gate: Gate) -> None:
        async with (patient := Patient(tmp_path, gate)).at(100, 30):
            await patient.show()
            (s,) = gate.looked
            app = patient.app
            assert (s.places, s.terminal, s.size) == (app.places, app.terminal, (100, 30))
            assert s.address == (app.serving.host, app.serving.port)


class TestTheReport:
    async def test_it_is_saved_and_said(self, tmp_path: Path, gate: Gate) -> None:
        gate.open()
        async with (patient := Patient(tmp_path, gate)).at(80, 24):
            await patient.show()
            await patient.seen("in 14 checks")
            await patient.press("s")
            folder = patient.app.places.data / "reports"
            await patient.until(lambda: bool(list(folder.glob("doctor-*.json"))))
            (report,) = folder.iterdir()
            content = json.loads(report.read_text("utf-8"))
            assert len(content["checks"]) == 14
            assert "mlx-community" not in report.read_text("utf-8")
            await patient.until(lambda: "report written" in patient.said)

    async def test_a_folder_that_can_not_be_written_is_told(
        self, tmp_path: Path, gate: Gate
    ) -> None:
        gate.open()
        async with (patient := Patient(tmp_path, gate)).at(80, 24):
            await patient.show()
            await patient.seen("in 14 checks")
            patient.app.places.data.mkdir(exist_ok=True)
            (patient.app.places.data / "reports").write_text("")
            await patient.press("s")
            await patient.until(lambda: "no report was written" in patient.said)

    async def test_while_it_looks_there_is_nothing_to_save(
        self, tmp_path: Path, gate: Gate
    ) -> None:
        async with (patient := Patient(tmp_path, gate)).at(80, 24):
            await patient.show()
            await patient.press("s")
            assert "still run" in patient.said
            assert not (patient.app.places.data / "reports").exists()


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
def test_picture(
    size: tuple[int, int],
    tmp_path: Path,
    gate: Gate,
    snap_compare: Callable[..., bool],
) -> None:
    gate.open()
    patient = Patient(tmp_path, gate)

    async def run_before(pilot: Pilot[int]) -> None:
        await patient.begin(pilot)
        await patient.show()
        await patient.seen("in 14 checks")
        await patient.press("down")

    assert snap_compare(patient.app, terminal_size=size, run_before=run_before)
