"""Tiny random-weight models: in memory, and as real checkpoint folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_map
from mlx_lm.models import llama
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from engine.model.draft_head import trimmed_head
from engine.model.heads.demo import config_of
from engine.model.heads.pair import PairHead
from engine.model.heads.shells import build_shell
from engine.model.load import LoadedModel
from engine.model.tokenizer import Tokenizer as ModelTokenizer
from engine.model.trunk import Trunk
from engine.protocol import HeadInfo, ModelInfo, Sampling
from engine.verdict.family_table import DEMO

TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def arguments(vocabulary: int = 64, layers: int = 2) -> llama.ModelArgs:
    """Return the shape of a tiny llama."""
    return llama.ModelArgs(
        model_type="llama",
        hidden_size=32,
        num_hidden_layers=layers,
        intermediate_size=64,
        num_attention_heads=4,
        num_key_value_heads=2,
        rms_norm_eps=1e-5,
        vocab_size=vocabulary,
        head_dim=8,
        max_position_embeddings=512,
    )


def randomise(module: nn.Module, seed: int) -> None:
    """Give every matrix random float32 weights."""
    keys = iter(mx.random.split(mx.random.key(seed), 256))

    def noisy(weight: mx.array) -> mx.array:
        return 0.3 * mx.random.normal(weight.shape, key=next(keys)) if weight.ndim > 1 else weight

    module.update(tree_map(noisy, module.parameters()))
    mx.eval(module.parameters())


def trunk_and_head(
    vocabulary: int = 64, seed: int = 1, draftable: Sequence[int] = ()
) -> tuple[Trunk, PairHead]:
    """Return a tiny tapped trunk and a head for it that drafts all tokens, or these alone."""
    args = arguments(vocabulary)
    model = llama.Model(args)
    randomise(model, seed)
    trunk = Trunk(model)
    trunk.tap()
    head = PairHead(build_shell(DEMO, config_of(args), {}), trunk, args.hidden_size, DEMO)
    randomise(head, seed + 1)
    if draftable:
        head.draft_head = trimmed_head(trunk, draftable)
    return trunk, head


def vocabulary_of_bytes() -> Tokenizer:
    """Return a tokenizer with one token a byte, and an end token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|end|>"])
    return tokenizer


def write_checkpoint(folder: Path, **config: object) -> Path:
    """Write an ordinary mlx-lm checkpoint without a head into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = vocabulary_of_bytes()
    args = arguments(vocabulary=tokenizer.get_vocab_size())
    model = llama.Model(args)
    randomise(model, 3)
    mx.save_safetensors(
        str(folder / "model.safetensors"),
        dict(tree_flatten(model.parameters())),
        metadata={"format": "mlx"},
    )
    content = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": args.hidden_size,
        "num_hidden_layers": args.num_hidden_layers,
        "intermediate_size": args.intermediate_size,
        "num_attention_heads": args.num_attention_heads,
        "num_key_value_heads": args.num_key_value_heads,
        "head_dim": args.head_dim,
        "rms_norm_eps": args.rms_norm_eps,
        "vocab_size": args.vocab_size,
        "max_position_embeddings": args.max_position_embeddings,
        "tie_word_embeddings": True,
        **config,
    }
    (folder / "config.json").write_text(json.dumps(content), "utf-8")
    write_tokenizer(folder)
    return folder


def write_tokenizer(folder: Path) -> None:
    """Write a tokenizer of bytes and its settings into a folder."""
    vocabulary_of_bytes().save(str(folder / "tokenizer.json"))
    settings = {"eos_token": "<|end|>", "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")


def loaded(
    vocabulary: Tokenizer, stops: frozenset[int] = frozenset(), seed: int = 1
) -> LoadedModel:
    """Return a tiny model with a head, as the loader would."""
    trunk, head = trunk_and_head(vocabulary.get_vocab_size(), seed)
    info = ModelInfo(
        name="tiny",
        path="/tiny",
        model_type="llama",
        parameters=0,
        weights_bytes=0,
        quantization="none",
        vocabulary=vocabulary.get_vocab_size(),
        context=512,
        head=HeadInfo(DEMO.name, 0, 0),
        head_note="",
        sampling=Sampling(),
        has_chat_template=True,
        load_s=0.0,
    )
    return LoadedModel(trunk, head, ModelTokenizer(vocabulary, TEMPLATE, {}, stops), info)


def vocabulary_of(letters: str) -> Tokenizer:
    """Return a tokenizer with one token a letter, of ASCII."""
    tokens = {letter.replace(" ", "Ġ"): number for number, letter in enumerate(letters)}
    tokenizer = Tokenizer(models.BPE(tokens, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def write_endless(folder: Path) -> Path:
    """Write a checkpoint whose answers never end by themselves: it knows no end token."""
    write_checkpoint(folder, max_position_embeddings=1_000_000)
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}), "utf-8")
    return folder
