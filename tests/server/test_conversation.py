"""What the engine is given of a conversation, and the grammars that hold an answer."""

from __future__ import annotations

import json

import pytest
from llguidance import LLMatcher, LLTokenizer
from tokenizers import AddedToken

from mtplx_tui.server.ask import Ask, Message, Prompt, Tool, ToolChoice
from mtplx_tui.server.conversation import (
    after_thinking,
    always_thinks,
    forced_call_schema,
    word,
)
from tests.fakes import tiny

HYBRID = (
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
ALWAYS = "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
TOOL = Tool("f", "", {"type": "object", "properties": {"a": {"type": "integer"}}})


def ask(**fields: object) -> Ask:
    prompts = (Prompt((Message("user", "Hi"),)),)
    return Ask("chat", "demo", prompts, **fields)  # ty: ignore[invalid-argument-type] - by name


class TestThinking:
    @pytest.mark.parametrize(
        ("template", "does"), [(ALWAYS, True), (HYBRID, False), ("plain", False), ("", False)]
    )
    def test_a_template_tells_whether_it_can_be_turned_off(self, template: str, does: bool) -> None:
        assert always_thinks(template) is does

    @pytest.mark.parametrize("is_special", [True, False])
    def test_a_grammar_begins_behind_it(self, is_special: bool) -> None:
        vocabulary = tiny.vocabulary_of_bytes()
        mark = AddedToken("</think>", special=is_special)
        (vocabulary.add_special_tokens if is_special else vocabulary.add_tokens)([mark])
        stop = vocabulary.token_to_id("<|end|>")
        assert stop is not None
        tokens = LLTokenizer(
            vocabulary.to_str(), n_vocab=vocabulary.get_vocab_size(), eos_token=[stop]
        )
        schema = json.dumps({"type": "object", "required": ["a"]})
        grammar = LLMatcher.grammar_from_lark(after_thinking(schema))
        for text, does_fit in (
            ('hm {"\n</think>\n\n{"a": 1}', True),
            ("hm</think>\n\nno", False),
            ('{"a": 1}', False),
        ):
            matcher = LLMatcher(tokens, grammar, log_level=0)
            assert not matcher.is_error()
            ids = vocabulary.encode(text, add_special_tokens=False).ids
            is_read = matcher.try_consume_tokens(ids) == len(ids)
            assert (is_read and matcher.is_accepting()) is does_fit, text

    def test_it_is_turned_off_where_a_grammar_holds_all(self) -> None:
        for bound in (
            ask(grammar="{}", thinks=True),
            ask(tools=(TOOL,), tool_choice=ToolChoice("required"), thinks=True),
        ):
            assert word(bound, bound.prompts[0].messages, HYBRID).options == {
                "enable_thinking": False
            }


class TestCalls:
    def test_a_call_that_has_to_come_is_any_of_the_tools(self) -> None:
        other = Tool("g", "", {})
        schema = json.loads(forced_call_schema(ask(tools=(TOOL, other))))
        assert [each["properties"]["name"]["const"] for each in schema["anyOf"]] == ["f", "g"]
        named = ask(tools=(TOOL, other), tool_choice=ToolChoice("required", "f"))
        schema = json.loads(forced_call_schema(named))
        assert schema["properties"]["arguments"] == TOOL.parameters

    def test_without_a_choice_of_them_a_template_is_given_no_tools(self) -> None:
        none = ask(tools=(TOOL,), tool_choice=ToolChoice("none"))
        found = word(none, none.prompts[0].messages, "<tool_call>")
        assert (found.tools, found.form) == ((), None)
