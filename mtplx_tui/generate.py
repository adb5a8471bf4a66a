"""`mtplx-tui generate`: one completion, or several, without the app."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from engine.protocol import (
    ChatMessage,
    CycleDone,
    Event,
    Finish,
    ModelInfo,
    ModelLoaded,
    RequestDone,
    Role,
)
from engine.wire import plain_fields
from mtplx_tui import answer_options, constraint_options, requests
from mtplx_tui.cli import UsageError, parser, tell
from mtplx_tui.config import find_sysfs
from mtplx_tui.driving import Engine, EngineTrouble
from mtplx_tui.files import MOST_BYTES, read_whole
from mtplx_tui.library.disk import Location, ModelNotFound, resolve
from mtplx_tui.machine.sensors import Sensors, find_sources
from mtplx_tui.machine.watching import Watch
from mtplx_tui.remedies import one_line
from mtplx_tui.traces import check_trace_path, write_trace
from mtplx_tui.view import RequestView
from mtplx_tui.wording import in_bytes

__all__ = ["main"]

_EXAMPLES = """\
examples:
  mtplx-tui generate --model demo --prompt "Why is the sky blue?"
  mtplx-tui generate --model demo --prompt "Hi" --depth 3 --seed 7 --max-tokens 64 --json
  echo "Say hello in French" | mtplx-tui generate --model demo --prompt -

The transforms are applied in this order, for plain decoding and verification alike: JSON schema,
logit bias, penalties (repetition, then presence and frequency), min tokens, temperature, top_k,
top_p, min_p, then renormalised in float32. Log-probabilities are the model's own, before all this.

An automatic depth follows the clock, and so do the draws of --mode token and block: to repeat a
completion give --seed with a fixed --depth, or --mode seeded, whose text is the same at every depth.
"""
_IN_FLIGHT = 4
"""Completions the engine works on at a time, so that it never waits for this process."""


def main(words: list[str]) -> int:
    """Run the command and return its exit code."""
    options = _parsed(words)
    job = _job(options)
    try:
        return asyncio.run(_run(job, resolve(options.model)))
    except ModelNotFound as error:
        tell(one_line(error))
        return 1
    except EngineTrouble as error:
        tell(str(error))
        return error.exit_code


def _parsed(words: list[str]) -> argparse.Namespace:
    chosen = parser("mtplx-tui generate", "Complete a prompt and leave.", _EXAMPLES)
    add = chosen.add_argument
    add("--model", default="demo", help="a folder, owner/name in the hub cache, or demo (default)")
    add("--prompt", help="one user message; - reads it from standard input")
    add("--messages", type=Path, help='a JSON file: [{"role": "user", "content": "..."}, ...]')
    add("--raw", action="store_true", help="--prompt is the whole prompt; no chat template")
    answer_options.add_options(chosen)
    add("--n", type=int, default=1, help="completions; completion i uses seed + i")
    add("--trace", type=Path, help="write the engine's events to this .jsonl file")
    add("--json", action="store_true", help="print one JSON object a completion and nothing else")
    constraint_options.add_options(chosen)
    options = chosen.parse_args(words)
    _check(options)
    return options


def _check(options: argparse.Namespace) -> None:
    """Refuse what can be refused without a model. Raises UsageError."""
    if options.n < 1:
        raise UsageError(f"--n must be 1 or more, not {options.n}")
    if (options.prompt is None) == (options.messages is None):
        raise UsageError("give either --prompt or --messages")
    if options.raw and (options.messages is not None or options.system is not None):
        raise UsageError("--raw takes --prompt alone")


@dataclass(frozen=True, slots=True)
class _Job:
    """What is to be done, found to be possible as far as that needs no model."""

    options: requests.Options
    bending: constraint_options.Bending
    messages: tuple[ChatMessage, ...]
    raw: str | None
    n: int
    trace: Path | None
    is_json: bool


def _job(options: argparse.Namespace) -> _Job:
    """Return what is wanted. Raises UsageError naming what can't be."""
    try:
        wanted = answer_options.read(options)
        bending = constraint_options.read(options)
        messages, raw = _prompt(options)
        requests.check(wanted, messages=messages, raw=raw)
        if options.trace is not None:
            check_trace_path(options.trace)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return _Job(wanted, bending, messages, raw, options.n, options.trace, options.json)


def _prompt(options: argparse.Namespace) -> tuple[tuple[ChatMessage, ...], str | None]:
    """Return messages, or raw text. Raises ValueError naming what is wrong with them."""
    if options.messages is not None:
        return _messages(options.messages), None
    text: str = options.prompt
    if text == "-":
        text = _from_input()
    if not text or not (options.raw or text.strip()):
        raise ValueError("the prompt is empty")
    return ((), text) if options.raw else ((ChatMessage(Role.USER, text),), None)


def _from_input() -> str:
    content = sys.stdin.buffer.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"the prompt has more than {in_bytes(MOST_BYTES)}")
    return content.decode("utf-8", "replace")


def _messages(path: Path) -> tuple[ChatMessage, ...]:
    wanted = f'{path}: a list of {{"role": "user", "content": "..."}} is wanted'
    try:
        content = json.loads(read_whole(path))
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(content, list) or not content:
        raise ValueError(wanted)
    messages = []
    for item in content:
        if not isinstance(item, dict) or not isinstance(item.get("content"), str):
            raise ValueError(wanted)
        if item.get("role") not in list(Role):
            raise ValueError(f"{path}: role must be one of {', '.join(Role)}")
        messages.append(ChatMessage(Role(item["role"]), item["content"]))
    return tuple(messages)


async def _run(job: _Job, location: Location) -> int:
    async with Engine() as engine:
        model = await engine.load(location)
        for note in _notes(engine, model, job.options.depth):
            tell(note)
        if job.trace is None:
            await _complete(engine, job, model)
        else:
            with Watch(Sensors(find_sources(find_sysfs()))) as watch:
                await _complete(engine, job, model, watch)
    return 0


async def _complete(
    engine: Engine, job: _Job, model: ModelInfo, watch: Watch | None = None
) -> None:
    """Run all completions, and print and keep them in their order."""
    built = requests.build("0", model, job.options, messages=job.messages, raw=job.raw)
    first = job.bending.put_on(built)
    completions = _Completions(engine)
    ahead = _IN_FLIGHT if job.is_json else 1
    for index in range(job.n + ahead - 1):
        if index < job.n:
            seed = (first.seed + index) % 2**64
            engine.send(replace(first, request=str(index), seed=seed))
        number = index - ahead + 1
        if number >= 0:
            view = await completions.wait(str(number), None if job.is_json else _write)
            if job.trace is not None:
                events = [*_preamble(engine, model), *completions.answer]
                write_trace(
                    _numbered(job.trace, number), events, None if watch is None else watch.heat
                )
            _write(f"{_json(_document(view, model))}\n" if job.is_json else "\n")


def _numbered(path: Path, index: int) -> Path:
    """Return the trace's path for a completion: the first has it as it was given."""
    return path.with_name(f"{path.stem}-{index}{path.suffix}") if index else path


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


class _Completions:
    """Hands completions on in the order they are asked for, whatever order they end in."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.answer: list[Event] = []
        """The events of the completion that was waited for last."""
        self._events_of: dict[str, list[Event]] = {}
        self._ended: dict[str, RequestView] = {}

    async def wait(self, request: str, show: Callable[[str], None] | None) -> RequestView:
        """Wait for the end of a completion that was sent; others may be in flight."""
        while request not in self._ended:
            event = await self._engine.next_event()
            name = getattr(event, "request", "")
            self._events_of.setdefault(name, []).append(event)
            if show and isinstance(event, (CycleDone, RequestDone)):
                show("".join(run.text for run in event.runs))
            view = self._engine.view.request(name)
            if isinstance(event, RequestDone) and view is not None:
                self._ended[name] = view
        self.answer = self._events_of.pop(request)
        return self._ended.pop(request)


def _notes(engine: Engine, model: ModelInfo, depth: int | None) -> list[str]:
    """Return why this is slower than what was asked for."""
    found = []
    started = engine.view.engine
    if started is not None and started.blas_note:
        found.append(started.blas_note)
    if model.kernel_note:
        found.append(model.kernel_note)
    if model.head is None and depth != 0:
        found.append(f"{model.name} is decoded plainly: {model.head_note}")
    return found


def _preamble(engine: Engine, model: ModelInfo) -> list[Event]:
    """Return what a trace begins with: what the engine said of itself and of its model."""
    started = engine.view.engine
    loaded = ModelLoaded("load", model)
    return [loaded] if started is None else [started, loaded]


def _json(document: dict[str, object]) -> str:
    """Return one line, which standard output can take whatever its encoding."""
    return json.dumps(document, ensure_ascii=(sys.stdout.encoding or "utf-8").lower() != "utf-8")


def _document(request: RequestView, model: ModelInfo) -> dict[str, object]:
    """Return what design section 4 lists for `generate --json`."""
    started, done = request.started, request.done
    finish = done.finish if done else Finish.CANCELLED
    return {
        "text": request.reasoning + request.answer,
        "token_ids": [token for cycle in request.cycles for token in cycle.emitted],
        "finish_reason": finish.value,
        "prompt_tokens": started.prompt_tokens if started else 0,
        **_logprobs(request),
        "cycles": [_cycle(cycle) for cycle in request.cycles],
        "stats": {
            "ttft_s": done.first_token_s if done else None,
            "tokens_per_s": request.tokens_per_s,
            "tokens_per_cycle": request.tokens_per_cycle,
            "reached_at": list(request.reached_at),
            "accepted_at": list(request.accepted_at),
        },
        "model": model.name,
        "seed": started.seed if started else None,
    }


def _logprobs(request: RequestView) -> dict[str, object]:
    """Return the log-probabilities beside token_ids, where they were asked for."""
    found = [plain_fields(each) for cycle in request.cycles for each in cycle.logprobs]
    return {"logprobs": found} if found else {}


def _cycle(cycle: CycleDone) -> dict[str, object]:
    return {
        "depth": cycle.depth,
        "drafted": list(cycle.drafted),
        "accepted": cycle.accepted,
        "emitted": list(cycle.emitted),
        "ended": cycle.ended.value,
        "draft_s": cycle.draft_s,
        "verify_s": cycle.verify_s,
        "total_s": cycle.total_s,
    }
