"""`mtplx-tui bench --shape`, from its words to its exit code and its file, with a process that measures."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from engine import wire
from engine.verdict.shape_costs import CacheFacts, Costs, CycleTimes, HostTimes, PassTimes, Plan
from mtplx_tui import cli
from mtplx_tui.bench import results, shape_report
from mtplx_tui.bench.report import Figure

WORDS = ("bench", "--shape", "tiny", "--repeats", "2", "--acceptance", ".9/.5", "--context")
PLAN = Plan("tiny", acceptance=((0.5,),), contexts=(64,), repeats=3)
COSTS = Costs(
    plan=PLAN,
    device="cuda",
    device_name="Some GPU",
    mlx="1",
    mlx_lm="2",
    blas="",
    kernel_note="",
    steps="compiled",
    graphs=2,
    layers=4,
    source="made up",
    sampling="temperature 0.6",
    making_s=1,
    readying_s=2,
    warming_s=3,
    weights_bytes=1000,
    caches_bytes=200,
    peak_bytes=1500,
    passes=(
        PassTimes("own", 64, 1, (2, 4, 6)),
        PassTimes("own", 64, 4, (4, 4, 9)),
        PassTimes("own", 64, 9, (3, 3, 3)),
        PassTimes("stock", 64, 1, (8, 8, 24)),
        PassTimes("stock", 64, 4, (16, 40, 9)),
    ),
    host=(HostTimes("own", 1, (1, 2, 3), (4, 5, 6), (7, 8, 9)),),
    cycles=(
        CycleTimes(0, 0, (10, 10, 10), (0, 0, 0), (8, 8, 8), (1, 1, 1), (1, 1, 1)),
        CycleTimes(0, 1, (15, 20, 30), (4, 5, 6), (6, 7, 8), (1, 2, 3), (1.5, 1.5, 1.5)),
    ),
    stock_step_ms=(20, 20, 60),
    stock_loop_ms=(10, 20, 30),
    caches=(CacheFacts(64, 32_768, 116_736, 77),),
)
ABOUT: dict[str, object] = {"commit": "abc", "mtplx_tui": "9"}


@pytest.mark.usefixtures("home")
def test_a_shape_is_measured_and_the_result_kept(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "result.json"
    assert cli.main([*WORDS, "48", "300", "--json", "--out", str(path)]) == 0
    told = json.loads(capsys.readouterr().out)
    (kept,) = (home / "bench" / "shapes").glob("*-tiny.json")
    assert told == json.loads(path.read_text()) == json.loads(kept.read_text())
    assert results.kept(home / "bench") == [], "the bench tab can't show it"
    found = told["figures"]
    assert [row["rows"] for row in found["passes"]] == [1, 2, 3, 4, 5]
    assert [row["depth"] for row in found["cycles"]] == [0, 1, 2]
    assert [row["context"] for row in found["contexts"]] == [48, 300]
    assert found["cycles"][2]["tokens_per_cycle"] == pytest.approx(1 + 0.9 + 0.45)
    assert "acceptance is simulated" in told["what"]
    costs = wire.from_fields(Costs, told["costs"])
    assert costs.layers == 4
    assert costs.weights_bytes > 0
    assert costs.plan == Plan("tiny", acceptance=((0.9, 0.5),), contexts=(48, 300), repeats=2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--shape", "nope"), "no shape is named 'nope'; there are qwen3.6-27b"),
        (("--shape", "tiny", "--acceptance", "1.5"), "acceptance is like .75/.65/.55"),
        (("--shape", "tiny", "--layers", "3"), "a multiple of 4 up to 4 layers, not 3"),
        (("--shape", "tiny", "--context", "0"), "a context is 1 to 262144 positions, not 0"),
        (("--shape", "tiny", "demo"), "--shape stands in place of a model"),
        (("demo", "--layers", "4"), "--layers goes with --shape"),
    ],
)
def test_what_means_nothing_ends_in_one_line(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["bench", *words]) == 2
    line = capsys.readouterr().err
    assert said in line
    assert line.count("\n") == 1


@pytest.mark.usefixtures("home")
def test_too_little_memory_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("bench", "--shape", "27b", "--depth", "8", "--context", "262144")
    assert cli.main([*words]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("mtplx-tui: 27b needs ")
    assert said.err.endswith("take fewer --layers or a shorter --context\n")


@pytest.mark.usefixtures("home")
def test_a_process_that_dies_is_told_with_what_it_said_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\necho shape bench: one >&2\necho out of luck >&2\nkill -9 $$\n")
    dying.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(dying))
    assert cli.main([*WORDS, "48"]) == 1
    said = capsys.readouterr().err
    assert said == "mtplx-tui: the measuring process ended with code -9: out of luck\n"


def test_figures_are_made_round_by_round() -> None:
    found = shape_report.figures(COSTS)
    four = found.passes[1]
    assert found.passes[2] == shape_report.PassRow(
        9, Figure(3, 3, 3), Figure(0.75, 0.5, 1.5), None, None, None
    )
    assert four.own_over_plain == Figure(1.5, 1, 2)
    assert four.stock_over_own == Figure(4, 1, 10)
    plain, deep = found.cycles
    assert plain.acceptance == ()
    assert plain.against_stock_step == Figure(2, 2, 6)
    assert deep.tokens_per_cycle == 1.5
    assert deep.tokens_per_s == Figure(75, 50, 100)
    assert deep.against_stock_step == Figure(2, 1.5, 3)
    assert deep.against_stock_loop == Figure(1.5, 1, 1.5)
    assert deep.host_ms == Figure(6, 4, 13)


@pytest.mark.parametrize("is_markdown", [False, True])
def test_a_page_tells_what_is_measured_and_what_is_not(*, is_markdown: bool) -> None:
    page = shape_report.page(COSTS, ABOUT, is_markdown=is_markdown)
    assert "Costs are measured. Weights are random, so acceptance is simulated" in page
    assert "on Some GPU (cuda; all kernels in use)" in page
    assert "commit abc, MLX 1, stock mlx-lm 2" in page
    assert "memory at most 1.50 kB: weights, caches of 200 B, and 300 B more" in page
    assert "steps compiled, 2 graphs" in page
    assert ("| .5 | 1 | 1.50 |" in page) is is_markdown
    assert all(len(line) < 240 for line in page.splitlines())


def test_what_was_left_out_stands_in_the_heading() -> None:
    costs = dataclasses.replace(COSTS, kernel_note="quant_matvec is off: it differs")
    assert "quant_matvec is off: it differs" in shape_report.page(costs, ABOUT, is_markdown=False)
