"""Time is shared among requests, and no one waits for what it does not need."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import session as sessions
from engine.protocol import (
    Cancel,
    ChatMessage,
    CountTokens,
    Event,
    Finish,
    Generate,
    LimitPrefixes,
    LoadModel,
    PrefillProgress,
    PrefixesKept,
    PrefixReused,
    PromptShown,
    RequestDone,
    RequestFailed,
    RequestStarted,
    Role,
    ShowPrompt,
    TokensCounted,
)
from engine.session import Session
from engine.turns import Turns
from tests.fakes import tiny


def served(costs: dict[str, float], turns: int) -> dict[str, float]:
    """Return the seconds each got after some turns."""
    table: Turns[str] = Turns()
    for name in costs:
        table.add(name)
    got = dict.fromkeys(costs, 0.0)
    for _ in range(turns):
        name = table.next()
        table.charge(name, costs[name])
        got[name] += costs[name]
    return got


def test_all_get_the_same_time_whatever_their_turns_cost() -> None:
    got = served({"chunks": 10.0, "a": 1.0, "b": 1.0, "c": 2.0}, 400)
    assert max(got.values()) - min(got.values()) <= 10.0


def test_equals_go_round() -> None:
    table: Turns[str] = Turns()
    for name in "abc":
        table.add(name)
    order = []
    for _ in range(6):
        order.append(table.next())
        table.charge(order[-1], 1.0)
    assert order == list("abcabc")


def test_a_costly_turn_waits_until_the_others_have_had_as_much() -> None:
    table: Turns[str] = Turns()
    table.add("chunks")
    table.charge("chunks", 2.0)
    for name in "abcd":
        table.add(name)
    order = []
    for _ in range(90):
        order.append(table.next())
        table.charge(order[-1], 2.0 if order[-1] == "chunks" else 0.1)
    assert 76 <= order.index("chunks") <= 84


def test_who_comes_later_neither_catches_up_nor_waits() -> None:
    table: Turns[str] = Turns()
    table.add("old")
    for _ in range(100):
        table.charge("old", 1.0)
    table.add("new")
    order = []
    for _ in range(6):
        order.append(table.next())
        table.charge(order[-1], 1.0)
    assert order.count("new") == order.count("old") == 3


def test_who_waits_saves_up_no_time() -> None:
    table: Turns[str] = Turns()
    table.add("reads")
    table.add("waits")
    for _ in range(50):
        name = table.next(lambda item: item == "waits")
        assert name == "reads"
        table.charge(name, 1.0)
    order = []
    for _ in range(8):
        order.append(table.next())
        table.charge(order[-1], 1.0)
    assert 3 <= order.count("waits") <= 5


class Bench:
    """A session with a tiny model, and what it told."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        model = tiny.loaded(tiny.vocabulary_of_bytes())
        monkeypatch.setattr(sessions, "load", lambda *_: model)
        self.events: list[Event] = []
        self.session = Session(self.events.append, folder, lambda _: False)
        self.session.load(LoadModel("load", "tiny", "/tiny"))

    def run(self, most: int = 10_000) -> None:
        for _ in range(most):
            if not self.session.is_busy:
                return
            self.session.step()

    def of(self, kind: type, request: str = "") -> list[Event]:
        found = [event for event in self.events if isinstance(event, kind)]
        return [event for event in found if not request or getattr(event, "request", "") == request]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def raw(name: str, text: str, **options: int | bool) -> Generate:
    return Generate(name, (), raw=text, **options)  # ty: ignore[invalid-argument-type] - options


def test_a_request_is_cancelled_within_one_chunk_of_its_prompt(bench: Bench) -> None:
    bench.session.generate(raw("long", "x" * 450))
    bench.session.step()
    bench.session.cancel(Cancel("long"))
    assert not bench.session.is_busy
    (done,) = bench.of(RequestDone, "long")
    assert isinstance(done, RequestDone)
    assert done.finish is Finish.CANCELLED
    assert len(bench.of(PrefillProgress, "long")) == 1
    bench.session.generate(raw("again", "x" * 450, max_tokens=1))
    bench.run()
    (told,) = bench.of(PrefixReused, "again")
    assert isinstance(told, PrefixReused)
    assert 100 <= told.reused <= 128


def test_copies_of_one_prompt_read_it_once(bench: Bench) -> None:
    for name in "abcd":
        bench.session.generate(raw(name, "y" * 400, max_tokens=4))
    bench.run()
    reused = {e.request: e.reused for e in bench.of(PrefixReused) if isinstance(e, PrefixReused)}
    assert reused == {"a": 0, "b": 399, "c": 399, "d": 399}
    assert len(bench.of(RequestDone)) == 4


def test_a_short_prompt_waits_for_what_it_shares_and_no_longer(bench: Bench) -> None:
    bench.session.generate(raw("long", "z" * 200 + "l" * 280))
    bench.session.generate(raw("short", "z" * 200 + "s", max_tokens=2))
    bench.session.generate(raw("alone", "q", max_tokens=2))
    bench.run(12)
    (told,) = bench.of(PrefixReused, "short")
    assert isinstance(told, PrefixReused)
    assert told.reused >= 199
    assert bench.of(RequestDone, "alone")
    assert bench.of(RequestDone, "short")
    last = bench.events.index(bench.of(PrefillProgress, "long")[-1])
    assert bench.events.index(told) < last


def test_one_that_waited_goes_on_when_the_reader_is_cancelled(bench: Bench) -> None:
    bench.session.generate(raw("reader", "z" * 400))
    bench.session.generate(raw("waits", "z" * 400, max_tokens=2))
    bench.session.step()
    bench.session.cancel(Cancel("reader"))
    bench.run()
    assert bench.of(RequestDone, "waits")


def test_what_the_model_saw_is_told_while_and_after_it_answers(bench: Bench) -> None:
    message = ChatMessage(Role.USER, "hi <|end|>")
    bench.session.generate(Generate("r", (message,), max_tokens=2))
    bench.session.show_prompt(ShowPrompt("r"))
    bench.run()
    bench.session.show_prompt(ShowPrompt("r"))
    bench.session.show_prompt(ShowPrompt("unknown"))
    first, second, none = bench.of(PromptShown)
    assert isinstance(first, PromptShown)
    assert isinstance(second, PromptShown)
    assert isinstance(none, PromptShown)
    assert first == second
    assert first.text == "<|user|>hi <|end|>\n<|assistant|>" == "".join(first.pieces)
    (started,) = bench.of(RequestStarted)
    assert isinstance(started, RequestStarted)
    assert started.prompt_tokens == len(first.token_ids)
    assert none.token_ids == ()


def test_counting_tokens_gives_what_a_request_has_and_starts_nothing(bench: Bench) -> None:
    command = Generate("r", (ChatMessage(Role.USER, "héllo"),), max_tokens=1)
    bench.session.count(CountTokens("count", command))
    assert not bench.session.is_busy
    bench.session.generate(command)
    (counted,), (started,) = bench.of(TokensCounted), bench.of(RequestStarted)
    assert isinstance(counted, TokensCounted)
    assert isinstance(started, RequestStarted)
    assert (counted.tokens, counted.error) == (started.prompt_tokens, None)
    bench.session.count(CountTokens("odd", Generate("x", (), prompt_ids=(10_000,))))
    refused = bench.of(TokensCounted)[-1]
    assert isinstance(refused, TokensCounted)
    assert refused.error is not None
    assert "no token 10000" in refused.error.message
    assert not bench.of(RequestFailed)


def test_limits_of_prefixes_take_effect_and_are_told(bench: Bench) -> None:
    bench.session.generate(raw("a", "w" * 300, max_tokens=2))
    bench.run()
    kept = bench.of(PrefixesKept)[-1]
    assert isinstance(kept, PrefixesKept)
    assert kept.entries > 0
    assert kept.tokens >= 300
    assert 0 < kept.memory_bytes <= kept.memory_limit_bytes
    bench.session.limit_prefixes(LimitPrefixes(memory_bytes=0))
    none = bench.of(PrefixesKept)[-1]
    assert isinstance(none, PrefixesKept)
    assert (none.entries, none.memory_bytes, none.memory_limit_bytes) == (0, 0, 0)
