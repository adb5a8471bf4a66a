"""What is kept, what is dropped first, and what a request is told of it."""

from __future__ import annotations

import itertools

import pytest

from engine.model.load import LoadedModel
from engine.prefix.cache import CONVERSATION_S, PrefixCache
from engine.prefix.lease import STRIDE, Lease
from engine.prefix.tree import Node, common, match
from engine.prompt import joints, read_prompt_of
from engine.protocol import ChatMessage, Generate, PrefixReused, RequestDone, Reread, Role
from engine.request import Request
from engine.speculation.stream import Stream
from tests.fakes import tiny

BIG = 2**30


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return tiny.loaded(tiny.vocabulary_of_bytes())


def read(model: LoadedModel, prefixes: PrefixCache, text: str) -> PrefixReused:
    """Let a prompt be read and one token be answered; return what was said of its reuse."""
    request = Request(Generate("r", (), raw=text, max_tokens=1), model, prefixes=prefixes)
    events = []
    while not request.is_over:
        events += request.advance()
    request.close(is_whole=True)
    assert isinstance(events[-1], RequestDone)
    assert isinstance(events[0], PrefixReused)
    return events[0]


def test_why_a_prompt_is_read_again_is_told_with_the_token_that_differs(
    model: LoadedModel,
) -> None:
    prefixes = PrefixCache(BIG)
    new = read(model, prefixes, "The quick brown fox")
    assert (new.why, new.reused, new.matched) == (Reread.NEW, 0, 0)
    more = read(model, prefixes, "The quick brown fox jumps")
    assert (more.why, more.was) in ((Reread.APPENDED, ""), (Reread.DIFFERS, more.was))
    assert more.reused in (18, 19)
    other = read(model, prefixes, "The quick red fox")
    assert other.why is Reread.DIFFERS
    assert (other.matched, other.reused) == (10, 9)
    assert (other.before, other.was, other.now) == ("The quick ", "b", "r")
    again = read(model, prefixes, "The quick red fox")
    assert (again.why, again.reused, again.matched) == (Reread.APPENDED, 16, 17)
    unknown = read(model, prefixes, "Another text")
    assert (unknown.why, unknown.was, unknown.now) == (Reread.NEW, "", "")


def test_a_request_that_wants_none_of_it_reads_all_and_leaves_nothing(model: LoadedModel) -> None:
    prefixes = PrefixCache(BIG)
    read(model, prefixes, "a" * 40)
    before = prefixes.nbytes
    command = Generate("r", (), raw="a" * 40, max_tokens=1, is_cached=False)
    request = Request(command, model, prefixes=prefixes)
    told = request.advance()[0]
    assert isinstance(told, PrefixReused)
    assert (told.why, told.reused) == (Reread.OFF, 0)
    request.close(is_whole=True)
    assert prefixes.nbytes == before


def bytes_of(prefixes: PrefixCache) -> int:
    states = [place.held.state for place in prefixes.places if place.held]
    return sum(state.nbytes for state in states if state)


def test_bytes_are_counted_and_bound(model: LoadedModel) -> None:
    prefixes = PrefixCache(BIG)
    for number in range(6):
        read(model, prefixes, f"{number}" * 100)
    assert prefixes.nbytes == bytes_of(prefixes)
    limit = prefixes.nbytes // 2
    prefixes.limit(limit)
    assert 0 < prefixes.nbytes <= limit
    assert prefixes.nbytes == bytes_of(prefixes)
    prefixes.limit(0)
    assert not prefixes.places
    assert prefixes.nbytes == 0
    assert read(model, prefixes, "1" * 100).why is Reread.OFF


def test_what_was_dropped_is_told_so(model: LoadedModel) -> None:
    prefixes = PrefixCache(BIG)
    read(model, prefixes, "a" * 100)
    prefixes.limit(1)
    told = read(model, prefixes, "a" * 100 + "b")
    assert (told.why, told.reused) == (Reread.DROPPED, 0)
    assert told.matched >= 100


def test_a_conversation_outlives_prompts_that_came_once_but_not_for_ever(
    model: LoadedModel,
) -> None:
    clock = Clock()
    prefixes = PrefixCache(BIG, clock)
    read(model, prefixes, "C" * 90)
    read(model, prefixes, "C" * 90 + "D" * 30)
    prefixes.limit(int(prefixes.nbytes * 2.5))
    for number in range(20):
        clock.now += CONVERSATION_S / 40
        read(model, prefixes, chr(ord("a") + number) * 100)
    assert read(model, prefixes, "C" * 90 + "D" * 30).reused >= 118
    for number in range(20):
        clock.now += CONVERSATION_S / 4
        read(model, prefixes, chr(ord("a") + number) * 100)
    assert read(model, prefixes, "C" * 90 + "D" * 30).why is Reread.DROPPED


def test_ends_of_texts_go_before_what_they_build_on(model: LoadedModel) -> None:
    prefixes = PrefixCache(BIG)
    read(model, prefixes, "S" * 100)
    read(model, prefixes, "S" * 100 + "x" * 50)
    read(model, prefixes, "S" * 100 + "y" * 50)
    while prefixes.places:
        for place in prefixes.places:
            assert all(node.held is not None for node in place.path())
        prefixes.limit(prefixes.nbytes - 1)


def test_what_a_request_builds_on_is_not_dropped_under_it(model: LoadedModel) -> None:
    prefixes = PrefixCache(BIG)
    read(model, prefixes, "S" * 100)
    request = Request(
        Generate("r", (), raw="S" * 100 + "x", max_tokens=9), model, prefixes=prefixes
    )
    request.advance()
    prefixes.limit(1)
    pinned = [node for node in prefixes.root.nodes() if node.pins]
    assert pinned
    assert all(node in prefixes.places for node in pinned)
    while not request.is_over:
        request.advance()
    request.close(is_whole=True)
    prefixes.limit(1)
    assert not prefixes.places
    assert all(node.pins == 0 for node in (prefixes.root, *prefixes.root.nodes()))


def test_no_pin_is_left_however_a_request_ends(model: LoadedModel) -> None:
    prefixes = PrefixCache(BIG)
    for turns, is_whole in itertools.product((0, 1, 3, 6), (True, False)):
        command = Generate("r", (), raw="p" * 200 + str(turns), max_tokens=40)
        request = Request(command, model, prefixes=prefixes)
        for _ in range(turns):
            request.advance()
        request.cancel()
        request.close(is_whole=is_whole)
        request.close(is_whole=is_whole)
        assert all(node.pins == 0 for node in (prefixes.root, *prefixes.root.nodes()))


def test_a_long_prompt_has_a_place_every_stride_and_at_joints_worth_it(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream(model.trunk.make_cache(), model.head, 0)
    lease = Lease(PrefixCache(BIG), stream, (1,) * (2 * STRIDE + 10))
    assert lease.places([500]) == [STRIDE, 2 * STRIDE, 2 * STRIDE + 9]
    monkeypatch.setattr("engine.prefix.lease.can_go_back_anywhere", lambda _: False)
    assert lease.places([10, 500, 530, STRIDE + 3]) == [500, STRIDE, 2 * STRIDE, 2 * STRIDE + 9]


def tree(*texts: tuple[int, ...]) -> Node[str]:
    root: Node[str] = Node((), 0, None)
    for text in texts:
        found = match(root, text)
        at = found.known
        if text[at.end :]:
            at.children.append(Node(text[at.end :], len(text), at, "held"))
    return root


def test_the_longest_of_siblings_that_begin_alike_is_found() -> None:
    root = tree((1, 2, 3, 9), (1, 2, 3), (1, 2, 3, 4, 5))
    found = match(root, (1, 2, 3, 4, 5, 6))
    assert (found.place.end, found.matched, found.other()) == (5, 5, None)
    found = match(root, (1, 2, 3, 4, 7))
    assert (found.place.end, found.matched, found.other()) == (3, 4, 5)
    assert (found.partly.end, found.shared) == (5, 4)


def test_behind_what_was_dropped_nothing_is_held() -> None:
    root = tree((1, 2), (1, 2, 3, 4))
    root.children[0].held = None
    found = match(root, (1, 2, 3, 4, 5))
    assert (found.place, found.known.end, found.shared) == (root, 4, 0)


@pytest.mark.parametrize(
    ("one", "other", "size"),
    [((), (), 0), ((1,), (), 0), ((1, 2), (1, 2, 3), 2), ((1, 5), (1, 2), 1), ((4,), (5,), 0)],
)
def test_how_much_two_texts_have_in_common(
    one: tuple[int, ...], other: tuple[int, ...], size: int
) -> None:
    assert common(one, other) == common(other, one) == size


TEMPLATE = (
    "{% for m in messages %}<|end|>{{ m.role }}\n{{ m.content | trim }}{% endfor %}"
    "{% if add_generation_prompt %}<|end|>assistant\n<think>\n{% endif %}"
)


def test_joints_are_the_same_tokens_in_every_later_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny, "TEMPLATE", TEMPLATE)
    model = tiny.loaded(tiny.vocabulary_of_bytes())
    messages = (
        ChatMessage(Role.SYSTEM, "be brief"),
        ChatMessage(Role.USER, "first"),
        ChatMessage(Role.ASSISTANT, "said"),
        ChatMessage(Role.USER, "second"),
    )
    command = Generate("r", messages)
    prompt = read_prompt_of(command, model)
    special = tiny.vocabulary_of_bytes().token_to_id("<|end|>")
    marks = [i for i, token in enumerate(prompt.ids) if token == special]
    assert joints(command, prompt, model.tokenizer) == [marks[1], marks[3], marks[4]]


def test_a_template_that_refuses_a_variant_only_loses_a_joint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    picky = TEMPLATE + "{% if not add_generation_prompt %}{{ raise_exception('no') }}{% endif %}"
    monkeypatch.setattr(tiny, "TEMPLATE", picky)
    model = tiny.loaded(tiny.vocabulary_of_bytes())
    command = Generate("r", (ChatMessage(Role.USER, "only"),))
    prompt = read_prompt_of(command, model)
    assert joints(command, prompt, model.tokenizer) == []
    raw = Generate("r", (), raw="text")
    assert joints(raw, read_prompt_of(raw, model), model.tokenizer) == []
