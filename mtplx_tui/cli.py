"""The command line. Imports no more than the chosen command needs, so `--version` is quick."""

from __future__ import annotations

import argparse
import gc
import io
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

__all__ = [
    "COMMANDS",
    "ParserAsked",
    "UsageError",
    "load",
    "main",
    "parser",
    "parser_of",
    "pass_line",
    "tell",
]

COMMANDS = {
    "start": "mtplx_tui.setup.command:main",
    "generate": "mtplx_tui.generate:main",
    "chat": "mtplx_tui.terminal_chat.command:main",
    "bench": "mtplx_tui.bench.command:bench",
    "tune": "mtplx_tui.bench.command:tune",
    "certify": "mtplx_tui.certify:main",
    "inspect": "mtplx_tui.inspecting:main",
    "graft": "mtplx_tui.grafting:main",
    "pull": "mtplx_tui.pull:main",
    "models": "mtplx_tui.listing:main_models",
    "remove": "mtplx_tui.listing:main_remove",
    "fans": "mtplx_tui.fans:main",
    "serve": "mtplx_tui.server.command:main",
    "trace": "mtplx_tui.trace_command:main",
    "doctor": "mtplx_tui.doctor.command:main",
    "completion": "mtplx_tui.completion.command:main",
}
"""Where each command is; its module is imported only once it is chosen."""

_EXAMPLES = """\
examples:
  mtplx-tui                       open the app on the last model, or the demo
  mtplx-tui start                 set it up, step by step
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
  mtplx-tui completion --help     commands, options and models by the tab key
  mtplx-tui doctor                is all well here: each trouble with its remedy
"""
_ASK = "--parser"


class UsageError(Exception):
    """The command line is wrong; the message is one line."""


class ParserAsked(UsageError):
    """A command was asked for its parser, and gives it in place of running."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__(f"{_ASK} is not for people (see {parser.prog} --help)")
        self.parser = parser


class _HandOver(argparse.Action):
    """Hands over the parser that meets it."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **_named: object) -> NoReturn:
        raise ParserAsked(parser)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")

    def print_help(self, file: SupportsWrite[str] | None = None) -> None:
        """Write the help; one that can't be written is no success, as argparse has it."""
        (file or sys.stdout).write(self.format_help())
        sys.stdout.flush()


def main(arguments: list[str] | None = None) -> int:
    """Run a command line and return its exit code: 0 well, 1 failed, 2 wrong usage.

    Interrupted it is 130; 141 where whoever read the output went away.
    """
    words = sys.argv[1:] if arguments is None else arguments
    _stand_in_for_closed()
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        # Its encoding may lack what a name or an answer holds.
        sys.stdout.reconfigure(errors="replace")
    try:
        code = _command(words)
        sys.stdout.flush()
        return code
    except UsageError as error:
        tell(str(error))
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _drop_output()
        return 141
    except OSError as error:
        try:
            sys.stdout.flush()
        except OSError:
            _drop_output()
        from mtplx_tui.files import trouble

        tell(trouble(error))
        return 1
    finally:
        pass_line("")


def _stand_in_for_closed() -> None:
    """Put something at descriptors 0 to 2 that were closed before the start.

    The next file that is opened, a chat maybe, would be one of them otherwise, and get what is written
    there. Input is at its end; that output can't be written is told; what is told goes to nobody.
    """
    for number, name, flags in (
        (0, "stdin", os.O_RDONLY),
        (1, "stdout", os.O_RDONLY),
        (2, "stderr", os.O_WRONLY),
    ):
        if getattr(sys, name) is not None:
            continue
        opened = os.open(os.devnull, flags)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
        os.set_inheritable(number, True)  # noqa: FBT003 - os takes no name
        mode = "w" if number else "r"
        stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115 - it stays
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _drop_output() -> None:
    """Drop what is held back for standard output, which can't be written; Python tries at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def tell(message: str) -> None:
    """Write one line to standard error, in place of the passing one."""
    pass_line("")
    sys.stderr.write(f"mtplx-tui: {' '.join(message.split())}\n")


class _Passing:
    """What stands in the terminal's line and goes again."""

    line = ""


def pass_line(line: str) -> None:
    """Show one passing line to a person who watches, as far as it fits; an empty one takes it away."""
    if line == _Passing.line or not sys.stderr.isatty():
        return
    room = (os.get_terminal_size(sys.stderr.fileno()).columns or 80) - 1
    sys.stderr.write(f"\r{line[:room]:<{room}}\r")  # ctrl+c is echoed where the cursor is
    sys.stderr.flush()
    _Passing.line = line


def _command(words: list[str]) -> int:
    if words and words[0] in COMMANDS:
        return load(words[0])(words[1:])
    return _main(words)


def load(name: str) -> Callable[[list[str]], int]:
    """Import what runs one of COMMANDS."""
    module, _, function = COMMANDS[name].partition(":")
    return getattr(import_module(module), function)


def parser(program: str, description: str, examples: str) -> argparse.ArgumentParser:
    """Return a parser in the house's manner: one-line errors, examples at the end of the help."""
    made = _Parser(
        prog=program,
        description=description,
        epilog=examples,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(_ASK, action=_HandOver, nargs=0, help=argparse.SUPPRESS)
    return made


def parser_of(name: str | None) -> argparse.ArgumentParser:
    """Return the parser of one of COMMANDS; of the program itself where the name is None."""
    try:
        _ = _main([_ASK]) if name is None else load(name)([_ASK])
    except ParserAsked as asked:
        return asked.parser
    raise RuntimeError(f"{name} ran without reading its options")


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
    gc.disable()  # until the first frame, or the end: what is made until then stays
    try:
        from mtplx_tui.opening import open_app

        return open_app(options.model)
    finally:
        gc.enable()
