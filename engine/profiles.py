"""What was learnt of depth on this machine, a small file a model in the cache folder.

The one owner of these files. One that can't be read counts as nothing known: it is told in the
log, and written anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from pathlib import Path

from engine.made_files import made_whole
from engine.protocol import MAX_DEPTH, ModelInfo, Sampling
from engine.speculation.costs import CycleCosts
from engine.speculation.depth import DepthProfile

__all__ = ["Profiles", "kind_of"]

_log = logging.getLogger(__name__)
_LEAST_DOUBT = 0.01
"""Plain decoding's ratio to itself has none, and no weight is without end."""
_SLOWNESS = 100
"""Cycles of a request that count as much as all that was known of acceptance."""


def kind_of(sampling: Sampling) -> str:
    """Return which requests are alike in what is accepted: greedy, cool or warm."""
    if sampling.temperature == 0:
        return "greedy"
    return "cool" if sampling.temperature <= 0.5 else "warm"


class Profiles:
    """The profiles of one model.

    Args:
        cache_folder: of the engine.
        model: what is loaded.
        machine: whatever else changes costs: device, matrix library, versions.
    """

    def __init__(self, cache_folder: Path, model: ModelInfo, machine: str) -> None:
        named = f"{model.path}|{model.weights_bytes}|{model.head}|{machine}"
        digest = hashlib.blake2b(named.encode(), digest_size=8).hexdigest()
        self.path = cache_folder / "depth" / f"{digest}.json"
        self._ratios, self._doubts, self._accepted = self._read()

    @property
    def is_measured(self) -> bool:
        """Whether the costs of depths are known."""
        return bool(self._ratios)

    def of(self, kind: str) -> DepthProfile:
        """Return what is known for requests of a kind; other kinds' acceptance is better than none."""
        accepted = self._accepted.get(kind) or next(iter(self._accepted.values()), ())
        return DepthProfile(self._ratios, accepted, self._doubts)

    def measured(self, ratios: tuple[float, ...]) -> None:
        """Take in what depths cost, and write the file: the next start need not measure."""
        costs = CycleCosts(ratios)
        self._ratios, self._doubts = costs.ratios(), tuple(costs.doubts())
        self._write()

    def keep(self, kind: str, learnt: DepthProfile, cycles: int) -> None:
        """Take in what a request of a kind learnt in some cycles, and write the file.

        Of two ratios of a depth the one less in doubt counts for more, so a request that never
        tried a depth hardly moves what others learnt of it meanwhile.
        """
        self._join(learnt)
        before = self._accepted.get(kind, learnt.accepted)
        share = cycles / (cycles + _SLOWNESS)
        self._accepted[kind] = tuple(
            old + share * (new - old) for old, new in zip(before, learnt.accepted, strict=True)
        )
        self._write()

    def _join(self, learnt: DepthProfile) -> None:
        """Join ratios, each weighed by what its doubt leaves of it."""
        if not self._ratios:
            self._ratios, self._doubts = learnt.ratios, learnt.doubts
            return
        pairs = zip(
            zip(self._ratios, self._doubts, strict=True),
            zip(learnt.ratios, learnt.doubts, strict=True),
            strict=True,
        )
        joined = [_joined(*pair) for pair in pairs]
        self._ratios = tuple(ratio for ratio, _ in joined)
        self._doubts = tuple(doubt for _, doubt in joined)

    def _write(self) -> None:
        """Write the file; where it can't be, the log says so and the next start knows less."""
        content = {"ratios": self._ratios, "doubts": self._doubts, "accepted": self._accepted}
        try:
            with made_whole(self.path) as fresh:
                fresh.write_text(json.dumps(content), "utf-8")
        except OSError as error:
            _log.warning("what was learnt of depth can't be kept: %s", error)

    def _read(self) -> tuple[tuple[float, ...], tuple[float, ...], dict[str, tuple[float, ...]]]:
        try:
            content = json.loads(self.path.read_text("utf-8"))
            ratios = _numbers(content["ratios"], MAX_DEPTH + 1)
            doubts = _numbers(content["doubts"], MAX_DEPTH + 1)
            accepted = {
                str(kind): _numbers(shares, MAX_DEPTH)
                for kind, shares in content["accepted"].items()
            }
        except FileNotFoundError:
            return (), (), {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            _log.warning("%s is no depth profile (%s); it will be made anew", self.path, error)
            return (), (), {}
        return ratios, doubts, accepted


def _joined(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """Return ratio and doubt of what two of them say; a ratio of 0 says nothing."""
    if one[0] <= 0 or other[0] <= 0:
        return max(one, other)
    weights = [1 / max(_LEAST_DOUBT, doubt) ** 2 for _, doubt in (one, other)]
    share = weights[1] / sum(weights)
    log = (1 - share) * math.log(one[0]) + share * math.log(other[0])
    return math.exp(log), min(one[1], other[1])


def _numbers(values: object, count: int) -> tuple[float, ...]:
    """Return numbers read from JSON. Raises ValueError where they are not what is kept there."""
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"a list of {count} numbers is wanted")
    numbers = tuple(float(value) for value in values)
    if not all(0 <= number < 1000 for number in numbers):
        raise ValueError("a number is out of range")
    return numbers
