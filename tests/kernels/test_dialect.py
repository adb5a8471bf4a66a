"""What MLX is given of a kernel on CUDA: its source whole, or lines that name files of it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from kernels import cached_attention, delta_mixer, dialect, dispatch, residual_norm
from kernels.dispatch import Backend

SOURCE = dialect.Source("twice", ("x", "other"), ("y",), "const int n = x_shape[0] + other_ndim;\n")


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Give what MLX would compile: header and body of each kernel that was run."""
    texts: list[tuple[str, str]] = []

    def cuda_kernel(_: str, ins: list[str], outs: list[str], body: str, header: str) -> Any:
        assert (ins, outs) == (["x", "other"], ["y"])

        def run(**_: object) -> list[mx.array]:
            texts.append((header, body))
            return []

        return run

    monkeypatch.setattr(mx.fast, "cuda_kernel", cuda_kernel)
    return texts


def named(line: str) -> Path:
    (path,) = re.findall(r'^#include "(.*)"$', line, re.MULTILINE)
    return Path(path)


def test_where_nothing_is_kept_the_source_goes_whole(
    monkeypatch: pytest.MonkeyPatch, ran: list[tuple[str, str]]
) -> None:
    monkeypatch.delenv("MLX_PTX_CACHE_DIR", raising=False)
    dialect.build(Backend.CUDA, SOURCE)()
    assert ran[0][1].endswith(SOURCE.body)


def test_the_source_is_in_files_that_are_there_whenever_a_kernel_runs(
    monkeypatch: pytest.MonkeyPatch, ran: list[tuple[str, str]], tmp_path: Path
) -> None:
    monkeypatch.setenv("MLX_PTX_CACHE_DIR", str(tmp_path / "kept"))
    kernel = dialect.build(Backend.CUDA, SOURCE)
    kernel()
    header, body = ran[0]
    assert len(header + body) < 400
    assert "x_shape" in body
    assert "other_ndim" in body
    assert "other_shape" not in body
    assert named(body).read_text("utf-8").endswith(SOURCE.body)
    assert "lane_sum" in named(header).read_text("utf-8")
    named(body).unlink()
    kernel()
    assert named(body).exists()
    named(header).unlink()
    dialect.keep_sources()
    assert "lane_sum" in named(header).read_text("utf-8")
    named(header).write_bytes(b"\xff half of it")
    dialect.build(Backend.CUDA, SOURCE)()
    assert "lane_sum" in named(header).read_text("utf-8")
    assert ran[2] == ran[1] == ran[0]
    assert {file.suffix for file in (tmp_path / "kept").iterdir()} == {".head", ".body"}


def test_where_files_cannot_be_written_or_named_the_source_goes_whole(
    monkeypatch: pytest.MonkeyPatch, ran: list[tuple[str, str]], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    for name in ("file/in it", 'a "quoted" place', "other_shape"):
        monkeypatch.setenv("MLX_PTX_CACHE_DIR", str(tmp_path / name))
        dialect.build(Backend.CUDA, SOURCE)()
        assert ran[-1][1].endswith(SOURCE.body)
    assert len(ran) == 3


def test_blocks_of_many_lanes_are_bounded_so_that_they_can_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    headers: list[str] = []
    monkeypatch.delenv("MLX_PTX_CACHE_DIR", raising=False)
    monkeypatch.setattr(mx.fast, "cuda_kernel", lambda *_, header: headers.append(header))
    for kernels in (cached_attention._kernels, delta_mixer._kernels):
        kernels.__wrapped__(Backend.CUDA)
    residual_norm._kernel.__wrapped__(Backend.CUDA, 2)
    bounded = [header for header in headers if "__launch_bounds__(512, 1)" in header]
    assert len(bounded) == 3


def test_bounds_are_part_of_how_a_kernel_is_declared_and_of_its_name(
    monkeypatch: pytest.MonkeyPatch, ran: list[tuple[str, str]], tmp_path: Path
) -> None:
    monkeypatch.setenv("MLX_PTX_CACHE_DIR", str(tmp_path))
    for bounds in (None, (4, 5), (4, 3)):
        dialect.build(Backend.CUDA, replace(SOURCE, bounds=bounds))()
    plain, five, three = (named(header).read_text("utf-8") for header, _ in ran)
    assert "__launch_bounds__" not in plain
    assert five.endswith("#define __global__ __attribute__((global)) __launch_bounds__(128, 5)\n")
    assert "__launch_bounds__(128, 3)" in three
    assert len({header for header, _ in ran}) == 3


def test_what_cuda_compiles_is_kept_where_a_process_says_unless_a_person_did(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLX_PTX_CACHE_DIR", "")
    monkeypatch.delenv("MLX_PTX_CACHE_DIR")
    dispatch.keep_compiled(tmp_path)
    assert dispatch.compiled_folder() is None  # nothing is compiled for a CPU
    monkeypatch.setattr(dispatch, "backend", lambda: Backend.CUDA)
    dispatch.keep_compiled(tmp_path)
    own = dispatch.compiled_folder()
    assert own is not None
    assert own.parent == tmp_path
    monkeypatch.setenv("MLX_PTX_CACHE_DIR", "/somewhere")
    dispatch.keep_compiled(tmp_path)
    assert dispatch.compiled_folder() == Path("/somewhere")
