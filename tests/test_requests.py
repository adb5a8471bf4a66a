from __future__ import annotations

from dataclasses import replace

import pytest

from engine.protocol import ChatMessage, Mode, Role, Sampling
from mtplx_tui.requests import Options, build, resolved
from tests.chats.talk import MODEL

HI = (ChatMessage(Role.USER, "Hi"),)


class TestSampling:
    def test_what_is_open_is_the_models_own(self) -> None:
        assert build("r", MODEL, Options(), messages=HI).sampling == MODEL.sampling

    def test_what_is_chosen_goes_before_it_zero_too(self) -> None:
        options = Options(temperature=0.0, top_p=0.5, top_k=0, min_p=0.0)
        command = build("r", MODEL, options, messages=HI)
        assert command.sampling == Sampling(0.0, 0.5, 0, 0.0)

    def test_one_choice_leaves_the_others(self) -> None:
        command = build("r", MODEL, Options(top_k=3), messages=HI)
        assert command.sampling == replace(MODEL.sampling, top_k=3)


class TestSeed:
    def test_one_given_is_kept_zero_too(self) -> None:
        assert build("r", MODEL, Options(seed=0), messages=HI).seed == 0
        assert build("r", MODEL, Options(seed=2**64 - 1), messages=HI).seed == 2**64 - 1

    def test_otherwise_each_request_draws_its_own(self) -> None:
        seeds = {build("r", MODEL, Options(), messages=HI).seed for _ in range(100)}
        assert len(seeds) == 100
        assert all(0 <= seed < 2**63 for seed in seeds)
        assert max(seeds) > 2**56


class TestPrompt:
    def test_a_system_text_goes_first(self) -> None:
        command = build("r", MODEL, Options(system="Be brief."), messages=HI)
        assert command.messages == (ChatMessage(Role.SYSTEM, "Be brief."), *HI)

    def test_without_one_the_template_has_its_own(self) -> None:
        assert build("r", MODEL, Options(), messages=HI).messages == HI

    def test_an_empty_one_is_one(self) -> None:
        assert build("r", MODEL, Options(system=""), messages=HI).messages[0].content == ""

    def test_raw_text_goes_as_it_is(self) -> None:
        command = build("r", MODEL, Options(), raw="Once upon")
        assert (command.raw, command.messages) == ("Once upon", ())

    def test_all_else_is_handed_on(self) -> None:
        options = Options(depth=6, mode=Mode.SEEDED, max_tokens=9, stop=("x", "y"))
        command = build("name", MODEL, options, messages=HI)
        assert command.request == "name"
        assert (command.depth, command.mode, command.max_tokens) == (6, Mode.SEEDED, 9)
        assert command.stop == ("x", "y")


class TestRefused:
    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            (Options(temperature=-0.1), "temperature must be between 0 and 100, not -0.1"),
            (Options(temperature=float("nan")), "temperature must be"),
            (Options(top_p=0.0), "top_p must be"),
            (Options(top_k=-1), "top_k must be"),
            (Options(min_p=2.0), "min_p must be"),
            (Options(depth=9), "depth must be between 0 and 8, not 9"),
            (Options(seed=-1), "seed must be"),
            (Options(seed=2**64), "seed must be"),
            (Options(max_tokens=0), "max_tokens must be"),
            (Options(stop=("",)), "stop string"),
        ],
    )
    def test_values_out_of_range(self, options: Options, reason: str) -> None:
        with pytest.raises(ValueError, match=reason) as caught:
            build("r", MODEL, options, messages=HI)
        assert "\n" not in str(caught.value)

    def test_raw_text_with_a_system_text(self) -> None:
        with pytest.raises(ValueError, match="takes no system text"):
            build("r", MODEL, Options(system="x"), raw="y")

    def test_two_system_texts(self) -> None:
        messages = (ChatMessage(Role.SYSTEM, "a"), *HI)
        with pytest.raises(ValueError, match="a system message already"):
            build("r", MODEL, Options(system="b"), messages=messages)

    def test_nothing_to_answer(self) -> None:
        with pytest.raises(ValueError, match="nothing to answer"):
            build("r", MODEL, Options(system="b"))

    def test_neither_and_both(self) -> None:
        with pytest.raises(ValueError, match="either messages, or raw text, or token ids"):
            build("r", MODEL, Options(), messages=HI, raw="x")
        with pytest.raises(ValueError, match="nothing to answer"):
            build("r", MODEL, Options())


def test_resolved_options_repeat_the_request() -> None:
    options = Options(system="Be brief.", top_k=5, mode=Mode.SEEDED)
    command = build("r", MODEL, options, messages=HI)
    known = resolved(options, command)
    other_model = replace(MODEL, sampling=Sampling(temperature=2.0))
    assert build("r", other_model, known, messages=HI) == command
