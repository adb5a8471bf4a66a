"""Whole completions of `mtplx-tui generate` on a tiny model, counted by their first tokens."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from unittest import mock

import numpy as np

from mtplx_tui import generate, link
from tests.conformance.toys import Fit, two_samples

LETTERS = "abcd"
FIRST = 3
TOKENS = 6
"""Of a completion: enough that the first cycle drafts to depth 4."""
ROOT = Path(__file__).parents[2]
OPTIONS = ["--prompt", "abca", "--raw", "--temperature", "0.9", "--top-p", "1", "--top-k", "0"]


def counts(folder: Path, number: int, seed: int, depth: int, mode: str) -> np.ndarray:
    """Return how often each run of FIRST tokens began a completion, from one load of the model.

    Args:
        folder: for what the run writes.
        number: completions; completion i has seed + i.
        seed: of the first.
        depth: drafted to.
        mode: of verification.
    """
    model = folder / "model"
    model.mkdir(parents=True, exist_ok=True)
    (model / "config.json").write_text("{}", "utf-8")
    words = ["--model", str(model), *OPTIONS, "--max-tokens", str(TOKENS), "--json"]
    words += ["--n", str(number), "--seed", str(seed), "--depth", str(depth), "--mode", mode]
    output = folder / f"{mode}-{depth}-{seed}.jsonl"
    with (
        output.open("w", encoding="utf-8") as lines,
        tiny_engine(folder),
        contextlib.redirect_stdout(lines),
    ):
        code = generate.main(words)
    assert code == 0
    found = np.zeros(len(LETTERS) ** FIRST, int)
    for line in output.read_text("utf-8").splitlines():
        tokens = json.loads(line)["token_ids"][:FIRST] if line else []
        if tokens:
            found[int("".join(map(str, tokens)), len(LETTERS))] += 1
    assert found.sum() == number
    return found


def compared(folder: Path, number: int, mode: str, depth: int = 4) -> Fit:
    """Return whether drafted and plain completions have one law: seeds from 0 and 1,000,000."""
    drafted = counts(folder, number, 0, depth, mode)
    plain = counts(folder, number, 1_000_000, 0, mode)
    return two_samples(drafted, plain)


@contextlib.contextmanager
def tiny_engine(folder: Path, letters: str = LETTERS, fault: str = "") -> Generator[None]:
    """Let the link start the tiny engine in place of the product's."""

    def spawn(*_: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.fakes.tiny_engine", letters, str(folder)]
        command += [fault] if fault else []
        with (folder / "engine.log").open("ab") as log:
            return subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=ROOT
            )

    with mock.patch.object(link, "spawn", spawn):
        yield
