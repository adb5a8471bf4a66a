"""What is known of each MTP family: how its head is fed, and how its tensors are named.

The one place that knows families, as data; `family_table` holds it, and what runs a head is
`engine.model.heads`. A family is found by the config's model_type alone, never by a name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "HEAD_MARKERS",
    "Concat",
    "Family",
    "HeadMarkers",
    "Parts",
    "Side",
    "has_head_names",
    "head_layers",
    "levels",
    "promises_head",
    "sublayers",
]

Concat = Literal["embedding,hidden", "hidden,embedding", "separate"]
"""Order of the two inputs of the head's projection; "separate" where each has its own."""
Side = Literal["pre", "post", "lanes"]
"""Before or after a final norm; "lanes" for several residual streams."""
NormWeights = Literal["plain", "one_plus"]
"""Whether a published norm multiplies by its weight w, or by 1 + w."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Names of a head's own modules behind its prefix; what is left belongs to its layers."""

    embedding_norm: str
    hidden_norm: str
    projection: str
    final_norm: str
    """Empty where there is none."""
    layer: str
    """Prefix of the tensors of layer {j}; {last} in another part is the last j."""
    embedding: str = ""
    """The head's own copy of the embedding; empty where it has none."""
    lm_head: str = ""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Tensors of a layer that mlx-lm's layer names otherwise."""


@dataclass(frozen=True, slots=True)
class Family:
    """The contract of a family's head, and what its trunk keeps."""

    name: str
    model_types: tuple[str, ...]
    """Of config.json; empty where the family is not found by a model type."""
    concat: Concat
    hidden: Side
    """The trunk's hidden row fed in: before or after the trunk's final norm."""
    recycle: Side
    """What the next depth is fed: the head's output before or after the head's own norm."""
    norm: NormWeights
    prefixes: tuple[str, ...]
    """What the names of the head's tensors begin with; {N} is the trunk's number of layers."""
    block: str
    """What the head's layers are."""
    parts: Parts | None = None
    """None where the head can't be built here anyway."""
    config_keys: tuple[str, ...] = ("num_nextn_predict_layers",)
    """Keys of the config that promise a head, by a positive number."""
    distinct_heads: int = 1
    """How many heads there are at most; 1 is recycled for every depth. Several are numbered
    behind the prefix."""
    cache: Literal["kv", "sliding", "latent", "latent,indexer", "none"] = "kv"
    """What the head's own layers keep."""
    recurrent: Literal["", "gated delta", "mamba-2", "lightning", "kda", "unknown"] = ""
    """What the trunk's recurrent layers keep; empty where it has none."""
    shell: Mapping[str, object] = field(default_factory=dict)
    """Changes to the trunk's config that make mlx-lm build the head's layers and no more."""
    architectures: tuple[str, ...] = ()
    """Needed to tell families apart that share a model_type."""
    blanks_first: bool = False
    """Whether the first pair of a text goes in without its embedding."""
    cannot_run: str = ""
    """Why its heads can't run here; empty where they can."""
    disputed: str = ""
    """Which cell of the contract sources disagree on."""


@dataclass(frozen=True, slots=True)
class HeadMarkers:
    """What tells that a checkpoint carries, or once carried, a head."""

    tensor_prefixes: tuple[str, ...]
    config_keys: tuple[str, ...]
    """A positive number of head layers stands under one of them."""


HEAD_MARKERS = HeadMarkers(
    tensor_prefixes=("mtp.", "model.mtp", "language_model.mtp", "language_model.model.mtp"),
    config_keys=("mtp_num_hidden_layers", "num_nextn_predict_layers", "num_mtp_modules"),
)


def levels(config: Mapping[str, object]) -> list[Mapping[str, object]]:
    """Return the config and, where it has one, the text part inside it."""
    inner = config.get("text_config")
    return [config, inner] if isinstance(inner, dict) else [config]


def head_layers(config: Mapping[str, object]) -> int:
    """Return the trunk's number of layers, behind which some heads stand; 0 where unknown."""
    for level in reversed(levels(config)):
        value = level.get("num_hidden_layers", level.get("num_layers"))
        if isinstance(value, int) and _is_count(value):
            return value
    return 0


def sublayers(config: Mapping[str, object]) -> Sequence[object]:
    """Return the kinds of the sub-layers of a Nemotron-H head: by default attention, then experts."""
    level = levels(config)[-1]
    named = level.get("mtp_hybrid_override_pattern") or level.get("mtp_layers_block_type")
    return named if isinstance(named, (str, list)) else "*E"


def promises_head(config: Mapping[str, object]) -> bool:
    """Return whether the config says that there is a head."""
    return any(
        _is_count(level.get(key)) for level in levels(config) for key in HEAD_MARKERS.config_keys
    )


def has_head_names(config: Mapping[str, object], names: Iterable[str]) -> bool:
    """Return whether some tensor looks like one of a head, of whatever family."""
    extra = f"layers.{head_layers(config)}."
    is_promised = promises_head(config)
    return any(
        name.startswith(HEAD_MARKERS.tensor_prefixes) or (is_promised and extra in name)
        for name in names
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
