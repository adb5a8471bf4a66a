"""What trimming the draft's LM head costs in acceptance, and what it saves in time.

    uv run python benchmarks/draft_head.py [--tokens 64]

The demo answers 32 made-up questions; one pass over the answers gives, at each place, what the
trunk draws from and what the head would draft from through LM heads of several sizes. Prints one
JSON document: the mean of sum(min(target, draft)), which is the chance that a first draft is
accepted, and the milliseconds of one row through each LM head.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from frequent_tokens import CACHE, ROOT, same_length

if TYPE_CHECKING:
    import mlx.core as mx

    from engine.model.draft_head import DraftHead
    from engine.model.load import LoadedModel

SIZES = (1024, 2048, 4096, 8192, 16384)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--order", type=Path, default=ROOT / "engine/data/demo/frequent_tokens.txt")
    options = parser.parse_args()
    from engine.blas import prepare

    prepare("auto", CACHE)
    from engine.model.draft_head import full_head, trimmed_head
    from engine.model.load import load
    from mtplx_tui.library.disk import resolve

    model = load("demo", Path(resolve("demo").path), CACHE, lambda *_: None)
    tokens, hidden, target = answered(model, options.tokens)
    order = [int(word) for word in options.order.read_text("utf-8").split()]
    heads = {str(n): trimmed_head(model.trunk, order[:n]) for n in SIZES if n <= len(order)}
    heads["all"] = full_head(model.trunk)
    found = {
        name: {"overlap": overlap(model, head, tokens, hidden, target), "row_ms": row_ms(head)}
        for name, head in heads.items()
    }
    document = {"places": tokens.shape[0] * (options.tokens - 1), "heads": found}
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def answered(model: LoadedModel, count: int) -> tuple[mx.array, mx.array, mx.array]:
    """Return prompts with answers, the trunk's hidden rows, and what the answers' end draws from.

    Integer [rows, n], [rows, n, hidden] and float32 [rows * (count - 1), vocabulary].
    """
    import mlx.core as mx
    from mlx_lm.models.cache import make_prompt_cache

    from engine.protocol import Sampling
    from engine.speculation.sampling import draw, target_distribution

    network = model.trunk.model
    prompts = next(iter(same_length(model, 32)))
    cache, window = make_prompt_cache(network), mx.array(prompts)
    columns, hidden, rows = [window], [], []
    for _ in range(count):
        logits = network(window, cache=cache)[:, -1]
        hidden.append(network.model.norm.take())
        probs = target_distribution(logits, Sampling())
        rows.append(probs)
        window = draw(probs, mx.random.uniform(shape=(len(prompts),)))[:, None].astype(mx.int32)
        mx.eval(window)
        columns.append(window)
    target = mx.stack(rows[1:], axis=1).reshape(-1, rows[0].shape[-1])
    return mx.concatenate(columns, axis=1), mx.concatenate(hidden, axis=1), target


def overlap(
    model: LoadedModel, head: DraftHead, tokens: mx.array, hidden: mx.array, target: mx.array
) -> float:
    """Return the mean of sum(min(target, draft)) over the places of `target`."""
    import mlx.core as mx

    from engine.protocol import Sampling
    from engine.speculation.sampling import target_distribution

    drafter = model.head
    if drafter is None:
        raise ValueError("the demo has no head")
    per_row = target.shape[0] // tokens.shape[0]
    total = 0.0
    for row in range(tokens.shape[0]):
        drafter.draft_head = head
        following = tokens[row, 1 : hidden.shape[1] + 1]
        recycled = drafter.forward(hidden[row : row + 1], following, drafter.make_cache())
        logits = drafter.logits(recycled[:, -per_row - 1 : -1])
        draft = head.widened(target_distribution(logits, Sampling()))
        wanted = target[row * per_row : (row + 1) * per_row]
        total += float(mx.sum(mx.minimum(wanted, draft)).item())  # ty: ignore[invalid-argument-type]
    return total / target.shape[0]


def row_ms(head: DraftHead) -> float:
    """Return the median time of one row."""
    import mlx.core as mx

    row = mx.random.normal((1, 1, 576))
    times = []
    for _ in range(40):
        begin = time.perf_counter()
        mx.eval(head.logits(row))
        times.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(times)


if __name__ == "__main__":
    main()
