"""Whether a head's norm gains are stored as they multiply, or as an offset from one.

Some families publish 1 + w, and a converter adds the one, once. Added twice it spoils the
text; never added it spoils the drafts, and nothing reports either. So the gains themselves are
looked at, group by group, and where they leave a doubt the head stays off.

Source: means over published and converted checkpoints, of the shared input-side gains
0.30-0.39 and 0.87 up, of the q and k gains 0.73-0.75 and 1.73 up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import mlx.core as mx

from engine.errors import HeadError

__all__ = ["NormDoubt", "as_multiplied", "is_gain"]

_MIN_SIZE = 64
"""Gains shorter than this tell nothing."""


class NormDoubt(HeadError):
    """The gains' values leave open how they are stored."""


@dataclass(frozen=True, slots=True)
class _Group:
    """Norms that were converted together, and what their mean says."""

    endings: tuple[str, ...]
    raw_below: float
    converted_above: float


_LOW = _Group(("input_layernorm.weight", "post_attention_layernorm.weight"), 0.6, 0.8)
_QK = _Group(("q_norm.weight", "k_norm.weight"), 1.1, 1.4)
_PRE = _Group(("pre_fc_norm_embedding.weight", "pre_fc_norm_hidden.weight"), 0.6, 0.8)
_REMEDY = "declare its norm_encoding in mtp_contract.json"


def is_gain(name: str, value: mx.array) -> bool:
    """Return whether a tensor is the gain of a norm."""
    module, _, kind = name.rpartition(".")
    return value.ndim == 1 and kind == "weight" and "norm" in module.rpartition(".")[2]


def as_multiplied(
    gains: Mapping[str, mx.array],
    declared: str | None,
    final: str,
    *,
    final_is_raw: bool | None,
) -> dict[str, mx.array]:
    """Return gains that can be multiplied by, whatever they were stored as.

    Args:
        gains: of one head whose family publishes offsets from one.
        declared: "plain" or "one_plus", beside the weights; None leaves it to the values.
        final: name of the final norm's gain; its own values tell nothing.
        final_is_raw: whether the final norm is an offset; None where it goes with the others.

    Raises:
        NormDoubt: the values leave a doubt.
        HeadError: what is declared is no encoding.
    """
    if declared is not None:
        if declared not in ("plain", "one_plus"):
            raise HeadError(f"its norm_encoding is declared as {declared!r:.40}", _REMEDY)
        return {name: _shifted(gain, declared == "one_plus") for name, gain in gains.items()}
    in_layers = _agreed(gains, _LOW, _QK)
    before = _agreed(gains, _PRE)
    last = in_layers if final_is_raw is None else final_is_raw
    raw = {name: before if name.endswith(_PRE.endings) else in_layers for name in gains}
    raw[final] = last
    return {name: _shifted(gain, raw[name]) for name, gain in gains.items()}


def _shifted(gain: mx.array, is_raw: bool) -> mx.array:  # noqa: FBT001 - private, read aloud
    return gain + 1 if is_raw else gain


def _agreed(gains: Mapping[str, mx.array], *groups: _Group) -> bool:
    """Return whether all groups say that their gains are offsets from one."""
    votes = [_vote(gains, group) for group in groups]
    if len({*votes}) > 1:
        raise NormDoubt("some of its norms are shifted and some are not", _REMEDY)
    return votes[0]


def _vote(gains: Mapping[str, mx.array], group: _Group) -> bool:
    means = [
        gain.astype(mx.float32).mean()
        for name, gain in gains.items()
        if name.endswith(group.endings) and gain.size >= _MIN_SIZE
    ]
    mean = mx.stack(means).mean().item() if means else None
    if isinstance(mean, float) and mean < group.raw_below:
        return True
    if isinstance(mean, float) and mean > group.converted_above:
        return False
    shown = "too short to tell" if mean is None else f"{mean:.3g} on average"
    kind = group.endings[0].removesuffix(".weight")
    raise NormDoubt(f"how its norms are stored can't be told: {kind} is {shown}", _REMEDY)
