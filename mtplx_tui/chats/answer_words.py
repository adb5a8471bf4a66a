"""What is known of how an answer was made, in words; for the app and the terminal chat alike."""

from __future__ import annotations

from mtplx_tui.chats.model import AnswerFacts
from mtplx_tui.forecast import Saving, saving_words
from mtplx_tui.view import RequestView, depth_words

__all__ = ["answer_words", "running_words"]


def answer_words(facts: AnswerFacts) -> list[str]:
    """Return what there is to tell of an answer that ended."""
    depth = depth_words(facts.depth)
    counted = _counted(facts.tokens_per_s, facts.tokens_per_cycle, depth, facts.tokens)
    return [*counted, *_saved(facts)]


def running_words(request: RequestView) -> list[str]:
    """Return what there is to tell of an answer that has tokens and goes on."""
    depth = depth_words(request.depth, request)
    return _counted(request.tokens_per_s, request.tokens_per_cycle, depth, request.emitted)


def _saved(facts: AnswerFacts) -> list[str]:
    """Return what drafting saved; nothing of an answer that never drafted."""
    if facts.saved_s is None or facts.saved_doubt_s is None:
        is_plain = facts.depth == 0 and facts.tokens == facts.cycles
        return [] if is_plain else [saving_words(None)]
    return [saving_words(Saving(facts.saved_s, facts.saved_doubt_s))]


def _counted(per_s: float | None, per_cycle: float | None, depth: str, tokens: int) -> list[str]:
    parts = [] if per_s is None else [f"{per_s:.1f} tok/s"]
    if per_cycle is not None:
        parts.append(f"{per_cycle:.1f} tokens/cycle")
    return [*parts, f"depth {depth}", f"{tokens:,} token{'' if tokens == 1 else 's'}"]
