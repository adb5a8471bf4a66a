"""What a model's states can be told from another's by: what it computes, and its files."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx
import numpy as np

from engine.model.load import LoadedModel
from engine.prefix.held import Held, hold
from engine.speculation.cycle import read_prompt
from engine.speculation.stream import Stream

__all__ = ["identity"]

_TOKENS = 48
_FORMAT = "1"
"""Of what is written; another one is never read."""


def identity(model: LoadedModel) -> str:
    """Return a digest of all that states depend on; the same model on the same machine repeats it.

    The model reads a short text, and the bits of all it then holds go in: weights, precision, the
    rows the head is fed with, kernels and matrix library all show there. Names, sizes and times of
    its files stand for weights that the text did not touch.
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{_FORMAT}|{version('mlx')}|{version('mlx-lm')}|{mx.default_device()}".encode())
    for file in _files(Path(model.info.path)):
        facts = file.stat()
        digest.update(f"|{file.name}|{facts.st_size}|{facts.st_mtime_ns}".encode())
    stream = Stream(model.trunk.make_cache(), model.head, 0)
    step = max(1, model.info.vocabulary // _TOKENS)
    tokens = [token % model.info.vocabulary for token in range(1, _TOKENS * step, step)]
    read_prompt(model.trunk, stream, tokens[:-1], tokens[-1])
    for array in _arrays(hold(stream, None)):
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.array(array.astype(mx.float32)).tobytes())
    return digest.hexdigest()


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(file for file in path.glob("*") if file.is_file())


def _arrays(held: Held) -> list[mx.array]:
    parts = [part for part in (held.trunk, held.head) if part is not None]
    arrays = [a for part in parts for leaf in (*part.arrays, part.waiting) for a in leaf]
    return [array for array in (*arrays, held.boundary) if array is not None]
