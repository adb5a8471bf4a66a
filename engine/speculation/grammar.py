"""A grammar the answer has to fit: which tokens it lets through at each row of a window.

The matcher holds the emitted tokens only. A copy of it walks along the drafts to tell what each
row may hold; a draft that breaks the grammar gets probability 0 from its row's mask, so the
ordinary rules reject it, and rows behind it are never read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np

from engine.errors import RequestError
from engine.protocol import GrammarKind

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

__all__ = ["Grammar", "compiled"]

_WORD = 32
"""Bits of a word in a mask."""


class Grammar:
    """See the module.

    Args:
        matcher: at the beginning of the answer.
        vocabulary: width of the logits.
    """

    def __init__(self, matcher: LLMatcher, vocabulary: int) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary
        self._here: bytes | None = None

    def masks(self, drafted: Sequence[int]) -> mx.array:
        """Return bool [drafts + 1, vocabulary]: what each row of a window may hold.

        Raises:
            RequestError: the grammar grew beyond what can be matched.
        """
        if self._here is None:
            self._here = self._mask(self._matcher)
        rows = [self._here]
        walker = self._matcher.deep_copy() if drafted else self._matcher
        for token in drafted:
            if walker.is_stopped() or not walker.try_consume_tokens([token]):
                break
            if walker.is_stopped() and walker.stop_reason() == "EndOfSentence":
                break
            rows.append(self._mask(walker))
        unread = len(drafted) + 1 - len(rows)
        rows += [b"\xff" * len(self._here)] * unread
        words = mx.array(np.frombuffer(b"".join(rows), np.uint32)).reshape(len(rows), -1)
        bits = mx.right_shift(words[:, :, None], mx.arange(_WORD, dtype=mx.uint32)) & 1
        return bits.reshape(len(rows), -1)[:, : self._vocabulary] > 0

    def commit(self, emitted: Sequence[int]) -> None:
        """Advance by emitted tokens; at the grammar's end there is nothing to advance."""
        self._here = None
        for token in emitted:
            if self._matcher.is_stopped():
                return
            self._matcher.consume_token(token)

    def _mask(self, matcher: LLMatcher) -> bytes:
        mask = matcher.compute_bitmask()
        if matcher.is_error():
            raise RequestError(f"the grammar can't go on: {_line(matcher.get_error())}")
        return mask


def compiled(text: str, kind: GrammarKind, tokens: LLTokenizer, vocabulary: int) -> Grammar:
    """Return a grammar at the beginning of an answer.

    Args:
        text: a JSON schema, or a grammar in llguidance's own language.
        kind: which of them.
        tokens: the model's vocabulary, from `Tokenizer.guide`.
        vocabulary: width of the logits.

    Raises:
        RequestError: it is none, or one that can't be compiled.
    """
    from llguidance import LLMatcher

    is_schema = kind is GrammarKind.JSON_SCHEMA
    read = LLMatcher.grammar_from_json_schema if is_schema else LLMatcher.grammar_from_lark
    what = "JSON schema" if is_schema else "grammar"
    try:
        grammar = read(text)
    except ValueError as error:
        raise _refused(what, str(error)) from error
    matcher = LLMatcher(tokens, grammar, log_level=0)
    if matcher.is_error():
        raise _refused(what, matcher.get_error())
    return Grammar(matcher, vocabulary)


def _refused(what: str, reason: str) -> RequestError:
    return RequestError(
        f"the {what} can't be compiled: {_line(reason)}", f"change the {what}, or leave it out"
    )


def _line(text: str) -> str:
    return " ".join(text.split())[:300]
