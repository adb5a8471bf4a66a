"""Broken machines: each is named, with what to do about it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mtplx_tui.chats.store import Store
from mtplx_tui.config import HubPlace, Login
from mtplx_tui.doctor import engine_side
from mtplx_tui.doctor.check import Check, NotLookedAt, Severity
from mtplx_tui.doctor.examination import EXAMINATIONS, Examination, examine
from mtplx_tui.doctor.surroundings import Needs, Surroundings, find_surroundings
from mtplx_tui.library.hub_cache import BlobLock
from mtplx_tui.machine.guard_state import StateFile
from tests.doctor.broken import (
    PYTHON,
    TERMINAL,
    engine_with,
    look,
    packages,
    problem,
    sound,
    with_card,
)
from tests.fakes.hub import FakeHub, Fault

DAY_S = 86_400.0


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as running:
        yield running


def asking(folder: Path, hub: FakeHub) -> Surroundings:
    return sound(folder, hub=HubPlace(hub.url, is_offline=False), is_offline=False)


class TestASoundMachine:
    def test_it_has_no_problem_and_each_examination_says_something(self, tmp_path: Path) -> None:
        s = sound(tmp_path, needs=Needs(memory=1, models=1))
        checks = tuple(examine(s))
        assert [check for check in checks if check.is_problem] == []
        assert {check.group for check in checks} == {each.group for each in EXAMINATIONS}
        assert len(checks) >= len(EXAMINATIONS)

    def test_looking_leaves_nothing_behind(self, tmp_path: Path) -> None:
        s = sound(tmp_path)
        (tmp_path / "home").mkdir()
        list(examine(s, tuple(each for each in EXAMINATIONS if each.group != "engine")))
        assert os.listdir(tmp_path / "home") == []


class TestACheckThatFails:
    def test_it_is_told_and_the_next_one_runs(self, tmp_path: Path) -> None:
        def broken(_: Surroundings) -> Iterator[Check]:
            yield Check("first", "", "seen")
            raise RuntimeError("it\nbroke")

        def well(_: Surroundings) -> Iterator[Check]:
            yield Check("next", "", "well")

        chosen = (Examination("a", "broken", broken), Examination("b", "well", well))
        checks = list(examine(sound(tmp_path), chosen))
        assert [check.name for check in checks] == ["first", "broken", "next"]
        assert checks[1].severity is Severity.ERROR
        assert checks[1].found == "the check failed: RuntimeError: it broke"

    def test_whoever_waits_is_told_what_comes_before_it_runs(self, tmp_path: Path) -> None:
        seen: list[str] = []

        def look(_: Surroundings) -> Iterator[Check]:
            seen.append("runs")
            yield Check("kernels", "", "well")

        chosen = (Examination("a", "engine", look, "it compiles"), Examination("b", "disk", look))
        list(examine(sound(tmp_path), chosen, lambda each: seen.append(each.about)))
        assert seen == ["a, engine (it compiles)", "runs", "b, disk", "runs"]

    def test_what_has_nothing_to_look_at_is_no_problem(self, tmp_path: Path) -> None:
        def nothing(_: Surroundings) -> Iterator[Check]:
            raise NotLookedAt("there is nothing")
            yield

        (check,) = examine(sound(tmp_path), (Examination("a", "it", nothing),))
        assert (check.severity, check.found) == (Severity.NOTE, "not looked at: there is nothing")

    def test_nothing_more_is_looked_at_once_it_is_over(self, tmp_path: Path) -> None:
        s = sound(tmp_path)
        s.is_over.set()
        assert list(examine(s)) == []


class TestInstall:
    def test_an_old_python(self, tmp_path: Path) -> None:
        found = problem(sound(tmp_path, python=(3, 10, 14)), "Python")
        assert (found.severity, found.found) == (Severity.ERROR, "3.10.14")
        assert "3.11" in found.expected

    def test_a_package_in_another_version(self, tmp_path: Path) -> None:
        found = problem(packages(tmp_path, "mlx-cpu", lm="0.31.0"), "packages")
        assert (found.name, found.found, found.severity) == ("mlx-lm", "0.31.0", Severity.ERROR)
        assert "pip install mlx-lm==0.32.2" in found.remedy

    def test_packages_that_fit(self, tmp_path: Path) -> None:
        (check,) = look(packages(tmp_path, "mlx-cpu"), "packages")
        assert (check.severity, check.found) == (Severity.OK, "all 3 fit")

    def test_no_backend(self, tmp_path: Path) -> None:
        found = problem(packages(tmp_path), "MLX backend")
        assert (found.severity, found.found) == (Severity.ERROR, "none")
        assert "mtplx-tui[cpu]" in found.remedy

    def test_the_cpu_wheel_beside_a_gpu(self, tmp_path: Path) -> None:
        s = with_card(packages(tmp_path, "mlx-cpu"), "580.65.06")
        found = problem(s, "MLX backend")
        assert (found.severity, found.expected) == (Severity.WARNING, "mlx-cuda-13")
        assert "mlx-cpu on a machine with an NVIDIA GPU" in found.found
        assert "mtplx-tui[cuda]" in found.remedy

    def test_the_gpu_wheel_without_a_gpu(self, tmp_path: Path) -> None:
        found = problem(packages(tmp_path, "mlx-cuda-13"), "MLX backend")
        assert (found.severity, found.expected) == (Severity.ERROR, "mlx-cpu")
        assert found.remedy.startswith("pip uninstall mlx-cuda-13")

    def test_two_backends_at_once(self, tmp_path: Path) -> None:
        found = problem(packages(tmp_path, "mlx-cpu", "mlx-cuda-13"), "MLX backend")
        assert (found.severity, found.found) == (Severity.ERROR, "mlx-cpu and mlx-cuda-13")
        assert "pip uninstall mlx-cpu mlx-cuda-13" in found.remedy

    def test_a_backend_of_another_version_than_mlx(self, tmp_path: Path) -> None:
        found = problem(packages(tmp_path, "mlx-cpu", mlx="0.33.0"), "MLX backend")
        assert (found.name, found.found) == ("mlx-cpu beside mlx", "mlx-cpu 0.32.4")

    def test_a_driver_too_old_for_cuda(self, tmp_path: Path) -> None:
        s = with_card(sound(tmp_path), "570.124.06")
        found = problem(s, "GPU")
        assert (found.severity, found.found) == (Severity.ERROR, "570.124.06")
        assert any("H100" in check.found for check in look(s, "GPU"))


class TestEngine:
    def test_mlx_without_its_library(self, tmp_path: Path) -> None:
        code = "raise ImportError('libmlx.so: cannot open shared object file')"
        found = problem(sound(tmp_path, examining=engine_with(tmp_path, code)), "MLX")
        assert (found.name, found.severity) == ("MLX", Severity.ERROR)
        assert found.found == "libmlx.so: cannot open shared object file"
        assert "mtplx-tui[cpu]" in found.remedy

    def test_mlx_that_kills_the_process(self, tmp_path: Path) -> None:
        code = "import os, signal\nos.kill(os.getpid(), signal.SIGILL)"
        found = problem(sound(tmp_path, examining=engine_with(tmp_path, code)), "MLX")
        assert "was ended by signal 4" in found.found

    def test_a_process_that_says_nothing_of_use(self, tmp_path: Path) -> None:
        code = "import sys; sys.stderr.write('no such\\nmodule'); sys.exit(3)"
        found = problem(sound(tmp_path, examining=(PYTHON, "-c", code)), "MLX")
        assert found.found == "the engine's process ended with exit code 3: module"

    def test_a_process_that_hangs_is_given_up_once_nobody_waits(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        s = sound(tmp_path, examining=(PYTHON, "-c", "import signal; signal.pause()"))
        monkeypatch.setattr(engine_side, "TIMEOUT_S", 0.2)
        assert "did not answer" in problem(s, "MLX").found
        s.is_over.set()
        with pytest.raises(NotLookedAt):
            list(engine_side.check_engine(s))

    def test_kernels_switched_off_and_misnamed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MTPLX_TUI_KERNELS", "gated_delta,few_rows")
        checks = {check.name: check for check in look(sound(tmp_path), "MLX")}
        assert checks["gated delta"].found == "switched off by MTPLX_TUI_KERNELS"
        assert checks["MTPLX_TUI_KERNELS"].severity is Severity.WARNING
        assert "few_rows" in checks["MTPLX_TUI_KERNELS"].found

    def test_a_kernel_that_differs_from_its_definition(self, tmp_path: Path) -> None:
        kernel = {"name": "gated_delta", "runs": "cuda", "off": "", "trouble": "it is off by 3"}
        answer = {"device": "cuda", "mlx": "0.32.4", "computes": True, "kernels": [kernel]}
        s = sound(tmp_path, examining=(PYTHON, "-c", f"print({json.dumps(json.dumps(answer))})"))
        found = problem(s, "MLX")
        assert (found.name, found.found) == ("gated delta", "it is off by 3")

    def test_without_an_optimised_matrix_library(self, tmp_path: Path) -> None:
        answer = {"device": "cpu", "computes": True, "blas": "stock", "blas_note": "slow: none"}
        s = sound(tmp_path, examining=(PYTHON, "-c", f"print({json.dumps(json.dumps(answer))})"))
        found = problem(s, "MLX")
        assert (found.name, found.severity) == ("matrix library", Severity.WARNING)

    @pytest.mark.parametrize(
        ("why", "remedy"),
        [
            ("there is no C compiler", "install a C compiler"),
            ("few-rows-0a.so: failed to map segment", "see that the cache folder can be written"),
        ],
    )
    def test_without_a_kernel_for_few_rows(self, tmp_path: Path, why: str, remedy: str) -> None:
        answer = {"device": "cpu", "computes": True, "blas": "openblas 1", "few_rows": why}
        s = sound(tmp_path, examining=(PYTHON, "-c", f"print({json.dumps(json.dumps(answer))})"))
        (found,) = (check for check in look(s, "MLX") if check.name == "few rows")
        assert (found.found, found.severity) == (why, Severity.NOTE)
        assert remedy in found.remedy


class TestMachine:
    def test_little_memory_and_a_full_swap(self, tmp_path: Path) -> None:
        s = sound(tmp_path)
        (s.root / "proc").mkdir()
        facts = (
            "MemTotal: 8000000 kB\nMemAvailable: 400000 kB\nSwapTotal: 4000000 kB\nSwapFree: 9 kB\n"
        )
        (s.root / "proc" / "meminfo").write_text(facts)
        memory, swap = look(s, "memory")
        assert memory.severity is swap.severity is Severity.WARNING
        assert "410 MB of 8.19 GB free" in memory.found
        assert memory.remedy
        assert swap.remedy

    def test_the_state_file_of_a_dead_guard(self, tmp_path: Path) -> None:
        s = sound(tmp_path)
        folder = s.own_places.state / "fans"
        folder.mkdir(parents=True)
        StateFile(folder).write({"schema": 1, "pid": 1})
        found = problem(s, "fan guard")
        assert found.severity is Severity.ERROR
        assert "guard died" in found.found
        assert "mtplx-tui fans restore" in found.remedy

    def test_a_state_file_of_no_sense(self, tmp_path: Path) -> None:
        s = sound(tmp_path)
        folder = s.own_places.state / "fans"
        folder.mkdir(parents=True)
        (folder / "fans.json").write_text("{")
        found = problem(s, "fan guard")
        assert "fans.json can't be read" in found.found
        assert "fans restore" in found.remedy

    def test_a_guard_that_runs_is_no_problem(self, tmp_path: Path) -> None:
        s = sound(tmp_path)
        state = StateFile(s.own_places.state / "fans")
        state.lock()
        (check,) = look(s, "fan guard")
        assert check.severity is Severity.OK
        assert f"process {os.getpid()}" in check.found


class TestDisk:
    def test_no_home(self, tmp_path: Path) -> None:
        s = sound(tmp_path, places=None, hub_cache=None, login=None, is_offline=False)
        found = problem(s, "home folder")
        assert found.severity is Severity.ERROR
        assert "MTPLX_TUI_HOME" in found.remedy
        others = [c for c in examine(s) if c.severity is Severity.ERROR and c.name != "home folder"]
        assert others == []

    def test_a_home_that_can_not_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "home").write_text("a file where the folder belongs")
        s = sound(tmp_path)
        found = [check for check in look(s, "folders") if check.is_problem]
        assert {check.name for check in found} == {"config", "data", "cache"}
        assert all(check.severity is Severity.ERROR for check in found)
        assert all("MTPLX_TUI_HOME" in check.remedy for check in found)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_a_home_without_permission(self, tmp_path: Path) -> None:
        (tmp_path / "home").mkdir(mode=0o500)
        assert any("denied" in check.found for check in look(sound(tmp_path), "folders"))

    def test_a_disk_that_is_full(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Writable by its rights; only a write tells."""
        (tmp_path / "home").mkdir()

        def full(descriptor: int, _: bytes) -> int:
            assert descriptor > 2
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr("mtplx_tui.doctor.folders.os.write", full)
        found = [check for check in look(sound(tmp_path), "folders") if check.is_problem]
        assert {check.name for check in found} >= {"config", "data"}
        assert all("No space left on device" in check.found for check in found)
        assert all(check.remedy.startswith("make room for") for check in found)

    def test_no_disk_space(self, tmp_path: Path) -> None:
        s = sound(tmp_path, needs=Needs(data=10**18, cache=10**18, models=1))
        data, cache, models = look(s, "room")
        assert (data.severity, cache.severity) == (Severity.ERROR, Severity.WARNING)
        assert models.severity is Severity.OK
        assert "make room" in data.remedy
        assert "make room" in cache.remedy


class TestNetwork:
    def test_a_hub_that_is_not_there(self, tmp_path: Path) -> None:
        s = sound(tmp_path, is_offline=False)
        found = problem(s, "hub")
        assert found.found == "127.0.0.1:1 can't be reached: nobody answers there"
        assert "HF_ENDPOINT" in found.remedy

    def test_a_hub_that_answers(self, tmp_path: Path, hub: FakeHub) -> None:
        (check,) = look(asking(tmp_path, hub), "hub")
        assert check.severity is Severity.OK
        assert not hub.asked[0].has_token

    def test_a_hub_in_trouble(self, tmp_path: Path, hub: FakeHub) -> None:
        hub.plan("/api/*", Fault(status=503))
        assert "answered 503" in problem(asking(tmp_path, hub), "hub").found

    def test_an_endpoint_that_is_none(self, tmp_path: Path) -> None:
        place = HubPlace("https://someone:hunter2@[", is_offline=False)
        found = problem(sound(tmp_path, hub=place, is_offline=False), "hub")
        assert found.severity is Severity.ERROR
        assert "hunter2" not in repr(found)

    def test_a_login_that_the_hub_knows(self, tmp_path: Path, hub: FakeHub) -> None:
        (tmp_path / "token").write_text(f"{hub.token}\n")
        (check,) = look(asking(tmp_path, hub), "hub")
        assert check.severity is Severity.OK
        assert "knows the login" in check.found

    def test_a_login_that_the_hub_refuses(
        self, tmp_path: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", "hf_ofanotherhub")
        login = Login("HF_TOKEN", tmp_path / "token")
        found = problem(replace(asking(tmp_path, hub), login=login), "hub")
        assert found.severity is Severity.ERROR
        assert "refused the login (401)" in found.found
        assert "hf auth login" in found.remedy
        assert "ofanotherhub" not in repr(found)

    def test_no_login(self, tmp_path: Path) -> None:
        (check,) = look(sound(tmp_path), "login")
        assert (check.severity, check.found) == (Severity.NOTE, "none")
        assert "hf auth login" in check.remedy

    def test_where_a_login_is_and_not_what_it_is(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "token").write_text("hf_secretword\n")
        (in_file,) = look(sound(tmp_path), "login")
        monkeypatch.setenv("HF_TOKEN", "hf_otherword")
        (in_variable,) = look(sound(tmp_path, login=Login("HF_TOKEN", tmp_path)), "login")
        assert in_file.found == f"in {tmp_path / 'token'}"
        assert in_variable.found == "in HF_TOKEN"

    def test_offline_nothing_is_asked(self, tmp_path: Path, hub: FakeHub) -> None:
        (check,) = look(replace(asking(tmp_path, hub), is_offline=True), "hub")
        assert check.found == "not looked at: --offline"
        place = HubPlace(hub.url, is_offline=True)
        (check,) = look(sound(tmp_path, hub=place, is_offline=False), "hub")
        assert "HF_HUB_OFFLINE" in check.found
        assert hub.asked == []

    @pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
    def test_a_port_that_another_program_has(self, tmp_path: Path) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = taken.getsockname()
            s = sound(tmp_path, address=address, root=Path("/"))
            (own,) = look(s, "server port")
            assert (own.severity, own.found) == (
                Severity.OK,
                "this app's own server listens there",
            )
            found = problem(replace(s, root=s.own_places.config), "server port")
        assert found.found == "taken"
        assert "--port" in found.remedy

    def test_the_port_is_the_one_of_the_settings(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MTPLX_TUI_HOME", str(tmp_path))
        assert find_surroundings().address == ("127.0.0.1", 8080)
        (tmp_path / "config.toml").write_text('server_host = "::1"\nserver_port = 9911\n')
        assert find_surroundings().address == ("::1", 9911)

    @pytest.mark.parametrize("host", ["x" * 70, "no.such.host.invalid", "a\0b"])
    def test_a_host_that_is_none(self, tmp_path: Path, host: str) -> None:
        found = problem(sound(tmp_path, address=(host, 8080)), "server port")
        assert (found.name, found.severity) == ("server port", Severity.ERROR)
        assert "an address of this machine" in found.remedy


class TestTerminal:
    def test_a_dumb_one(self, tmp_path: Path) -> None:
        terminal = replace(TERMINAL, name="dumb", is_dumb=True, has_color=False, colors=0)
        found = problem(sound(tmp_path, terminal=terminal), "terminal")
        assert (found.severity, found.found) == (Severity.ERROR, "TERM=dumb")
        assert "mtplx-tui chat" in found.remedy

    def test_a_locale_without_utf8(self, tmp_path: Path) -> None:
        found = problem(sound(tmp_path, terminal=replace(TERMINAL, is_utf8=False)), "terminal")
        assert found.name == "signs"
        assert "LANG=C.UTF-8" in found.remedy

    def test_a_small_one(self, tmp_path: Path) -> None:
        found = problem(sound(tmp_path, size=(40, 10)), "terminal")
        assert (found.name, found.found) == ("size", "40 x 10")

    @pytest.mark.parametrize(
        ("terminal", "name", "word"),
        [
            (replace(TERMINAL, name="linux"), "mouse", "has none"),
            (replace(TERMINAL, is_tmux=True), "clipboard", "tmux"),
            (replace(TERMINAL, name="xterm", program="Apple_Terminal"), "clipboard", "takes none"),
            (replace(TERMINAL, has_color=False), "colours", "NO_COLOR"),
            (replace(TERMINAL, colors=256), "colours", "256"),
        ],
    )
    def test_what_it_lacks_is_a_note(
        self, tmp_path: Path, terminal: object, name: str, word: str
    ) -> None:
        checks = {
            check.name: check for check in look(sound(tmp_path, terminal=terminal), "terminal")
        }
        assert checks[name].severity is Severity.NOTE
        assert word in checks[name].found
        assert checks[name].remedy


class TestOwnFiles:
    def test_a_broken_config(self, tmp_path: Path) -> None:
        s = sound(tmp_path)
        s.own_places.config.mkdir()
        s.own_places.config_file.write_text('theme = "auto"\ndepth = "deep"\n')
        found = problem(s, "own files")
        assert f"{s.own_places.config_file}:2" in found.found
        assert "mend the line" in found.remedy

    def test_a_config_that_is_no_toml(self, tmp_path: Path) -> None:
        s = sound(tmp_path)
        s.own_places.config.mkdir()
        s.own_places.config_file.write_bytes(b"\xff\xfe = = =")
        assert str(s.own_places.config_file) in problem(s, "own files").found

    def test_a_config_of_a_newer_version(self, tmp_path: Path) -> None:
        s = sound(tmp_path)
        s.own_places.config.mkdir()
        s.own_places.config_file.write_text("version = 99\ndepth = 2\n")
        found = problem(s, "own files")
        assert (found.name, found.severity) == ("settings", Severity.WARNING)
        assert f"{s.own_places.config_file} is of version 99" in found.found
        assert "for a file of a newer version, update mtplx-tui" in found.remedy

    def test_a_broken_key(self, tmp_path: Path) -> None:
        s = sound(tmp_path)
        s.own_places.config.mkdir()
        s.own_places.keymap_file.write_text('"chat.fold" = "ctrl+w"\n"chat.new" = "hyperspace"\n')
        found = problem(s, "own files")
        assert (found.name, found.severity) == ("keys", Severity.WARNING)
        assert f"{s.own_places.keymap_file}:2: chat.new" in found.found
        assert "mend the line" in found.remedy

    @pytest.mark.parametrize("name", ["bookmark", "set-up"])
    def test_a_damaged_note_of_the_app_s(self, tmp_path: Path, name: str) -> None:
        s = sound(tmp_path)
        places = s.own_places
        places.state.mkdir(parents=True)
        file = {"bookmark": places.bookmark, "set-up": places.setup}[name]
        file.write_text('{"my secret diary"')
        found = problem(s, "own files")
        assert (found.name, found.severity) == (name, Severity.WARNING)
        assert str(file) in found.found
        assert "diary" not in found.found
        assert "delete the file" in found.remedy
        assert os.listdir(places.state) == [file.name]

    def test_a_broken_theme(self, tmp_path: Path) -> None:
        s = sound(tmp_path)
        s.own_places.themes.mkdir(parents=True)
        (s.own_places.themes / "mine.toml").write_text("[palette]\nprimary = 3\n")
        found = problem(s, "own files")
        assert (found.name, found.severity) == ("themes", Severity.WARNING)
        assert "mine.toml" in found.found

    def test_a_chat_that_is_none(self, tmp_path: Path) -> None:
        s = sound(tmp_path)
        s.own_places.chats.mkdir(parents=True)
        (s.own_places.chats / "notes.jsonl").write_text("my diary\n")
        found = problem(s, "chats")
        assert "notes.jsonl" in found.own[0]
        assert "diary" not in repr(found)


class TestLeftovers:
    def half(self, s: Surroundings) -> Path:
        assert s.hub_cache is not None
        blobs = s.hub_cache / "models--owner--name" / "blobs"
        blobs.mkdir(parents=True)
        (half := blobs / f"{'a' * 64}.mtplx.incomplete").write_bytes(bytes(8192))
        return half

    def test_a_download_that_was_killed(self, tmp_path: Path) -> None:
        s = sound(tmp_path)
        self.half(s)
        found = problem(s, "downloads")
        assert found.own == ("owner/name",)
        assert "1 not done" in found.found
        assert "mtplx-tui pull" in found.remedy

    def test_a_download_that_runs_is_no_leftover(self, tmp_path: Path) -> None:
        s = sound(tmp_path)
        half = self.half(s)
        assert s.hub_cache is not None
        locks = s.hub_cache / ".locks" / "models--owner--name"
        locks.mkdir(parents=True)
        lock = BlobLock.take(locks / f"{'a' * 64}.lock")
        assert lock is not None
        assert look(s, "downloads")[0].severity is Severity.OK
        lock.release()
        assert problem(s, "downloads").own
        half.unlink()
        assert look(s, "downloads")[0].severity is Severity.OK

    def test_a_chat_that_was_cut(self, tmp_path: Path) -> None:
        s = sound(tmp_path)
        s.own_places.chats.mkdir(parents=True)
        cut = s.own_places.chats / "cut.jsonl"
        cut.write_text('{"is": "created"}\n{"is": "del')
        (check,) = look(s, "half-written chats")
        assert (check.severity, check.own) == (Severity.NOTE, ("cut.jsonl",))
        with cut.open("rb") as written:
            fcntl.flock(written, fcntl.LOCK_EX)
            assert look(s, "half-written chats")[0].severity is Severity.OK

    def test_writes_that_never_ended(self, tmp_path: Path) -> None:
        s = sound(tmp_path)
        state, blas = s.own_places.state, s.own_places.cache / "blas"
        state.mkdir(parents=True)
        blas.mkdir(parents=True)
        long_ago = time.time() - DAY_S
        left = [state / f".downloads.json.{'0a' * 6}", blas / ".4194305-openblas.so"]
        for place in (*left, blas / f".{os.getpid()}-openblas.so"):
            place.write_bytes(b"half")
            os.utime(place, (long_ago, long_ago))
        (state / f".speed.json.{'1b' * 6}").write_bytes(b"being written")
        found = problem(s, "temporary files")
        assert "2 left" in found.found
        assert set(found.own) == {place.name for place in left}
        assert all(str(place) in found.remedy for place in left)

    def test_what_the_app_itself_writes_is_no_leftover(self, tmp_path: Path) -> None:
        s = sound(tmp_path)
        journal = Store(s.own_places.chats).new_journal("one")
        journal.add(b'{"is": "created"}\n')
        journal.flush()
        journal.close()
        for about in ("temporary files", "half-written chats"):
            assert look(s, about)[0].severity is Severity.OK
