"""Decode speed of the demo: this engine with kernels of its own and without, and a bare MLX loop.

    uv run python -m benchmarks.decode [--rounds 3] [--tokens 64]

One process a matrix library; within each, the ways take turns, so the machine's drift hits all
alike. Beside them memory is read, as much of it as a plain step reads weights: on all cores, by
libc's search for a byte that is not there, which is the least a step can take here. Prints one JSON
document with milliseconds a token (medians over rounds) and the ratios.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.in_pty import machine

if TYPE_CHECKING:
    import mlx.nn as nn

    from engine.model.load import LoadedModel

CACHE = Path.home() / ".cache" / "mtplx-tui-benchmarks"
FLOOR_READS = 16
PROMPT = "Explain in a few paragraphs how a bicycle stays upright."


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--blas", choices=("auto", "stock"), help="measure this one, here")
    options = parser.parse_args()
    if options.blas:
        measured = measure(options.blas, options.rounds, options.tokens)
        sys.stdout.write(json.dumps(measured) + "\n")
        return
    results = {blas: child(blas, options.rounds, options.tokens) for blas in ("stock", "auto")}
    auto, stock = results["auto"], results["stock"]
    document = {
        **machine(),
        "ms_per_token": results,
        "ratios": {
            "memory floor against engine depth 0": auto["memory floor"] / auto["depth 0"],
            "engine depth 0 against stock bare loop": stock["bare"] / auto["depth 0"],
            "engine depth 1 against stock bare loop": stock["bare"] / auto["depth 1"],
            "engine depth 3 against stock bare loop": stock["bare"] / auto["depth 3"],
            "engine depth 1 against depth 0": auto["depth 0"] / auto["depth 1"],
            "engine depth 3 against depth 0": auto["depth 0"] / auto["depth 3"],
        },
    }
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def child(blas: str, rounds: int, tokens: int) -> dict[str, float]:
    """Measure one matrix library in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.decode", "--blas", blas, "--rounds", str(rounds)]
    command += ["--tokens", str(tokens)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def measure(blas: str, rounds: int, tokens: int) -> dict[str, float]:
    """Return milliseconds a token of each way of decoding."""
    from engine.blas import prepare
    from engine.mlx_settings import tell_mlx

    prepare(blas, CACHE)
    tell_mlx()
    from engine.model.gguf import load_gguf
    from engine.model.load import load
    from mtplx_tui.library.disk import resolve

    path = Path(resolve("demo").path)
    model = load("demo", path, CACHE, lambda *_: None)
    ways: dict[str, Callable[[int], tuple[int, float]]] = {
        "depth 0": lambda seed: engine_loop(model, tokens, 0, seed),
        "depth 1": lambda seed: engine_loop(model, tokens, 1, seed),
        "depth 3": lambda seed: engine_loop(model, tokens, 3, seed),
        "memory floor": lambda _: (FLOOR_READS, read_memory(step_bytes(model), FLOOR_READS)),
    }
    if blas == "stock":  # Its weights are plain, which stock MLX decodes faster than packed ones.
        bare = load_gguf(path, CACHE, lambda *_: None).model
        ways["bare"] = lambda _: bare_loop(bare, prompt_ids(model), tokens)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for index in range(rounds + 1):
        for name, way in ways.items():
            count, seconds = way(index)
            if index:
                times[name].append(1e3 * seconds / count)
    return {name: statistics.median(values) for name, values in times.items()}


def step_bytes(model: LoadedModel) -> int:
    """Return the bytes of weights that a plain step reads: all but an embedding of its own."""
    from mlx.utils import tree_flatten

    arrays = dict(tree_flatten(model.trunk.model.parameters()))
    has_lm_head = any("lm_head" in name for name in arrays)
    return sum(
        array.nbytes
        for name, array in arrays.items()
        if not (has_lm_head and "embed_tokens" in name)
    )


def read_memory(size: int, times: int) -> float:
    """Return the seconds that reading so many bytes takes, so many times, on all cores."""
    cores = os.cpu_count() or 1
    search = ctypes.CDLL(None).memchr
    search.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
    search.restype = ctypes.c_void_p
    part = size // cores
    buffers = [ctypes.create_string_buffer(part) for _ in range(cores)]
    for buffer in buffers:
        ctypes.memset(buffer, 1, part)
    with ThreadPoolExecutor(cores) as pool:
        begin = time.perf_counter()
        for _ in range(times):
            list(pool.map(lambda buffer: search(buffer, 2, part), buffers))
        return time.perf_counter() - begin


def bare_loop(network: nn.Module, ids: list[int], tokens: int) -> tuple[int, float]:
    """Decode with mlx-lm's model as it is and arg max, and nothing else."""
    import mlx.core as mx
    from mlx_lm.models.cache import make_prompt_cache

    cache = make_prompt_cache(network)
    mx.eval(network(mx.array([ids[:-1]]), cache=cache))
    token = mx.array([[ids[-1]]])
    begin = time.perf_counter()
    for _ in range(tokens):
        token = mx.argmax(network(token, cache=cache)[:, -1], axis=-1, keepdims=True)
        mx.eval(token)
    return tokens, time.perf_counter() - begin


def engine_loop(model: LoadedModel, tokens: int, depth: int, seed: int) -> tuple[int, float]:
    """Decode with the engine's cycle at the default sampling."""
    from engine.protocol import Mode, Sampling
    from engine.speculation.cycle import read_prompt, run_cycle
    from engine.speculation.stream import Stream

    ids = prompt_ids(model)
    stream = Stream(model.trunk.make_cache(), model.head, seed)
    read_prompt(model.trunk, stream, ids[:-1], ids[-1])
    count = 0
    begin = time.perf_counter()
    while count < tokens:
        result = run_cycle(model.trunk, stream, depth, Sampling(), Mode.TOKEN)
        count += len(result.emitted)
    return count, time.perf_counter() - begin


def prompt_ids(model: LoadedModel) -> list[int]:
    """Return the prompt's tokens."""
    from engine.protocol import ChatMessage, Role

    text = model.tokenizer.render((ChatMessage(Role.USER, PROMPT),))
    return model.tokenizer.encode(text, is_rendered=True)


if __name__ == "__main__":
    main()
