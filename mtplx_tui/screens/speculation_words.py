"""What the speculation tab says in whole lines: where nothing is yet, and how an answer stands."""

from __future__ import annotations

from textual.content import Content

from engine.protocol import Finish
from mtplx_tui.keys_file import STANDARD, Keys
from mtplx_tui.marks import Marks
from mtplx_tui.view import EngineState, EngineView, RequestView
from mtplx_tui.wording import showable


def nothing_page(
    view: EngineView, request: RequestView | None, marks: Marks, keys: Keys = STANDARD
) -> Content:
    """Return what stands where no token is yet: what to do, and how to read what will come."""
    if request is not None and request.is_running and request.started is not None:
        total = request.started.prompt_tokens
        return Content(f"reading the prompt, {request.prefilled:,} of {total:,} tokens")
    if view.state is EngineState.DEAD:
        return Content(keys.fill("The engine has stopped: {app.restart} starts it again."))
    if view.load is not None or view.state is EngineState.STARTING:
        return Content("One moment: the model is on its way.")
    if view.model is None:
        return Content(keys.fill("No model is loaded: {app.open_model} opens one."))
    asking = keys.fill("Ask something in Chat ({app.chat}); its tokens appear here.")
    lines = [Content(asking), Content("")]
    if view.model.head is None:
        note = showable(view.model.head_note or "it has none")
        lines += [Content(f"No head, so plain decoding: {note}."), Content("")]
        return Content("\n").join([*lines, _reading_row(0, marks)])
    return Content("\n").join([*lines, *(_reading_row(at, marks) for at in range(5))])


def _reading_row(at: int, marks: Marks) -> Content:
    """Return one row of the explanation of the marks."""
    samples = (
        Content.styled(f"{marks.depths[0]}the", ""),
        Content.styled(f"{marks.depths[1]}sky", "$depth-1"),
        Content.styled(f"{marks.bonus}is", "bold"),
        Content.styled(f"{marks.residual}blue", "bold italic"),
        Content.assemble(marks.opening, ("red", "strike"), marks.closing),
    )
    words = (
        "plain decoding: one token from the trunk",
        "a draft that was accepted, here at depth 1",
        "the bonus token after drafts that were all accepted",
        "the token drawn in place of a rejected draft",
        "the draft that was rejected",
    )
    sample = samples[at]
    return Content.assemble(" " * (6 - sample.cell_length), sample, (f"  {words[at]:<51}", "dim"))


def options_of(request: RequestView | None, dot: str) -> str:
    """Return what an answer is drawn with."""
    if request is None or request.started is None:
        return ""
    started = request.started
    own = started.sampling
    parts = [started.model, f"{started.mode} rule", f"seed {started.seed}"]
    parts.append(f"temperature {own.temperature:g}" if own.temperature else "greedy")
    if own.temperature:
        parts += [f"top_p {own.top_p:g}", f"top_k {own.top_k}"]
    return f" {dot} ".join(parts)


def how_it_stands(request: RequestView | None, *, is_paused: bool) -> Content:
    """Return how an answer ended, or that it goes on."""
    if request is None:
        return Content("")
    if is_paused:
        return Content.styled("paused", "bold $text-warning")
    if request.is_running:
        return Content.styled("live", "bold $text-success")
    if request.was_cut:
        return Content.styled("cut: the engine stopped", "$text-error")
    if request.error is not None:
        return Content.styled("failed", "$text-error")
    words = {Finish.STOP: "finished", Finish.LENGTH: "token limit", Finish.CANCELLED: "stopped"}
    done = request.done
    tokens = f", {request.emitted:,} tokens in {len(request.cycles):,} cycles"
    return Content.styled(words[done.finish] + tokens if done is not None else "", "dim")
