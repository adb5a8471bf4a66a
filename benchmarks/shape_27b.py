"""The 27B shape with random 4-bit weights through the production engine, on a GPU.

    python -m benchmarks.shape_27b [--layers 64] [--cycles 500] [--folder FOLDER] [--made] [--out FILE]

Writes a checkpoint of Qwen3.6-27B's shape with a head of its family, loads it as a person's model
is loaded, and measures: loading, a plain step against stock mlx-lm's, windows of 1 to 9 rows, cycles
at depths 0 to 4, how far a window's logits are from single rows', draws that differ, and the
recurrent state after many rolled-back cycles beside the width control. Costs are measured;
acceptance is that of a random head and means nothing. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from importlib.metadata import version
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import load_model
from numpy.typing import NDArray

from benchmarks.in_pty import processor
from engine.certify.divergence import Kind, classify, excess_of_ties, noise_limit, row_noise
from engine.certify.replay import Window, regrouped, replayed_rows, single_rows
from engine.model.arrays import reals
from engine.model.cache import Cache
from engine.model.load import Assembled, LoadedModel, load
from engine.model.random_weights import unfilled_head, unfilled_model, weights
from engine.model.recurrent import RecurrentCache
from engine.model.trunk import Trunk
from engine.protocol import Mode, Sampling
from engine.shape_bench.models import made
from engine.speculation.acceptance import Verdict
from engine.speculation.cycle import CycleResult, read_prompt, run_cycle
from engine.speculation.stream import Stream
from engine.verdict.shape_costs import Plan
from engine.verdict.shapes import shape_of
from kernels.dispatch import backend
from kernels.gated_delta import kernel_note

SHAPE = shape_of("qwen3.6-27b")
PROMPT = [int(token) for token in np.random.default_rng(7).integers(0, 200_000, 512)]
ROWS = range(1, 10)
REPEATS = 20
Rows = NDArray[np.float32]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=64)
    parser.add_argument("--cycles", type=int, default=500)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "shape-27b")
    parser.add_argument("--made", action="store_true", help="weights made on the device, no files")
    parser.add_argument(
        "--out", type=Path, help="written after each part, so that a kill loses one"
    )
    options = parser.parse_args()
    document: dict[str, Any] = {"device": device(), "layers": options.layers}
    model: Assembled | LoadedModel
    if options.made:
        plan = Plan("qwen3.6-27b", layers=options.layers)
        model = made(plan, options.folder / "cache", lambda stage: told(f"{stage}\n")).own
    else:
        write(options.folder, options.layers)
        model, document["load"] = loaded(options.folder)
        document["plain_step"] = plain_steps(model, options.folder)
    gc.freeze()  # as a load does: what stays is not looked through in the middle of a pass
    facts = model if isinstance(model, Assembled) else model.info
    document["kernel_note"] = facts.kernel_note
    # Times come first: what follows may share the device with other work.
    parts: dict[str, Callable[[], object]] = {
        "windows_ms": lambda: windows(model),
        "cycles": lambda: {depth: cycles(model, depth) for depth in range(5)},
        "delta_logits": lambda: delta_logits(model),
        "state": lambda: states(model, options.cycles),
        "parted": lambda: parted(model, 600),
        "peak_gib": lambda: round(mx.get_peak_memory() / 2**30, 2),
    }
    for name, measure in parts.items():
        begin = time.perf_counter()
        document[name] = measure()
        told(f"{name} after {time.perf_counter() - begin:.0f} s\n")
        if options.out:
            options.out.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def told(line: str) -> None:
    """Say how far it is."""
    sys.stderr.write(line)
    sys.stderr.flush()


def device() -> dict[str, str]:
    """Return what runs here."""
    info = {key: str(value) for key, value in mx.device_info().items()}
    return {
        **info,
        "processor": processor(),
        "mlx": version("mlx"),
        "kernels": backend().value,
        "gated_delta": kernel_note() or "kernel in use",
    }


# A checkpoint of the shape


def write(folder: Path, layers: int) -> None:
    """Write config, tokenizer and random weights, one file a layer; a whole one is kept."""
    if (folder / "config.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    config = SHAPE.config(layers)
    model = unfilled_model(config, mx.bfloat16)
    head = unfilled_head(config, Trunk(unfilled_model(config, mx.bfloat16)), mx.bfloat16)
    named = chain(
        ((part_of(name), name, value) for name, value in weights(model, 0)),
        (("mtp", in_checkpoint(name), value) for name, value in weights(head, 1)),
    )
    index_map: dict[str, str] = {}
    for part, group in groupby(named, key=lambda each: each[0]):
        arrays = {name: value for _, name, value in group}
        file = f"model-{part}.safetensors"
        mx.save_safetensors(str(folder / file), arrays, metadata={"format": "mlx"})
        index_map |= dict.fromkeys(arrays, file)
        arrays.clear()
        mx.clear_cache()
    place = folder / "model.safetensors.index.json"
    place.write_text(json.dumps({"weight_map": index_map}), "utf-8")
    (folder / "mtp_contract.json").write_text(json.dumps({"norm_encoding": "plain"}), "utf-8")
    write_tokenizer(folder)
    (folder / "config.json").write_text(json.dumps(config), "utf-8")


def part_of(name: str) -> str:
    """Return which file a trunk's weight goes to: its layer's, or one of its own."""
    return name.partition(".layers.")[2].partition(".")[0] or name


def in_checkpoint(name: str) -> str:
    """Return the name of a head's weight in a checkpoint of its family."""
    own = {
        "embedding_norm.": "pre_fc_norm_embedding.",
        "hidden_norm.": "pre_fc_norm_hidden.",
        "projection.": "fc.",
        "body.norm.norm.": "norm.",
        "body.": "",
    }
    begin = next(begin for begin in own if name.startswith(begin))
    return f"mtp.{own[begin]}{name.removeprefix(begin)}"


def write_tokenizer(folder: Path) -> None:
    """Write a tokenizer of single bytes; its few ids are all that is needed here."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({sign: i for i, sign in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text("{}", "utf-8")


# What is measured


def loaded(folder: Path) -> tuple[LoadedModel, dict[str, object]]:
    """Load the checkpoint; return it, with seconds and memory."""
    mx.reset_peak_memory()
    begin = time.perf_counter()
    model = load("shape", folder, folder / "cache", lambda *_: None)
    seconds = time.perf_counter() - begin
    info = model.info
    weights = info.weights_bytes + (info.head.weights_bytes if info.head else 0)
    return model, {
        "seconds": round(seconds, 1),
        "weights_gib": round(weights / 2**30, 2),
        "peak_over_weights": round(mx.get_peak_memory() / weights, 3),
        "head": info.head_note or "in use",
    }


def plain_steps(model: Assembled | LoadedModel, folder: Path) -> dict[str, float]:
    """Return milliseconds of a plain step, ours and stock mlx-lm's, taken in turns."""
    stock, _ = load_model(folder)
    mx.eval(stock.parameters())
    own_cache, stock_cache = read(model), make_prompt_cache(stock)
    mx.eval(stock(mx.array([PROMPT]), cache=stock_cache))
    token = mx.array([PROMPT[0]])

    def own() -> None:
        mx.eval(model.trunk.forward(token, own_cache).logits)
        own_cache.commit(1)

    def theirs() -> None:
        mx.eval(stock(token[None], cache=stock_cache))

    times = in_turns({"own": own, "stock": theirs})
    return {**times, "stock_over_own": round(times["stock"] / times["own"], 3)}


def windows(model: Assembled | LoadedModel) -> dict[str, float]:
    """Return milliseconds of a pass over windows of some rows, each rolled back to one row."""
    cache = read(model)

    def run(rows: int) -> None:
        mx.eval(model.trunk.forward(mx.array(PROMPT[:rows]), cache).logits)
        cache.commit(1)
        mx.eval(cache.arrays())

    times = in_turns({str(rows): (lambda rows=rows: run(rows)) for rows in ROWS})
    return {**times, "4_over_1": round(times["4"] / times["1"], 3)}


def in_turns(ways: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median milliseconds of each way; the ways take turns."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(REPEATS + 3):
        for name, way in ways.items():
            begin = time.perf_counter()
            way()
            if repeat >= 3:
                times[name].append(1e3 * (time.perf_counter() - begin))
    return {name: round(statistics.median(values), 2) for name, values in times.items()}


def cycles(model: Assembled | LoadedModel, depth: int) -> dict[str, float]:
    """Return what cycles at a depth cost."""
    done = decoded(model, depth, 60, Sampling(), Mode.TOKEN)[10:]
    return {
        "cycle_ms": round(1e3 * statistics.median(c.total_s for c in done), 2),
        "draft_ms": round(1e3 * statistics.median(c.draft_s for c in done), 2),
        "verify_ms": round(1e3 * statistics.median(c.verify_s for c in done), 2),
        "tokens_per_cycle": round(statistics.mean(len(c.emitted) for c in done), 3),
    }


def decoded(
    model: Assembled | LoadedModel, depth: int, count: int, sampling: Sampling, mode: Mode
) -> list[CycleResult]:
    """Run cycles behind the prompt."""
    return list(running(model, stream_of(model), depth, count, sampling, mode))


def running(
    model: Assembled | LoadedModel,
    stream: Stream,
    depth: int,
    count: int,
    sampling: Sampling,
    mode: Mode,
) -> Iterable[CycleResult]:
    """Run cycles one by one."""
    for _ in range(count):
        yield run_cycle(model.trunk, stream, depth, sampling, mode)


def stream_of(model: Assembled | LoadedModel) -> Stream:
    """Return a stream whose prompt was read."""
    stream = Stream(model.trunk.make_cache(), model.head, 7)
    read_prompt(model.trunk, stream, PROMPT[:-1], PROMPT[-1])
    return stream


def read(model: Assembled | LoadedModel) -> Cache:
    """Return a trunk's cache that holds the prompt."""
    cache = model.trunk.make_cache()
    mx.eval(model.trunk.forward(mx.array(PROMPT), cache).logits)
    cache.commit(len(PROMPT))
    return cache


def delta_logits(model: Assembled | LoadedModel) -> dict[str, float]:
    """Return the most that windows of some rows move logits away from single rows', and how those spread.

    Without a spread no difference would say nothing: logits that are all alike would have none either.
    """
    text = PROMPT[:37]
    alone = replayed_rows(model.trunk, PROMPT, single_rows(text))
    apart = {"spread": round(float(alone.std(axis=1).min()), 3)}
    for rows in ROWS:
        grouped = [Window(tuple(text[at : at + rows]), rows) for at in range(0, 36, rows)]
        grouped = [window for window in grouped if len(window.tokens) == rows]
        logits = replayed_rows(model.trunk, PROMPT, grouped)
        apart[str(rows)] = round(float(np.abs(logits - alone[: len(logits)]).max()), 5)
    return apart


def parted(model: Assembled | LoadedModel, count: int) -> dict[str, object]:
    """Force depth 0's tokens through windows rolled back, and judge each draw that differs.

    Each window has three drafts, of which 0 to 3 in turn are the text's own and the others wrong.
    Draws are judged greedily, and with the same random numbers for all ways as the seed-stable mode does.
    """
    begin = PROMPT[-1]
    done = decoded(model, 0, count, Sampling(), Mode.TOKEN)
    text = [begin, *(token for cycle in done for token in cycle.emitted)][:-1]
    spoken, at = [], 0
    while at + 4 <= len(text):
        kept = 1 + len(spoken) % 4
        spoken.append(Window((*text[at : at + kept], *PROMPT[: 4 - kept]), kept))
        at += kept
    prompt = PROMPT[:-1]
    ways = [single_rows(text[:at]), spoken, regrouped(spoken, text[:at])]
    alone, grouped, control = (replayed_rows(model.trunk, prompt, windows) for windows in ways)
    found = {"greedy": judged(alone, grouped, control)}
    numbers = np.random.default_rng(7)
    for rows in zip(alone, grouped, control, strict=True):
        gumbel = numbers.gumbel(size=alone.shape[1]).astype(np.float32)
        for row in rows:
            row += gumbel
    return {**found, "seeded": judged(alone, grouped, control)}


def judged(alone: Rows, grouped: Rows, control: Rows) -> dict[str, object]:
    """Say what the places are at which windows choose otherwise; float32 [places, vocabulary] each."""
    limit = noise_limit([row_noise(a, c) for a, c in zip(alone, control, strict=True)])
    apart = [
        classify(a, g, limit)
        for a, g in zip(alone, grouped, strict=True)
        if a.argmax() != g.argmax()
    ]
    ties = apart.count(Kind.TIE)
    pairs = zip(alone, control, strict=True)
    control_ties = sum(int(a.argmax() != c.argmax()) for a, c in pairs)
    places = len(alone)
    return {
        "places": places,
        "parted": len(apart),
        "ties": ties,
        "errors": len(apart) - ties,
        "noise_limit": limit,
        "control_parted": control_ties,
        "chance_of_so_many_ties": excess_of_ties(ties, places, control_ties, places),
    }


def states(model: Assembled | LoadedModel, count: int) -> dict[str, object]:
    """Return how far recurrent state drifts from sequential decoding, rolled back and not.

    As many drafts as the cycle's number says are taken for accepted, 0 to 3 in turn, since those of
    a random head never are.
    """
    stream = stream_of(model)
    done = []
    for number in range(count):
        ruling = functools.partial(_ruled, number % 4)
        done.append(run_cycle(model.trunk, stream, 3, Sampling(), Mode.TOKEN, ruling=ruling))
    text = [PROMPT[-1], *(token for cycle in done for token in cycle.emitted)][:-1]
    widths = [Window((0,) * (len(c.drafted) + 1), len(c.emitted)) for c in done]
    sequential = state_after(model, single_rows(text))
    control = state_after(model, regrouped(widths, text))
    drafted = recurrent_arrays(stream.trunk_cache)
    return {
        "cycles": count,
        "accepted_by_turns": "0 1 2 3",
        "tokens": len(text),
        "rolled_back": distance(drafted, sequential),
        "width_control": distance(control, sequential),
    }


def _ruled(accepted: int, verdict: Verdict) -> Verdict:
    return replace(verdict, accepted=mx.array(accepted, mx.int32), pair=None)


def state_after(model: Assembled | LoadedModel, passes: list[Window]) -> list[mx.array]:
    """Return the recurrent state after passes of the trunk behind the prompt."""
    cache = model.trunk.make_cache()
    mx.eval(model.trunk.forward(mx.array(PROMPT[:-1]), cache).logits)
    cache.commit(len(PROMPT) - 1)
    for each in passes:
        mx.eval(model.trunk.forward(mx.array(each.tokens), cache).logits)
        cache.commit(each.kept)
        mx.eval(cache.arrays())
    return recurrent_arrays(cache)


def recurrent_arrays(cache: Cache) -> list[mx.array]:
    """Return the delta states of a cache's recurrent layers."""
    layers = [layer for layer in cache.layers if isinstance(layer, RecurrentCache)]
    slots = [slot for layer in layers for slot in layer.plain_slots()]
    return [slot for slot in slots if slot is not None and slot.ndim == 4]


def distance(one: list[mx.array], other: list[mx.array]) -> float:
    """Return the largest relative difference of two lists of states, layer by layer."""
    apart = [
        mx.linalg.norm((a - b).reshape(-1)) / mx.linalg.norm(b.reshape(-1))
        for a, b in zip(one, other, strict=True)
    ]
    return round(max(reals(mx.stack(apart))), 6)


if __name__ == "__main__":
    main()
