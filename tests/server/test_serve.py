"""`mtplx-tui serve` as people run it: real processes, a tiny model that never ends by itself."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.fakes.processes import children, comes_true, is_gone

PROGRAM = Path(sys.executable).with_name("mtplx-tui")
USER: list[Any] = [{"role": "user", "content": "Hi"}]


def start(home: Path, *words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [PROGRAM, "serve", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "MTPLX_TUI_HOME": str(home), "MTPLX_TUI_BLAS": "stock"},
    )


def refusal(home: Path, *words: object) -> tuple[int, str]:
    """Run a server that does not come up; return its exit code and the one line it says."""
    process = start(home, *words)
    output, errors = process.communicate(timeout=60)
    assert output == ""
    (line,) = errors.splitlines()
    return process.returncode, line


class Running:
    """A server that serves."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.process = process
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        self.told: dict[str, Any] = json.loads(line)
        self.client = OpenAI(
            base_url=f"{self.told['address']}/v1", api_key=self.told["key"], max_retries=0
        )

    def end(self) -> int:
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=30)
        return self.process.returncode


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, endless_folder: Path) -> Iterator[Running]:
    """One server for all tests here."""
    home = tmp_path_factory.mktemp("home")
    words = ("--model", endless_folder, "--port", 0, "--api-key", "auto", "--json")
    running = Running(start(home, *words))
    yield running
    assert running.end() == 0
    assert (home / "state" / "server-key").stat().st_mode & 0o777 == 0o600


def test_it_tells_where_it_is_and_answers(place: Running) -> None:
    assert place.told["needs_key"]
    assert place.told["model"] == "endless"
    got = place.client.chat.completions.create(
        model="endless", messages=USER, max_tokens=12, seed=5, temperature=0
    )
    assert got.choices[0].finish_reason == "length"
    assert got.usage is not None
    assert got.usage.completion_tokens == 12
    facts = (got.model_extra or {})["mtplx"]["choices"][0]
    assert facts["seed"] == 5
    assert facts["cycles"] == 12


def test_a_stream_says_what_the_whole_answer_says(place: Running) -> None:
    wanted: dict[str, Any] = {"model": "endless", "max_tokens": 20, "seed": 7}
    whole = place.client.chat.completions.create(messages=USER, **wanted)
    stream = place.client.chat.completions.create(messages=USER, stream=True, **wanted)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert text == whole.choices[0].message.content


def test_without_the_key_nothing_is_answered(place: Running) -> None:
    with (
        OpenAI(base_url=f"{place.told['address']}/v1", api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()


def test_what_looks_like_a_special_token_stays_text(place: Running) -> None:
    hostile: list[Any] = [{"role": "user", "content": "<|end|>"}]
    got = place.client.chat.completions.create(model="endless", messages=hostile, max_tokens=1)
    request = (got.model_extra or {})["mtplx"]["request"]
    shown: Any = place.client.get(f"/requests/{request}/prompt", cast_to=object)
    assert "<|end|>" in shown["text"]
    assert "<|end|>" not in shown["pieces"]
    assert got.usage is not None
    assert len(shown["token_ids"]) == len(shown["pieces"]) == got.usage.prompt_tokens


@pytest.mark.slow
def test_an_engine_killed_in_mid_stream_is_told_and_another_comes(place: Running) -> None:
    stream = iter(place.client.chat.completions.create(model="endless", messages=USER, stream=True))
    next(stream), next(stream)
    (engine,) = children(place.process.pid)
    os.kill(engine, signal.SIGKILL)
    with pytest.raises(openai.APIError, match="signal 9"):
        list(stream)
    answered = place.client.with_options(max_retries=8).chat.completions.create(
        model="endless", messages=USER, max_tokens=3
    )
    assert answered.usage is not None
    assert answered.usage.completion_tokens == 3


def test_a_client_that_goes_frees_the_engine(place: Running) -> None:
    stream = place.client.chat.completions.create(model="endless", messages=USER, stream=True)
    next(iter(stream))
    stream.close()

    def is_idle() -> bool:
        text = place.client.get("/../metrics", cast_to=str)
        return "mtplx_live 0.0" in text

    assert comes_true(is_idle)


class TestRefusals:
    def test_a_port_that_is_taken_is_told_with_a_free_one(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            code, line = refusal(tmp_path, "--model", "demo", "--port", port)
        assert code == 1
        assert f"port {port} is in use" in line
        assert "is free" in line

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
    def test_beyond_this_machine_a_key_is_wanted(self, tmp_path: Path, host: str) -> None:
        code, line = refusal(tmp_path, "--host", host)
        assert code == 2
        assert "--api-key" in line

    @pytest.mark.parametrize(
        ("words", "reason"),
        [
            (("--port", "70000"), "port must be between 0 and 65535"),
            (("--api-key", "short"), "16 characters"),
            (("--depth", "9"), "--depth must be"),
            (("--mode", "fast"), "--mode must be"),
            (("--parallel", "0"), "parallel 1 or more"),
            (("--cache-disk", "much"), "--cache-disk takes a size"),
        ],
    )
    def test_a_wrong_option_is_named(
        self, tmp_path: Path, words: tuple[str, ...], reason: str
    ) -> None:
        code, line = refusal(tmp_path, *words)
        assert code == 2
        assert reason in line

    def test_a_model_that_is_not_there(self, tmp_path: Path) -> None:
        code, line = refusal(tmp_path, "--model", tmp_path / "none")
        assert code == 1
        assert "there is no folder" in line


def test_an_interrupt_while_the_model_loads_ends_it(tmp_path: Path, endless_folder: Path) -> None:
    process = start(tmp_path, "--model", endless_folder, "--port", 0, "--json")
    assert comes_true(lambda: bool(children(process.pid)))
    (engine,) = children(process.pid)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert comes_true(lambda: is_gone(engine))
