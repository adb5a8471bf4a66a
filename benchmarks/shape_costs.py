"""What `bench --shape` measured on a bare GPU machine, where only the engine runs, as tables and a file.

    python -P -m engine.shape_bench --cache FOLDER --plan '{"shape": "qwen3.6-27b", ...}' > facts.json
    python -m benchmarks.shape_costs facts.json [--commit HASH] [--keep NAME]

The second prints what `mtplx-tui bench --shape` would have printed, in Markdown, and with --keep writes
results/NAME.json, the document that the command keeps, and results/NAME.svg, the cost of a pass by rows.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from engine import wire
from engine.verdict.shape_costs import Costs
from mtplx_tui.bench.shape_report import document, figures, page

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Show the facts, and keep them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("facts", type=Path)
    parser.add_argument("--commit", default="")
    parser.add_argument("--keep", metavar="NAME")
    options = parser.parse_args()
    content = json.loads(options.facts.read_text("utf-8"))
    if "failure" in content:
        sys.exit(content["failure"])
    costs = wire.from_fields(Costs, content)
    about: dict[str, object] = {"commit": options.commit, "mtplx_tui": ""}
    sys.stdout.write(page(costs, about, is_markdown=True) + "\n")
    if options.keep:
        text = json.dumps(document(costs, about), indent=1) + "\n"
        (RESULTS / f"{options.keep}.json").write_text(text, "utf-8")
        (RESULTS / f"{options.keep}.svg").write_text(drawn(costs, options.commit), "utf-8")


def drawn(costs: Costs, commit: str) -> str:
    """Return bars: milliseconds of a pass over each number of rows, ours and stock's."""
    rows = figures(costs).passes
    kinds = {"#1a9e77": "own_ms", "#d95f02": "stock_ms"}
    bars = [
        (row.rows, colour, figure.median)
        for row in rows
        for colour, name in kinds.items()
        if (figure := getattr(row, name)) is not None
    ]
    most = max(ms for _, _, ms in bars)
    width, left, bar = 760, 70, 13
    lines, y, before = [], 42, 0
    for count, colour, ms in bars:
        if count != before:
            y, before = y + 10, count
            word = "row" if count == 1 else "rows"
            lines.append(
                f'<text x="{left - 8}" y="{y + 10}" text-anchor="end">{count} {word}</text>'
            )
        long = ms / most * (width - left - 90)
        lines.append(
            f'<rect x="{left}" y="{y}" width="{long:.1f}" height="{bar - 2}" fill="{colour}"/>'
            f'<text x="{left + long + 5:.1f}" y="{y + 10}">{ms:.1f} ms</text>'
        )
        y += bar
    y += 10
    title = (
        f"{costs.plan.shape}, {costs.layers} layers, a pass by rows; {costs.device_name}, {commit}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" '
        f'font-family="sans-serif" font-size="11" fill="#333">'
        f'<rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="{left}" y="20" font-size="13">{title}</text>'
        f'<text x="{left}" y="40"><tspan fill="#1a9e77">ours</tspan> '
        f'<tspan fill="#d95f02">stock mlx-lm</tspan></text>{"".join(lines)}</svg>\n'
    )


if __name__ == "__main__":
    main()
