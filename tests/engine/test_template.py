"""Chat templates: rendered as their authors meant, and kept within bounds."""

from __future__ import annotations

import resource
import signal

import pytest

from engine.errors import RequestError
from engine.protocol import ChatMessage, Role
from engine.template import ChatTemplate

MESSAGES = (ChatMessage(Role.SYSTEM, "be brief"), ChatMessage(Role.USER, "hi {{ 1 }}"))


def test_messages_are_rendered_and_never_read_as_templates() -> None:
    template = ChatTemplate(
        "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}>{% endif %}",
        {"bos_token": "<s>"},
    )
    assert template.render(MESSAGES) == "<s>[system] be brief\n[user] hi {{ 1 }}\n>"


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('no system message') }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{% for i in range(10 ** 9) %}{% endfor %}",
        "{% for i in range(90000) %}{{ 'x' * 1000 }}{% endfor %}",
        "{{ 1 // 0 }}",
        "{{ messages.nothing.at.all }}",
        "{{ 'a' * 10 ** 9 }}",
        "{{ 'a' | center(10 ** 9) }}",
        "{% set ns = namespace(x='a' * 99) %}{% for i in range(40) %}{% set ns.x = ns.x ~ ns.x %}"
        "{% endfor %}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
    ],
)
def test_a_template_that_refuses_fails_or_misbehaves_is_one_clear_line(source: str) -> None:
    with pytest.raises(RequestError) as caught:
        ChatTemplate(source, {}).render(MESSAGES)
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 2


def test_what_is_no_template_is_refused() -> None:
    with pytest.raises(RequestError, match="can't be read"):
        ChatTemplate("{% if %}", {})


def test_a_template_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.template._SECONDS", 0.2)
    endless = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(RequestError, match=r"longer than 0\.2 s"):
        ChatTemplate(endless, {}).render(MESSAGES)
    assert ChatTemplate("fine", {}).render(MESSAGES) == "fine"


def test_bounds_are_gone_after_the_block() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.getsignal(signal.SIGALRM)
    ChatTemplate("fine", {}).render(MESSAGES)
    with pytest.raises(RequestError):
        ChatTemplate("{{ 'a' * 10 ** 9 }}", {}).render(MESSAGES)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert signal.getsignal(signal.SIGALRM) is handler
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_template_too_large_is_refused_before_it_is_read() -> None:
    with pytest.raises(RequestError, match="longer than 262144"):
        ChatTemplate("x" * 300_000, {})
