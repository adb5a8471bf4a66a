"""`inspect` tells how a head is fed: declared beside it, found out here, or not known yet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.model import probe
from engine.model.load import load
from mtplx_tui.cli import main
from mtplx_tui.config import find_places
from tests.fakes import checkpoints

Captured = pytest.CaptureFixture[str]
CHECK = "how it is fed"


@pytest.fixture(autouse=True)
def few(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "cache").unlink()
    monkeypatch.setattr(probe, "POSITIONS", 48)


def asked(folder: Path, capsys: Captured) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """Return the exit code, the report, and its reason about the contract."""
    code = main(["inspect", str(folder), "--json"])
    report = json.loads(capsys.readouterr().out)
    reasons = [reason for reason in report["reasons"] if reason["check"] == CHECK]
    return code, report, reasons[0] if reasons else {}


def loaded(folder: Path) -> None:
    load(folder.name, folder, find_places().cache, lambda *_: None)


def test_what_is_declared_is_told_in_place_of_the_familys(tmp_path: Path, capsys: Captured) -> None:
    declared = {"concat": "hidden,embedding", "hidden": "pre", "norm_encoding": "plain"}
    folder = checkpoints.write(tmp_path / "m", "qwen3_5", contract=declared)
    code, report, reason = asked(folder, capsys)
    assert (code, reason["ok"]) == (0, True)
    assert "declared" in reason["detail"]
    assert {key: report["mtp"][key] for key in ("concat", "hidden", "recycle", "norm")} == {
        "concat": "hidden,embedding",
        "hidden": "pre",
        "recycle": "post",
        "norm": "plain",
    }


def test_what_nobody_disputes_needs_no_word(tmp_path: Path, capsys: Captured) -> None:
    code, _, reason = asked(checkpoints.write(tmp_path / "m", "mimo", contract={}), capsys)
    assert (code, reason) == (0, {})


def test_what_is_disputed_is_open_until_the_engine_has_asked(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "WORTH", 0.0)
    monkeypatch.setattr(probe, "MARGIN", -1.0)
    folder = checkpoints.write(tmp_path / "m", "glm4_moe", contract={})
    _, report, reason = asked(folder, capsys)
    assert (report["tier"], reason["ok"]) == ("compatible", None)
    loaded(folder)
    code, report, reason = asked(folder, capsys)
    assert (code, report["tier"], reason["ok"]) == (0, "compatible", True)
    assert "as the probe found here, " in reason["detail"]
    (place,) = (find_places().cache / "contracts").iterdir()
    found = json.loads(place.read_text("utf-8"))
    assert {key: report["mtp"][key] for key in ("concat", "hidden", "recycle")} == {
        key: found[key] for key in ("concat", "hidden", "recycle")
    }


def test_a_head_that_the_probe_refused_drafts_nothing(tmp_path: Path, capsys: Captured) -> None:
    folder = checkpoints.write(tmp_path / "m", "glm4_moe", contract={})
    loaded(folder)
    code, report, _ = asked(folder, capsys)
    assert (code, report["tier"]) == (3, "no-mtp")
    assert "of the trunk's choices at best" in report["summary"]


def test_what_is_kept_and_cant_be_read_counts_as_none(tmp_path: Path, capsys: Captured) -> None:
    folder = checkpoints.write(tmp_path / "m", "glm4_moe", contract={})
    loaded(folder)
    (place,) = (find_places().cache / "contracts").iterdir()
    place.write_text('{"share": "much"}', "utf-8")
    code, report, reason = asked(folder, capsys)
    assert (code, report["tier"], reason["ok"]) == (0, "compatible", None)
