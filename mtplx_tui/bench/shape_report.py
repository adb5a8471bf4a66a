"""A shape's costs as figures with their spread: tables for a terminal or in Markdown, and a document.

What was measured and what is simulated is said wherever figures are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from engine import wire
from engine.verdict.shape_costs import Costs, PassTimes, tokens_per_cycle
from mtplx_tui.bench.report import Figure, figure
from mtplx_tui.wording import in_bytes

__all__ = ["ContextRow", "CycleRow", "PassRow", "document", "figures", "page"]

FORMAT = 1
SIMULATED = (
    "Costs are measured. Weights are random, so acceptance is simulated: each cycle drafts, verifies, "
    "judges and rolls back in truth, and the count it accepts is replayed from a table."
)


@dataclass(frozen=True, slots=True)
class PassRow:
    """A pass over a window at the first context; ratios are made round by round."""

    rows: int
    own_ms: Figure | None
    """None where ours was not measured at so many rows, as stock's then."""
    own_over_plain: Figure | None
    stock_ms: Figure | None
    stock_over_plain: Figure | None
    stock_over_own: Figure | None


@dataclass(frozen=True, slots=True)
class CycleRow:
    """Cycles at one depth, with acceptance replayed from one table."""

    acceptance: tuple[float, ...]
    depth: int
    tokens_per_cycle: float
    """As the table has it."""
    cycle_ms: Figure
    draft_ms: Figure
    verify_ms: Figure
    accept_ms: Figure
    host_ms: Figure
    """The rest of a cycle."""
    tokens_per_s: Figure
    against_stock_step: Figure
    """Tokens a second over those of stock's bare plain steps."""
    against_stock_loop: Figure
    """The same over those of stock's own loop, which builds a step while the one before it runs."""


@dataclass(frozen=True, slots=True)
class ContextRow:
    """Plain steps and windows of four rows at one context."""

    context: int
    own_plain_ms: Figure
    own_four_ms: Figure
    own_four_over_plain: Figure
    stock_plain_ms: Figure
    stock_four_ms: Figure
    kv_bytes: int
    state_bytes: int
    over_bytes: int


@dataclass(frozen=True, slots=True)
class _Figures:
    passes: tuple[PassRow, ...]
    cycles: tuple[CycleRow, ...]
    contexts: tuple[ContextRow, ...]


def figures(costs: Costs) -> _Figures:
    """Return the figures of a measurement's facts."""
    times = {(each.who, each.context, each.rows): each for each in costs.passes}
    first = costs.plan.contexts[0]
    rows = sorted({each.rows for each in costs.passes if each.context == first})
    return _Figures(
        tuple(_pass_row(times, first, count) for count in rows),
        tuple(_cycle_rows(costs)),
        tuple(
            ContextRow(
                each.context,
                figure(times["own", each.context, 1].ms),
                figure(times["own", each.context, 4].ms),
                _ratio(times["own", each.context, 4].ms, times["own", each.context, 1].ms),
                figure(times["stock", each.context, 1].ms),
                figure(times["stock", each.context, 4].ms),
                each.kv_bytes,
                each.state_bytes,
                each.over_bytes,
            )
            for each in costs.caches
        ),
    )


def _pass_row(times: dict[tuple[str, int, int], PassTimes], context: int, rows: int) -> PassRow:
    own = times["own", context, rows].ms if ("own", context, rows) in times else ()
    stock = times["stock", context, rows].ms if ("stock", context, rows) in times else ()
    return PassRow(
        rows,
        figure(own) if own else None,
        _ratio(own, times["own", context, 1].ms) if own else None,
        figure(stock) if stock else None,
        _ratio(stock, times["stock", context, 1].ms) if stock else None,
        _ratio(stock, own) if own and stock else None,
    )


def _cycle_rows(costs: Costs) -> list[CycleRow]:
    found = []
    for each in costs.cycles:
        table = costs.plan.acceptance[each.table]
        tokens = tokens_per_cycle(table, each.depth)
        parts = zip(each.ms, each.draft_ms, each.verify_ms, each.accept_ms, strict=True)
        found.append(
            CycleRow(
                table if each.depth else (),
                each.depth,
                tokens,
                figure(each.ms),
                figure(each.draft_ms),
                figure(each.verify_ms),
                figure(each.accept_ms),
                figure([whole - draft - verify - accept for whole, draft, verify, accept in parts]),
                figure([1e3 * tokens / ms for ms in each.ms]),
                figure(_gains(tokens, costs.stock_step_ms, each.ms)),
                figure(_gains(tokens, costs.stock_loop_ms, each.ms)),
            )
        )
    return found


def _gains(tokens: float, stock_ms: Sequence[float], cycle_ms: Sequence[float]) -> list[float]:
    return [tokens * step / ms for step, ms in zip(stock_ms, cycle_ms, strict=True)]


def _ratio(over: Sequence[float], under: Sequence[float]) -> Figure:
    return figure([a / b for a, b in zip(over, under, strict=True)])


def document(costs: Costs, about: dict[str, object]) -> dict[str, object]:
    """Return what a result file holds: what was asked and measured on, figures, facts."""
    return {
        "shape_bench": FORMAT,
        "what": SIMULATED,
        **about,
        "figures": asdict(figures(costs)),
        "memory_over_weights_and_caches_bytes": _over(costs),
        "costs": wire.plain_fields(costs),
    }


def _over(costs: Costs) -> int:
    return costs.peak_bytes - costs.weights_bytes - costs.caches_bytes


def page(costs: Costs, about: dict[str, object], *, is_markdown: bool) -> str:
    """Return all that is told, for a terminal or in Markdown."""
    laid = _markdown if is_markdown else _aligned
    found = figures(costs)
    parts = [
        "\n".join(_heading(costs, about)),
        f"A pass over a window, milliseconds, at a context of {costs.plan.contexts[0]}:",
        laid(_PASS_HEADS, [_pass_cells(row) for row in found.passes]),
        f"Cycles, acceptance replayed ({costs.sampling}):",
        laid(_CYCLE_HEADS, [_cycle_cells(row) for row in found.cycles]),
        f"stock's bare step here {figure(costs.stock_step_ms)} ms, its own loop "
        f"{figure(costs.stock_loop_ms)} ms a token",
        "By context:",
        laid(_CONTEXT_HEADS, [_context_cells(row) for row in found.contexts]),
        "The host's part of a pass, milliseconds:",
        laid(_HOST_HEADS, _host_cells(costs)),
        "\n".join(_closing(costs)),
    ]
    return "\n\n".join(parts)


def _heading(costs: Costs, about: dict[str, object]) -> list[str]:
    commit = f", commit {about['commit']}" if about.get("commit") else ""
    fast = costs.kernel_note or "all kernels in use" if costs.device != "cpu" else costs.blas
    return [
        f"{costs.plan.shape}, {costs.layers} layers, random weights of {in_bytes(costs.weights_bytes)}, "
        f"on {costs.device_name} ({costs.device}; {fast})",
        f"mtplx-tui {about['mtplx_tui']}{commit}, MLX {costs.mlx}, stock mlx-lm {costs.mlx_lm}",
        SIMULATED,
        f"the shape: {costs.source}",
    ]


_PASS_HEADS = ("rows", "ours", "over 1 row", "stock", "over 1 row", "stock over ours")
_CYCLE_HEADS = (
    *("accepted at 1, 2, ...", "depth", "tokens/cycle", "ms/cycle", "draft", "verify", "accept"),
    *("host", "tokens/s", "against stock's step", "its loop"),
)
_CONTEXT_HEADS = (
    *("context", "ours, 1 row", "4 rows", "4 over 1", "stock, 1 row", "4 rows"),
    *("cache read", "state moved", "held beside"),
)
_HOST_HEADS = ("whose", "rows", "build", "hand over", "wait")


def _pass_cells(row: PassRow) -> tuple[str, ...]:
    told = (
        row.own_ms, row.own_over_plain, row.stock_ms, row.stock_over_plain, row.stock_over_own
    )  # fmt: skip
    return (str(row.rows), *("–" if each is None else str(each) for each in told))


def _cycle_cells(row: CycleRow) -> tuple[str, ...]:
    table = "/".join(f"{chance:g}".removeprefix("0") for chance in row.acceptance)
    parts = (row.draft_ms, row.verify_ms, row.accept_ms, row.host_ms)
    return (
        table or "plain",
        str(row.depth),
        f"{row.tokens_per_cycle:.2f}",
        str(row.cycle_ms),
        *(f"{part.median:.2f}" for part in parts),
        str(row.tokens_per_s),
        str(row.against_stock_step),
        str(row.against_stock_loop),
    )


def _context_cells(row: ContextRow) -> tuple[str, ...]:
    return (
        str(row.context),
        *map(str, (row.own_plain_ms, row.own_four_ms, row.own_four_over_plain)),
        *map(str, (row.stock_plain_ms, row.stock_four_ms)),
        in_bytes(row.kv_bytes),
        in_bytes(row.state_bytes),
        in_bytes(row.over_bytes),
    )


def _host_cells(costs: Costs) -> list[tuple[str, ...]]:
    return [
        (
            "ours" if each.who == "own" else each.who,
            str(each.rows),
            *(
                f"{figure(ms).median:.2f}"
                for ms in (each.build_ms, each.hand_over_ms, each.wait_ms)
            ),
        )
        for each in costs.host
    ]


def _closing(costs: Costs) -> list[str]:
    over = _over(costs)
    return [
        f"memory at most {in_bytes(costs.peak_bytes)}: weights, caches of "
        f"{in_bytes(costs.caches_bytes)}, and {in_bytes(over)} more",
        f"steps {costs.steps}, {costs.graphs} graphs; weights made in {costs.making_s:.1f} s, "
        f"ready after {costs.readying_s:.1f} s, first runs {costs.warming_s:.1f} s",
    ]


def _aligned(heads: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    lines = [heads, *cells]
    widths = [max(len(line[at]) for line in lines) for at in range(len(heads))]
    laid = ("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in laid)


def _markdown(heads: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    lines = [heads, ("---",) * len(heads), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
