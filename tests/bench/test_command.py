"""`mtplx-tui bench` and `tune` from their words to their exit codes, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mtplx_tui import cli
from mtplx_tui.bench import report
from tests.fakes.sysfs import FakeSysfs

WORDS = ("--prompts", "3", "--max-tokens", "6", "--depths", "0-2,auto")


@pytest.mark.usefixtures("home")
def test_bench_prints_a_result_that_can_be_compared(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "result.json"
    assert cli.main(["bench", str(tiny_folder), *WORDS, "--json", "--out", str(path)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["answers"] == json.loads(path.read_text())["answers"]
    assert [row["depth"] for row in told["rows"]] == [0]
    assert told["memory_bytes"] > 0
    assert len(report.read(path).answers) == 3
    assert cli.main(["bench", "--compare", str(path), str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("noise")


@pytest.mark.usefixtures("home")
def test_bench_tells_the_heat_it_was_measured_in(
    tiny_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tree = FakeSysfs.desktop(tmp_path / "sys")
    monkeypatch.setenv("MTPLX_TUI_SYSFS", str(tree.root))
    path = tmp_path / "result.json"
    assert cli.main(["bench", str(tiny_folder), *WORDS, "--out", str(path)]) == 0
    assert "heat: CPU 61 °C, GPU 52 °C" in capsys.readouterr().out
    heat = report.read(path).about["heat"]
    assert isinstance(heat, dict)
    assert heat["courses"]["CPU"] == [61.0, 61.0, 61.0]


@pytest.mark.usefixtures("home")
def test_there_is_nothing_to_tune_without_a_head(
    tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["tune", str(tiny_folder), "--tokens", "20"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"mtplx-tui: {tiny_folder} has no head, so there is nothing to tune\n"
