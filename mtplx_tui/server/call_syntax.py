"""Reads what is between the marks of a call: names and arguments, by the syntax of its format."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from mtplx_tui.server.tool_formats import ToolFormat

__all__ = ["Found", "Types", "is_within_text", "json_calls", "properties", "read"]

Found = list[tuple[str, dict[str, Any]]]
"""Names and arguments."""
Types = Mapping[str, Mapping[str, Any]]
"""By tool and argument: its schema."""


def read(form: ToolFormat, body: str, types: Types) -> Found | None:
    """Return the calls in a body; None where it holds none."""
    if form.syntax == "json":
        return json_calls(body, types)
    return _READERS[form.syntax](form, body, types)


def json_calls(body: str, _: Types) -> Found | None:
    """`{"name": ..., "arguments": {...}}`, or a list of such."""
    value = _loaded(body)
    found: Found = []
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            return None
        arguments = item.get("arguments", item.get("parameters", {}))
        if isinstance(arguments, str):
            arguments = _loaded(arguments)
        if not isinstance(arguments, dict):
            return None
        found.append((item["name"], arguments))
    return found or None


def _parameter_calls(form: ToolFormat, body: str, types: Types) -> Found | None:
    """`NAME>` and then `<parameter=KEY>value</parameter>` for each argument."""
    name, bracket, rest = body.partition(">")
    if not bracket or not _is_name(name.strip()):
        return None
    begin, end = form.parameter
    arguments: dict[str, Any] = {}
    for chunk in rest.split(begin)[1:]:
        key, is_there, value = chunk.partition(">")
        if not is_there:
            return None
        cut = value.rfind(end)
        value = value if cut < 0 else value[:cut]
        if not form.is_verbatim:
            value = value.removeprefix("\n").removesuffix("\n")
        kind = types.get(name.strip(), {}).get(key.strip(), {})
        arguments[key.strip()] = _typed(value, kind, is_verbatim=form.is_verbatim)
    return [(name.strip(), arguments)]


_PAIR = re.compile(r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>", re.DOTALL)


def _pair_calls(_: ToolFormat, body: str, types: Types) -> Found | None:
    """`NAME` and then `<arg_key>k</arg_key><arg_value>v</arg_value>` for each argument."""
    name = body.partition("<arg_key>")[0].strip()
    if not _is_name(name):
        return None
    kinds = types.get(name, {})
    pairs = ((key.strip(), value) for key, value in _PAIR.findall(body))
    return [(name, {key: _typed(value, kinds.get(key, {})) for key, value in pairs})]


_KIMI_NAME = re.compile(r"(?:functions\.)?(.+?):\d+")


def _separated_calls(form: ToolFormat, body: str, _: Types) -> Found | None:
    """`NAME`, a mark, JSON; or, first of all, `function`, the mark, the name, fenced JSON."""
    name, is_there, rest = body.partition(form.separator)
    if not is_there:
        return None
    if name.strip() == "function" and "```" in rest:
        name, _unused, rest = rest.partition("\n")
    rest = rest.strip().removeprefix("```json").removesuffix("```")
    kimi = _KIMI_NAME.fullmatch(name.strip())
    arguments = _loaded(rest)
    if not isinstance(arguments, dict):
        return None
    return [(kimi[1] if kimi else name.strip(), arguments)]


def _invoke_calls(form: ToolFormat, body: str, types: Types) -> Found | None:
    """`NAME">` and then a tag for each argument, that may tell whether it is a text."""
    name, is_there, rest = body.partition('">')
    if not is_there or not _is_name(name):
        return None
    begin, end = form.parameter
    arguments: dict[str, Any] = {}
    for chunk in rest.split(begin)[1:]:
        head, bracket, value = chunk.partition(">")
        key, _quote, attributes = head.partition('"')
        if not bracket:
            return None
        cut = value.rfind(end)
        value = value if cut < 0 else value[:cut]
        kind = types.get(name, {}).get(key, {})
        if 'string="true"' in attributes:
            kind = {"type": "string"}
        elif 'string="false"' in attributes:
            kind = {"type": "object"}
        arguments[key] = _typed(value, kind)
    return [(name, arguments)]


def _bracketed_calls(form: ToolFormat, body: str, types: Types) -> Found | None:
    """`NAME[ARGS]{...}`, again and again; or a list of JSON objects."""
    if form.separator not in body:
        return json_calls(body, types)
    found: Found = []
    for call in body.split(form.opens):
        name, _mark, rest = call.partition(form.separator)
        arguments = _loaded(rest)
        if not isinstance(arguments, dict) or not _is_name(name.strip()):
            return None
        found.append((name.strip(), arguments))
    return found


_READERS: dict[str, Callable[[ToolFormat, str, Types], Found | None]] = {
    "parameters": _parameter_calls,
    "pairs": _pair_calls,
    "separated": _separated_calls,
    "invoke": _invoke_calls,
    "bracketed": _bracketed_calls,
}


def _is_name(name: str) -> bool:
    return re.fullmatch(r"[\w.:/-]{1,256}", name) is not None


def _loaded(text: str) -> Any:
    """Return the value of a JSON text; None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def is_within_text(body: str) -> bool:
    """Whether a piece of JSON ends within a text in quotes."""
    try:
        json.loads(body, strict=False)
    except json.JSONDecodeError as error:
        return error.msg.startswith("Unterminated string")
    except RecursionError:
        return False
    return False


def properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schemas of a tool's arguments, by name."""
    found = schema.get("properties")
    return found if isinstance(found, dict) else {}


def _typed(value: str, schema: object, *, is_verbatim: bool = False) -> Any:
    """Return a value as its schema wants it; a text where that can't be had."""
    kinds = _kinds(schema)
    may_be_null = "null" in kinds and not is_verbatim
    if not kinds or ("string" in kinds and not (value == "null" and may_be_null)):
        return value
    loaded = _loaded(value)
    if loaded is None and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    return value if loaded is None and value.strip() != "null" else loaded


def _kinds(schema: object) -> set[str]:
    """Return the types that a schema allows, as far as it names them."""
    if not isinstance(schema, dict):
        return set()
    kind = schema.get("type")
    named = kind if isinstance(kind, list) else [kind]
    kinds = {each for each in named if isinstance(each, str)}
    for key in ("anyOf", "oneOf"):
        for each in schema.get(key) or ():
            kinds |= _kinds(each)
    return kinds
