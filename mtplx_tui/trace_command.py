"""`mtplx-tui trace view FILE` and `trace diff A B`: recorded answers, without an engine."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from engine.protocol import CycleDone
from engine.wire import plain_fields
from mtplx_tui.cli import UsageError, parser, tell
from mtplx_tui.forecast import Forecast, Quantity, forecasts, saving, saving_words
from mtplx_tui.replay import whole_view
from mtplx_tui.trace_diff import DepthRow, Side, TraceDiff, compare
from mtplx_tui.traces import Trace, TraceError, read_trace
from mtplx_tui.view import RequestView, wilson_interval

__all__ = ["main"]

_EXAMPLES = """\
examples:
  mtplx-tui trace view answer.jsonl            replay it in the app; over a pipe, as text
  mtplx-tui trace view answer.jsonl --json     its header, figures and cycles as one JSON object
  mtplx-tui trace diff a.jsonl b.jsonl         where they part, acceptance by depth, speed

A trace is written by `mtplx-tui generate --trace FILE`, or by the key s in the speculation tab.
Exit code 0 whether or not two traces differ; 1 where a file can't be read as a trace.
"""


def main(words: list[str]) -> int:
    """Run the command and return its exit code."""
    chosen = parser("mtplx-tui trace", "Look at recorded answers.", _EXAMPLES)
    chosen.add_argument("what", help="view or diff")
    chosen.add_argument("files", nargs="*", type=Path, help="one file to view, two to compare")
    chosen.add_argument(
        "--json", action="store_true", help="print one JSON object and nothing else"
    )
    options = chosen.parse_args(words)
    wanted = {"view": 1, "diff": 2}.get(options.what)
    if wanted is None:
        raise UsageError(f"trace does view or diff, not {options.what!r}")
    if len(options.files) != wanted:
        files = "one file" if wanted == 1 else "two files"
        raise UsageError(f"trace {options.what} takes {files}, not {len(options.files)}")
    try:
        traces = [read_trace(path) for path in options.files]
    except TraceError as error:
        tell(_shown(str(error)))
        return 1
    if wanted == 1:
        return _view(traces[0], options.files[0], is_json=options.json)
    _diff(*traces, is_json=options.json)
    return 0


def _view(trace: Trace, path: Path, *, is_json: bool) -> int:
    if is_json:
        _write(json.dumps(_document(trace), ensure_ascii=False))
    elif sys.stdout.isatty():
        from mtplx_tui.opening import open_trace

        return open_trace(path)
    else:
        _write("\n".join(_page(trace)))
    return 0


def _diff(left: Trace, right: Trace, *, is_json: bool) -> None:
    found = compare(_answer(left), _answer(right))
    if is_json:
        document = {"left": left.name, "right": right.name, "same": found.parts_at is None}
        _write(json.dumps({**document, **plain_fields(found)}, ensure_ascii=False))
    else:
        _write("\n".join(_diff_page(left, right, found)))


def _answer(trace: Trace) -> RequestView:
    """Return the trace's newest answer; a trace that was read has one."""
    newest = whole_view(trace).newest
    if newest is None:
        raise TraceError(f"{trace.name} holds no answer")
    return newest


def _write(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding) + "\n")
    sys.stdout.flush()


def _shown(text: str) -> str:
    """Return a text as one line that can't steer a terminal."""
    text = text.replace("\n", "\\n").replace("\t", "\\t")
    return "".join(each if each.isprintable() else "?" for each in text)


# Text


def _page(trace: Trace) -> list[str]:
    head = trace.header
    lines = [
        _shown(f"{trace.name}: {head.model}, {head.sampling}"),
        _shown(f"made by mtplx-tui {head.mtplx_tui} on {head.machine}, {head.engine}"),
    ]
    if head.heat:
        lines.append(_shown(f"heat: {head.heat}"))
    if trace.note:
        lines.append(f"note: {trace.note}")
    for request in whole_view(trace).requests:
        lines += ["", *_request_page(request)]
    return lines


def _request_page(request: RequestView) -> list[str]:
    lines = [_summary(request), "", *_acceptance(request)]
    lines += ["", "what each depth would give, tokens a second (~ estimated)"]
    lines += [_forecast_line(each) for each in forecasts(request)]
    lines += ["", _saving_line(request), "", "cycle  depth  accepted      ms  tokens"]
    return [*lines, *(_cycle_line(cycle) for cycle in request.cycles)]


def _summary(request: RequestView) -> str:
    prompt = 0 if request.started is None else request.started.prompt_tokens
    parts = [
        f"{prompt:,} prompt tokens, {request.emitted:,} tokens in {len(request.cycles):,} cycles"
    ]
    if request.tokens_per_s is not None and request.tokens_per_cycle is not None:
        parts += [
            f"{request.tokens_per_s:.1f} tok/s",
            f"{request.tokens_per_cycle:.2f} tokens/cycle",
        ]
    return ", ".join(parts)


def _acceptance(request: RequestView) -> list[str]:
    lines = ["depth  accepted  reached  share  95 %"]
    for depth, reached in enumerate(request.reached_at, 1):
        if reached:
            accepted = request.accepted_at[depth - 1]
            share = f"{100 * accepted / reached:4.0f} %  {_interval(accepted, reached)}"
            lines.append(f"{depth:>5}  {accepted:>8}  {reached:>7} {share}")
    return lines


def _interval(accepted: int, reached: int) -> str:
    low, high = wilson_interval(accepted, reached)
    return f"{100 * low:.0f}-{100 * high:.0f}"


def _forecast_line(each: Forecast) -> str:
    own = each.tokens_per_s
    sign = " " if own.is_measured else "~"
    seen = "not measured"
    if each.measured_tokens_per_s is not None:
        seen = f"measured {each.measured_tokens_per_s:.1f} in {each.cycles:,} cycles"
    return f"{each.depth:>5}  {sign}{own.value:>6.1f}  {own.low:>6.1f}-{own.high:.1f}  {seen}"


def _saving_line(request: RequestView) -> str:
    found = saving(request)
    why = ", too few plain cycles between" if found is None else ""
    return f"against plain decoding: {saving_words(found, '+-')}{why}"


def _cycle_line(cycle: CycleDone) -> str:
    pieces = "|".join(_shown(piece) for piece in cycle.emitted_pieces)
    rejected = ""
    if cycle.accepted < cycle.depth:
        rejected = f"   rejected {_shown(cycle.drafted_pieces[cycle.accepted])!r}"
    counts = f"{cycle.cycle:>5}  {cycle.depth:>5}  {cycle.accepted:>8}  {1e3 * cycle.total_s:>6.1f}"
    return f"{counts}  {pieces}{rejected}"


def _diff_page(left: Trace, right: Trace, found: TraceDiff) -> list[str]:
    parting = "the same tokens from first to last"
    if found.parts_at is not None:
        here = [_token(side) for side in (found.left, found.right)]
        parting = f"they part at token {found.parts_at:,}: {here[0]} against {here[1]}"
    lines = [_shown(f"left   {left.name}"), _shown(f"right  {right.name}")]
    lines += [f"note: {_shown(trace.name)}: {trace.note}" for trace in (left, right) if trace.note]
    lines += [parting, "", f"{'':<16}{'left':>14}{'right':>14}"]
    for label, name in (("tokens", "tokens"), ("cycles", "cycles")):
        own, other = (getattr(side, name) for side in (found.left, found.right))
        lines.append(f"{label:<16}{own:>14,}{other:>14,}")
    lines.append(
        _rates("tokens a cycle", found.left.tokens_per_cycle, found.right.tokens_per_cycle)
    )
    lines.append(_rates("tokens a second", found.left.tokens_per_s, found.right.tokens_per_s))
    if found.speed_ratio is not None:
        lines.append(f"{'right to left':<16}{'':>14}{found.speed_ratio:>13.2f}x")
    return [*lines, "", "depth    accepted, 95 %", *(_depth_line(row) for row in found.depths)]


def _token(side: Side) -> str:
    return "its end" if side.at_parting is None else repr(_shown(side.at_parting))


def _rates(label: str, left: float | None, right: float | None) -> str:
    return f"{label:<16}" + "".join(
        f"{'-' if rate is None else format(rate, '.2f'):>14}" for rate in (left, right)
    )


def _depth_line(row: DepthRow) -> str:
    sides = [
        f"{100 * s.accepted / s.reached:.0f} % {_interval(s.accepted, s.reached)}"
        if s.reached
        else "not reached"
        for s in (row.left, row.right)
    ]
    return f"{row.depth:<16}{sides[0]:>14}{sides[1]:>14}"


# JSON


def _document(trace: Trace) -> dict[str, object]:
    return {
        "name": trace.name,
        "header": plain_fields(trace.header),
        "note": trace.note,
        "answers": [_answer_document(request) for request in whole_view(trace).requests],
    }


def _answer_document(request: RequestView) -> dict[str, object]:
    found = saving(request)
    return {
        "request": request.request,
        "text": request.reasoning + request.answer,
        "tokens": request.emitted,
        "tokens_per_s": request.tokens_per_s,
        "tokens_per_cycle": request.tokens_per_cycle,
        "reached_at": list(request.reached_at),
        "accepted_at": list(request.accepted_at),
        "forecast": [_forecast_document(each) for each in forecasts(request)],
        "saving": None if found is None else plain_fields(found),
        "cycles": [plain_fields(cycle) for cycle in request.cycles],
    }


def _forecast_document(each: Forecast) -> dict[str, object]:
    own: Quantity = each.tokens_per_s
    measured = each.measured_tokens_per_s
    return {
        "depth": each.depth,
        "tokens_per_s": plain_fields(own),
        "measured_tokens_per_s": measured,
        "cycles": each.cycles,
    }
