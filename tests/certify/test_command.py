"""`mtplx-tui certify` from its words to its exit code, on sound and on broken engines."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from engine.protocol import CheckResult, LawCheck
from mtplx_tui import certify, cli
from tests.conformance.sequences import tiny_engine
from tests.fakes import faults
from tests.library.test_certificates import made

LETTERS = "".join(sorted({*"The bicycle", *"def add(a, b):", *"Once upon a time, in a"}))


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that passes for a model, beside a home of its own."""
    monkeypatch.setenv("MTPLX_TUI_HOME", str(tmp_path / "home"))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}", "utf-8")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["lenient", "rollback", "noise"])
def test_a_broken_engine_is_named_and_the_certificate_kept(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    with tiny_engine(tmp_path, LETTERS, fault):
        for budget in ("12s", "36s", "108s"):  # as its own words advise where it is undecided
            code = cli.main(["certify", str(model), "--budget", budget, "--json"])
            said = capsys.readouterr()
            certificate = json.loads(said.out)
            results = {check["name"]: check["result"] for check in certificate["checks"]}
            if results[faults.NAMED[fault]] != CheckResult.UNDECIDED:
                break
    assert code == 5
    assert certificate["verdict"] == "broken"
    assert faults.NAMED[fault] in certificate["summary"]
    assert results[faults.NAMED[fault]] == CheckResult.BROKEN
    kept = [
        path for path in (tmp_path / "home/state/certificates").iterdir() if str(path) in said.err
    ]
    assert [json.loads(path.read_text("utf-8"))["certificate"] for path in kept] == [certificate]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--budget", "soon"], "90s, 5m or 1h"),
        (["--budget", "1s"], "between 5 s and a day"),
        (["--depth", "1"], "depth 2 or more"),
        (["--seed", "-1"], "seed must be"),
    ],
)
def test_wrong_usage_is_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["certify", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_page_is_of_plain_signs_for_every_result(tmp_path: Path) -> None:
    check = LawCheck("rule", "it holds", CheckResult.KEPT, 1, 0.0, 1, 1.0, 0.0)
    checks = tuple(replace(check, result=result) for result in CheckResult)
    page = certify._told(replace(made(tmp_path), checks=checks))
    assert page.isascii()
    assert len({line.split()[0] for line in page.splitlines() if "rule" in line}) == 3
