"""Bounds of every field that a request may carry, as types that msgspec holds requests to.

A bool is no number, a text is no number, and there is no NaN and no infinity in JSON: msgspec
refuses them all.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from engine.protocol import MAX_DEPTH, MAX_LOGPROBS

__all__ = [
    "BODY_BYTES",
    "BODY_S",
    "JSON_DEPTH",
    "SCHEMA_BYTES",
    "Anything",
    "Bias",
    "Depth",
    "Fraction",
    "Id",
    "Items",
    "Many",
    "MinP",
    "Penalty",
    "Repetition",
    "Seed",
    "Share",
    "Stops",
    "Temperature",
    "Text",
    "TokenIds",
    "Tokens",
    "TopK",
    "TopLogprobs",
    "Word",
]

BODY_BYTES = 32 * 2**20
BODY_S = 60.0
"""How long a body may take to come."""
JSON_DEPTH = 64
SCHEMA_BYTES = 256 * 1024

Anything = Any
"""Read, and left alone."""
Text = str
"""As long as the body may be."""
Word = Annotated[str, Meta(max_length=256)]
Id = Annotated[str, Meta(max_length=256)]
Tokens = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Many = Annotated[int, Meta(ge=1, le=4)]
TopLogprobs = Annotated[int, Meta(ge=0, le=MAX_LOGPROBS)]
Depth = Annotated[int, Meta(ge=0, le=MAX_DEPTH)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
TopK = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Temperature = Annotated[float, Meta(ge=0, le=2)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Share = Annotated[float, Meta(gt=0, le=1)]
MinP = Fraction
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Repetition = Annotated[float, Meta(ge=0.01, le=100)]
Bias = Annotated[
    dict[Annotated[str, Meta(pattern=r"^[0-9]{1,10}$")], Annotated[float, Meta(ge=-100, le=100)]],
    Meta(max_length=1024),
]
Stops = Annotated[list[Annotated[str, Meta(max_length=256)]], Meta(max_length=16)]
TokenIds = Annotated[list[Annotated[int, Meta(ge=0, le=2**31 - 1)]], Meta(max_length=2**20)]
Items = Meta(max_length=10_000)
"""Of messages, of input items, of parts of one."""
