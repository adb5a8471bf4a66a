"""The command line. Imports no more than the chosen command needs, so `--version` is quick."""

from __future__ import annotations

import argparse
import os
import sys
from typing import NoReturn

__all__ = ["UsageError", "main", "parser", "tell"]

_EXAMPLES = """\
examples:
  mtplx-tui                       open the app on the last model, or the demo
  mtplx-tui demo                  open it on the demo model
  mtplx-tui ~/models/my-model     a folder with an MLX or safetensors checkpoint
  mtplx-tui owner/name            a repository in the hub cache
  mtplx-tui chat                  talk in the terminal without the full screen
  mtplx-tui generate --help       one completion without the app
  mtplx-tui bench --help          depths measured against plain decoding
  mtplx-tui tune --help           where an automatic depth starts, measured
  mtplx-tui inspect owner/name    does it draft, does it fit: before any download
  mtplx-tui graft --help          the head of the original release for a converted trunk
  mtplx-tui pull owner/name       download it; models and remove manage what is here
  mtplx-tui certify --help        does drafting change what a model says, here?
  mtplx-tui fans --help           temperatures, and fans held while something runs
  mtplx-tui serve --help          the OpenAI and Anthropic APIs, and a browser chat
  mtplx-tui trace --help          look at recorded answers, compare two
"""


class UsageError(Exception):
    """The command line is wrong; the message is one line."""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def main(arguments: list[str] | None = None) -> int:
    """Run a command line and return its exit code: 0 well, 1 failed, 2 wrong usage.

    Interrupted it is 130; 141 where whoever read the output went away.
    """
    words = sys.argv[1:] if arguments is None else arguments
    try:
        return _command(words)
    except UsageError as error:
        tell(str(error))
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # What is still held back for standard output has no reader; Python writes it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141


def tell(message: str) -> None:
    """Write one line to standard error."""
    sys.stderr.write(f"mtplx-tui: {' '.join(message.split())}\n")


def _command(words: list[str]) -> int:  # noqa: C901, PLR0912 - one case a command
    match words[:1]:
        case ["generate"]:
            from mtplx_tui.generate import main as command
        case ["chat"]:
            from mtplx_tui.terminal_chat.command import main as command
        case ["bench"]:
            from mtplx_tui.bench.command import bench as command
        case ["tune"]:
            from mtplx_tui.bench.command import tune as command
        case ["certify"]:
            from mtplx_tui.certify import main as command
        case ["fans"]:
            from mtplx_tui.fans import main as command
        case ["serve"]:
            from mtplx_tui.server.command import main as command
        case ["trace"]:
            from mtplx_tui.trace_command import main as command
        case ["pull"]:
            from mtplx_tui.pull import main as command
        case ["inspect"]:
            from mtplx_tui.inspecting import main as command
        case ["graft"]:
            from mtplx_tui.grafting import main as command
        case ["models"]:
            from mtplx_tui.listing import main_models as command
        case ["remove"]:
            from mtplx_tui.listing import main_remove as command
        case _:
            return _main(words)
    return command(words[1:])


def parser(program: str, description: str, examples: str) -> argparse.ArgumentParser:
    """Return a parser in the house's manner: one-line errors, examples at the end of the help."""
    return _Parser(
        prog=program,
        description=description,
        epilog=examples,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _main(words: list[str]) -> int:
    chosen = parser(
        "mtplx-tui", "Talk to local models that draft with their own MTP heads.", _EXAMPLES
    )
    chosen.add_argument("model", nargs="?", help="a folder, owner/name in the hub cache, or demo")
    chosen.add_argument("--version", action="store_true", help="print the version and leave")
    options = chosen.parse_args(words)
    if options.version:
        from importlib.metadata import version

        sys.stdout.write(f"mtplx-tui {version('mtplx-tui')}\n")
        sys.stdout.flush()
        return 0
    from mtplx_tui.opening import open_app

    return open_app(options.model)
