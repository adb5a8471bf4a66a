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
        self.is_reasoning = prompt.rstrip().endswith(_OPEN)
        """Whether the text has come to a part that is reasoning."""
        self._held = ""
        self._is_fresh = self.is_reasoning

    def feed(self, text: str) -> tuple[TextRun, ...]:
        """Return the runs that are certain; may hold back the beginning of a mark."""
        runs: tuple[TextRun, ...] = ()
        text = self._held + text
        while (mark := _CLOSE if self.is_reasoning else _OPEN) in text:
            before, _, text = text.partition(mark)
            runs += self._told(before)
            self.is_reasoning = not self.is_reasoning
            self._is_fresh = True
        certain = text[: len(text) - longest_overlap(text, (mark,))]
        self._held = text[len(certain) :]
        return runs + self._told(certain)

    def finish(self) -> tuple[TextRun, ...]:
        """Return what was held back for a mark that did not come."""
        held, self._held = self._held, ""
        return self._told(held)

    def _told(self, text: str) -> tuple[TextRun, ...]:
        """Return a text as a run, without the blank lines right after a mark; none where it is empty."""
        if self._is_fresh:
            text = text.lstrip("\n")
            self._is_fresh = not text
        channel = Channel.REASONING if self.is_reasoning else Channel.ANSWER
        return (TextRun(channel, text),) if text else ()


def joined(runs: Iterable[TextRun]) -> tuple[TextRun, ...]:
    """Return runs with those that follow one another on one channel made one."""
    groups = itertools.groupby(runs, key=lambda run: run.channel)
    return tuple(TextRun(channel, "".join(r.text for r in group)) for channel, group in groups)
