"""What distributions, draws and verdicts cost on a GPU: a kernel each, and in plain MLX.

    python -m benchmarks.acceptance_cost [--repeats 40] [--commit abc1234]

First each kernel is compared with its definition, at several vocabularies; a line on standard error
tells of each. Then times at a vocabulary of 248,320 (a draft head of 32,768 beside it),
bfloat16 logits, medians in microseconds: `host_us` until MLX has been handed the work, `done_us`
until it is done. Prints one JSON document; the exit code is 1 where a kernel differs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import mlx.core as mx
import numpy as np

from engine.protocol import Sampling
from engine.speculation import on_device
from engine.speculation.acceptance import Verdict, block_rule, token_rule
from engine.speculation.sampling import draw, target_distribution
from kernels import distribution as rows_kernel
from kernels.dispatch import backend_for
from kernels.distribution import Distribution

VOCABULARY = 248_320
TRIMMED = 32_768
ROWS = (1, 2, 3, 4, 5)
LAWS = {
    "T 0.6, top_p 0.95, top_k 20": Sampling(),
    "T 1": Sampling(1.0, 1.0, 0),
    "T 1, top_p 0.95": Sampling(1.0, 0.95, 0),
    "greedy": Sampling(0.0, 1.0, 0),
}
Way = Callable[[], list[mx.array]]


def main() -> None:
    """Compare, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--commit", default="")
    options = parser.parse_args()
    begin = time.perf_counter()
    note = on_device.kernel_note()
    told(f"notes: {note or 'none'} ({time.perf_counter() - begin:.1f} s)")
    wrong = [] if note else compared()
    document = {
        "device": str(mx.device_info().get("device_name", "")),
        "commit": options.commit or commit(),
        "vocabulary": VOCABULARY,
        "trimmed": TRIMMED,
        "note": note,
        "wrong": wrong,
        "us": {} if note else measured(options.repeats),
    }
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    sys.exit(1 if note or wrong else 0)


def told(line: str) -> None:
    """Say how far it is."""
    sys.stderr.write(line + "\n")


def commit() -> str:
    """Return the commit that is checked out; empty where there is none."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def logits_of(rows: int, width: int, seed: int = 0) -> mx.array:
    """Return rows as peaked as a language model's."""
    keys = mx.random.split(mx.random.key(seed), 2)
    body = 2.5 * mx.random.normal((rows, width), key=keys[0])
    peaks = 12 * mx.random.uniform(shape=(rows, width), key=keys[1]) ** 4096
    return (body + peaks).astype(mx.bfloat16)


def rows_of(
    logits: mx.array, law: Sampling, uniform: mx.array | None, columns: mx.array | None = None
) -> Distribution:
    """Return the kernel's rows, also of laws that the engine leaves to plain MLX."""
    where = backend_for("distribution")
    return rows_kernel.distribution(where, logits, on_device.law_of(law), uniform, columns)


def compared() -> list[str]:
    """Return what differs from its definition."""
    wrong = []
    for width in (8, 1000, TRIMMED, VOCABULARY):
        logits = logits_of(3, width, width)
        uniform = mx.array([0.0, 0.37, 1 - 2**-24])
        for name, law in LAWS.items():
            mine, right = rows_of(logits, law, uniform), target_distribution(logits, law)
            again = rows_of(logits, law, uniform)
            apart = float(np.abs(np.array(mine.probs) - np.array(right)).max())
            own = mx.take_along_axis(mine.probs, mine.tokens[:, None], axis=-1)
            drawn = draw(mine.probs, uniform)
            is_same = mx.array_equal(mine.probs, again.probs) & mx.all(mine.tokens == again.tokens)
            told(
                f"{width}, {name}: off by {apart:.1e}; kept {mx.sum(mine.probs > 0, 1).tolist()}, "
                f"plain {mx.sum(right > 0, 1).tolist()}; drew {mine.tokens.tolist()}, "
                f"plain {drawn.tolist()}; again the same: {is_same.item()}"
            )
            # Plain MLX adds up a nucleus of thousands in float32, which moves its border a little.
            if not (apart < 1e-4 and is_same.item() and mx.all(own > 0).item()):
                wrong.append(f"{width}, {name}")
    return wrong


def measured(repeats: int) -> dict[str, dict[str, float]]:
    """Return the medians of every way, in turns."""
    ways: dict[str, Way] = {}
    for name, law in LAWS.items():
        for rows in ROWS if law == Sampling() else (1, 4):
            ways |= ways_of_rows(f"{rows} rows, {name}", logits_of(rows, VOCABULARY), law)
    columns = mx.where(mx.arange(VOCABULARY) < TRIMMED, mx.arange(VOCABULARY), -1)
    ways |= ways_of_drafts(logits_of(1, TRIMMED), columns.astype(mx.int32))
    for name, law in LAWS.items():
        for depth in (3,) if law != Sampling() else (0, 1, 3, 4):
            ways |= ways_of_verdicts(f"depth {depth}, {name}", depth, law)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for index in range(repeats + 3):
        for name, way in ways.items():
            begin = time.perf_counter()
            arrays = way()
            mx.async_eval(*arrays)
            handed = time.perf_counter()
            mx.eval(*arrays)
            if index >= 3:
                times[name].append((handed - begin, time.perf_counter() - begin))
    found = {}
    for name, pairs in times.items():
        host, done = (1e6 * statistics.median(each) for each in zip(*pairs, strict=True))
        found[name] = {"host_us": round(host, 1), "done_us": round(done, 1)}
    return found


def ways_of_rows(name: str, logits: mx.array, law: Sampling) -> dict[str, Way]:
    """Return both ways to the target's rows."""
    mx.eval(logits)
    return {
        f"ours, {name}": lambda: [rows_of(logits, law, None).probs],
        f"plain, {name}": lambda: [target_distribution(logits, law)],
    }


def ways_of_drafts(logits: mx.array, columns: mx.array) -> dict[str, Way]:
    """Return both ways to a draft over the trimmed head, and over the full one."""
    full, law = logits_of(1, VOCABULARY), Sampling()
    ids = mx.arange(TRIMMED)[None]
    uniform = mx.array([0.4])
    mx.eval(logits, columns, full, uniform, ids)

    def plain(rows: mx.array, *, is_wide: bool) -> list[mx.array]:
        probs = target_distribution(rows, law)
        token = draw(probs, uniform)
        if not is_wide:
            probs = mx.put_along_axis(mx.zeros((1, VOCABULARY)), ids, probs, axis=-1)
        return [probs, token]

    def ours(rows: mx.array, given: mx.array | None) -> list[mx.array]:
        found = rows_of(rows, law, uniform, given)
        return [found.probs, found.tokens]

    return {
        "ours, draft of the full head": lambda: ours(full, None),
        "plain, draft of the full head": lambda: plain(full, is_wide=True),
        "ours, draft of the trimmed head": lambda: ours(logits, columns),
        "plain, draft of the trimmed head": lambda: plain(logits, is_wide=False),
    }


def ways_of_verdicts(name: str, depth: int, law: Sampling) -> dict[str, Way]:
    """Return both ways to judge a window by either rule."""
    logits = logits_of(depth + 1, VOCABULARY, 5).astype(mx.float32)
    own = logits[:depth] + 0.3 * mx.random.normal((depth, VOCABULARY), key=mx.random.key(6))
    target = rows_of(logits, law, None)
    draft = None
    if depth:
        rows = rows_of(own, law, mx.full((depth,), 0.3))
        draft = (rows.probs, rows.tokens)
    probs, drafted = draft or (target.probs[:0], mx.zeros((0,), mx.uint32))
    noise = mx.random.uniform(shape=(2 * depth + 1,), key=mx.random.key(7))
    mx.eval(target.probs, target.sums, probs, drafted, noise)
    ways: dict[str, Way] = {}
    for rule in (token_rule, block_rule) if depth else (token_rule,):
        is_block = rule is block_rule

        def ours(*, is_block: bool = is_block) -> list[mx.array]:
            found = on_device.verdict(target, draft, noise, is_block=is_block, is_told=False)
            return [found.pair] if found is not None and found.pair is not None else []

        def plain(rule: Callable[..., Verdict] = rule) -> list[mx.array]:
            found = rule(target.probs, probs, drafted, noise[:depth], noise[depth:])
            return [mx.stack([found.accepted.astype(mx.uint32), found.token])]

        kind = "block" if is_block else "token"
        ways |= {f"ours, {kind} rule, {name}": ours, f"plain, {kind} rule, {name}": plain}
    return ways


if __name__ == "__main__":
    main()
