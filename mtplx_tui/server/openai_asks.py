"""From what OpenAI's chat and completion clients send to the one request."""

from __future__ import annotations

from collections.abc import Sequence

from mtplx_tui.server.ask import Ask, Call, Message, Prompt, Tool, ToolChoice
from mtplx_tui.server.faults import bad_request
from mtplx_tui.server.fields import (
    arguments_text,
    checked_choice,
    constraints,
    json_grammar,
    options,
)
from mtplx_tui.server.openai_shapes import (
    ChatBody,
    ChatInput,
    CompletionBody,
    Content,
    ForcedTool,
    FunctionTool,
)
from mtplx_tui.server.options import ServerOptions

__all__ = ["chat_ask", "completion_ask"]

_SILENT = ("none", "minimal")
_MOST_CHOICES = 16
_DEFAULT_TOKENS = 16
"""Of OpenAI's completions."""


def chat_ask(body: ChatBody, defaults: ServerOptions) -> Ask:
    """Return the request of /v1/chat/completions. Raises Fault."""
    most = body.max_completion_tokens or body.max_tokens
    for name in ("functions", "function_call"):
        if getattr(body, name) not in (None, [], "none", "auto"):
            raise bad_request("functions are called tools now: send tools and tool_choice", name)
    if body.top_logprobs is not None and body.logprobs is not True:
        raise bad_request("top_logprobs needs logprobs to be true", "top_logprobs")
    tools, choice = _tools(body.tools or (), body.tool_choice)
    grammar = _grammar(body)
    template = body.chat_template_kwargs
    thinks = None if body.reasoning_effort is None else body.reasoning_effort not in _SILENT
    if template is not None and template.enable_thinking is not None:
        thinks = template.enable_thinking
    return Ask(
        api="chat",
        model=body.model,
        prompts=(Prompt(_messages(body.messages)),),
        options=options(body, defaults, most),
        constraints=constraints(body, most),
        grammar=grammar,
        logprobs=(body.top_logprobs or 0) if body.logprobs is True else None,
        n=body.n or 1,
        tools=tools,
        tool_choice=checked_choice(choice, tools, has_format=grammar is not None),
        has_parallel_calls=body.parallel_tool_calls is not False,
        thinks=thinks,
        keeps_thinking=template is None or template.preserve_thinking is not False,
        is_streamed=bool(body.stream),
        has_usage=body.stream_options is not None and body.stream_options.include_usage,
    )


def _grammar(body: ChatBody) -> str | None:
    wanted = body.response_format
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return json_grammar(None, "response_format")
    if wanted.json_schema is None or wanted.json_schema.schema is None:
        raise bad_request("json_schema needs a schema", "response_format")
    return json_grammar(wanted.json_schema.schema, "response_format")


def _messages(given: Sequence[ChatInput]) -> tuple[Message, ...]:
    return tuple(_message(message, f"messages[{at}]") for at, message in enumerate(given))


def _message(given: ChatInput, param: str) -> Message:
    text = joined_text(given.content, f"{param}.content")
    match given.role:
        case "system" | "developer":
            return Message("system", text)
        case "user":
            return Message("user", text)
        case "tool":
            if given.tool_call_id in (None, ""):
                raise bad_request("a tool's message needs tool_call_id", f"{param}.tool_call_id")
            return Message("tool", text, call_id=given.tool_call_id)
    calls = tuple(
        Call(call.id, call.function.name, arguments_text(call.function.arguments, param))
        for call in given.tool_calls or ()
    )
    return Message(
        "assistant",
        text,
        reasoning=given.reasoning_content or given.reasoning or "",
        calls=calls,
    )


def joined_text(content: Content, param: str) -> str:
    """Return the text of a message's content. Raises Fault where part of it is no text."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    found: list[str] = []
    for at, part in enumerate(content):
        text = part.text if part.type == "text" else part.refusal
        if part.type not in ("text", "refusal") or text is None:
            raise bad_request(
                f"this model reads text alone, not {part.type!r:.40}", f"{param}[{at}]"
            )
        found.append(text)
    return "".join(found)


def _tools(
    given: Sequence[FunctionTool], choice: str | ForcedTool | None
) -> tuple[tuple[Tool, ...], ToolChoice]:
    """Return the tools that may be called, and whether one has to be."""
    tools = tuple(_tool(tool) for tool in given if tool.type == "function")
    if choice is None or isinstance(choice, str):
        if choice == "none":
            return tools, ToolChoice("none")
        return tools, ToolChoice("required" if choice == "required" else "auto")
    if choice.function is not None:
        return tools, ToolChoice("required", choice.function.name)
    if choice.allowed_tools is None:
        raise bad_request("it names no tool", "tool_choice")
    allowed = {_allowed_name(tool) for tool in choice.allowed_tools.tools}
    kept = tuple(tool for tool in tools if tool.name in allowed)
    return kept, ToolChoice(choice.allowed_tools.mode)


def _allowed_name(tool: dict[str, object]) -> str:
    function = tool.get("function")
    name = function.get("name") if isinstance(function, dict) else tool.get("name")
    return name if isinstance(name, str) else ""


def _tool(given: FunctionTool) -> Tool:
    function = given.function
    if function is None:
        raise bad_request("a tool of the type function needs its function", "tools")
    parameters = function.parameters or {"type": "object", "properties": {}}
    json_grammar(parameters, "tools")  # within its bounds
    return Tool(function.name, function.description or "", parameters)


def completion_ask(body: CompletionBody, defaults: ServerOptions) -> Ask:
    """Return the request of /v1/completions. Raises Fault."""
    if body.suffix not in (None, ""):
        raise bad_request(
            "this server does not fill in the middle: leave suffix out, or send the model's own "
            "fill-in-the-middle tokens within prompt",
            "suffix",
        )
    if body.echo is True and body.logprobs is not None:
        raise bad_request("log-probabilities of a prompt are not told: leave echo out", "echo")
    most = _DEFAULT_TOKENS if body.max_tokens is None else body.max_tokens
    prompts = _prompts(body.prompt)
    if len(prompts) * (body.n or 1) > _MOST_CHOICES:
        raise bad_request(f"at most {_MOST_CHOICES} completions a request", "prompt")
    return Ask(
        api="completions",
        model=body.model,
        prompts=prompts,
        options=options(body, defaults, most),
        constraints=constraints(body, most),
        logprobs=body.logprobs,
        n=body.n or 1,
        has_echo=bool(body.echo),
        is_streamed=bool(body.stream),
        has_usage=body.stream_options is not None and body.stream_options.include_usage,
    )


def _prompts(given: str | list[str | int | list[int]] | None) -> tuple[Prompt, ...]:
    """Return the prompts: a text, token ids, or a list of either."""
    if given is None or isinstance(given, str):
        return (_text_prompt(given or ""),)
    ids = [item for item in given if isinstance(item, int)]
    if len(ids) == len(given):
        return (_id_prompt(ids),)
    if ids:
        raise bad_request("a prompt is texts or token ids, not both", "prompt")
    return tuple(
        _text_prompt(item) if isinstance(item, str) else _id_prompt(item)
        for item in given
        if not isinstance(item, int)
    )


def _text_prompt(text: str) -> Prompt:
    if not text:
        raise bad_request("the prompt is empty", "prompt")
    return Prompt(raw=text)


def _id_prompt(ids: Sequence[int]) -> Prompt:
    if not ids or not all(0 <= token < 2**31 for token in ids):
        raise bad_request("token ids must be whole numbers from 0 on, one at least", "prompt")
    return Prompt(ids=tuple(ids))
