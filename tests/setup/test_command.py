"""`mtplx-tui start` over a pipe and for scripts: answers, exit codes, interruptions, bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.protocol import Role
from mtplx_tui import cli
from mtplx_tui.chats.store import Store
from mtplx_tui.setup import flow, kept
from mtplx_tui.setup.flow import Offered, Place, Progress, Step, next_step
from tests.fakes.hub import FakeHub, Fault
from tests.fakes.processes import children, comes_true, is_gone

PROGRAM = Path(sys.executable).with_name("mtplx-tui")


def start(lines: str, *words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [PROGRAM, "start", *map(str, words)],
        input=lines,
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, **environment},
        timeout=300,
        check=False,
    )


def progress(home: Path) -> Progress:
    return kept.read(home / "state" / "setup.json").progress


def questions(home: Path) -> list[str]:
    """Return what was asked in all chats on disk."""
    store = Store(home / "chats")
    chats = (store.read(summary.id) for summary in store.summaries())
    return [t.text for chat in chats for t in chat.turns.values() if t.role is Role.USER]


def test_yes_comes_to_a_first_answer_and_later_straight_to_chat(
    person: Path, tiny_folder: Path
) -> None:
    first = start("", "--yes", "--model", tiny_folder)
    assert first.returncode == 0, first.stderr
    assert "read at 36 to 44 GB/s" in first.stdout
    assert "plain decoding is exact" in first.stdout
    assert f'last_model = "{tiny_folder}"' in (person / "config.toml").read_text()
    assert next_step(progress(person)) is Step.DONE
    assert questions(person) == ["Why is the sky blue?"]
    second = start("Hello?\n", "--yes")
    assert second.returncode == 0, second.stderr
    assert second.stdout.startswith(f"same as last time: {tiny_folder}")
    assert "This machine" not in second.stdout
    assert sorted(questions(person)) == ["Hello?", "Why is the sky blue?"]


def test_json_is_one_document(person: Path, tiny_folder: Path) -> None:
    done = start("", "--json", "--model", tiny_folder)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["model"], told["step"], told["same_as_last_time"]) == (
        str(tiny_folder),
        "done",
        False,
    )
    assert told["machine"]["cores"] == os.cpu_count()
    assert told["weights_bytes_per_s"] == [36e9, 44e9]
    assert told["answer"]["tokens"] == told["answer"]["cycles"] > 0
    assert "switched off by HF_HUB_OFFLINE" in told["hub_error"]
    assert [model["name"] for model in told["models"]] == ["demo"]
    again = json.loads(start("", "--json").stdout)
    assert (again["same_as_last_time"], again["answer"]) == (True, None)
    assert person.is_dir()


@pytest.mark.slow
def test_answers_come_over_a_pipe(person: Path, tiny_folder: Path) -> None:
    lines = f"99\n/no/such/folder\nno such name!\n{tiny_folder}\nWho are you?\nn\n"
    done = start(lines)
    assert done.returncode == 0, done.stderr
    assert "demo" in done.stdout
    assert "switched off by HF_HUB_OFFLINE" in done.stdout
    told = done.stderr.splitlines()
    assert "there is no model 99 in the list" in told[0]
    assert "/no/such/folder" in told[1]
    assert "there is no folder no such name!" in told[2]
    assert questions(person) == ["Who are you?"]
    assert progress(person) == Progress(
        str(tiny_folder),
        is_here=True,
        has_answer=True,
        tour=Offered.SKIPPED,
        tuning=Offered.SKIPPED,
        place=Place.TERMINAL,
    )


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ((), 2, "--yes takes the default without asking"),
        (("--model", " "), 2, "--model needs a name"),
        (("--what",), 2, "unrecognized arguments: --what"),
        (("--yes", "--model", "/no/such/folder"), 1, "there is no folder /no/such/folder"),
        (("--yes", "--model", "owner/name"), 1, "switched off by HF_HUB_OFFLINE; unset it"),
    ],
)
def test_what_can_not_be_done_is_one_line(
    person: Path, words: tuple[str, ...], code: int, told: str
) -> None:
    done = start("", *words)
    assert done.returncode == code
    (line,) = done.stderr.splitlines()
    assert told in line
    assert not progress(person).model


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_ended_in_the_first_answer_it_goes_on_there(
    person: Path, endless_folder: Path, tiny_folder: Path, number: signal.Signals
) -> None:
    with subprocess.Popen(
        [PROGRAM, "start", "--yes", "--model", str(endless_folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        assert comes_true(lambda: questions(person) != [], within_s=120)
        (engine,) = children(process.pid)
        process.send_signal(number)
        process.stdout.read()
        process.wait(30)
    assert process.returncode == (-number if number is signal.SIGKILL else 128 + number)
    assert comes_true(lambda: is_gone(engine))
    assert progress(person).model == str(endless_folder)
    assert next_step(progress(person)) is Step.TALK
    again = start("", "--yes", "--model", tiny_folder)
    assert again.returncode == 0, again.stderr
    assert next_step(progress(person)) is Step.DONE


@pytest.mark.slow
def test_rubbish_in_its_notes_begins_anew(person: Path, tiny_folder: Path) -> None:
    (person / "state" / "setup.json").write_bytes(b"\xff{]")
    done = start("", "--yes", "--model", tiny_folder)
    assert done.returncode == 0
    assert "setup.json makes no sense; the set-up begins anew" in done.stderr


@pytest.mark.slow
def test_a_model_that_is_gone_is_told_and_another_one_chosen(
    person: Path, tiny_folder: Path
) -> None:
    gone = Progress("/no/longer", is_here=True, has_answer=True, tour=Offered.SKIPPED)
    kept.keep(person / "state" / "setup.json", gone)
    done = start(f"{tiny_folder}\n")
    assert done.returncode == 0
    assert "/no/longer is no longer on this machine; choose again" in done.stderr
    assert progress(person).model == str(tiny_folder)


@pytest.mark.slow
def test_a_home_that_cannot_be_written_is_told_and_an_answer_seen(
    person: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    place = str(tmp_path / "file")
    done = start("", "--json", "--model", tiny_folder, MTPLX_TUI_HOME=place)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["answer"]["tokens"] > 0
    assert "how far the set-up is can't be kept" in done.stderr
    assert f"the choice is not written down: {place}/config.toml: " in done.stderr
    assert "[Errno" not in done.stderr
    assert person.is_dir()


class TestDownload:
    @pytest.fixture
    def hub(
        self, person: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[FakeHub]:
        assert person.is_dir()
        monkeypatch.delenv("HF_HUB_OFFLINE")
        # Without the demo nothing has to be waited for before the download.
        monkeypatch.setattr("mtplx_tui.library.disk.DEMO_PACKAGE", "no_such_package")
        with FakeHub() as hub:
            monkeypatch.setenv("HF_ENDPOINT", hub.url)
            files = {file.name: file.read_bytes() for file in tiny_folder.iterdir()}
            hub.add("owner/tiny", files, tags=["mlx"])
            yield hub

    def test_it_is_downloaded_loaded_and_asked(
        self, hub: FakeHub, person: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert hub.url
        assert cli.main(["start", "--json", "--model", "owner/tiny"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["model"], told["step"]) == ("owner/tiny", "done")
        assert told["answer"]["tokens"] > 0
        assert 'last_model = "owner/tiny"' in (person / "config.toml").read_text()

    def test_one_that_fails_is_told_and_gone_on_with(
        self, hub: FakeHub, person: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        chosen = flow.choose(Progress(), "owner/tiny", is_here=False)
        kept.keep(person / "state" / "setup.json", chosen)
        hub.plan("*model.safetensors", Fault(status=404))
        assert cli.main(["start", "--yes"]) == 1
        told = capsys.readouterr().err.splitlines()[-1]
        assert "the same command goes on from here" in told
        assert next_step(progress(person), has_demo=False) is Step.FETCH
        assert cli.main(["start", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["step"] == "done"

    def test_one_that_does_not_fit_is_refused_beforehand(
        self,
        hub: FakeHub,
        person: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        assert hub.url
        monkeypatch.setattr("mtplx_tui.setup.survey.machine_bytes", lambda: 2**20)
        assert cli.main(["start", "--yes", "--model", "owner/tiny"]) == 1
        assert "owner/tiny can't be used: it needs" in capsys.readouterr().err
        assert not progress(person).model
        monkeypatch.setattr("mtplx_tui.setup.survey.machine_bytes", lambda: 2**40)
        monkeypatch.setattr("mtplx_tui.setup.survey._free_bytes", lambda _: 1000)
        assert cli.main(["start", "--yes", "--model", "owner/tiny"]) == 1
        assert "need more disk than the 1.00 kB free" in capsys.readouterr().err
