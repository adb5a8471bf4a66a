"""What the model is given: tools, earlier calls and reasoning, and text that stays text."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer as Vocabulary

from engine.errors import RequestError
from engine.model.tokenizer import Tokenizer
from engine.protocol import ChatMessage, Role, ToolCall
from engine.template import ChatTemplate
from tests.fakes.tiny import TEMPLATE, vocabulary_of_bytes

SPECIAL = "<|end|>"


def tokenizer(template: str = TEMPLATE) -> Tokenizer:
    return Tokenizer(vocabulary_of_bytes(), template, {}, frozenset())


def user(text: str) -> tuple[ChatMessage, ...]:
    return (ChatMessage(Role.USER, text),)


def test_a_special_token_in_a_message_stays_text() -> None:
    ours = tokenizer()
    special = vocabulary_of_bytes().token_to_id(SPECIAL)
    text = ours.render(user(f"a{SPECIAL}b<|end<|end|>|>"))
    ids = ours.encode(text, is_rendered=True)
    assert special not in ids
    assert (
        ours.decode(ids) == f"<|user|>a{SPECIAL}b<|end<|end|>|>\n<|assistant|>" == ours.shown(text)
    )


def test_a_special_token_of_the_template_stays_one() -> None:
    ours = tokenizer("{{ messages[0].content }}<|end|>")
    ids = ours.encode(ours.render(user("hi")), is_rendered=True)
    assert ids[-1] == vocabulary_of_bytes().token_to_id(SPECIAL)
    assert len(ids) == 3


def test_special_tokens_in_tools_calls_and_options_stay_text_too() -> None:
    ours = tokenizer("{{ tools | tojson }}{{ messages[0].tool_calls | tojson }}{{ extra }}")
    call = ToolCall(SPECIAL, '{"a": ["<|end|>"]}', "1")
    message = ChatMessage(Role.ASSISTANT, "", tool_calls=(call,))
    text = ours.render((message,), ('{"<|end|>": 1}',), '{"extra": "<|end|>"}')
    ids = ours.encode(text, is_rendered=True)
    assert vocabulary_of_bytes().token_to_id(SPECIAL) not in ids
    assert ours.shown(text).count(SPECIAL) == 4


@pytest.mark.parametrize("text", ["", "\ufdd0x\ufdd1", "\ud800", "é\ufdd0<|end|>\ufdd1"])
def test_marks_from_outside_do_no_harm(text: str) -> None:
    ours = tokenizer("{{ messages[0].content }}")
    ids = ours.encode(ours.render(user(text)), is_rendered=True)
    assert vocabulary_of_bytes().token_to_id(SPECIAL) not in ids
    assert "\ufdd0" not in ours.decode(ids)


def test_ends_of_tokens_count_the_characters_before_them() -> None:
    ours = tokenizer()
    text = ours.render(user("a<|end|>é"))
    ids, ends = ours.encode_with_ends(text, is_rendered=True)
    assert len(ids) == len(ends)
    assert ends == sorted(ends)
    assert ends[-1] == len(text)
    assert ends[len("<|user|>")] == len("<|user|>a")


def test_tools_and_earlier_calls_reach_the_template_in_their_order() -> None:
    template = ChatTemplate(
        "{% for t in tools %}{{ t | tojson }}{% endfor %}|"
        "{% for m in messages %}[{{ m.role }}:{{ m.content }}:{{ m.reasoning_content }}"
        "{% for c in m.tool_calls %}{{ c.function.name }}={{ c.function.arguments.items() | list }}"
        "{% endfor %}{{ m.tool_call_id }}]{% endfor %}{{ mood }}",
        {},
    )
    messages = (
        ChatMessage(
            Role.ASSISTANT, "", reasoning="hm", tool_calls=(ToolCall("f", '{"z": 1, "a": "x"}'),)
        ),
        ChatMessage(Role.TOOL, "42", tool_call_id="c1", name="f"),
    )
    text = template.render(messages, ('{"type": "function", "b": 1, "a": "é"}',), '{"mood": "é"}')
    assert text == (
        '{"type": "function", "b": 1, "a": "é"}|'
        "[assistant::hmf=[('z', 1), ('a', 'x')]][tool:42:c1]é"
    )


def test_without_tools_a_template_sees_none() -> None:
    assert ChatTemplate("{{ tools is none }}", {}).render(user("x")) == "True"


def test_options_cannot_take_the_place_of_the_conversation() -> None:
    with pytest.raises(RequestError, match="can't set messages"):
        ChatTemplate("x", {}).render(user("x"), (), '{"messages": []}')


def test_a_first_token_that_the_tokenizer_adds_comes_once_however_the_text_is_marked() -> None:
    from tokenizers.processors import TemplateProcessing

    vocabulary: Vocabulary = vocabulary_of_bytes()
    special = vocabulary.token_to_id(SPECIAL)
    vocabulary.post_processor = TemplateProcessing(
        single="<|end|> $A", special_tokens=[(SPECIAL, special)]
    )
    ours = Tokenizer(vocabulary, TEMPLATE, {}, frozenset())
    assert ours.encode("ab", is_rendered=False)[0] == special
    assert special not in ours.encode("ab", is_rendered=True)
