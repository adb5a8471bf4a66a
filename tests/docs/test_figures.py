"""The README's figures are those of benchmarks/results, rounded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def result(name: str) -> Any:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text("utf-8"))


def bench_row(kind: str) -> str:
    rows = [row for row in result("bench_demo_all")["rows"] if row["kind"] == kind]
    (plain,) = [row for row in rows if row["depth"] == 0]
    (auto,) = [row for row in rows if row["depth"] in (None, "auto")]
    gain = auto["against_plain"]
    return (
        f"| demo, {kind}, automatic depth | "
        f"{gain['median']:.2f} times plain decoding's {plain['tokens_per_s']['median']:.1f} tokens/s "
        f"({gain['low']:.2f} to {gain['high']:.2f}) | 2 cores, CPU |"
    )


def rows() -> Iterator[str]:
    """Yield the rows that the README's table has to have."""
    for kind in ("chat", "code", "json", "translation", "random"):
        yield bench_row(kind)
    ms, ratios = result("decode")["ms_per_token"], result("decode")["ratios"]
    yield (
        f"| demo, plain decoding | {ratios['engine depth 0 against stock bare loop']:.1f} times stock MLX's loop "
        f"({ms['auto']['depth 0']:.1f} and {ms['stock']['bare']:.1f} ms a token); at depth 1 "
        f"{ratios['engine depth 1 against stock bare loop']:.1f} times | 2 cores, CPU |"
    )
    certificate = result("certify_demo")
    bias = max(
        check["least_bias"] for check in certificate["checks"] if check["name"].endswith("rule")
    )
    yield (
        f"| demo, `certify` | {certificate['verdict']}; a rule with a bias of "
        f"{100 * bias:.2f} % or more is excluded | 2 cores, CPU |"
    )
    reuse = result("prefix_reuse")
    first = reuse["first_token_s"]
    yield (
        f"| demo, {reuse['prompt_tokens']:,} tokens of prompt, asked again | first token after "
        f"{first['warm']:.2f} s, cold {first['cold']:.1f} s | 2 cores, CPU |"
    )
    start = result("startup")
    yield (
        f"| first frame of the app | {start['warm_first_frame']['median_s']:.2f} s "
        f"(bare Textual: {start['bare_textual_first_frame']['median_s']:.2f} s) | 2 cores, CPU |"
    )
    yield from shape_rows(result("shape_costs_27b")["figures"])
    bias = 100 * result("certify_demo_cuda")["least_bias"]
    yield (
        f"| demo, `certify`, kernels and graphs on | exact; a rule with a bias of {bias:.2f} % or more "
        "is excluded | NVIDIA H200 |"
    )


def shape_rows(figures: Any) -> Iterator[str]:
    """Yield the rows of the 27B shape, whose acceptance is replayed from a table."""
    passes = {each["rows"]: each for each in figures["passes"]}
    for rows, what in ((1, "27B shape of random weights, one row"), (4, "the same, four rows")):
        own, stock = (passes[rows][f"{who}_ms"]["median"] for who in ("own", "stock"))
        yield f"| {what} | {own:.1f} ms, stock mlx-lm {stock:.1f} ms | NVIDIA H200 |"
    for cycle in figures["cycles"]:
        if cycle["depth"] != 3:
            continue
        table = "/".join(f"{chance:.2f}"[1:] for chance in cycle["acceptance"])
        step, loop = (cycle[f"against_stock_{what}"]["median"] for what in ("step", "loop"))
        yield (
            f"| the same, depth 3, acceptance simulated as {table} | {step:.1f} times stock's plain step, "
            f"{loop:.1f} times its own loop | NVIDIA H200 |"
        )


def test_the_readme_has_the_figures_that_were_measured() -> None:
    readme = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert [row for row in rows() if row not in readme] == []


def test_the_readme_has_no_row_that_nothing_holds() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    table = readme.partition("| what | figure | where |\n| --- | --- | --- |\n")[2]
    written = table.partition("\n\n")[0].splitlines()
    assert written == list(rows())
