"""The options of the command line that say how answers are made; read into `requests.Options`."""

from __future__ import annotations

import argparse

from engine.protocol import Mode
from mtplx_tui.requests import Options
from mtplx_tui.settings_schema import Settings

__all__ = ["add_options", "read", "read_depth", "read_mode"]


def add_options(parser: argparse.ArgumentParser, settings: Settings | None = None) -> None:
    """Add the options to a command.

    Args:
        parser: the command's.
        settings: what a person wants where an option is not given; None for the bare defaults.
    """
    own = settings or Settings()
    depth = "auto" if own.depth is None else str(own.depth)
    add = parser.add_argument
    add("--system", help="a system message instead of the chat template's own")
    add(
        "--max-tokens",
        type=int,
        default=own.max_tokens,
        help="default: up to the end of the context",
    )
    add("--stop", action="append", default=[], help="end before this text; may be given again")
    add(
        "--depth",
        default=depth,
        help=f"tokens drafted a cycle: auto, or 0 (plain) to 8; default {depth}",
    )
    add("--mode", default=own.mode, help=f"{', '.join(Mode)}; all exact; default {own.mode}")
    add(
        "--temperature",
        type=float,
        default=own.temperature,
        help="0 is greedy; default: the model's own, else 0.6",
    )
    add("--top-p", type=float, default=own.top_p, help="default: the model's own, else 0.95")
    add("--top-k", type=int, default=own.top_k, help="0 is off; default: the model's own, else 20")
    add("--min-p", type=float, default=own.min_p, help="default: the model's own, else 0 (off)")
    add("--seed", type=int, help="default: random, and reported")


def read(options: argparse.Namespace) -> Options:
    """Return what was chosen. Raises ValueError naming what is no depth or no mode."""
    return Options(
        system=options.system,
        temperature=options.temperature,
        top_p=options.top_p,
        top_k=options.top_k,
        min_p=options.min_p,
        seed=options.seed,
        depth=read_depth(options.depth, "--depth"),
        mode=read_mode(options.mode, "--mode"),
        max_tokens=options.max_tokens,
        stop=tuple(options.stop),
    )


def read_depth(text: str, name: str) -> int | None:
    """Return a depth, None where it is automatic. Raises ValueError with the name it was given by."""
    if text == "auto":
        return None
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"{name} must be auto or a number from 0 to 8, not {text!r:.40}")
    return int(text)


def read_mode(text: str, name: str) -> Mode:
    """Return a mode. Raises ValueError with the name it was given by."""
    if text not in list(Mode):
        raise ValueError(f"{name} must be one of {', '.join(Mode)}, not {text!r:.40}")
    return Mode(text)
