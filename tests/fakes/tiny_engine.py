"""An engine process in which every model is one tiny network with a head, a token a letter.

    python -m tests.fakes.tiny_engine LETTERS CACHE

Everything but the loading is the engine's own.
"""

from __future__ import annotations

import sys


def main(letters: str, cache: str) -> int:
    """Run the engine."""
    from engine import session
    from engine.__main__ import main as run
    from engine.protocol import Sampling
    from tests.fakes import tiny

    model = tiny.loaded(tiny.vocabulary_of(letters))
    assert model.info.sampling == Sampling()
    vars(session)["load"] = lambda *_: model
    sys.argv = ["engine", "--blas", "stock", "--cache", cache]
    return run()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
