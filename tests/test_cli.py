"""The program as a shell starts it: with descriptors closed or full, and files that have no end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mtplx_tui import cli
from mtplx_tui.files import MOST_BYTES, read_whole
from mtplx_tui.terminal_chat.lines import PipedLines
from tests.fakes.checkpoints import write
from tests.fakes.hub import FakeHub, safetensors_bytes
from tests.fakes.terminal import Terminal

PROGRAM = Path(sys.executable).with_name("mtplx-tui")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home."""
    monkeypatch.setenv("MTPLX_TUI_HOME", str(tmp_path))
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    return tmp_path


def run(words: str, redirected: str) -> tuple[int, str]:
    """Return the exit code and standard error of a command line, as a shell redirects it."""
    line = f'exec "$0" {words} {redirected}'
    done = subprocess.run(
        ["sh", "-c", line, PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.usefixtures("home")
class TestDescriptors:
    @pytest.mark.parametrize(
        ("words", "redirected", "code", "told"),
        [
            ("", "<&-", 2, "its input is none"),
            ("generate --prompt -", "<&-", 2, "the prompt is empty"),
            ("start", "<&-", 2, "--yes takes the default"),
            ("models", ">&-", 1, "Bad file descriptor"),
            ("models", ">/dev/full", 1, "No space left on device"),
            ("generate --help", ">/dev/full", 1, "No space left on device"),
            ("--version", ">/dev/full", 1, "No space left on device"),
        ],
    )
    def test_one_line_says_what_is_wrong(
        self, words: str, redirected: str, code: int, told: str
    ) -> None:
        found, line = run(words, redirected)
        assert told in line
        assert (found, line.count("\n")) == (code, 1)

    @pytest.mark.parametrize("words", ["models", "models --bogus"])
    def test_without_standard_error_it_works_all_the_same(self, words: str) -> None:
        assert run(words, "2>&-") == (2 if "bogus" in words else 0, "")

    def test_no_file_gets_what_is_written_to_a_closed_one(self, home: Path) -> None:
        script = (
            "import os, sys; from mtplx_tui import cli; cli.main(['--version']);"
            f"number = os.open({str(home / 'chat')!r}, os.O_CREAT | os.O_WRONLY);"
            "os._exit(number)"
        )
        line = 'exec "$0" -c "$1" <&- >&- 2>&-'
        done = subprocess.run(["sh", "-c", line, sys.executable, script], check=False)
        assert done.returncode > 2


@pytest.mark.parametrize("command", ["inspect {}", "doctor --offline"])
def test_what_an_encoding_lacks_is_replaced(
    home: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = home / "\u540d"
    write(folder, "mimo")
    monkeypatch.setenv("MTPLX_TUI_HOME", str(folder))
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    assert run(command.format(folder), ">/dev/null")[1] == ""


def test_a_name_that_is_no_text_is_written_as_it_is_where_the_output_takes_it() -> None:
    script = (
        "import sys; from mtplx_tui import cli\n"
        "cli.load = lambda name: lambda words: print('\\udcff') or 0\nsys.exit(cli.main(['doctor']))"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:surrogateescape"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert done.stdout == b"\xff\n"


class TestPassingLine:
    @pytest.mark.parametrize(
        ("error", "code", "left"),
        [("KeyboardInterrupt", 130, ""), ("cli.UsageError('no model')", 2, "mtplx-tui: no model")],
    )
    def test_it_goes_however_a_command_ends(self, error: str, code: int, left: str) -> None:
        script = (
            "import sys; from mtplx_tui import cli\n"
            "def work(words):\n    cli.pass_line('measuring depths 83 %')\n"
            f"    raise {error}\n"
            "cli.load = lambda name: work\nsys.exit(cli.main(['doctor']))"
        )
        terminal = Terminal([sys.executable, "-c", script], os.environ)
        assert terminal.end() == code
        terminal.close()
        assert b"83 %" in terminal.written
        assert terminal.text.split("\n")[0].rstrip() == left
        assert terminal.screen.cursor.x == 0

    def test_it_is_one_line_in_a_narrow_terminal(self, tmp_path: Path) -> None:
        name = "mlx-community/Qwen3.6-27B-Instruct-4bit-DWQ"
        with FakeHub() as hub:
            weights = safetensors_bytes({"model.w": ("BF16", (1024, 2048))})
            hub.add(name, {"config.json": b"{}", "model.safetensors": weights})
            environment = {
                **os.environ,
                "HF_ENDPOINT": hub.url,
                "HF_HOME": str(tmp_path / "hub"),
                "MTPLX_TUI_HOME": str(tmp_path / "home"),
            }
            terminal = Terminal([PROGRAM, "pull", name, "--limit", "300kB"], environment, (50, 10))
            terminal.shows("downloading", "of 4.19 MB")
            terminal.rest(at_most_s=1.5)
            assert terminal.text.count("downloading") == 1
            assert "%), " in terminal.text.split("\n")[0]
            terminal.press("\x03")
            assert terminal.end() == 130
            terminal.close()
        assert terminal.text.strip().startswith("mtplx-tui: stopped; the same command")


class TestWithoutAnEnd:
    def test_a_device_in_place_of_a_file(self, capsys: pytest.CaptureFixture[str]) -> None:
        for option in ("--messages", "--prompt Hi --json-schema"):
            assert cli.main(["generate", *option.split(), "/dev/zero"]) == 2
            assert capsys.readouterr().err == "mtplx-tui: /dev/zero can't be read: File too large\n"

    def test_a_file_may_have_as_much_as_is_allowed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("mtplx_tui.files.MOST_BYTES", 4)
        (tmp_path / "a").write_bytes(b"abcd")
        assert read_whole(tmp_path / "a") == "abcd"
        (tmp_path / "a").write_bytes(b"abcde")
        with pytest.raises(OSError, match="File too large"):
            read_whole(tmp_path / "a")

    def test_a_prompt(self) -> None:
        code, line = run("generate --prompt -", "</dev/zero")
        assert (code, line) == (2, "mtplx-tui: the prompt has more than 64.0 MB\n")

    async def test_a_line(self) -> None:
        zeros = os.open("/dev/zero", os.O_RDONLY)
        lines = PipedLines(zeros)
        with pytest.raises(OSError, match="a line is too long"):
            await lines.next_line()
        os.close(zeros)
        assert len(lines._buffer) <= MOST_BYTES + 65_536

    async def test_lines_of_all_kinds_come_whole(self, tmp_path: Path) -> None:
        texts = ["", "one", "x" * 200_000, "", "two\r", "last"]
        (tmp_path / "lines").write_text("\n".join(texts), "utf-8", newline="")
        descriptor = os.open(tmp_path / "lines", os.O_RDONLY)
        lines = PipedLines(descriptor)
        assert [await lines.next_line() for _ in range(7)] == [
            *(text.removesuffix("\r") for text in texts),
            None,
        ]
        os.close(descriptor)
