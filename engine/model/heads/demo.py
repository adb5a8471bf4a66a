"""The head trained for the demo model, whose trunk is a GGUF file: read as any other, and trimmed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import mlx.core as mx
from mlx_lm.models import llama

from engine.errors import HeadError
from engine.model import packed_rows
from engine.model.draft_head import trimmed_head
from engine.model.heads.load import load_head
from engine.model.heads.pair import PairHead
from engine.model.trunk import Trunk
from engine.verdict.contract import Contract
from engine.verdict.family_table import DEMO
from engine.verdict.head_files import find_head
from engine.verdict.headers import check_safetensors

__all__ = ["config_of", "load_demo_head"]


def load_demo_head(
    path: Path, args: llama.ModelArgs, trunk: Trunk, tokens: Sequence[int]
) -> PairHead:
    """Return the head with the weights of a safetensors file, in the trunk's precision.

    Args:
        path: of the file.
        args: the trunk's shape.
        trunk: that the head belongs to.
        tokens: that can be drafted. A draft reads most of all its LM head, so their rows are packed: in
            4 bits on a GPU, in 8 on a CPU with a kernel for it; another multiplies floats faster.

    Raises:
        HeadError: a tensor is missing, too many or of the wrong shape.
        ModelFileError: the file can't be read.
    """
    config = config_of(args)
    files = find_head(DEMO, config, {path: check_safetensors(path)}, {})
    head = load_head(files, config, Contract(), trunk)
    if not isinstance(head, PairHead):
        raise HeadError("the demo has one head, not one a depth")
    is_cpu = mx.default_device() == mx.cpu
    head.set_dtype(mx.float32 if is_cpu else mx.bfloat16)
    bits_on_cpu = 8 if packed_rows.is_there() else None
    head.draft_head = trimmed_head(trunk, tokens, bits_on_cpu if is_cpu else 4)
    mx.eval(head.parameters())
    return head


def config_of(args: llama.ModelArgs) -> dict[str, object]:
    """Return what a config.json of a llama would say."""
    return {**dataclasses.asdict(args), "model_type": "llama"}
