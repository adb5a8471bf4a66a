"""Tells an answer from its reasoning, once, for every front end: `<think> ... </think>`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from engine.protocol import Channel, TextRun
from engine.text import longest_overlap

__all__ = ["ChannelSplitter", "joined"]

_OPEN = "<think>"
_CLOSE = "</think>"


class ChannelSplitter:
    """Splits a growing text at the marks of reasoning and leaves the marks out.

    Args:
        prompt: the rendered prompt; one that ends within an open mark begins in reasoning.
    """

    def __init__(self, prompt: str) -> None:
        is_open = prompt.rstrip().endswith(_OPEN)
        self._channel = Channel.REASONING if is_open else Channel.ANSWER
        self._held = ""
        self._is_fresh = is_open

    @property
    def is_reasoning(self) -> bool:
        """Whether the text has come to a part that is reasoning."""
        return self._channel is Channel.REASONING

    def feed(self, text: str) -> tuple[TextRun, ...]:
        """Return the runs that are certain; may hold back the beginning of a mark."""
        held, runs = self._held + text, []
        while True:
            mark = _CLOSE if self._channel is Channel.REASONING else _OPEN
            at = held.find(mark)
            if at < 0:
                break
            runs.append(self._run(held[:at]))
            held = held[at + len(mark) :]
            is_reasoning = self._channel is Channel.REASONING
            self._channel = Channel.ANSWER if is_reasoning else Channel.REASONING
            self._is_fresh = True
        keep = longest_overlap(held, (mark,))
        self._held = held[len(held) - keep :]
        runs.append(self._run(held[: len(held) - keep]))
        return tuple(run for run in runs if run.text)

    def finish(self) -> tuple[TextRun, ...]:
        """Return what was held back for a mark that did not come."""
        held, self._held = self._held, ""
        return (self._run(held),) if held else ()

    def _run(self, text: str) -> TextRun:
        """Leave out the blank lines right after a mark."""
        if self._is_fresh:
            text = text.lstrip("\n")
        self._is_fresh = self._is_fresh and not text
        return TextRun(self._channel, text)


def joined(runs: Iterable[TextRun]) -> tuple[TextRun, ...]:
    """Return runs with those that follow one another on one channel made one."""
    groups = itertools.groupby(runs, key=lambda run: run.channel)
    return tuple(TextRun(channel, "".join(r.text for r in group)) for channel, group in groups)
