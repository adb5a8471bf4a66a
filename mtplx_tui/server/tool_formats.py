"""How families of models write a call of a tool, as data.

A format is told by what the model's chat template holds, as mlx-lm does it; the first that fits
counts. The texts are those of the families' published templates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["FALLBACK", "FORMATS", "ToolFormat", "format_of"]

_BAR, _LOW = "\uff5c", "\u2581"
_DS = f"<{_BAR}tool{_LOW}"
_DSML = f"{_BAR}DSML{_BAR}"


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """One way of writing calls."""

    name: str
    marks: tuple[str, ...]
    """All of these are in the chat template."""
    opens: str
    """A call begins."""
    closes: str
    """A call ends; empty where nothing but the answer's end tells it."""
    syntax: Literal["json", "parameters", "pairs", "separated", "invoke", "bracketed"]
    """How what is between is read; see `tool_calls`."""
    wrappers: tuple[str, ...] = ()
    """May come before the first call, and are then no text."""
    tails: tuple[str, ...] = ()
    """May come after a call, and are then no text."""
    separator: str = ""
    """Between name and arguments."""
    parameter: tuple[str, str] = ("", "")
    """Begin and end of one argument."""
    is_verbatim: bool = False
    """Whether line breaks around a value belong to it."""
    is_in_reasoning: bool = False
    """Whether models of the family also call from within their reasoning."""


FORMATS = (
    ToolFormat(
        "deepseek-v3.2",
        (_DSML, "invoke"),
        f'<{_DSML}invoke name="',
        f"</{_DSML}invoke>",
        "invoke",
        wrappers=(f"<{_DSML}function_calls>", f"<{_DSML}tool_calls>"),
        tails=(f"</{_DSML}function_calls>", f"</{_DSML}tool_calls>"),
        parameter=(f'<{_DSML}parameter name="', f"</{_DSML}parameter>"),
    ),
    ToolFormat(
        "deepseek-v3",
        (f"{_DS}sep{_BAR}>",),
        f"{_DS}call{_LOW}begin{_BAR}>",
        f"{_DS}call{_LOW}end{_BAR}>",
        "separated",
        wrappers=(f"{_DS}calls{_LOW}begin{_BAR}>",),
        tails=(f"{_DS}calls{_LOW}end{_BAR}>",),
        separator=f"{_DS}sep{_BAR}>",
    ),
    ToolFormat(
        "kimi-k2",
        ("<|tool_call_argument_begin|>",),
        "<|tool_call_begin|>",
        "<|tool_call_end|>",
        "separated",
        wrappers=("<|tool_calls_section_begin|>",),
        tails=("<|tool_calls_section_end|>",),
        separator="<|tool_call_argument_begin|>",
    ),
    ToolFormat(
        "minimax-m2",
        ("<minimax:tool_call>",),
        '<invoke name="',
        "</invoke>",
        "invoke",
        wrappers=("<minimax:tool_call>",),
        tails=("</minimax:tool_call>",),
        parameter=('<parameter name="', "</parameter>"),
    ),
    ToolFormat(
        "glm-4.5",
        ("<arg_key>", "<tool_call>"),
        "<tool_call>",
        "</tool_call>",
        "pairs",
    ),
    ToolFormat(
        "mimo-v2",
        ("<function=", "<parameter=", "mimo"),
        "<function=",
        "</function>",
        "parameters",
        wrappers=("<tool_call>",),
        tails=("</tool_call>", "</function>", "</function_invocation>"),
        parameter=("<parameter=", "</parameter>"),
        is_verbatim=True,
        is_in_reasoning=True,
    ),
    ToolFormat(
        "qwen3-coder",
        ("<function=", "<parameter="),
        "<function=",
        "</function>",
        "parameters",
        wrappers=("<tool_call>",),
        tails=("</tool_call>", "</function>", "</function_invocation>"),
        parameter=("<parameter=", "</parameter>"),
        is_in_reasoning=True,
    ),
    ToolFormat("mistral", ("[TOOL_CALLS]",), "[TOOL_CALLS]", "", "bracketed", separator="[ARGS]"),
    ToolFormat("hermes", ("<tool_call>",), "<tool_call>", "</tool_call>", "json"),
)

FALLBACK = FORMATS[-1]
"""For models whose template knows no tools: they are told of them in words."""


def format_of(template: str) -> ToolFormat | None:
    """Return the format that a chat template asks for; None where it knows no tools."""
    found = template.lower()
    for each in FORMATS:
        if all(mark.lower() in found for mark in each.marks):
            return each
    return None
