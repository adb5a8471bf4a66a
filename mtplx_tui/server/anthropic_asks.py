"""From what Anthropic's clients send to the one request."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

from mtplx_tui.requests import Options
from mtplx_tui.server.anthropic_shapes import (
    Block,
    Blocks,
    ChoiceInput,
    CountBody,
    MessageInput,
    MessagesBody,
    ToolInput,
)
from mtplx_tui.server.ask import Ask, Call, Message, Prompt, Tool, ToolChoice
from mtplx_tui.server.faults import bad_request
from mtplx_tui.server.fields import checked_choice, constraints, json_grammar, options, stops
from mtplx_tui.server.options import ServerOptions

__all__ = ["messages_ask"]

_VOLATILE = "x-anthropic-"
"""System blocks that begin so change with every request, and would be read anew with all after."""
_UNREAD = ("image", "document", "container_upload", "search_result")


def messages_ask(body: CountBody, defaults: ServerOptions) -> Ask:
    """Return the request of /v1/messages, or of its token count. Raises Fault."""
    is_whole = isinstance(body, MessagesBody)
    most = body.max_tokens if is_whole else None
    system, left_out = _system(body.system)
    tools = tuple(_tools(body.tools or ()))
    choice = _choice(body.tool_choice)
    form = body.output_config.format if body.output_config else None
    grammar = None if form is None else json_grammar(form.schema, "output_config.format.schema")
    wanted = Options()
    if is_whole:
        wanted = replace(options(body, defaults, most), stop=stops(body.stop_sequences))
    return Ask(
        api="messages",
        model=body.model,
        prompts=(Prompt((*system, *_messages(body.messages))),),
        options=wanted,
        constraints=constraints(body, most),
        grammar=grammar,
        tools=tools,
        tool_choice=checked_choice(choice, tools, has_format=grammar is not None),
        has_parallel_calls=not (
            body.tool_choice and body.tool_choice.disable_parallel_tool_use is True
        ),
        thinks=body.thinking is not None and body.thinking.type != "disabled",
        is_streamed=is_whole and bool(body.stream),
        left_out=left_out,
    )


def _system(given: Blocks | None) -> tuple[tuple[Message, ...], str]:
    """Return the system's message, and what was left out of it in words."""
    if given is None:
        return (), ""
    texts = [given] if isinstance(given, str) else [block.text or "" for block in given]
    kept = [text for text in texts if not text.startswith(_VOLATILE)]
    left = len(texts) - len(kept)
    told = f"{left} system block{'s' * (left > 1)} beginning with {_VOLATILE}" if left else ""
    text = "\n\n".join(text for text in kept if text)
    return ((Message("system", text),) if text else ()), told


def _messages(given: Sequence[MessageInput]) -> Iterator[Message]:
    if given[-1].role == "assistant":
        raise bad_request(
            "this server does not go on with an answer that was begun: the last message has to be "
            "the user's",
            f"messages[{len(given) - 1}]",
        )
    for at, message in enumerate(given):
        param = f"messages[{at}]"
        blocks = message.content
        if isinstance(blocks, str):
            blocks = [Block("text", text=blocks)]
        if message.role == "assistant":
            yield _assistant(blocks, param)
        elif message.role == "user":
            yield from _user(blocks, param)
        else:
            yield Message("system", "".join(block.text or "" for block in blocks))


def _assistant(blocks: Sequence[Block], param: str) -> Message:
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[Call] = []
    for block in blocks:
        match block.type:
            case "text":
                texts.append(block.text or "")
            case "thinking":
                thoughts.append(block.thinking or "")
            case "redacted_thinking":
                continue
            case "tool_use":
                arguments = json.dumps(block.input or {}, ensure_ascii=False)
                calls.append(Call(block.id or "", block.name or "", arguments))
            case _:
                raise _unreadable(block, param)
    return Message("assistant", "".join(texts), "".join(thoughts), tuple(calls))


def _user(blocks: Sequence[Block], param: str) -> Iterator[Message]:
    """Yield a tool's results one by one, and the texts between them joined."""
    texts: list[str] = []
    for block in blocks:
        if block.type == "text":
            texts.append(block.text or "")
        elif block.type == "tool_result":
            if texts:
                yield Message("user", "\n\n".join(texts))
                texts = []
            yield Message("tool", _result(block, param), call_id=block.tool_use_id or "")
        else:
            raise _unreadable(block, param)
    if texts:
        yield Message("user", "\n\n".join(texts))


def _result(block: Block, param: str) -> str:
    content = block.content
    if content is None or isinstance(content, str):
        text = content or ""
    else:
        for inner in content:
            if inner.type in _UNREAD:
                raise _unreadable(inner, param)
        text = "".join(inner.text or "" for inner in content)
    return f"Error: {text}" if block.is_error is True else text


def _unreadable(block: object, param: str) -> Exception:
    kind = getattr(block, "type", "")
    return bad_request(f"this model reads text alone, not {kind!r:.40}", f"{param}.content")


def _tools(given: Sequence[ToolInput]) -> Iterator[Tool]:
    """Yield the caller's own tools; those that Anthropic's servers would run are left out."""
    for tool in given:
        if tool.type not in (None, "custom"):
            continue
        schema = tool.input_schema or {"type": "object", "properties": {}}
        json_grammar(schema, "tools")  # within its bounds
        yield Tool(tool.name, tool.description or "", schema)


def _choice(given: ChoiceInput | None) -> ToolChoice:
    if given is None:
        return ToolChoice()
    match given.type:
        case "any":
            return ToolChoice("required")
        case "tool":
            if given.name in (None, ""):
                raise bad_request("tool_choice of the type tool needs a name", "tool_choice")
            return ToolChoice("required", given.name)
        case "none":
            return ToolChoice("none")
    return ToolChoice()
