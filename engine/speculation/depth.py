"""Which depth the next cycle drafts to. Pure: knows numbers only, and only of past cycles.

A cycle of depth D is expected to emit E(D) = 1 + A_1 + ... + A_D tokens, where A_i is the chance
that the first i drafts are accepted, and to take t(D) seconds (`costs`); the depth with the
highest E(D) / t(D) is best, plain decoding (depth 0) among them. What is not in use grows stale,
so now and then another depth is tried; a purse pays for it, which gets a small share of all time.
Nothing here sees a draft of the cycle it decides on, so every choice keeps the law.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from engine.protocol import MAX_DEPTH
from engine.speculation.costs import CycleCosts

__all__ = ["AcceptanceOdds", "DepthPolicy", "DepthProfile", "next_depth"]

PROBE_SHARE = 0.0115
"""Of all time, spent on depths that are not the best known."""
_FIRST_CYCLES = 4
"""At depth 1, before anything is known."""
_FADING = 0.5 ** (1 / 100)
_FADING_UNSEEN = 0.5 ** (1 / 400)
_PRIOR_WEIGHT = 4.0
_GUESSED_ODDS = 0.6
_LEAST_GAIN = 1.02
"""Over the present depth, before it is left for another that drafts."""
_LEAST_GAIN_TO_DRAFT = 1.03
_PATIENCE = 3
"""Cycles for which plain decoding must look faster before drafting ends."""
_FULLEST_PURSE = 4
"""Cycles' worth of time that can be saved up."""
_FIRST_PURSE = 1.0
"""Plain cycles' worth of time, where costs are hardly known."""
_DOUBTFUL = 0.15
"""Of a ratio of costs: it is looked at as soon as the purse allows."""
_PROBE_REST = 12
"""Cycles before the same depth is tried again."""
_PROBE_CYCLES = 2
"""Of a probe while nothing is drafted: the first lets the head catch up, the second counts."""
_GUARD_TOKENS = 48
_GUARD_RATIO = 0.98
"""Of plain decoding's speed: drafting that has been slower over 48 tokens or more rests."""
_REST_TOKENS = 200
"""Decoded plainly, without a probe, before drafting is thought of again."""


@dataclass(frozen=True, slots=True)
class DepthProfile:
    """What is known of a model on a machine before a request begins."""

    ratios: tuple[float, ...] = ()
    """Seconds of a cycle against plain decoding, by depth from 0; 0 where not measured."""
    accepted: tuple[float, ...] = ()
    """Share accepted at depth 1, 2, ... of those that were reached."""
    doubts: tuple[float, ...] = ()
    """Standard deviation of each ratio's logarithm; none where no answer has shown them yet."""


def next_depth(chosen: int, tokens_left: int, positions_left: int) -> int:
    """Return the chosen depth, shortened so that a cycle can't run past a limit.

    Args:
        chosen: what the person or the policy set.
        tokens_left: emitted tokens the request may still have; 1 or more.
        positions_left: positions the context still has behind the last token; 1 or more.
    """
    return max(0, min(chosen, tokens_left - 1, positions_left - 1))


class AcceptanceOdds:
    """How likely a draft at each depth is accepted, given that it is reached.

    Counts fade with a half-life of 100 cycles, of 400 while nothing is drafted; the prior weighs
    as much as 6 judged drafts.

    Args:
        accepted: prior shares by depth from 1; a guess stands in for those not given.
    """

    def __init__(self, accepted: Sequence[float] = ()) -> None:
        given = [*accepted, *[accepted[-1] if accepted else _GUESSED_ODDS] * MAX_DEPTH]
        self._prior = [min(0.99, max(0.01, share)) for share in given[:MAX_DEPTH]]
        self._accepted = [0.0] * MAX_DEPTH
        self._reached = [0.0] * MAX_DEPTH

    def learn(self, depth: int, accepted: int) -> None:
        """Take in a cycle; drafts behind the first rejected one were not judged."""
        fading = _FADING if depth else _FADING_UNSEEN
        for at in range(MAX_DEPTH):
            self._accepted[at] = self._accepted[at] * fading + (at < accepted)
            self._reached[at] = self._reached[at] * fading + (at < min(accepted + 1, depth))

    def shares(self) -> tuple[float, ...]:
        """Return the expected share accepted at depth 1, 2, ... of those reached.

        Where little was judged the prior counts, moved as far as the depth before it moved.
        """
        shares: list[float] = []
        shift = 1.0
        for prior, accepted, reached in zip(
            self._prior, self._accepted, self._reached, strict=True
        ):
            expected = min(0.99, prior * shift)
            shares.append((_PRIOR_WEIGHT * expected + accepted) / (_PRIOR_WEIGHT + reached))
            shift = shares[-1] / prior
        return tuple(shares)

    def weight(self, depth: int) -> float:
        """Return how many judged drafts, prior counted in, stand behind a depth's share."""
        return _PRIOR_WEIGHT + self._reached[depth - 1]

    def all_emitted(self) -> tuple[float, ...]:
        """Return how many tokens a cycle is expected to emit, by depth from 0."""
        runs = itertools.accumulate(self.shares(), lambda run, share: run * share, initial=1.0)
        return tuple(itertools.accumulate(runs))


class DepthPolicy:
    """Chooses the depth of one request's cycles from what its past cycles cost and gave.

    Args:
        profile: what is known beforehand.
    """

    def __init__(self, profile: DepthProfile | None = None) -> None:
        known = profile or DepthProfile()
        self._costs = CycleCosts(known.ratios, known.doubts)
        self._odds = AcceptanceOdds(known.accepted)
        self._depths = range(MAX_DEPTH + 1)
        self._cycle = 0
        self._purse = 0.0
        self._behind = 0
        self._probe: tuple[int, int] | None = None
        self._tried = [-_PROBE_REST] * (MAX_DEPTH + 1)
        self._all_tokens = 0
        self._tokens = 0
        self._seconds = 0.0
        self._plain_seconds = 0.0
        self._resting_until = 0
        self._estimate()
        is_known = self._costs.is_measured(0) and bool(known.accepted)
        self._settled = max(self._depths, key=self._rates.__getitem__) if is_known else 1
        self._learning = 0 if is_known else _FIRST_CYCLES

    @property
    def depth(self) -> int:
        """The next cycle's depth."""
        return self._settled if self._probe is None else self._probe[0]

    @property
    def settled(self) -> int:
        """The depth held to be best; `depth` is another while one is tried."""
        return self._settled

    @property
    def stays_plain(self) -> bool:
        """Whether the next cycle is plain and so is the one behind it, whatever the next one brings."""
        return self._all_tokens + 1 < self._resting_until

    def learn(
        self, depth: int, accepted: int, emitted: int, seconds: float, *, is_typical: bool = True
    ) -> None:
        """Take in a cycle.

        Args:
            depth: it drafted to, which a limit may have shortened.
            accepted: drafts.
            emitted: tokens.
            seconds: of the whole cycle.
            is_typical: whether the seconds are those of its depth: not where the head had to take
                in rows because earlier cycles did not draft, nor where a pass ran ahead of its
                cycle, which a choice made anew each cycle can't count on.
        """
        self._cycle += 1
        self._tried[depth] = self._cycle
        if is_typical:
            self._costs.learn(depth, seconds)
        self._odds.learn(depth, accepted)
        self._estimate()
        if self._cycle == 1 and self._doubtful():
            self._purse = _FIRST_PURSE * self._seconds_of[0]
        typical = self._seconds_of[depth] if is_typical else seconds
        self._pay(depth, emitted, typical)
        self._keep_books(emitted, typical)
        self._settle()
        self._choose_probe(depth)

    def profile(self) -> DepthProfile:
        """Return what is known now."""
        return DepthProfile(self._costs.ratios(), self._odds.shares(), tuple(self._costs.doubts()))

    def _estimate(self) -> None:
        """Say anew what a cycle of each depth takes and gives."""
        self._seconds_of = self._costs.all()
        self._expected = self._odds.all_emitted()
        self._rates = [
            tokens / seconds
            for tokens, seconds in zip(self._expected, self._seconds_of, strict=True)
        ]

    def _expected_loss(self, depth: int) -> float:
        """Return the seconds a cycle of this depth loses against the settled one's pace."""
        return self._seconds_of[depth] - self._expected[depth] / self._rates[self._settled]

    def _pay(self, depth: int, emitted: int, seconds: float) -> None:
        self._purse += PROBE_SHARE * seconds
        if depth != self._settled:
            self._purse -= seconds - emitted / self._rates[self._settled]
        self._purse = min(self._purse, _FULLEST_PURSE * self._seconds_of[self._settled])

    @property
    def _is_resting(self) -> bool:
        return self._all_tokens < self._resting_until

    def _keep_books(self, emitted: int, seconds: float) -> None:
        """Rest where drafting has cost more than it brought; begin new books after it."""
        self._all_tokens += emitted
        if self._is_resting:
            return
        self._tokens += emitted
        self._seconds += seconds
        self._plain_seconds += emitted * self._seconds_of[0]
        is_slow = self._plain_seconds < _GUARD_RATIO * self._seconds
        if self._tokens < _GUARD_TOKENS or not self._costs.is_measured(0):
            return
        if self._settled and is_slow:
            self._settled, self._probe = 0, None
            self._resting_until = self._all_tokens + _REST_TOKENS
        if is_slow or self._settled == 0:
            self._tokens, self._seconds, self._plain_seconds = 0, 0.0, 0.0

    def _settle(self) -> None:
        """Decide which depth is best."""
        self._learning = max(0, self._learning - 1)
        if self._is_resting:
            return
        leader = max(self._depths[1:], key=self._rates.__getitem__)
        plain = self._rates[0]
        if self._settled == 0:
            if self._surely(leader) > _LEAST_GAIN_TO_DRAFT * plain:
                self._settled = leader
            return
        self._behind = self._behind + 1 if self._rates[leader] < plain else 0
        if self._behind >= _PATIENCE:
            self._settled, self._behind = 0, 0
        elif not self._learning and self._rates[leader] > _LEAST_GAIN * self._rates[self._settled]:
            self._settled = leader

    def _surely(self, depth: int) -> float:
        """Return a rate that the true one exceeds nine times in ten, as far as odds go."""
        share, weight = self._odds.shares()[0], self._odds.weight(1)
        doubt = 1.28 * (share * (1 - share) / weight) ** 0.5
        drafted = (self._expected[depth] - 1) * max(0.0, 1 - doubt / share)
        return (1 + drafted) / self._seconds_of[depth]

    def _choose_probe(self, depth: int) -> None:
        """Go on with a probe, end it, or begin one that the purse can pay for."""
        if self._probe is not None:
            at, left = self._probe
            self._probe = (at, left - 1) if left > 1 and depth == at else None
            return
        if self._is_resting:
            return
        cycles = 1 if self._settled else _PROBE_CYCLES
        fullest = _FULLEST_PURSE * self._seconds_of[self._settled]
        for at in self._candidates():
            cost = cycles * max(0.0, self._expected_loss(at))
            if cost <= self._purse or not self._costs.is_measured(0):
                self._probe = (at, cycles)
            if cost <= fullest:
                return

    def _candidates(self) -> list[int]:
        """Return depths worth a try, the one not tried for longest first; it is saved up for."""
        if self._settled == 0:
            near = [max(self._depths[1:], key=self._rates.__getitem__)]
        else:
            near = [0, self._settled - 1, self._settled + 1]
        rested = self._cycle - _PROBE_REST
        allowed = {at for at in near if at in self._depths and self._tried[at] <= rested}
        order = sorted(allowed, key=lambda at: (self._costs.is_measured(at), self._tried[at]))
        doubtful = self._doubtful()
        return [*doubtful, *(at for at in order if at != self._settled and at not in doubtful)]

    def _doubtful(self) -> list[int]:
        """Return depths that may be better than the settled one, their cost hardly known.

        Plain decoding comes first: all others are held against it.
        """
        doubts = self._costs.doubts(self._settled)
        if max(doubts) < _DOUBTFUL:
            return []
        hopes: dict[int, float] = {}
        for at in self._depths:
            hope = self._rates[at] * math.exp(doubts[at])
            if doubts[at] > _DOUBTFUL and (at == 0 or hope > self._rates[self._settled]):
                hopes[at] = hope
        return sorted(hopes, key=lambda at: (at > 0, -hopes[at]))
