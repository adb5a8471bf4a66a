"""What a certificate is made from, gathered piece by piece from the production engine."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import mlx.core as mx
import numpy as np

from engine.certify.divergence import (
    Kind,
    classify,
    excess_of_ties,
    noise_limit,
    row_noise,
)
from engine.certify.ranks import RankFit
from engine.certify.replay import Window, regrouped, replayed_rows, single_rows, wide_rows
from engine.certify.statistics import Fit, fit, two_samples
from engine.certify.trials import RealWindow, narrowed, tried
from engine.model.load import LoadedModel
from engine.protocol import Mode, Sampling
from engine.speculation.cycle import read_prompt, run_cycle
from engine.speculation.noise import CycleNoise
from engine.speculation.sampling import target_distribution
from engine.speculation.stream import Stream

__all__ = ["Evidence"]

MOST_WINDOWS = 64
MOST_TOKENS = 192
TRIALS = 16_384
_STREAM_TOKENS = 64
_SEQUENCE = 2
_TEXT_TOKENS = 48
_CELLS = 16
_NOISE_CYCLES = 4000
"""Whose numbers are held against each other."""
_LEAST_VARIANCE = 5.0
"""Of a place's accepted drafts, before their number is taken as normal."""


class Evidence:
    """See the module.

    Args:
        model: with a head.
        sampling: at a temperature at which drafts are drawn.
        depth: drafted to.
        seed: of everything.
        prompts: token ids, two or more each.
    """

    def __init__(
        self,
        model: LoadedModel,
        sampling: Sampling,
        depth: int,
        seed: int,
        prompts: list[list[int]],
    ) -> None:
        self._model, self._sampling, self._depth, self._seed = model, sampling, depth, seed
        self._prompts = itertools.cycle(prompts)
        self._numbers = itertools.count()
        self._stream = self._begun(next(self._prompts), seed)
        self._emitted = 0
        self._shown: list[tuple[mx.array, mx.array]] = []
        self._replayed: list[RealWindow] = []
        self.judged = np.zeros(depth, int)
        """Drafts judged, by place."""
        self.surplus = np.zeros(depth)
        """Accepted above the sum of min(target, draft), by place."""
        self.variance = np.zeros(depth)
        self.trials: dict[str, Fit] = {"token_rule": Fit(), "block_rule": Fit()}
        self.sequences: dict[str, Counter[tuple[int, ...]]] = {}
        self.texts = {mode: RankFit() for mode in Mode}
        """Whole texts of each mode, by the ranks of their tokens."""
        self._modes = itertools.cycle(Mode)
        self.errors = 0
        self.greedy_places = 0
        self._ties, self._control_ties, self._control_places = 0, 0, 0

    def _begun(self, prompt: list[int], seed: int) -> Stream:
        stream = Stream(self._model.trunk.make_cache(), self._model.head, seed % 2**64)
        read_prompt(self._model.trunk, stream, prompt[:-1], prompt[-1])
        return stream

    def _next_seed(self) -> int:
        return (self._seed << 32) + next(self._numbers)

    def run_cycle(self) -> None:
        """Run one real cycle, and hold its acceptance against the sum of min(target, draft)."""
        if self._emitted >= _STREAM_TOKENS:
            self._stream, self._emitted = self._begun(next(self._prompts), self._next_seed()), 0
        self._stream.witness = self._witness
        result = run_cycle(self._model.trunk, self._stream, self._depth, self._sampling, Mode.TOKEN)
        self._emitted += len(result.emitted)
        target, draft = self._shown.pop()
        overlap = np.array(mx.sum(mx.minimum(target[:-1], draft), axis=-1)).clip(0, 1)
        for place in range(min(result.accepted + 1, result.depth)):
            self.judged[place] += 1
            self.surplus[place] += (place < result.accepted) - overlap[place]
            self.variance[place] += overlap[place] * (1 - overlap[place])
        if len(self._replayed) < MOST_WINDOWS:
            window = narrowed(target, draft, MOST_TOKENS)
            if window is not None:
                self._replayed.append(window)

    def _witness(self, target: mx.array, draft: mx.array | None) -> None:
        if draft is not None:
            self._shown[:] = [(target, draft)]

    @property
    def windows(self) -> int:
        """Real windows kept for trials."""
        return len(self._replayed)

    def run_trials(self) -> None:
        """Run each rule over one real window, many times."""
        number = next(self._numbers)
        window = self._replayed[number % len(self._replayed)]
        for mode in self.trials:
            self.trials[mode] += tried(window, mode, TRIALS, [self._seed, number])

    def run_sequences(self, prompt: list[int]) -> None:
        """Draw one short sequence by plain decoding, once more as control, and in each mode."""
        arms = {"plain": (0, Mode.TOKEN), "control": (0, Mode.TOKEN)}
        arms |= {mode.value: (self._depth, mode) for mode in Mode}
        for arm, (depth, mode) in arms.items():
            stream = self._begun(prompt, self._next_seed())
            emitted: list[int] = []
            while len(emitted) < _SEQUENCE:
                result = run_cycle(self._model.trunk, stream, depth, self._sampling, mode)
                emitted += result.emitted
            self.sequences.setdefault(arm, Counter())[tuple(emitted[:_SEQUENCE])] += 1

    @property
    def sequence_count(self) -> int:
        """Sequences of each kind."""
        return self.sequences.get("plain", Counter()).total()

    def compared(self, arm: str) -> Fit:
        """Return whether an arm's sequences have the law of plain decoding's."""
        ours, plain = self.sequences.get(arm, Counter()), self.sequences.get("plain", Counter())
        keys = sorted(ours.keys() | plain.keys())
        counts = [np.array([each[key] for key in keys], np.float64) for each in (ours, plain)]
        return two_samples(*counts) if keys else Fit()

    def run_text(self) -> None:
        """Draw a text in the next mode, and hold its tokens to rows read anew by plain decoding."""
        mode, prompt = next(self._modes), next(self._prompts)
        stream = self._begun(prompt, self._next_seed())
        text: list[int] = []
        while len(text) < _TEXT_TOKENS:
            result = run_cycle(self._model.trunk, stream, self._depth, self._sampling, mode)
            text += result.emitted
        fed = wide_rows([prompt[-1], *text[:-1]])
        logits = mx.array(replayed_rows(self._model.trunk, prompt[:-1], fed))
        self.texts[mode].add(np.array(target_distribution(logits, self._sampling)), text)

    def run_greedy(self, tokens: int) -> None:
        """Decode greedily with drafts, and judge each place where plain decoding would part."""
        prompt = next(self._prompts)
        stream = self._begun(prompt, self._next_seed())
        windows: list[Window] = []
        text: list[int] = []
        while len(text) < tokens:
            last = stream.last
            result = run_cycle(self._model.trunk, stream, self._depth, Sampling(0.0), Mode.TOKEN)
            windows.append(Window((last, *result.drafted), len(result.emitted)))
            text += result.emitted
        self._judge_greedy(prompt, windows, text)

    def _judge_greedy(self, prompt: list[int], windows: list[Window], text: list[int]) -> None:
        fed = [prompt[-1], *text[:-1]]
        trunk, before = self._model.trunk, prompt[:-1]
        alone = replayed_rows(trunk, before, single_rows(fed))
        used = replayed_rows(trunk, before, windows)
        control = replayed_rows(trunk, before, regrouped(windows, fed))
        limit = noise_limit([row_noise(a, c) for a, c in zip(alone, control, strict=True)])
        for at, token in enumerate(text):
            if int(alone[at].argmax()) == token == int(used[at].argmax()):
                continue
            kind = classify(alone[at], used[at], limit)
            is_error = kind is Kind.ERROR or int(used[at].argmax()) != token
            self.errors += is_error
            self._ties += not is_error
        self.greedy_places += len(text)
        parted = alone.argmax(1) != control.argmax(1)
        self._control_ties += int(parted.sum())
        self._control_places += len(control)

    @property
    def ties_p(self) -> float:
        """Chance of so many ties if speculation had no more of them than windows alone."""
        return excess_of_ties(
            self._ties, self.greedy_places, self._control_ties, self._control_places
        )

    def noise_fit(self) -> Fit:
        """Return how independent the numbers of a position are, purpose by purpose."""
        columns = []
        for cycle in range(_NOISE_CYCLES):
            noise = CycleNoise(self._seed, cycle, 7 + 3 * cycle, 1)
            drafts, accept, following = noise.draft(0), noise.accept(), noise.following()
            columns.append(mx.concatenate([drafts, accept, following[:1]]))
        table = np.array(mx.stack(columns))
        total = Fit()
        for one, other in itertools.combinations(table.T, 2):
            cells, *_ = np.histogram2d(one, other, _CELLS, [[0, 1], [0, 1]])
            law = np.full(_CELLS**2, 1 / _CELLS**2)
            total += fit(cells.reshape(-1), law)
        return total

    @property
    def has_doubtful_drafts(self) -> bool:
        """Whether enough drafts were judged whose acceptance was not certain beforehand."""
        return bool((self.variance > _LEAST_VARIANCE).any())

    def acceptance_z(self) -> float:
        """Return the largest z-score of a place's acceptance against its expectation."""
        scores = [
            surplus / math.sqrt(variance)
            for surplus, variance in zip(self.surplus, self.variance, strict=True)
            if variance > _LEAST_VARIANCE
        ]
        return max(scores, key=abs, default=0.0)
