"""What other programs need to be told to use this server, as text to copy. Nothing here writes a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["CLIENTS", "Client", "Endpoint"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server is, and what it wants."""

    address: str
    """Without a path."""
    key: str
    model: str

    @property
    def v1(self) -> str:
        """Where OpenAI's API begins."""
        return f"{self.address}/v1"


@dataclass(frozen=True, slots=True)
class Client:
    """A program that can use the server."""

    name: str
    place: str
    """Where its settings go, in words."""
    text: Callable[[Endpoint], str]
    """What to put there."""


def _claude_code(at: Endpoint) -> str:
    return f"""\
export ANTHROPIC_BASE_URL={at.address}
export ANTHROPIC_AUTH_TOKEN={at.key}
export ANTHROPIC_MODEL={_shell(at.model)}
export ANTHROPIC_SMALL_FAST_MODEL={_shell(at.model)}
export ANTHROPIC_DEFAULT_HAIKU_MODEL={_shell(at.model)}
export CLAUDE_CODE_ATTRIBUTION_HEADER=0
claude
"""


def _codex(at: Endpoint) -> str:
    return f"""\
model = {json.dumps(at.model)}
model_provider = "mtplx"

[model_providers.mtplx]
name = "mtplx-tui"
base_url = "{at.v1}"
wire_api = "responses"
experimental_bearer_token = "{at.key}"
"""


def _opencode(at: Endpoint) -> str:
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "mtplx-tui",
        "options": {"baseURL": at.v1, "apiKey": at.key},
        "models": {at.model: {"name": at.model}},
    }
    content = {
        "$schema": "https://opencode.ai/config.json",
        "provider": {"mtplx": provider},
        "model": f"mtplx/{at.model}",
    }
    return f"{json.dumps(content, indent=2)}\n"


def _cline(at: Endpoint) -> str:
    return f"""\
API Provider:  OpenAI Compatible
Base URL:      {at.v1}
API Key:       {at.key}
Model ID:      {at.model}
"""


def _aider(at: Endpoint) -> str:
    return f"""\
export OPENAI_API_BASE={at.v1}
export OPENAI_API_KEY={at.key}
aider --model {_shell(f"openai/{at.model}")}
"""


def _continue(at: Endpoint) -> str:
    return f"""\
name: mtplx-tui
version: 0.0.1
schema: v1
models:
  - name: {json.dumps(at.model)}
    provider: openai
    model: {json.dumps(at.model)}
    apiBase: {at.v1}
    apiKey: {at.key}
    roles: [chat, edit, apply, autocomplete]
"""


def _openai(at: Endpoint) -> str:
    return f"""\
from openai import OpenAI

client = OpenAI(base_url="{at.v1}", api_key="{at.key}")
answer = client.chat.completions.create(
    model={json.dumps(at.model)},
    messages=[{{"role": "user", "content": "Hello"}}],
)
print(answer.choices[0].message.content)
"""


def _anthropic(at: Endpoint) -> str:
    return f"""\
from anthropic import Anthropic

client = Anthropic(base_url="{at.address}", api_key="{at.key}")
answer = client.messages.create(
    model={json.dumps(at.model)},
    max_tokens=1024,
    messages=[{{"role": "user", "content": "Hello"}}],
)
print(answer.content[0].text)
"""


CLIENTS = (
    Client("Claude Code", "in the shell that starts it", _claude_code),
    Client("Codex", "~/.codex/config.toml", _codex),
    Client("OpenCode", "opencode.json, in the project or ~/.config/opencode", _opencode),
    Client("Cline", "its settings, API configuration", _cline),
    Client("aider", "in the shell that starts it", _aider),
    Client("Continue", "~/.continue/config.yaml", _continue),
    Client("openai (Python)", "a program of your own", _openai),
    Client("anthropic (Python)", "a program of your own", _anthropic),
)


def _shell(word: str) -> str:
    """Return a word as a shell takes it."""
    import shlex

    return shlex.quote(word)
