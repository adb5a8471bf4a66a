"""An engine process in which every model is one tiny network with a head, a token a letter.

    python -m tests.fakes.tiny_engine LETTERS CACHE [FAULT]

Everything but the loading is the engine's own, unless a fault of `faults` is put into it.
"""

from __future__ import annotations

import sys


def main(letters: str, cache: str, fault: str = "") -> int:
    """Run the engine."""
    from engine import session
    from engine.__main__ import main as run
    from engine.protocol import Sampling
    from tests.fakes import faults, tiny

    model = tiny.loaded(tiny.vocabulary_of(letters))
    assert model.info.sampling == Sampling()
    if fault:
        faults.put(fault)
    vars(session)["load"] = lambda *_: model
    sys.argv = ["engine", "--blas", "stock", "--cache", cache]
    return run()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
