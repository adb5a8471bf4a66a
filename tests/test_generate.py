"""`mtplx-tui generate` as people and scripts run it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.protocol import EngineStarted, Mode, ModelLoaded
from mtplx_tui import cli, link
from mtplx_tui.chats.desk import Desk
from mtplx_tui.chats.store import Store
from mtplx_tui.requests import Options
from mtplx_tui.traces import read_trace
from mtplx_tui.view import EngineView, apply
from tests.fakes import tiny
from tests.fakes.driver import EngineProcess, token_ids
from tests.fakes.processes import children, comes_true, is_gone

PROGRAM = Path(sys.executable).with_name("mtplx-tui")
SKY = "Why is the sky blue?"
FIELDS = {
    "text", "token_ids", "finish_reason", "prompt_tokens", "cycles", "stats", "model", "seed",
}  # fmt: skip
CYCLE_FIELDS = {
    "depth", "drafted", "accepted", "emitted", "ended", "draft_s", "verify_s", "total_s",
}  # fmt: skip
STATS_FIELDS = {"ttft_s", "tokens_per_s", "tokens_per_cycle", "reached_at", "accepted_at"}
Document = dict[str, Any]


def generate(
    *words: object, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a real process to its end."""
    return subprocess.run(
        [PROGRAM, "generate", *map(str, words)],
        input=stdin,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=300,
        check=False,
    )


def documents(*words: object, stdin: str = "", **environment: str) -> list[Document]:
    """Return what a well run process printed: JSON, one document a line, and nothing else."""
    done = generate(*words, "--json", stdin=stdin, **environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("\n")
    return [json.loads(line) for line in done.stdout.splitlines()]


def document(*words: object, stdin: str = "", **environment: str) -> Document:
    (only,) = documents(*words, stdin=stdin, **environment)
    return only


def timeless(found: Document) -> Document:
    """Return a document without what a clock wrote into it."""
    cycles = [{k: v for k, v in c.items() if not k.endswith("_s")} for c in found["cycles"]]
    stats = {k: v for k, v in found["stats"].items() if not k.endswith("_s")}
    return {**found, "cycles": cycles, "stats": stats}


def check_form(found: Document) -> None:
    """Assert what section 4 of the design says of a document."""
    assert found.keys() == FIELDS
    assert found["stats"].keys() == STATS_FIELDS
    cycles = found["cycles"]
    assert all(cycle.keys() == CYCLE_FIELDS for cycle in cycles)
    assert found["token_ids"] == [token for cycle in cycles for token in cycle["emitted"]]
    for at in range(8):
        accepted = sum(cycle["accepted"] > at for cycle in cycles)
        reached = sum(min(cycle["accepted"] + 1, cycle["depth"]) > at for cycle in cycles)
        assert found["stats"]["accepted_at"][at] == accepted
        assert found["stats"]["reached_at"][at] == reached
    emitted, seconds = len(found["token_ids"]), sum(cycle["total_s"] for cycle in cycles)
    assert found["stats"]["tokens_per_cycle"] == pytest.approx(emitted / len(cycles))
    assert found["stats"]["tokens_per_s"] == pytest.approx(emitted / seconds)
    assert found["stats"]["ttft_s"] > 0


@pytest.fixture
def short(home: Path, tiny_folder: Path) -> list[str]:
    """The words that ask the tiny model for a few tokens."""
    assert home.is_dir()
    return ["--model", str(tiny_folder), "--max-tokens", "8"]


class TestTinyModel:
    def test_one_document_and_a_note_that_there_is_no_head(
        self, short: list[str], tiny_folder: Path
    ) -> None:
        done = generate(*short, "--prompt", "Hello", "--seed", 5, "--json")
        assert done.returncode == 0
        found = json.loads(done.stdout)
        assert done.stdout.count("\n") == 1
        check_form(found)
        assert (found["model"], found["seed"]) == (str(tiny_folder), 5)
        assert found["finish_reason"] in ("length", "stop")
        assert 0 < len(found["token_ids"]) <= 8
        assert [cycle["depth"] for cycle in found["cycles"]] == [0] * len(found["cycles"])
        (note,) = done.stderr.splitlines()
        assert "decoded plainly: no head" in note

    def test_a_random_seed_is_reported_and_repeats_the_text(self, short: list[str]) -> None:
        first = document(*short, "--prompt", "-", stdin="Grüße, 你好\n")
        second = document(*short, "--prompt", "Grüße, 你好\n", "--seed", first["seed"])
        assert timeless(second) == timeless(first)

    def test_completion_i_has_seed_plus_i_and_its_own_trace(
        self, short: list[str], tmp_path: Path
    ) -> None:
        words = [*short, "--raw", "--prompt", "Hello"]
        trace = tmp_path / "trace.jsonl"
        found = documents(*words, "--seed", 2**64 - 2, "--n", 3, "--trace", trace)
        assert [each["seed"] for each in found] == [2**64 - 2, 2**64 - 1, 0]
        assert len({tuple(each["token_ids"]) for each in found}) == 3
        assert [each["prompt_tokens"] for each in found] == [len("Hello")] * 3
        alone = document(*words, "--seed", 0)
        assert timeless(alone) == timeless(found[2])
        loads = set()
        for index, each in enumerate(found):
            events = list(
                read_trace(trace.with_name(f"trace-{index}.jsonl") if index else trace).events
            )
            assert [type(event) for event in events[:2]] == [EngineStarted, ModelLoaded]
            loads.add(tuple(events[:2]))
            assert_same_view(events, each)
        assert len(loads) == 1
        assert sorted(path.name for path in tmp_path.glob("*.jsonl")) == [
            "trace-1.jsonl",
            "trace-2.jsonl",
            "trace.jsonl",
        ]

    @pytest.mark.slow
    def test_a_system_text_is_a_message_before_the_others(
        self, short: list[str], tmp_path: Path
    ) -> None:
        said = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Ho"), ("user", "And?")]
        messages = [{"role": role, "content": content} for role, content in said]
        (tmp_path / "whole.json").write_text(json.dumps(messages), "utf-8")
        (tmp_path / "rest.json").write_text(json.dumps(messages[1:]), "utf-8")
        words = [*short, "--seed", 1, "--messages"]
        whole = document(*words, tmp_path / "whole.json")
        rest = document(*words, tmp_path / "rest.json", "--system", "Be brief.")
        assert timeless(whole) == timeless(rest)
        rendered = "".join(f"<|{role}|>{content}\n" for role, content in said) + "<|assistant|>"
        assert whole["prompt_tokens"] == len(rendered)

    def test_without_json_the_text_streams(self, short: list[str]) -> None:
        words = [*short, "--prompt", "Hello", "--seed", 5]
        done = generate(*words, PYTHONIOENCODING="ascii")
        assert done.returncode == 0
        found = document(*words, PYTHONIOENCODING="ascii")
        assert done.stdout == found["text"].encode("ascii", "replace").decode() + "\n"

    @pytest.mark.slow
    def test_an_unknown_setting_is_told_and_the_default_used(self, short: list[str]) -> None:
        done = generate(*short, "--prompt", "Hello", "--json", MTPLX_TUI_BLAS="fast")
        assert json.loads(done.stdout).keys() == FIELDS
        assert "MTPLX_TUI_BLAS must be auto or stock, not 'fast'" in done.stderr


def assert_same_view(events: list[Any], found: Document) -> None:
    """Assert that a trace leads to what was printed."""
    view = EngineView()
    for event in events:
        view = apply(view, event)
    request = view.newest
    assert request is not None
    assert request.done is not None
    assert request.started is not None
    assert request.answer == found["text"]
    assert request.tokens_per_s == found["stats"]["tokens_per_s"]
    assert list(request.accepted_at) == found["stats"]["accepted_at"]
    assert [list(cycle.emitted) for cycle in request.cycles] == [
        cycle["emitted"] for cycle in found["cycles"]
    ]
    assert request.started.seed == found["seed"]


@pytest.mark.slow
@pytest.mark.xdist_group("demo")
class TestDemo:
    def test_the_example_of_the_manual_is_what_the_chat_answers(
        self, home: Path, demo_engine: EngineProcess
    ) -> None:
        words = ["--model", "demo", "--prompt", SKY, "--max-tokens", 16, "--depth", 3]
        found = document(*words, "--seed", 7)
        check_form(found)
        assert found["model"] == "demo"
        assert found["seed"] == 7
        assert len(found["token_ids"]) <= 16
        assert sum(found["stats"]["accepted_at"]) > 0
        assert found["stats"]["tokens_per_cycle"] > 1
        desk = Desk(Store(home / "chats"), options=Options(seed=7, depth=3, max_tokens=16))
        assert demo_engine.model is not None
        asked = desk.ask(SKY, demo_engine.model)
        cycles, _ = demo_engine.complete(asked, desk.apply)
        desk.close()
        assert token_ids(cycles) == found["token_ids"]
        assert desk.chat.path()[-1].text == found["text"]
        assert [cycle.accepted for cycle in cycles] == [c["accepted"] for c in found["cycles"]]

    @pytest.mark.usefixtures("home")
    def test_the_seeded_text_is_the_same_for_every_depth(self) -> None:
        words = ["--raw", "--prompt", "The sky is", "--max-tokens", 8, "--seed", 7]
        found = {
            depth: document(*words, "--mode", Mode.SEEDED, "--depth", depth, MTPLX_TUI_BLAS="stock")
            for depth in (0, 6)
        }
        assert found[0]["token_ids"] == found[6]["token_ids"]
        assert found[0]["text"] == found[6]["text"]
        assert {cycle["depth"] for cycle in found[0]["cycles"]} == {0}
        assert max(cycle["depth"] for cycle in found[6]["cycles"]) == 6


class TestWrongUsage:
    """Refused before any engine starts: one line, exit code 2, silence on standard output."""

    @pytest.fixture(autouse=True)
    def no_engine(self, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
        def refuse(*_: object) -> None:
            raise AssertionError("an engine was started")

        monkeypatch.setattr(link, "spawn", refuse)
        monkeypatch.chdir(home)

    def refused(self, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
        code = cli.main(["generate", "--json", *words])
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("mtplx-tui: ")
        assert err.count("\n") == 1
        return code, err

    @pytest.mark.parametrize(
        ("words", "reason"),
        [
            (["--depth", "9"], "depth must be between 0 and 8, not 9"),
            (["--depth", "-1"], "--depth must be auto or a number from 0 to 8, not '-1'"),
            (["--depth", "three"], "--depth must be auto or a number from 0 to 8, not 'three'"),
            (["--mode", "quick"], "--mode must be one of token, block, seeded, not 'quick'"),
            (
                ["--repetition-penalty", "0"],
                "repetition penalty must be between 0.01 and 100, not 0",
            ),
            (["--logit-bias", "{}"], "--logit-bias takes ID=BIAS, such as 42=-1.5, not '{}'"),
            (["--json-schema", "x.json"], "x.json can't be read: No such file"),
            (["--temperature", "-0.1"], "temperature must be between 0 and 100, not -0.1"),
            (["--temperature", "nan"], "temperature must be"),
            (["--temperature", "hot"], "--temperature: invalid float value: 'hot'"),
            (["--top-p", "0"], "top_p must be above 0"),
            (["--top-k", "-1"], "top_k must be 0 (off) or more"),
            (["--min-p", "2"], "min_p must be between 0 and 1"),
            (["--seed", "-1"], "seed must be between 0 and 2**64 - 1, not -1"),
            (["--max-tokens", "0"], "max_tokens must be 1 or more"),
            (["--stop", ""], "a stop string must not be empty"),
            (["--n", "0"], "--n must be 1 or more"),
            (["--raw", "--system", "x"], "--raw takes --prompt alone"),
            (["--messages", "m.json"], "give either --prompt or --messages"),
            (["--max", "3"], "unrecognized arguments: --max 3"),
            (["two\nlines"], "unrecognized arguments: two lines"),
            (["--trace", "nowhere/t.jsonl"], "nowhere/t.jsonl can't be written: No such file"),
            (["--trace", "."], "no ordinary file"),
            (["--trace", "/dev/null"], "/dev/null can't be a trace: it is no ordinary file"),
            (["--trace", "/proc/t.jsonl"], "/proc/t.jsonl can't be written"),
        ],
    )
    def test_options(
        self, capsys: pytest.CaptureFixture[str], words: list[str], reason: str
    ) -> None:
        code, line = self.refused(capsys, "--prompt", "Hi", *words)
        assert reason in line
        assert code == 2

    def test_no_prompt_or_an_empty_one(self, capsys: pytest.CaptureFixture[str]) -> None:
        for words, reason in (
            ([], "give either --prompt or --messages"),
            (["--prompt", ""], "the prompt is empty"),
            (["--prompt", " \n"], "the prompt is empty"),
            (["--raw", "--prompt", ""], "the prompt is empty"),
        ):
            code, line = self.refused(capsys, *words)
            assert reason in line
            assert code == 2

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"{", "is no JSON: "),
            (b"\xff", "is no JSON: "),
            (b"[]", 'a list of {"role": "user", "content": "..."} is wanted'),
            (b"{}", 'a list of {"role": "user", "content": "..."} is wanted'),
            (b'["Hi"]', 'a list of {"role": "user", "content": "..."} is wanted'),
            (b'[{"role": "user"}]', 'a list of {"role": "user", "content": "..."} is wanted'),
            (b'[{"role": "me", "content": ""}]', "role must be one of system, user, assistant"),
            (b'[{"role": [], "content": ""}]', "role must be one of system, user, assistant"),
            (b'[{"role": "system", "content": ""}]', "no message but the system's"),
            (b"[" * 100_000, "is no JSON: "),
            (None, "m.json can't be read: No such file"),
        ],
    )
    def test_messages(
        self, capsys: pytest.CaptureFixture[str], home: Path, content: bytes | None, reason: str
    ) -> None:
        if content is not None:
            (home / "m.json").write_bytes(content)
        code, line = self.refused(capsys, "--messages", "m.json")
        assert reason in line
        assert code == 2

    def test_models_that_are_not_there(
        self, capsys: pytest.CaptureFixture[str], home: Path
    ) -> None:
        (home / "file").touch()
        for name in ("nowhere", "owner/name", "file", "", "."):
            code, line = self.refused(capsys, "--prompt", "Hi", "--model", name)
            assert "give a folder with a config.json" in line
            assert code == 1


@pytest.mark.slow
class TestFailure:
    @pytest.mark.parametrize(
        ("damage", "words", "reason", "code"),
        [
            (lambda f: os.truncate(f / "model.safetensors", 4000), ["Hi"], "model.safetensors", 1),
            (lambda f: None, ["x" * 600], "the prompt has 622 tokens", 2),
        ],
    )
    def test_one_line_and_silence(
        self,
        home: Path,
        damage: Callable[[Path], None],
        words: list[str],
        reason: str,
        code: int,
    ) -> None:
        folder = tiny.write_checkpoint(home / "model")
        damage(folder)
        trace = home / "t.jsonl"
        done = generate("--model", folder, "--json", "--trace", trace, "--prompt", *words)
        assert done.stdout == ""
        assert reason in done.stderr.splitlines()[-1]
        assert done.returncode == code
        assert not trace.exists()

    def test_an_engine_that_dies_is_told(self, home: Path, endless_folder: Path) -> None:
        with running(endless_folder) as process:
            (engine,) = children(process.pid)
            os.kill(engine, signal.SIGKILL)
            _, err = process.communicate(timeout=30)
        assert process.returncode == 1
        assert b"the engine was ended by signal 9; restart" in err.splitlines()[-1]
        assert (home / "state/logs/engine.log").exists()


def running(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """Start a completion without an end, and wait for its first words."""
    process = subprocess.Popen(
        [PROGRAM, "generate", "--model", folder, "--prompt", "Hello", "--depth", "0", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert os.read(process.stdout.fileno(), 1)
    return process


@pytest.mark.slow
@pytest.mark.usefixtures("home")
class TestBrokenOff:
    @pytest.mark.parametrize(
        ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15), (signal.SIGKILL, -9)]
    )
    def test_by_a_signal_no_engine_is_left_behind(
        self, endless_folder: Path, number: signal.Signals, code: int
    ) -> None:
        with running(endless_folder) as process:
            (engine,) = children(process.pid)
            process.send_signal(number)
            _, err = process.communicate(timeout=30)
        assert process.returncode == code
        assert err == b""
        assert comes_true(lambda: is_gone(engine))

    def test_by_a_reader_that_has_enough(self, endless_folder: Path) -> None:
        with running(endless_folder) as process:
            (engine,) = children(process.pid)
            assert process.stdout is not None
            process.stdout.close()
            assert process.wait(timeout=30) == 141
            assert process.stderr is not None
            assert process.stderr.read() == b""
        assert comes_true(lambda: is_gone(engine))
