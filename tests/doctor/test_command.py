"""`mtplx-tui doctor` as a person runs it, and commands on a machine without a home or with a full disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("mtplx-tui")
FULL = Path("/dev/full")


def run(
    *words: str, home: Path, stdout: int | None = subprocess.PIPE, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line in an environment of its own."""
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "TERM")}
    variables = {"HOME": str(home), "OPENBLAS_NUM_THREADS": "1", **variables}
    return subprocess.run(
        [PROGRAM, *words], env=environment | variables, cwd=home, stdin=subprocess.DEVNULL,
        stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_json_is_one_document_and_nothing_else(tmp_path: Path) -> None:
    done = run("doctor", "--offline", "--json", home=tmp_path)
    report = json.loads(done.stdout)
    errors = [check for check in report["checks"] if check["severity"] == "error"]
    assert report["is_well"] == (not errors)
    assert done.returncode == (1 if errors else 0)
    assert {"expected", "found", "severity", "remedy"} < set(report["checks"][0])
    assert done.stderr == ""


def test_a_person_reads_problems_first(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("depth = 99\n")
    done = run("doctor", "--offline", home=tmp_path, MTPLX_TUI_HOME=str(tmp_path))
    page = done.stdout
    assert "warning: settings\n  found     " in page
    assert page.index("remedy") < page.index("\ninstall\n")
    assert "depth must be" in " ".join(page.split())
    assert done.returncode == 0


def test_an_error_is_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    home = str(tmp_path / "file" / "below")
    done = run("doctor", "--offline", home=tmp_path, MTPLX_TUI_HOME=home)
    assert done.returncode == 1
    assert "ERROR: data" in done.stdout


def test_wrong_usage_is_exit_code_2(tmp_path: Path) -> None:
    done = run("doctor", "--bundel", "x", home=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_a_bundle_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("mine")
    done = run("doctor", "--offline", "--bundle", "kept", home=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "is there already" in done.stderr
    assert (tmp_path / "kept").read_text() == "mine"


@pytest.mark.parametrize(
    "words",
    [["doctor", "--offline"], ["generate", "--prompt", "x"], ["inspect", "demo"], ["models"]],
)
def test_without_a_home_it_is_one_line_and_no_folder_is_made(
    tmp_path: Path, words: list[str]
) -> None:
    done = run(*words, home=tmp_path, HOME="nowhere")
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    told = done.stdout if words[0] == "doctor" else done.stderr
    assert "MTPLX_TUI_HOME" in " ".join(told.split())
    assert words[0] == "doctor" or done.stderr.count("\n") == 1
    assert os.listdir(tmp_path) == []


def test_without_a_home_mtplx_tui_home_is_enough(tmp_path: Path) -> None:
    kept, hub = str(tmp_path / "kept"), str(tmp_path / "hub")
    done = run("models", home=tmp_path, HOME="nowhere", MTPLX_TUI_HOME=kept, HF_HOME=hub)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_locale_c_is_no_trouble(tmp_path: Path) -> None:
    done = run(
        "doctor", "--offline", home=tmp_path, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"
    )
    assert "warning: signs" in done.stdout
    assert done.stderr == ""


@pytest.mark.skipif(not FULL.exists(), reason="there is no device that is always full")
def test_output_that_can_not_be_written_is_one_line(tmp_path: Path) -> None:
    with FULL.open("w") as full:
        done = run("doctor", "--offline", home=tmp_path, stdout=full.fileno())
    assert done.returncode == 1
    assert done.stderr == "mtplx-tui: No space left on device\n"
