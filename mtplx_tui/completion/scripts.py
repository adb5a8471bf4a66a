"""Completion scripts: the facts of the command line in each shell's own language.

Names of models are asked from the program when they are wanted; all else is written down.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable

from mtplx_tui.completion.facts import Command, Option, Values

__all__ = ["SHELLS"]

_MODELS = "mtplx-tui completion models 2>/dev/null"

_BASH = """\
# Completion of mtplx-tui in bash: source <(mtplx-tui completion bash)
_mtplx_tui() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD - 1]}}"
    local command='' kind='' name
    ((COMP_CWORD > 1)) && command="${{COMP_WORDS[1]}}"
    case "$command $before" in
{after}
    *)
        case "$command" in
{places}
        esac
        [[ $word == -* ]] && kind=
        case "$command" in
{options}
        esac
        ;;
    esac
    COMPREPLY=()
    for name in $kind; do
        [[ $name != @* && $name == "$word"* ]] && COMPREPLY+=("$name")
    done
    # Names from the disk are compared as they are: compgen -W would run what stands in them.
    if [[ $kind == *@models* ]]; then
        while IFS= read -r name; do
            [[ $name == "$word"* ]] && COMPREPLY+=("$name")
        done < <({models})
    fi
    if [[ $kind == *@files* ]]; then
        compopt -o filenames 2>/dev/null
        while IFS= read -r name; do COMPREPLY+=("$name"); done < <(compgen -f -- "$word")
    fi
    return 0
}}
complete -F _mtplx_tui mtplx-tui
"""

_ZSH = """\
#compdef mtplx-tui
# Completion of mtplx-tui in zsh: source <(mtplx-tui completion zsh), after compinit
_mtplx_tui() {{
    local command='' before="${{words[CURRENT - 1]}}" kind=''
    local -a options names
    ((CURRENT > 2)) && command="${{words[2]}}"
    case "$command $before" in
{after}
    *)
        case "$command" in
{places}
        esac
        case "$command" in
{options}
        esac
        ;;
    esac
    [[ $kind == *@models* ]] && names=(${{(f)"$({models})"}}) && compadd -- $names
    [[ $kind == *@files* ]] && _files
    names=(${{=${{${{kind/@models/}}/@files/}}}})
    (($#names)) && compadd -- $names
    (($#options)) && _describe -o option options
    ((CURRENT == 2)) && _describe command _mtplx_tui_commands
    return 0
}}
_mtplx_tui_commands=(
{commands}
)
compdef _mtplx_tui mtplx-tui
"""


def _bash(commands: Iterable[Command]) -> str:
    every = list(commands)
    names = " ".join(command.name for command in every if command.name)
    program, *rest = every
    options = [_case(program.name, f'kind+=" {names} {_names(program)}"')]
    options += [_case(c.name, f'[[ $word == -* ]] && kind="{_names(c)}"') for c in rest]
    return _BASH.format(
        after="\n".join(_after(every)),
        places="\n".join(_places(every)),
        options="\n".join(options),
        models=_MODELS,
    )


def _zsh(commands: Iterable[Command]) -> str:
    every = list(commands)
    options = [
        _case(c.name, "options=(" + " ".join(_described(o) for o in c.options) + ")") for c in every
    ]
    return _ZSH.format(
        after="\n".join(_after(every)),
        places="\n".join(_places(every)),
        options="\n".join(options),
        models=_MODELS,
        commands="\n".join("    " + shlex.quote(f"{c.name}:{c.summary}") for c in every if c.name),
    )


def _fish(commands: Iterable[Command]) -> str:
    lines = [
        "# Completion of mtplx-tui in fish: mtplx-tui completion fish | source",
        "complete -c mtplx-tui -f",
    ]
    for command in commands:
        if command.name:
            what = f"-a {command.name} -d {shlex.quote(command.summary)}"
            lines.append(f"complete -c mtplx-tui -n __fish_use_subcommand {what}")
            when = f"-n '__fish_seen_subcommand_from {command.name}'"
        else:
            when = "-n __fish_use_subcommand"
        lines += [f"complete -c mtplx-tui {when} {_fish_values(v)}" for v in command.places]
        lines += [_fish_option(when, option) for option in command.options]
    return "\n".join(lines) + "\n"


def _fish_option(when: str, option: Option) -> str:
    names = " ".join(
        f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names
    )
    takes = "" if option.values is None else f" -r {_fish_values(option.values)}"
    return f"complete -c mtplx-tui {when} {names}{takes} -d {_fish_quoted(option.help)}"


def _fish_values(values: Values) -> str:
    if values.are_models:
        return f"-F -a '({_MODELS})'"
    if values.are_files:
        return "-F"
    return f"-f -a '{' '.join(values.words)}'" if values.words else "-f"


def _fish_quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _after(commands: Iterable[Command]) -> Iterable[str]:
    """Yield what follows an option that takes something."""
    for command in commands:
        for option in command.options:
            if option.values is not None:
                patterns = "|".join(f"'{command.name} {name}'" for name in option.names)
                yield f"    {patterns}) kind='{_kind(option.values)}' ;;"


def _places(commands: Iterable[Command]) -> Iterable[str]:
    for command in commands:
        kinds = " ".join(filter(None, map(_kind, command.places)))
        if kinds:
            yield _case(command.name, f"kind='{kinds}'")


def _kind(values: Values) -> str:
    marks = ["@models"] * values.are_models
    marks += ["@files"] * (values.are_files or values.are_models)
    return " ".join([*values.words, *marks])


def _case(name: str, line: str) -> str:
    return f"        '{name}') {line} ;;"


def _names(command: Command) -> str:
    return " ".join(name for option in command.options for name in option.names)


def _described(option: Option) -> str:
    return " ".join(
        shlex.quote(f"{name}:{option.help.replace(':', chr(92) + ':')}") for name in option.names
    )


SHELLS: dict[str, Callable[[Iterable[Command]], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
"""What writes a shell's script."""
