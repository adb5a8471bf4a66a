"""`mtplx-tui completion`: a script for a shell, and the names that it asks for."""

from __future__ import annotations

import sys

from mtplx_tui.cli import parser
from mtplx_tui.completion.facts import commands
from mtplx_tui.completion.scripts import SHELLS
from mtplx_tui.library.disk import local_models

__all__ = ["main"]

_EXAMPLES = """\
examples:
  source <(mtplx-tui completion bash)             bash, this shell; in ~/.bashrc, every shell
  source <(mtplx-tui completion zsh)              zsh, after compinit
  mtplx-tui completion fish | source              fish
  mtplx-tui completion models                     names of models on this machine, one a line
"""


def main(words: list[str]) -> int:
    """Print a completion script, or the names of models; return the exit code."""
    chosen = parser("mtplx-tui completion", "Complete commands by the tab key.", _EXAMPLES)
    chosen.add_argument("what", choices=[*SHELLS, "models"], help="a shell, or names of models")
    what = chosen.parse_args(words).what
    if what == "models":
        text = "".join(f"{model.name}\n" for model in local_models())
    else:
        text = SHELLS[what](commands())
    sys.stdout.write(text)
    return 0
