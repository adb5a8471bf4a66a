"""The tokenizer of a GGUF file, rebuilt from its metadata so that ids equal llama.cpp's.

Knows the one kind the demo model has: byte-level BPE whose digits stand alone (`smollm`).
"""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from engine.errors import ModelFileError
from engine.model.arrays import integers

__all__ = ["build_tokenizer"]

_CONTROL, _USER_DEFINED = 3, 4
"""Of the token types: names that are recognised inside text."""
_REMEDY = "use the model's MLX or safetensors release"


def build_tokenizer(metadata: Mapping[str, object]) -> Tokenizer:
    """Return the tokenizer that a GGUF file's metadata describes.

    Args:
        metadata: as `mx.load(path, return_metadata=True)` gives it.

    Raises:
        ModelFileError: another kind of tokenizer, or one whose parts do not fit together.
    """
    kind = (metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre"))
    if kind != ("gpt2", "smollm"):
        raise ModelFileError(f"the tokenizer {kind[0]}/{kind[1]} is not known here", _REMEDY)
    tokens = _strings(metadata, "tokens")
    types = metadata.get("tokenizer.ggml.token_type")
    if not isinstance(types, mx.array) or types.shape != (len(tokens),):
        raise ModelFileError("its tokenizer does not give every token a type", _REMEDY)
    tokenizer = _byte_level_bpe(tokens, _merges(metadata))
    tokenizer.add_special_tokens(
        [
            AddedToken(token, normalized=False, special=True)
            for token, type_ in zip(tokens, integers(types), strict=True)
            if type_ in (_CONTROL, _USER_DEFINED)
        ]
    )
    return tokenizer


def _byte_level_bpe(tokens: list[str], merges: list[tuple[str, str]]) -> Tokenizer:
    vocabulary = {token: index for index, token in enumerate(tokens)}
    if len(vocabulary) != len(tokens):
        raise ModelFileError("its tokenizer has the same token twice", _REMEDY)
    try:
        tokenizer = Tokenizer(models.BPE(vocabulary, merges, fuse_unk=False))
    except Exception as error:  # tokenizers raises bare Exception
        raise ModelFileError(f"its tokenizer can't be built: {error}", _REMEDY) from error
    steps: list[pre_tokenizers.PreTokenizer] = [
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ]
    missing = sorted(set(pre_tokenizers.ByteLevel.alphabet()) - vocabulary.keys())
    if missing:
        unknown = Regex("[" + "".join(f"\\x{{{ord(char):x}}}" for char in missing) + "]")
        steps.append(pre_tokenizers.Split(unknown, "isolated"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _merges(metadata: Mapping[str, object]) -> list[tuple[str, str]]:
    merges = []
    for merge in _strings(metadata, "merges"):
        left, space, right = merge.partition(" ")
        if not (left and space and right):
            raise ModelFileError("its tokenizer has a merge that is no pair", _REMEDY)
        merges.append((left, right))
    return merges


def _strings(metadata: Mapping[str, object], name: str) -> list[str]:
    value = metadata.get(f"tokenizer.ggml.{name}")
    if not isinstance(value, list) or not value:
        raise ModelFileError(f"its tokenizer has no {name}", _REMEDY)
    return value
