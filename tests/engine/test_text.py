"""Ids to text as it grows, stop strings, and channels."""

from __future__ import annotations

import itertools
import random

import pytest
from tokenizers import Tokenizer as Vocabulary
from tokenizers import decoders, models

from engine.channels import ChannelSplitter
from engine.model.tokenizer import Tokenizer
from engine.protocol import Channel
from engine.text import Detokenizer, StopStrings
from tests.fakes.tiny import vocabulary_of_bytes

SAMPLES = ["plain", "naïve café", "日本語テキスト", "👩‍👩‍👧‍👦 family", "a\n\tb", "e\u0301", ""]


def reading(vocabulary: Vocabulary) -> Detokenizer:
    tokenizer = Tokenizer(vocabulary, None, {}, frozenset())
    return Detokenizer(tokenizer.decode, tokenizer.piece, tokenizer.special_ids)


def vocabulary_of_words() -> Vocabulary:
    """Return one whose words bring their space along, which the first of a text loses."""
    words = [
        "a",
        "\u2581so",
        "\u2581it",
        "s",
        "\u2581",
        *(f"<0x{each:02X}>" for each in "日".encode()),
    ]
    model = models.BPE({word: at for at, word in enumerate(words)}, [], byte_fallback=True)
    vocabulary = Vocabulary(model)
    vocabulary.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    vocabulary.add_special_tokens(["<|end|>"])
    return vocabulary


@pytest.mark.parametrize("seed", range(40))
def test_words_grow_to_what_they_read_as_together(seed: int) -> None:
    """A special token is left out, and neither it nor a first one costs the next word its space."""
    vocabulary, generator = vocabulary_of_words(), random.Random(seed)
    parts = [[1], [2], [3], [4], [5, 6, 7], [8]]
    ids = [token for _ in range(12) for token in generator.choice(parts)]
    detokenizer = reading(vocabulary)
    shown = "".join(map(detokenizer.add, ids)) + detokenizer.finish()
    assert shown == vocabulary.decode(ids)


def test_a_word_comes_behind_bytes_that_are_still_held() -> None:
    vocabulary, ids = vocabulary_of_words(), [1, 5, 2]
    assert "".join(map(reading(vocabulary).add, ids)) == vocabulary.decode(ids)


@pytest.mark.parametrize("text", SAMPLES)
def test_text_grows_by_whole_characters(text: str) -> None:
    vocabulary = vocabulary_of_bytes()
    detokenizer = reading(vocabulary)
    shown = ""
    for token in vocabulary.encode(text).ids:
        shown += detokenizer.add(token)
        assert text.startswith(shown)
    assert shown + detokenizer.finish() == text


def test_bytes_that_never_become_a_character_are_shown_as_broken() -> None:
    vocabulary = vocabulary_of_bytes()
    ids = vocabulary.encode("日").ids[:2]
    detokenizer = reading(vocabulary)
    assert [detokenizer.add(token) for token in ids] == ["", ""]
    assert "\ufffd" in detokenizer.finish()
    broken = reading(vocabulary)
    shown = "".join(broken.add(token) for token in ids[:1] * 6)
    assert "\ufffd" in shown


def test_a_stop_string_is_found_however_the_text_is_cut() -> None:
    text = "one two END three"
    for cuts in itertools.combinations(range(1, len(text)), 3):
        pieces = [text[a:b] for a, b in itertools.pairwise((0, *cuts, len(text)))]
        stops = StopStrings(("END", "three"))
        shown, is_stopped = "", False
        for piece in pieces:
            safe, is_stopped = stops.feed(piece)
            shown += safe
            if is_stopped:
                break
        assert is_stopped
        assert shown == "one two "


def test_what_only_began_like_a_stop_string_is_shown_in_the_end() -> None:
    stops = StopStrings(("STOP!",))
    shown = stops.feed("do not STOP")[0]
    assert shown == "do not "
    assert shown + stops.finish() == "do not STOP"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_reasoning_is_told_apart_however_the_text_is_cut(size: int) -> None:
    text = "<think>\nlet me see</think>\n\nThe <b>answer</b> < 5"
    splitter = ChannelSplitter("prompt")
    runs = []
    for start in range(0, len(text), size):
        runs += splitter.feed(text[start : start + size])
    runs += splitter.finish()
    joined = {channel: "".join(r.text for r in runs if r.channel is channel) for channel in Channel}
    assert joined[Channel.REASONING] == "let me see"
    assert joined[Channel.ANSWER] == "The <b>answer</b> < 5"


def test_a_prompt_that_ends_in_an_open_mark_begins_in_reasoning() -> None:
    (run,) = ChannelSplitter("...<think>\n").feed("so")
    assert run.channel is Channel.REASONING


def test_an_answer_without_marks_is_left_as_it_is() -> None:
    splitter = ChannelSplitter("prompt")
    runs = (*splitter.feed("\n\nhello"), *splitter.finish())
    assert "".join(run.text for run in runs) == "\n\nhello"
