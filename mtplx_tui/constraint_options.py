"""The options of the command line that bend an answer: penalties, biases, limits, a grammar."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from engine.protocol import MAX_LOGPROBS, Constraints, Generate, TokenBias
from mtplx_tui.files import read_whole

__all__ = ["Bending", "add_options", "read"]


@dataclass(frozen=True, slots=True)
class Bending:
    """What was chosen."""

    constraints: Constraints
    grammar: str | None
    logprobs: int | None

    def put_on(self, command: Generate) -> Generate:
        """Return the command with these choices. Raises ValueError where they don't fit it."""
        return replace(
            command, constraints=self.constraints, grammar=self.grammar, logprobs=self.logprobs
        )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options to a command."""
    add = parser.add_argument
    add(
        "--repetition-penalty",
        type=float,
        default=1.0,
        help="divides what speaks for tokens in prompt or answer; default 1 (off)",
    )
    add(
        "--presence-penalty",
        type=float,
        default=0.0,
        help="taken off tokens the answer holds; default 0",
    )
    add(
        "--frequency-penalty",
        type=float,
        default=0.0,
        help="taken off each time the answer holds a token; default 0",
    )
    add(
        "--logit-bias",
        action="append",
        default=[],
        metavar="ID=BIAS[,..]",
        help="added to the logits of these token ids",
    )
    add("--min-tokens", type=int, default=0, help="tokens before the answer may end; default 0")
    add("--json-schema", type=Path, metavar="FILE", help="a JSON schema that the answer then fits")
    add(
        "--logprobs",
        type=int,
        metavar="N",
        help=f"with --json: log-probabilities of each token and of the N likeliest, 0 to "
        f"{MAX_LOGPROBS}",
    )


def read(options: argparse.Namespace) -> Bending:
    """Return what was chosen. Raises ValueError naming what is wrong, in one line."""
    bending = Bending(
        constraints=Constraints(
            repetition_penalty=options.repetition_penalty,
            presence_penalty=options.presence_penalty,
            frequency_penalty=options.frequency_penalty,
            logit_bias=tuple(
                _bias(item) for text in options.logit_bias for item in text.split(",")
            ),
            min_tokens=options.min_tokens,
        ),
        grammar=None if options.json_schema is None else _text(options.json_schema),
        logprobs=options.logprobs,
    )
    bending.put_on(Generate("", (), raw="", max_tokens=options.max_tokens))
    return bending


def _bias(text: str) -> TokenBias:
    token, _, bias = text.partition("=")
    try:
        return TokenBias(int(token), float(bias))
    except ValueError:
        raise ValueError(f"--logit-bias takes ID=BIAS, such as 42=-1.5, not {text!r}") from None


def _text(path: Path) -> str:
    try:
        return read_whole(path)
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text") from error
