"""The commands of the terminal chat: lines that begin with a slash."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from engine.protocol import Mode, check_depth
from mtplx_tui import answer_options
from mtplx_tui.chats import export
from mtplx_tui.chats.answer_words import answer_words
from mtplx_tui.chats.model import Summary
from mtplx_tui.library.disk import ModelNotFound, local_models, resolve
from mtplx_tui.remedies import one_line
from mtplx_tui.terminal_chat.talk import Talk
from mtplx_tui.view import RequestView, depth_words, wilson_interval

__all__ = ["COMMANDS", "Leave", "Slash", "model_words"]

LISTED = 12
"""Chats that a list shows."""
OWN_SYSTEM = "default"


class Leave(Exception):
    """The person leaves."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command."""

    takes: str
    """What follows it, for the help."""
    tells: str
    run: Callable[[Slash, str], Awaitable[None] | None]
    words: tuple[str, ...] = ()
    """What may follow it, for completion."""


class Slash:
    """Carries commands out.

    Args:
        talk: the conversation they are about.
    """

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._listed: tuple[Summary, ...] = ()

    async def run(self, line: str) -> None:
        """Carry a line out that begins with a slash.

        Raises:
            Leave: the person leaves.
        """
        name, _, argument = line.strip().partition(" ")
        command = COMMANDS.get(name)
        if command is None:
            near = get_close_matches(name, COMMANDS, n=1)
            hint = f"{near[0]} is one" if near else "/help lists them"
            self._talk.fail(f"{name} is no command; {hint}, and // begins a question with a slash")
            return
        try:
            waits = command.run(self, argument.strip())
            if waits is not None:
                await waits
        except (ValueError, OSError) as error:
            self._talk.fail(f"{name}: {error}")
        self._talk.tell_problem()

    def _help(self, _: str) -> None:
        rows = [(f"{name} {each.takes}".strip(), each.tells) for name, each in COMMANDS.items()]
        width = max(len(usage) for usage, _ in rows)
        self._talk.page.tell("\n".join(f"{usage:{width}}  {tells}" for usage, tells in rows))

    async def _model(self, name: str) -> None:
        if not name:
            self._talk.page.tell("\n".join([model_words(self._talk), *_local_lines()]))
            return
        try:
            location = resolve(name)
        except ModelNotFound as error:
            self._talk.fail(one_line(error))
            return
        if await self._talk.load(location):
            self._talk.page.tell(model_words(self._talk))

    def _system(self, text: str) -> None:
        desk = self._talk.desk
        if text:
            system = None if text == OWN_SYSTEM else text
            desk.set_options(replace(desk.chat.options, system=system))
        self._talk.page.tell(f"system: {desk.chat.options.system or 'the chat template’s own'}")

    def _depth(self, text: str) -> None:
        desk = self._talk.desk
        if text:
            depth = answer_options.read_depth(text, "a depth")
            check_depth(depth)
            desk.set_options(replace(desk.chat.options, depth=depth))
        self._talk.page.tell(f"depth: {depth_words(desk.chat.options.depth)}")

    def _mode(self, text: str) -> None:
        desk = self._talk.desk
        if text:
            mode = answer_options.read_mode(text, "a mode")
            desk.set_options(replace(desk.chat.options, mode=mode))
        self._talk.page.tell(f"mode: {desk.chat.options.mode}")

    def _stats(self, _: str) -> None:
        turn = self._talk.last_answer
        if turn is None or turn.facts is None:
            self._talk.fail("there is no answer yet")
            return
        lines = [" · ".join([turn.facts.model, *answer_words(turn.facts)])]
        request = self._talk.last_request
        if request is not None:
            lines += [*_acceptance_lines(request), *_time_lines(request)]
        self._talk.page.tell("\n".join(lines))

    def _save(self, path: str) -> None:
        chat = self._talk.desk.chat
        if not chat.turns:
            raise ValueError("there is nothing to save yet")
        self._talk.page.tell(f"written to {export.export(chat, Path(path or '.').absolute())}")

    def _load(self, wanted: str) -> None:
        desk = self._talk.desk
        if not wanted or not self._listed:
            self._listed = desk.summaries()[:LISTED]
        if not wanted:
            self._tell_list(self._listed)
            return
        found = self._chosen(wanted)
        if len(found) != 1:
            self._listed = found[:LISTED]
            if not found:
                raise ValueError(f"no chat has {wanted!r:.60} in it")
            self._tell_list(self._listed)
            return
        desk.open(found[0].id)
        if desk.chat.id == found[0].id or desk.chat.turns:
            self._tell_opened()

    def _chosen(self, wanted: str) -> tuple[Summary, ...]:
        """Return the chats that a number of the list, or a text, means."""
        if wanted.isascii() and wanted.isdecimal() and 1 <= int(wanted) <= len(self._listed):
            return (self._listed[int(wanted) - 1],)
        return self._talk.desk.search(wanted)

    def _tell_list(self, listed: tuple[Summary, ...]) -> None:
        if not listed:
            self._talk.page.tell("there are no chats yet")
            return
        rows = [
            f"{number:3}  {time.strftime('%Y-%m-%d %H:%M', time.localtime(each.changed))}  {each.title}"
            for number, each in enumerate(listed, 1)
        ]
        self._talk.page.tell("\n".join([*rows, "/load 1 opens the first"]))

    def _tell_opened(self) -> None:
        chat = self._talk.desk.chat
        shown = [f"{chat.title} ({len(chat.path())} turns)"]
        for turn in chat.path()[-2:]:
            mark = "you" if turn.role == "user" else "model"
            shown.append(f"{mark}: {turn.text}")
        self._talk.page.tell("\n".join(shown))

    def _new(self, _: str) -> None:
        self._talk.desk.new()
        self._talk.page.tell("a new chat; the one before is kept")

    async def _retry(self, _: str) -> None:
        await self._talk.retry()

    def _copy(self, _: str) -> None:
        turn = self._talk.last_answer
        if turn is None or not turn.text.strip():
            raise ValueError("there is no answer yet")
        if not self._talk.page.copy(turn.text):
            raise ValueError("there is no terminal whose clipboard could take it")
        self._talk.page.tell("the answer: sent to the terminal's clipboard")

    def _exit(self, _: str) -> None:
        raise Leave


def model_words(talk: Talk) -> str:
    """Return what is loaded, and whether it drafts."""
    model = talk.model
    if model is None:
        return "no model is loaded"
    size = f"{model.parameters / 1e6:,.0f} million parameters"
    drafts = "drafts with its own head" if model.head else f"decoded plainly: {model.head_note}"
    return f"{model.name} · {size} · {drafts}"


def _local_lines() -> list[str]:
    return [f"  {each.name}" for each in local_models()]


def _acceptance_lines(request: RequestView) -> list[str]:
    lines = []
    pairs = zip(request.accepted_at, request.reached_at, strict=True)
    for depth, (accepted, reached) in enumerate(pairs, 1):
        if reached:
            low, high = wilson_interval(accepted, reached)
            lines.append(
                f"at depth {depth}: {accepted / reached:4.0%} accepted, {accepted} of {reached}"
                f" (95 %: {low:.0%} to {high:.0%})"
            )
    return lines


def _time_lines(request: RequestView) -> list[str]:
    if not request.cycle_s:
        return []
    shares = (
        ("draft", request.draft_s),
        ("verify", request.verify_s),
        ("accept", request.accept_s),
    )
    parts = [f"{name} {seconds / request.cycle_s:.0%}" for name, seconds in shares]
    return [f"{len(request.cycles)} cycles in {request.cycle_s:.2f} s: {', '.join(parts)}"]


COMMANDS: dict[str, Command] = {
    "/help": Command("", "these commands", Slash._help),
    "/model": Command("[NAME]", "what is loaded; or load another model", Slash._model),
    "/system": Command(
        "[TEXT]",
        f"the system text; {OWN_SYSTEM}: the chat template's own",
        Slash._system,
        (OWN_SYSTEM,),
    ),
    "/depth": Command(
        "[auto|0-8]",
        "tokens drafted a cycle; 0 is plain decoding",
        Slash._depth,
        ("auto", *map(str, range(9))),
    ),
    "/mode": Command(f"[{'|'.join(Mode)}]", "how drafts are judged", Slash._mode, tuple(Mode)),
    "/stats": Command("", "what speculation did for the last answer", Slash._stats),
    "/save": Command("[FILE]", "write the chat as Markdown, or JSON if FILE ends so", Slash._save),
    "/load": Command("[NUMBER|WORDS]", "list the chats, or open one", Slash._load),
    "/new": Command("", "begin another chat", Slash._new),
    "/retry": Command("", "answer again", Slash._retry),
    "/copy": Command("", "send the answer to the terminal's clipboard", Slash._copy),
    "/exit": Command("", "leave; ctrl+d does too", Slash._exit),
}
