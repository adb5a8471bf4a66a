"""The table of all families, and the one way to find a checkpoint's."""

from __future__ import annotations

from collections.abc import Mapping

from engine.verdict.attentive_families import ATTENTIVE
from engine.verdict.families import Family
from engine.verdict.family_parts import QWEN_PARTS
from engine.verdict.recurrent_families import RECURRENT

__all__ = ["DEMO", "FAMILIES", "family_of"]

DEMO = Family(
    name="smollm2-demo",
    model_types=(),
    concat="embedding,hidden",
    hidden="pre",
    recycle="pre",
    norm="plain",
    prefixes=("mtp.",),
    block="llama layer",
    parts=QWEN_PARTS,
    shell={"num_hidden_layers": 1, "layer_types": None},
)
"""The head trained for the demo model and shipped with the engine."""

FAMILIES: tuple[Family, ...] = (DEMO, *RECURRENT, *ATTENTIVE)


def family_of(config: Mapping[str, object]) -> Family | None:
    """Return the family of a config, by its model_type and, where two share it, architecture."""
    model_type = config.get("model_type")
    architectures = config.get("architectures")
    named = set(architectures) if isinstance(architectures, list) else set()
    for family in FAMILIES:
        fits = not family.architectures or named & set(family.architectures)
        if model_type in family.model_types and fits:
            return family
    return None
