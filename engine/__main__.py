"""Starts the engine process: `python -P -m engine --blas auto --cache FOLDER`.

Standard output is the event pipe; what native code prints goes to standard error instead.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import logging
import os
import signal
import sys
from pathlib import Path

from engine import wire
from engine.blas import BlasInUse, prepare
from engine.mlx_settings import tell_mlx
from engine.protocol import PROTOCOL_VERSION, EngineFailed, EngineStarted, ErrorInfo

_NICENESS = 5
"""Below the app, so that the screen stays quick while every core computes."""
_NO_BACKEND = (
    "on Linux install one backend: mtplx-tui[cpu], or mtplx-tui[cuda] for an NVIDIA GPU "
    "(from a checkout: uv run mtplx-tui, or uv run --no-group cpu --extra cuda mtplx-tui)"
)


def main() -> int:
    """Run the process; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -P -m engine", description=__doc__)
    parser.add_argument("--blas", choices=("auto", "stock"), default="auto")
    parser.add_argument("--cache", type=Path, required=True)
    options = parser.parse_args()
    events = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def write(line: bytes) -> None:
        events.write(line)
        events.flush()

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    os.nice(_NICENESS)
    tell_mlx()
    blas = prepare(options.blas, options.cache)
    try:
        started = _started(blas)
    except ImportError as error:
        reason = " ".join(str(error).split())[:200]
        failure = ErrorInfo(f"MLX has no working backend here ({reason})", _NO_BACKEND)
        write(wire.encode([EngineFailed(failure)]))
        return 1
    write(wire.encode([started]))
    from engine.worker import Outbox, Worker

    try:
        Worker(sys.stdin.buffer, Outbox(write), options.cache).run()
    except BrokenPipeError:
        logging.info("the front end is gone")
    os._exit(0)  # the reading thread still waits on standard input


def _started(blas: BlasInUse) -> EngineStarted:
    import mlx.core as mx

    device = "cpu" if mx.default_device() == mx.cpu else "gpu"
    if device == "gpu":
        device = "metal" if mx.metal.is_available() else "cuda"
    return EngineStarted(
        protocol=PROTOCOL_VERSION,
        pid=os.getpid(),
        device=device,
        mlx=importlib.metadata.version("mlx"),
        mlx_lm=importlib.metadata.version("mlx-lm"),
        blas=blas.name if device == "cpu" else "",
        blas_note=blas.note if device == "cpu" else "",
    )


if __name__ == "__main__":
    sys.exit(main())
