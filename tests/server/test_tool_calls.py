"""Calls of tools as families of models write them, split in every way an engine may send them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from engine.protocol import Channel, TextRun
from mtplx_tui.server.ask import Call, Tool
from mtplx_tui.server.steps import Part, Said
from mtplx_tui.server.tool_calls import CallFinder
from mtplx_tui.server.tool_formats import FORMATS, ToolFormat, format_of

SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "count": {"type": "integer"},
        "deep": {"type": "object"},
        "on": {"type": "boolean"},
        "maybe": {"type": ["string", "null"]},
        "either": {"anyOf": [{"type": "integer"}, {"type": "array"}]},
    },
}
TOOLS = (Tool("f", "", SCHEMA), Tool("g", "", {}))
FORM = {form.name: form for form in FORMATS}
BAR, LOW = "\uff5c", "\u2581"
DS = f"<{BAR}tool{LOW}"
DSML = f"{BAR}DSML{BAR}"
Told = str | tuple[str, dict[str, Any]]


def dsml(name: str, **values: tuple[str, str]) -> str:
    parameters = "".join(
        f'<{DSML}parameter name="{key}" string="{is_text}">{value}</{DSML}parameter>\n'
        for key, (is_text, value) in values.items()
    )
    return f'<{DSML}invoke name="{name}">\n{parameters}</{DSML}invoke>'


CORPUS: list[tuple[str, str, list[Told]]] = [
    # hermes, Qwen3
    ("hermes", '<tool_call>\n{"name": "f", "arguments": {"text": "x"}}\n</tool_call>',
     [("f", {"text": "x"})]),
    ("hermes", 'Hi <there>.\n<tool_call>\n{"name": "g", "arguments": {}}\n</tool_call>\n'
     '<tool_call>{"name": "f", "arguments": {"count": 2}}</tool_call>\n',
     ["Hi <there>.", ("g", {}), ("f", {"count": 2})]),
    ("hermes", '<tool_call>{"name": "f", "arguments": {"text": "a </tool_call> b"}}</tool_call>',
     [("f", {"text": "a </tool_call> b"})]),
    ("hermes", '<tool_call>{"name": "f", "arguments": "{\\"text\\": \\"é\\"}"}</tool_call>',
     [("f", {"text": "é"})]),
    ("hermes", "<tool_call>no JSON</tool_call> so", ["<tool_call>no JSON</tool_call> so"]),
    ("hermes", '<tool_call>{"name": "f", "arguments": {}}', [("f", {})]),
    ("hermes", "a <tool_ b", ["a <tool_ b"]),
    ("hermes", "<tool_call>\n{\"nam", ["<tool_call>\n{\"nam"]),
    ("hermes", '<tool_call>{"name": "g", "arguments": {}}</tool_call> then text',
     [("g", {}), "then text"]),
    # Qwen3-Coder, Qwen3.5, Qwen3.6
    ("qwen3-coder", "<tool_call>\n<function=f>\n<parameter=text>\n two\nlines \n</parameter>\n"
     "<parameter=count>\n3\n</parameter>\n</function>\n</tool_call>",
     [("f", {"text": " two\nlines ", "count": 3})]),
    ("qwen3-coder", "<function=f>\n<parameter=text>\n5\n</parameter>\n</function>",
     [("f", {"text": "5"})]),
    ("qwen3-coder", "So:\n\n<tool_call>\n<function=g>\n</function>\n</function>\n</tool_call>\n"
     "<tool_call>\n<function=f>\n<parameter=on>\nTrue\n</parameter>\n</function>\n"
     "</function_invocation>\n</tool_call>",
     ["So:", ("g", {}), ("f", {"on": True})]),
    ("qwen3-coder", "<tool_call>\n<function=f>\n<parameter=deep>\n{\"a\": [1]}\n</parameter>\n"
     "<parameter=maybe>\nnull\n</parameter>\n<parameter=either>\n[1]\n</parameter>\n</function>\n"
     "</tool_call>", [("f", {"deep": {"a": [1]}, "maybe": None, "either": [1]})]),
    ("qwen3-coder", "The tag <tool_call> opens one.", ["The tag <tool_call> opens one."]),
    ("qwen3-coder", "<tool_call>\n<function=f>\n<parameter=text>\n<a href=\"x\">&amp;</a>\n"
     "</parameter>\n</function>\n</tool_call>", [("f", {"text": '<a href="x">&amp;</a>'})]),
    # MiMo: compact, verbatim
    ("mimo-v2", "<tool_call><function=f><parameter=text>\n a </parameter>"
     "<parameter=maybe>null</parameter></function></tool_call>",
     [("f", {"text": "\n a ", "maybe": "null"})]),
    # GLM
    ("glm-4.5", "<tool_call>f\n<arg_key>text</arg_key>\n<arg_value>5</arg_value>\n"
     "<arg_key>count</arg_key>\n<arg_value>5</arg_value>\n</tool_call>",
     [("f", {"text": "5", "count": 5})]),
    ("glm-4.5", "<tool_call>f<arg_key>deep</arg_key><arg_value>{\"a\": 1}</arg_value></tool_call>",
     [("f", {"deep": {"a": 1}})]),
    ("glm-4.5", "Now.\n<tool_call>g</tool_call>", ["Now.", ("g", {})]),
    # DeepSeek V3, V3.1
    ("deepseek-v3", f"{DS}calls{LOW}begin{BAR}>{DS}call{LOW}begin{BAR}>function{DS}sep{BAR}>f\n"
     f"```json\n{{\"text\": \"x\"}}\n```{DS}call{LOW}end{BAR}>{DS}calls{LOW}end{BAR}>",
     [("f", {"text": "x"})]),
    ("deepseek-v3", f"Go.{DS}calls{LOW}begin{BAR}>{DS}call{LOW}begin{BAR}>f{DS}sep{BAR}>"
     f"{{\"count\": 1}}{DS}call{LOW}end{BAR}>{DS}call{LOW}begin{BAR}>g{DS}sep{BAR}>{{}}"
     f"{DS}call{LOW}end{BAR}>{DS}calls{LOW}end{BAR}>", ["Go.", ("f", {"count": 1}), ("g", {})]),
    # DeepSeek V3.2, V4: both names of the block, none, and an end that is missing
    *(
        ("deepseek-v3.2", f"Go.\n\n{begin}{dsml('f', text=('true', '5'), count=('false', '5'))}\n"
         f"{dsml('g')}{end}", ["Go.", ("f", {"text": "5", "count": 5}), ("g", {})])
        for begin, end in (
            (f"<{DSML}function_calls>\n", f"\n</{DSML}function_calls>"),
            (f"<{DSML}tool_calls>\n", f"\n</{DSML}tool_calls>"),
            ("", ""),
            (f"<{DSML}tool_calls>\n", ""),
        )
    ),
    ("deepseek-v3.2", f"<{DSML}tool_calls>\n{dsml('f', text=('true', 'x'))[:-len(DSML) - 9]}",
     [("f", {"text": "x"})]),
    # Kimi, MiniMax, Mistral
    ("kimi-k2", "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0"
     '<|tool_call_argument_begin|>{"text": "x"}<|tool_call_end|><|tool_calls_section_end|>',
     [("f", {"text": "x"})]),
    ("minimax-m2", '<minimax:tool_call>\n<invoke name="f">\n<parameter name="text">5</parameter>\n'
     '<parameter name="count">5</parameter>\n</invoke>\n</minimax:tool_call>',
     [("f", {"text": "5", "count": 5})]),
    ("mistral", 'Go.[TOOL_CALLS]f[ARGS]{"count": 1}[TOOL_CALLS]g[ARGS]{}',
     ["Go.", ("f", {"count": 1}), ("g", {})]),
    ("mistral", '[TOOL_CALLS] [{"name": "f", "arguments": {"text": "x"}}]',
     [("f", {"text": "x"})]),
]  # fmt: skip


def told(parts: Sequence[Part]) -> list[Told]:
    """Return parts in a form that can be compared, neighbouring texts joined."""
    found: list[Told] = []
    for part in parts:
        if isinstance(part, Call):
            found.append((part.name, json.loads(part.arguments)))
        elif found and isinstance(found[-1], str):
            found[-1] += part.text
        else:
            found.append(part.text)
    return found


def read(form: ToolFormat, pieces: Sequence[str], *, is_whole: bool = True) -> list[Told]:
    finder = CallFinder(form, TOOLS)
    parts: list[Part] = []
    for piece in pieces:
        parts += finder.feed([TextRun(Channel.ANSWER, piece)])
    return told([*parts, *finder.finish(is_whole=is_whole)])


@pytest.mark.parametrize(("name", "text", "wanted"), CORPUS)
class TestCorpus:
    def test_read_at_once(self, name: str, text: str, wanted: list[Told]) -> None:
        assert read(FORM[name], [text]) == wanted

    def test_cut_at_every_place(self, name: str, text: str, wanted: list[Told]) -> None:
        for at in range(len(text)):
            assert read(FORM[name], [text[:at], text[at:]]) == wanted, text[:at]

    @pytest.mark.parametrize("size", range(1, 9))
    def test_in_bursts(self, name: str, text: str, wanted: list[Told], size: int) -> None:
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        assert read(FORM[name], pieces) == wanted

    def test_cut_short_no_mark_is_left_in_the_text(
        self, name: str, text: str, wanted: list[Told]
    ) -> None:
        form = FORM[name]
        has_call = any(not isinstance(each, str) for each in wanted)
        for end in range(len(text)):
            found = read(form, list(text[:end]), is_whole=False)
            texts = "".join(each for each in found if isinstance(each, str))
            if has_call:
                assert not any(mark in texts for mark in (form.opens, *form.wrappers)), text[:end]
            assert [each for each in found if not isinstance(each, str)] == [
                each for each in wanted if not isinstance(each, str)
            ][: len([each for each in found if not isinstance(each, str)])]


class TestFormats:
    @pytest.mark.parametrize(
        ("template", "name"),
        [
            ('...<tool_call>\n{"name": <function-name>...', "hermes"),
            ("...<tool_call>\n<function=example><parameter=one>...", "qwen3-coder"),
            ("You are MiMo. <tool_call><function=a><parameter=b>", "mimo-v2"),
            ("<tool_call>{name}\n<arg_key>...", "glm-4.5"),
            (f"{DS}calls{LOW}begin{BAR}> {DS}sep{BAR}>", "deepseek-v3"),
            (f"<{DSML}function_calls> <{DSML}invoke name=", "deepseek-v3.2"),
            ("<|tool_call_argument_begin|>", "kimi-k2"),
            ("<minimax:tool_call><invoke", "minimax-m2"),
            ("[TOOL_CALLS]", "mistral"),
        ],
    )
    def test_a_template_tells_its_format(self, template: str, name: str) -> None:
        found = format_of(template)
        assert found is not None
        assert found.name == name

    def test_a_plain_template_has_none(self) -> None:
        assert format_of("<|im_start|>{{ message.role }}") is None

    def test_a_call_within_reasoning_is_one_where_the_family_does_it(self) -> None:
        text = "<tool_call>\n<function=g>\n</function>\n</tool_call>"
        finder = CallFinder(FORM["qwen3-coder"], TOOLS)
        run = TextRun(Channel.REASONING, f"hm {text}")
        assert told(finder.feed([run])) == ["hm", ("g", {})]

    def test_elsewhere_reasoning_may_speak_of_calls(self) -> None:
        finder = CallFinder(FORM["hermes"], TOOLS)
        run = TextRun(Channel.REASONING, '<tool_call>{"name": "g", "arguments": {}}</tool_call>')
        (part,) = finder.feed([run])
        assert part == Said(Channel.REASONING, run.text)

    def test_reasoning_and_a_call_in_one_burst(self) -> None:
        finder = CallFinder(FORM["hermes"], TOOLS)
        runs = [
            TextRun(Channel.REASONING, "so"),
            TextRun(Channel.ANSWER, '<tool_call>{"name": "g", "arguments": {}}</tool_call>'),
        ]
        assert told(finder.feed(runs)) == ["so", ("g", {})]
