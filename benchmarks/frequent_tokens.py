"""Which tokens the demo uses most: the data behind the draft's trimmed LM head.

    uv run python benchmarks/frequent_tokens.py [--tokens 60000] [--keep 4096]

Lets the demo answer made-up questions, many at a time, at the sampling it has by default and at
temperature 1, and sums the probabilities that each token was drawn with, which tells far more of
rare tokens than counting what was drawn. Stop tokens always stay in. Writes the ids, most frequent first, to engine/data/demo, and to
standard output what share of the second half of the answers the tokens of the first half cover.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import mlx.core as mx

    from engine.model.load import LoadedModel

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path.home() / ".cache" / "mtplx-tui-benchmarks"
LENGTH = 200
"""Tokens of an answer, at most."""

ASKS = (
    "Explain {} to a child.",
    "Write a short story about {}.",
    "What are the main causes of problems with {}?",
    "Give me a list of ten facts about {}.",
    "Write a Python function that has to do with {}.",
    "Write a small web page in HTML about {}.",
    "Describe {} as a JSON object.",
    "Write an SQL table and three queries about {}.",
    "Translate into French: I have been thinking about {} all day.",
    "Translate into Spanish: we talked about {} yesterday evening.",
    "Translate into German: there is a book about {} on my table.",
    "Write a polite email about {} to my landlord.",
    "Compare {} today with a hundred years ago.",
    "Write a poem of four lines about {}.",
    "What is the history of {}?",
    "Solve a simple word problem about {}, step by step.",
    "Give instructions in numbered steps for a beginner in {}.",
    "Argue for and against {}.",
    "Write a conversation between two friends about {}.",
    "Summarise what science says about {}.",
)
TOPICS = (
    "bicycles", "the ocean", "bread", "chess", "volcanoes", "music", "banks", "the moon",
    "winter", "trains", "bees", "democracy", "coffee", "dreams", "mathematics", "football",
    "gardens", "computers", "medicine", "friendship", "rivers", "painting", "electricity",
    "languages", "money", "cats", "the Roman Empire", "weather", "sleep", "tourism", "robots",
    "schools", "elephants", "cooking", "climate change", "photography", "islands", "running",
    "libraries", "the human heart", "films", "mushrooms", "cities", "glass", "taxes",
)  # fmt: skip


@dataclass(frozen=True)
class Counts:
    """What answers were made of."""

    expected: mx.array
    """float32 [vocabulary]: sums of the probabilities the tokens were drawn with."""
    tokens: int

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.expected + other.expected, self.tokens + other.tokens)

    def numbers(self) -> list[float]:
        """Return `expected` as plain numbers."""
        numbers: list[float] = self.expected.tolist()  # ty: ignore[invalid-assignment]  # 1-D
        return numbers


def main() -> None:
    """Count, write, tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=60_000)
    parser.add_argument("--keep", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--out", type=Path, default=ROOT / "engine/data/demo/frequent_tokens.txt")
    options = parser.parse_args()
    from engine.blas import prepare

    prepare("auto", CACHE)
    from engine.model.load import load
    from mtplx_tui.library.disk import resolve

    model = load("demo", Path(resolve("demo").path), CACHE, lambda *_: None)
    halves = counted(model, options.tokens, options.batch)
    order = ranked(halves[0] + halves[1], model)
    options.out.write_text(wrapped(order[: options.keep]), "utf-8")
    sys.stdout.write(json.dumps(told(halves, model), indent=2) + "\n")


def counted(model: LoadedModel, tokens: int, batch: int) -> tuple[Counts, Counts]:
    """Return how often each token is to be expected, in every other batch of answers."""
    import mlx.core as mx

    halves = [Counts(mx.zeros((model.info.vocabulary,)), 0) for _ in range(2)]
    for index, prompts in enumerate(same_length(model, batch)):
        temperature = 0.6 if index % 4 < 2 else 1.0
        halves[index % 2] += answers(model, prompts, temperature=temperature)
        total = sum(half.tokens for half in halves)
        sys.stderr.write(f"{total:,} tokens\n")
        if total >= tokens:
            break
    return halves[0], halves[1]


def same_length(model: LoadedModel, batch: int) -> Iterator[list[list[int]]]:
    """Yield batches of prompts that have equally many tokens each."""
    from engine.protocol import ChatMessage, Role

    texts = [ask.format(topic) for ask, topic in itertools.product(ASKS, TOPICS)]
    random.Random(1).shuffle(texts)
    waiting: dict[int, list[list[int]]] = {}
    for text in itertools.cycle(texts):
        rendered = model.tokenizer.render((ChatMessage(Role.USER, text),))
        ids = model.tokenizer.encode(rendered, is_rendered=True)
        group = waiting.setdefault(len(ids), [])
        group.append(ids)
        if len(group) == batch:
            yield waiting.pop(len(ids))


def answers(model: LoadedModel, prompts: list[list[int]], *, temperature: float) -> Counts:
    """Answer each prompt, to the stop token included, and sum what each token was drawn from."""
    import mlx.core as mx
    from mlx_lm.models.cache import make_prompt_cache

    from engine.model.arrays import integers
    from engine.protocol import Sampling
    from engine.speculation.sampling import draw, target_distribution

    sampling = Sampling() if temperature == Sampling().temperature else Sampling(temperature, 1, 0)
    network = model.trunk.model
    cache = make_prompt_cache(network)
    window = mx.array(prompts)
    expected = mx.zeros((model.info.vocabulary,))
    is_live = [True] * len(prompts)
    tokens = 0
    for _ in range(LENGTH):
        probs = target_distribution(network(window, cache=cache)[:, -1], sampling)
        drawn = draw(probs, mx.random.uniform(shape=(len(prompts),)))
        expected = expected + mx.array(is_live, mx.float32) @ probs
        tokens += sum(is_live)
        ids = integers(drawn)
        mx.eval(expected)
        for row, token in enumerate(ids):
            is_live[row] = is_live[row] and token not in model.tokenizer.stop_ids
        if sum(is_live) < len(prompts) / 4:
            break
        window = drawn[:, None]
    return Counts(expected, tokens)


def ranked(counts: Counts, model: LoadedModel) -> list[int]:
    """Return all ids, stop tokens first, then the most frequent first."""
    stops, expected = model.tokenizer.stop_ids, counts.numbers()
    ids = range(model.info.vocabulary)
    return sorted(ids, key=lambda token: (token not in stops, -expected[token], token))


def told(halves: tuple[Counts, Counts], model: LoadedModel) -> dict[str, object]:
    """Return what the first half's tokens cover of the second."""
    order, other = ranked(halves[0], model), halves[1].numbers()
    sizes = (1024, 2048, 4096, 8192, 16384)
    covered = {str(size): sum(other[token] for token in order[:size]) for size in sizes}
    return {
        "tokens": [half.tokens for half in halves],
        "covered": {size: share / halves[1].tokens for size, share in covered.items()},
    }


def wrapped(ids: list[int]) -> str:
    """Return ids as text, sixteen a line."""
    lines = [ids[at : at + 16] for at in range(0, len(ids), 16)]
    return "".join(" ".join(map(str, line)) + "\n" for line in lines)


if __name__ == "__main__":
    main()
