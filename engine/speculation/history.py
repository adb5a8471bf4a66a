"""What came before each row of a window: the history that penalties and bans look at.

Row i of a window follows the committed tokens and the first i drafts, so each row has a history
of its own. The drafts are still on the device, and all that depends on them is computed there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import mlx.core as mx

from engine.protocol import Constraints
from engine.speculation.sampling import RowRules

__all__ = ["History"]

_ANY = -2
"""In a banned run: any token fits."""
_NONE = -1
"""In a history: before its beginning; fits no token."""


class History:
    """The committed tokens of a request, as far as its constraints look at them.

    Args:
        constraints: of the request.
        vocabulary: width of the logits.
        stop_ids: tokens that `min_tokens` holds back.
        prompt: its token ids.
    """

    def __init__(
        self,
        constraints: Constraints,
        vocabulary: int,
        stop_ids: Collection[int],
        prompt: Sequence[int],
    ) -> None:
        self._constraints = constraints
        self._vocabulary = vocabulary
        self._bias = _dense(constraints, vocabulary)
        self._stops = _marked(sorted(stop_ids), vocabulary)
        self._runs = _BannedRuns(constraints.banned, vocabulary) if constraints.banned else None
        self._tail = list(prompt)
        self.emitted = 0
        self.in_prompt = _marked(list(prompt), vocabulary)
        """bool [vocabulary]."""
        self.counts = mx.zeros((vocabulary,))
        """float32 [vocabulary]: how often the answer holds each token."""

    def rules(self, drafted: mx.array, first: int = 0) -> RowRules:
        """Return what bends the logits of rows `first` to the last of a window.

        Args:
            drafted: integer [depth]; the window has depth + 1 rows.
            first: the first row wanted.
        """
        asked = self._constraints
        counts = self._counts_by_row(drafted)[first:]
        is_repeated = asked.repetition_penalty != 1
        is_penalised = asked.presence_penalty != 0 or asked.frequency_penalty != 0
        deduction = asked.presence_penalty * (counts > 0) + asked.frequency_penalty * counts
        return RowRules(
            bias=self._bias,
            repetition=asked.repetition_penalty,
            seen=(counts > 0) | self.in_prompt if is_repeated else None,
            deduction=deduction if is_penalised else None,
            banned=self._banned(drafted, first),
        )

    def commit(self, emitted: tuple[int, ...]) -> None:
        """Take in emitted tokens, each once."""
        self.emitted += len(emitted)
        self.counts = self.counts.at[mx.array(emitted)].add(1)
        self._tail += emitted
        if self._runs is not None:
            del self._tail[: max(0, len(self._tail) - self._runs.reach)]
        else:
            self._tail.clear()

    def _counts_by_row(self, drafted: mx.array) -> mx.array:
        """Return float32 [depth + 1, vocabulary]: the answer's counts before each row."""
        depth = drafted.shape[0]
        if depth == 0:
            return self.counts[None]
        ones = (drafted[:, None] == mx.arange(self._vocabulary)).astype(mx.float32)
        return mx.concatenate([self.counts[None], self.counts + mx.cumsum(ones, axis=0)])

    def _banned(self, drafted: mx.array, first: int) -> mx.array | None:
        rows = range(self.emitted + first, self.emitted + drafted.shape[0] + 1)
        banned = None
        if self._constraints.min_tokens > rows.start:
            is_early = mx.array([row < self._constraints.min_tokens for row in rows])
            banned = is_early[:, None] & self._stops
        if self._runs is not None:
            completed = self._runs.completed_by(self._tail, drafted)[first:]
            banned = completed if banned is None else banned | completed
        return banned


class _BannedRuns:
    """Banned runs of tokens, compared with all rows of a window at once."""

    def __init__(self, runs: tuple[tuple[int, ...], ...], vocabulary: int) -> None:
        self.reach = max(len(run) for run in runs) - 1
        """How many tokens before a row decide."""
        padded = [[_ANY] * (self.reach + 1 - len(run)) + list(run) for run in runs]
        table = mx.array(padded, mx.int32)
        self._before, self._last = table[:, :-1], table[:, -1]
        self._vocabulary = vocabulary

    def completed_by(self, tail: list[int], drafted: mx.array) -> mx.array:
        """Return bool [depth + 1, vocabulary]: the tokens that would complete a run."""
        known = [_NONE] * (self.reach - len(tail)) + tail[max(0, len(tail) - self.reach) :]
        text = mx.concatenate([mx.array(known, mx.int32), drafted.astype(mx.int32)])
        rows = drafted.shape[0] + 1
        places = mx.arange(rows)[:, None] + mx.arange(self.reach)
        context = text[places][:, None] if self.reach else mx.zeros((rows, 1, 0), mx.int32)
        fits = mx.all((context == self._before) | (self._before == _ANY), axis=-1)
        marks = mx.zeros((rows, self._vocabulary), mx.int32)
        return marks.at[:, self._last].maximum(fits.astype(mx.int32)) > 0


def _dense(constraints: Constraints, vocabulary: int) -> mx.array | None:
    """Return the biases as float32 [vocabulary]."""
    if not constraints.logit_bias:
        return None
    ids = mx.array([each.token for each in constraints.logit_bias])
    biases = mx.array([each.bias for each in constraints.logit_bias], mx.float32)
    return mx.zeros((vocabulary,)).at[ids].add(biases)


def _marked(ids: list[int], vocabulary: int) -> mx.array:
    """Return bool [vocabulary], true at the ids."""
    if not ids:
        return mx.zeros((vocabulary,), mx.bool_)
    return mx.zeros((vocabulary,)).at[mx.array(ids)].add(1) > 0
