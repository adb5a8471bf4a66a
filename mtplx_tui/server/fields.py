"""From fields that several APIs share to the one request: sampling, limits, schemas, tools."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from engine.protocol import Constraints, Mode, TokenBias
from mtplx_tui.requests import Options
from mtplx_tui.server.ask import Tool, ToolChoice
from mtplx_tui.server.faults import bad_request
from mtplx_tui.server.limits import SCHEMA_BYTES
from mtplx_tui.server.options import ServerOptions

__all__ = ["arguments_text", "checked_choice", "constraints", "json_grammar", "options", "stops"]

_LEAST_TOP_P = 1e-9


def options(body: Any, defaults: ServerOptions, max_tokens: int | None) -> Options:
    """Return the options of any body; what it does not have is left to the model.

    Args:
        body: a struct of requests.
        defaults: the server's.
        max_tokens: by whatever name the API has for it.
    """
    depth = getattr(body, "depth", None)
    mode = getattr(body, "mode", None)
    top_p = getattr(body, "top_p", None)
    return Options(
        temperature=body.temperature,
        # 0 is allowed by the APIs and means the likeliest token.
        top_p=None if top_p is None else max(top_p, _LEAST_TOP_P),
        top_k=getattr(body, "top_k", None),
        min_p=getattr(body, "min_p", None),
        seed=getattr(body, "seed", None),
        depth=defaults.depth if depth is None else None if depth == "auto" else depth,
        mode=defaults.mode if mode is None else Mode(mode),
        max_tokens=max_tokens,
        stop=stops(getattr(body, "stop", None)),
    )


def stops(value: str | list[str] | None) -> tuple[str, ...]:
    """Return stop strings. Raises Fault where one is empty."""
    found = (value,) if isinstance(value, str) else tuple(value or ())
    if not all(found):
        raise bad_request("a stop string must not be empty", "stop")
    return found


def constraints(body: Any, max_tokens: int | None) -> Constraints:
    """Return what bends the logits. Raises Fault."""
    least = getattr(body, "min_tokens", None) or 0
    if max_tokens is not None and least > max_tokens:
        raise bad_request(f"min_tokens is {least}, more than max_tokens", "min_tokens")
    penalty = getattr(body, "repetition_penalty", None)
    bias = getattr(body, "logit_bias", None) or {}
    return Constraints(
        repetition_penalty=1.0 if penalty is None else penalty,
        presence_penalty=getattr(body, "presence_penalty", None) or 0.0,
        frequency_penalty=getattr(body, "frequency_penalty", None) or 0.0,
        logit_bias=tuple(TokenBias(token, bias) for token, bias in _biases(bias)),
        min_tokens=least,
    )


def _biases(bias: Mapping[str, float]) -> Iterable[tuple[int, float]]:
    found = {int(token): value for token, value in bias.items()}
    if len(found) < len(bias):
        raise bad_request("logit_bias names a token twice", "logit_bias")
    return found.items()


def json_grammar(schema: Mapping[str, Any] | None, param: str) -> str:
    """Return a JSON schema as the engine takes it; None is any object. Raises Fault."""
    text = json.dumps({"type": "object"} if schema is None else schema, ensure_ascii=False)
    if len(text.encode("utf-8", "replace")) > SCHEMA_BYTES:
        raise bad_request(f"the schema is larger than {SCHEMA_BYTES >> 10} kB", param)
    return text


def checked_choice(choice: ToolChoice, tools: tuple[Tool, ...], *, has_format: bool) -> ToolChoice:
    """Return a choice of tools that can be kept. Raises Fault."""
    if choice.kind == "required" and not tools:
        raise bad_request("a tool is to be called, but tools holds none that can be", "tool_choice")
    if choice.name is not None and all(tool.name != choice.name for tool in tools):
        raise bad_request(f"tools holds no {choice.name!r:.100}", "tool_choice")
    if tools and choice.kind != "none" and has_format:
        raise bad_request(
            "an answer can't be held to a format while tools may be called; "
            "leave one of them out, or set tool_choice to none",
            "response_format",
        )
    return choice


def arguments_text(text: str, param: str) -> str:
    """Return the arguments of a call as a JSON object; empty ones are one without keys."""
    if not text.strip():
        return "{}"
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise bad_request("the arguments of a call must be JSON", param) from error
    if not isinstance(value, dict):
        raise bad_request("the arguments of a call must be a JSON object", param)
    return text
