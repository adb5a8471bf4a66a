"""The conformance tests that run the whole engine, at the size a night allows.

    uv run python benchmarks/conformance_full.py [--share 1.0] > benchmarks/conformance_full.json

The law of 3 tokens through the engine with 300,000 sequences a mode (test 6), seeded streams for
every depth (7), greedy text audited against plain greedy text on 200 models of 256 tokens (9),
and completions in company through `generate` (13). `--share` scales every size. Prints one JSON
document; exit code 5 where a law is broken.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
SEQUENCES = 300_000
STREAMS = 1000
GREEDY_MODELS = 200
GREEDY_TOKENS = 256
COMPLETIONS = 20_000


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0)
    share = parser.parse_args().share
    sys.path.insert(0, str(ROOT))
    begin = time.perf_counter()
    results = {**laws(share), **streams(share), **greedy(share), **company(share)}
    document = {
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": {name: version(name) for name in ("mtplx-tui", "mlx")},
        "share": share,
        "results": results,
        "seconds": time.perf_counter() - begin,
    }
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    return 0 if all(result["is_lawful"] for result in results.values()) else 5


def scaled(size: int, share: float) -> int:
    """Return a size, never none."""
    return max(1, round(size * share))


def laws(share: float) -> dict[str, dict[str, object]]:
    """Test 6: the law of the first three tokens, the depth changing from cycle to cycle."""
    from engine.protocol import Mode
    from tests.conformance import test_engine_law
    from tests.conformance.decoding import VOCABULARY
    from tests.fakes import tiny

    model = tiny.trunk_and_head(VOCABULARY)
    found: dict[str, dict[str, object]] = {}
    for mode in Mode:
        fit = test_engine_law.engine_fit(model, mode, scaled(SEQUENCES, share), 77)
        found[f"law, {mode}"] = {
            "sequences": fit.samples,
            "chi2": fit.chi2,
            "g": fit.g,
            "degrees_of_freedom": fit.degrees,
            "p": fit.p,
            "sees_total_variation_from": fit.least_bias,
            "is_lawful": fit.is_lawful,
        }
    return found


def streams(share: float) -> dict[str, dict[str, object]]:
    """Test 7: seeded text is the same for every depth."""
    from engine.protocol import Mode
    from tests.conformance.decoding import DEPTHS, VOCABULARY, decoded
    from tests.fakes import tiny

    model = tiny.trunk_and_head(VOCABULARY)
    differing = 0
    for seed in range(scaled(STREAMS, share)):
        plain = decoded(model, 40, lambda _: 0, seed=seed, mode=Mode.SEEDED)
        for depth in DEPTHS.values():
            differing += decoded(model, 40, depth, seed=seed, mode=Mode.SEEDED) != plain
    seeds = scaled(STREAMS, share)
    return {"streams": {"seeds": seeds, "differing": differing, "is_lawful": differing == 0}}


def greedy(share: float) -> dict[str, dict[str, object]]:
    """Test 9: where greedy texts part, at ties alone."""
    from tests.conformance import test_engine_law
    from tests.conformance.decoding import VOCABULARY
    from tests.fakes import tiny

    errors, least_p = 0, 1.0
    models = scaled(GREEDY_MODELS, share)
    for seed in range(models):
        model = tiny.trunk_and_head(VOCABULARY, seed)
        wrong, p = test_engine_law.greedy_audit(model, GREEDY_TOKENS, ["3", "6", "changing"])
        errors, least_p = errors + wrong, min(least_p, p)
    is_lawful = errors == 0 and least_p > 1e-6 / models
    return {
        "greedy": {
            "models": models,
            "errors": errors,
            "least_p_of_ties": least_p,
            "is_lawful": is_lawful,
        }
    }


def company(share: float) -> dict[str, dict[str, object]]:
    """Test 13: completions in flight together, with drafts and without."""
    from tests.conformance.sequences import compared

    with tempfile.TemporaryDirectory() as folder:
        fit = compared(Path(folder), scaled(COMPLETIONS, share), "token")
    return {
        "company": {
            "completions": scaled(COMPLETIONS, share),
            "g": fit.g,
            "degrees_of_freedom": fit.degrees,
            "p": fit.p,
            "sees_total_variation_from": fit.least_bias,
            "is_lawful": fit.is_lawful,
        }
    }


if __name__ == "__main__":
    sys.exit(main())
