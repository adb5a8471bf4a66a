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
    rows = result(f"bench_demo_{kind}")["rows"]
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
    yield bench_row("chat")
    yield bench_row("random")
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
    step = result("step_cost")["ms"]
    yield (
        f"| 27B shape of random weights, one row | {step['own 1']:.1f} ms, "
        f"stock mlx-lm {step['stock 1']:.1f} ms | NVIDIA H100 |"
    )
    yield (
        f"| the same, a window of four rows | {step['own 4']:.1f} ms, "
        f"stock mlx-lm {step['stock 4']:.1f} ms | NVIDIA H100 |"
    )


def test_the_readme_has_the_figures_that_were_measured() -> None:
    readme = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert [row for row in rows() if row not in readme] == []


def test_the_readme_has_no_row_that_nothing_holds() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    table = readme.partition("| what | figure | where |\n| --- | --- | --- |\n")[2]
    written = table.partition("\n\n")[0].splitlines()
    assert written == list(rows())
