"""What other programs are told is what they read: each text in its own syntax, tried where it can be."""

from __future__ import annotations

import json
import tomllib

import pytest
import yaml

from mtplx_tui.client_settings import CLIENTS, Endpoint
from mtplx_tui.serving import read_address

HERE = Endpoint("http://127.0.0.1:8080", "sk-mtplx-0123456789", 'owner/a model\'s "name"')
TEXTS = {client.name: client.text(HERE) for client in CLIENTS}


def test_all_clients_are_there() -> None:
    assert [client.name for client in CLIENTS] == [
        "Claude Code", "Codex", "OpenCode", "Cline", "aider", "Continue",
        "openai (Python)", "anthropic (Python)",
    ]  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_each_names_address_key_and_model(name: str) -> None:
    assert HERE.address in TEXTS[name]
    assert HERE.key in TEXTS[name]
    assert "owner/a model" in TEXTS[name]


def test_files_are_in_their_programs_syntax() -> None:
    codex = tomllib.loads(TEXTS["Codex"])
    assert codex["model"] == HERE.model
    assert codex["model_providers"]["mtplx"]["base_url"] == HERE.v1
    opencode = json.loads(TEXTS["OpenCode"])
    assert opencode["provider"]["mtplx"]["models"].keys() == {HERE.model}
    (model,) = yaml.safe_load(TEXTS["Continue"])["models"]
    assert (model["model"], model["apiBase"]) == (HERE.model, HERE.v1)


@pytest.mark.parametrize("name", ["openai (Python)", "anthropic (Python)"])
def test_programs_are_programs(name: str) -> None:
    compile(TEXTS[name], name, "exec")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        (" 9000 ", ("127.0.0.1", 9000)),
        ("[::1]:1", ("::1", 1)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
    ],
)
def test_an_address_is_read(text: str, address: tuple[str, int]) -> None:
    assert read_address(text) == address


@pytest.mark.parametrize("text", ["", "host", "host:", ":80", "host:65536", "host:-1", "host:8a"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="give an address and a port"):
        read_address(text)
