"""What was learnt of depth on this machine, a small file a model in the cache folder.

The one owner of these files. One that can't be read counts as nothing known: it is told in the
log, and written anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from pathlib import Path

from engine.protocol import MAX_DEPTH, ModelInfo, Sampling
from engine.speculation.depth import DepthProfile

__all__ = ["Profiles", "kind_of"]

_log = logging.getLogger(__name__)
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
        self._ratios, self._accepted = self._read()

    @property
    def is_measured(self) -> bool:
        """Whether the costs of depths are known."""
        return bool(self._ratios)

    def of(self, kind: str) -> DepthProfile:
        """Return what is known for requests of a kind; other kinds' acceptance is better than none."""
        accepted = self._accepted.get(kind) or next(iter(self._accepted.values()), ())
        return DepthProfile(self._ratios, accepted)

    def measured(self, ratios: tuple[float, ...]) -> None:
        """Take in what depths cost, and write the file: the next start need not measure."""
        self._ratios = ratios
        self._write()

    def keep(self, kind: str, learnt: DepthProfile, cycles: int) -> None:
        """Take in what a request of a kind learnt in some cycles, and write the file."""
        self._ratios = learnt.ratios
        before = self._accepted.get(kind, learnt.accepted)
        share = cycles / (cycles + _SLOWNESS)
        self._accepted[kind] = tuple(
            old + share * (new - old) for old, new in zip(before, learnt.accepted, strict=True)
        )
        self._write()

    def _write(self) -> None:
        """Write the file; where it can't be, the log says so and the next start knows less."""
        content = {"ratios": self._ratios, "accepted": self._accepted}
        fresh = self.path.with_suffix(f".{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_text(json.dumps(content), "utf-8")
            fresh.replace(self.path)
        except OSError as error:
            _log.warning("what was learnt of depth can't be kept: %s", error)
        finally:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)

    def _read(self) -> tuple[tuple[float, ...], dict[str, tuple[float, ...]]]:
        try:
            content = json.loads(self.path.read_text("utf-8"))
            ratios = _numbers(content["ratios"], MAX_DEPTH + 1)
            accepted = {
                str(kind): _numbers(shares, MAX_DEPTH)
                for kind, shares in content["accepted"].items()
            }
        except FileNotFoundError:
            return (), {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            _log.warning("%s is no depth profile (%s); it will be made anew", self.path, error)
            return (), {}
        return ratios, accepted


def _numbers(values: object, count: int) -> tuple[float, ...]:
    """Return numbers read from JSON. Raises ValueError where they are not what is kept there."""
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"a list of {count} numbers is wanted")
    numbers = tuple(float(value) for value in values)
    if not all(0 <= number < 1000 for number in numbers):
        raise ValueError("a number is out of range")
    return numbers
