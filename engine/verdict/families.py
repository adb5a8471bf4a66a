"""What is known of each MTP family: how its head is fed, and how its tensors are named.

The one place that knows families. Data only; what runs a head is `engine.model.heads`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["DEMO", "FAMILIES", "HEAD_MARKERS", "Family", "HeadMarkers", "head_note"]


@dataclass(frozen=True, slots=True)
class Family:
    """The contract of a family's head."""

    name: str
    model_types: tuple[str, ...]
    """Of config.json; empty where the family is not found by a model type."""
    concat: Literal["embedding,hidden", "hidden,embedding"]
    hidden: Literal["pre", "post"]
    """The trunk's hidden row fed in: before or after the trunk's final norm."""
    recycle: Literal["pre", "post"]
    """What the next depth is fed: the head's output before or after the head's own norm."""
    norm: Literal["plain", "one_plus"]
    """Whether a norm multiplies by its weight w, or by 1 + w."""
    block: str
    """The decoder block inside the head, by mlx-lm's name of its model."""
    rope_traditional: bool
    prefix: str
    """What the names of the head's tensors begin with."""
    distinct_heads: int
    """How many heads there are; 1 is recycled for every depth."""
    own_embedding: bool
    own_lm_head: bool


DEMO = Family(
    name="smollm2-demo",
    model_types=(),
    concat="embedding,hidden",
    hidden="pre",
    recycle="pre",
    norm="plain",
    block="llama",
    rope_traditional=False,
    prefix="mtp.",
    distinct_heads=1,
    own_embedding=False,
    own_lm_head=False,
)
"""The head trained for the demo model and shipped with the engine."""

FAMILIES: tuple[Family, ...] = (DEMO,)


@dataclass(frozen=True, slots=True)
class HeadMarkers:
    """What tells that a checkpoint carries, or once carried, a head."""

    tensor_prefixes: tuple[str, ...]
    config_keys: tuple[str, ...]
    """A positive number of head layers stands under one of them."""


HEAD_MARKERS = HeadMarkers(
    tensor_prefixes=("mtp.", "model.mtp", "language_model.mtp", "language_model.model.mtp"),
    config_keys=("mtp_num_hidden_layers", "num_nextn_predict_layers"),
)


def head_note(config: Mapping[str, object], tensor_names: Iterable[str]) -> str:
    """Return one sentence on why a checkpoint folder has no head that runs here."""
    names = tuple(tensor_names)
    if any(name.startswith(HEAD_MARKERS.tensor_prefixes) for name in names):
        return _cannot_run(config)
    if not any(_promises_head(level) for level in _levels(config)):
        return "no head: the checkpoint has no MTP tensors"
    if any(_has_extra_layer(level, names) for level in _levels(config)):
        return _cannot_run(config)
    return "its config promises an MTP head, but the tensors were dropped in conversion"


def _cannot_run(config: Mapping[str, object]) -> str:
    model_type = str(config.get("model_type", "of unknown type"))[:40]
    return f"it has an MTP head ({model_type}) that this version cannot run yet"


def _levels(config: Mapping[str, object]) -> list[Mapping[str, object]]:
    """Return the config and, where it has one, the text part inside it."""
    inner = config.get("text_config")
    return [config, inner] if isinstance(inner, dict) else [config]


def _promises_head(config: Mapping[str, object]) -> bool:
    return any(_is_count(config.get(key)) for key in HEAD_MARKERS.config_keys)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _has_extra_layer(config: Mapping[str, object], names: tuple[str, ...]) -> bool:
    """Return whether a head stands as one more layer behind the trunk's."""
    layers = config.get("num_hidden_layers")
    return _is_count(layers) and any(f"layers.{layers}." in name for name in names)
