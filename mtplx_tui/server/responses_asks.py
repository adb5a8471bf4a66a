"""From what clients of OpenAI's responses API send to the one request."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from mtplx_tui.server.ask import Ask, Call, Message, Prompt, Tool, ToolChoice
from mtplx_tui.server.faults import bad_request
from mtplx_tui.server.fields import (
    arguments_text,
    checked_choice,
    constraints,
    json_grammar,
    options,
)
from mtplx_tui.server.options import ServerOptions
from mtplx_tui.server.responses_shapes import (
    ForcedTool,
    InputItem,
    InputPart,
    ResponsesBody,
    ToolInput,
)

__all__ = ["responses_ask"]

_SILENT = ("none", "minimal")
_LOGPROBS = "message.output_text.logprobs"


def responses_ask(body: ResponsesBody, defaults: ServerOptions) -> Ask:
    """Return the request of /v1/responses. Raises Fault."""
    _refuse_state(body)
    most = body.max_output_tokens
    tools = tuple(_tool(tool) for tool in body.tools or () if tool.type == "function")
    choice = _choice(body.tool_choice)
    if isinstance(body.tool_choice, ForcedTool) and body.tool_choice.tools is not None:
        allowed = {str(tool.get("name")) for tool in body.tool_choice.tools}
        tools = tuple(tool for tool in tools if tool.name in allowed)
    grammar = _grammar(body)
    effort = body.reasoning.effort if body.reasoning else None
    wants_logprobs = body.top_logprobs is not None or _LOGPROBS in (body.include or ())
    return Ask(
        api="responses",
        model=body.model,
        prompts=(Prompt(_messages(body)),),
        options=options(body, defaults, most),
        constraints=constraints(body, most),
        grammar=grammar,
        logprobs=(body.top_logprobs or 0) if wants_logprobs else None,
        tools=tools,
        tool_choice=checked_choice(choice, tools, has_format=grammar is not None),
        has_parallel_calls=body.parallel_tool_calls is not False,
        thinks=None if effort is None else effort not in _SILENT,
        is_streamed=bool(body.stream),
    )


def _refuse_state(body: ResponsesBody) -> None:
    if body.previous_response_id is not None:
        raise bad_request(
            "this server keeps no responses: send the whole conversation as input",
            "previous_response_id",
        )
    if body.conversation is not None:
        raise bad_request("this server keeps no conversations", "conversation")
    if body.prompt is not None:
        raise bad_request("this server keeps no prompts: send the text as input", "prompt")
    if body.background is True:
        raise bad_request("this server answers at once, not in the background", "background")


def _grammar(body: ResponsesBody) -> str | None:
    form = body.text.format if body.text else None
    if form is None or form.type == "text":
        return None
    if form.type == "json_schema" and form.schema is None:
        raise bad_request("json_schema needs a schema", "text.format.schema")
    return json_grammar(form.schema if form.type == "json_schema" else None, "text.format.schema")


def _choice(given: str | ForcedTool | None) -> ToolChoice:
    if isinstance(given, ForcedTool):
        if given.type == "allowed_tools":
            return ToolChoice(given.mode or "auto")
        if given.type != "function" or given.name in (None, ""):
            raise bad_request("it names no function", "tool_choice")
        return ToolChoice("required", given.name)
    if given == "none":
        return ToolChoice("none")
    return ToolChoice("required" if given == "required" else "auto")


def _tool(given: ToolInput) -> Tool:
    if given.name in (None, ""):
        raise bad_request("a function needs a name", "tools")
    parameters = given.parameters or {"type": "object", "properties": {}}
    json_grammar(parameters, "tools")  # within its bounds
    return Tool(given.name, given.description or "", parameters)


def _messages(body: ResponsesBody) -> tuple[Message, ...]:
    """Return the conversation: items that belong to one answer of the assistant are joined."""
    made: list[Message] = []
    if body.instructions not in (None, ""):
        made.append(Message("system", body.instructions))
    given = body.input
    if given is None or isinstance(given, str):
        # Clients probe with nothing at all.
        made.append(Message("user", given or ""))
        return tuple(made)
    for at, item in enumerate(given):
        _add(made, item, f"input[{at}]")
    if all(message.role == "system" for message in made):
        made.append(Message("user", ""))
    return tuple(made)


def _add(made: list[Message], item: InputItem, param: str) -> None:
    """Add an item; those of a type that means nothing here are passed over."""
    match item.type:
        case "message":
            _add_message(made, item, param)
        case "reasoning":
            thought = _text(item.content, param) or _text(item.summary, param)
            _extend(made, Message("assistant", "", reasoning=thought))
        case "function_call" | "custom_tool_call":
            arguments = item.arguments or ""
            if item.type == "custom_tool_call":
                arguments = json.dumps({"input": item.input or ""}, ensure_ascii=False)
            call = Call(item.call_id or "", item.name or "", arguments_text(arguments, param))
            _extend(made, Message("assistant", "", calls=(call,)))
        case "function_call_output" | "custom_tool_call_output":
            made.append(Message("tool", _text(item.output, param), call_id=item.call_id or ""))


def _add_message(made: list[Message], item: InputItem, param: str) -> None:
    text = _text(item.content, f"{param}.content")
    match item.role:
        case None:
            raise bad_request("a message needs a role", f"{param}.role")
        case "assistant":
            _extend(made, Message("assistant", text))
        case "user":
            made.append(Message("user", text))
        case _:
            made.append(Message("system", text))


def _extend(made: list[Message], more: Message) -> None:
    """Add to the assistant's message that is last, or begin one."""
    if made and made[-1].role == "assistant":
        last = made[-1]
        made[-1] = replace(
            last,
            text=last.text + more.text,
            reasoning=last.reasoning + more.reasoning,
            calls=last.calls + more.calls,
        )
    else:
        made.append(more)


def _text(content: str | Sequence[InputPart] | None, param: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    found: list[str] = []
    for part in content:
        text = part.refusal if part.type == "refusal" else part.text
        if text is None:
            raise bad_request(f"this model reads text alone, not {part.type!r:.40}", param)
        found.append(text)
    return "".join(found)
