"""The engine as a process: what its front ends rely on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engine.protocol import (
    Cancel,
    CancelLoad,
    CycleDone,
    DepthSet,
    Event,
    Finish,
    LoadCancelled,
    LoadFailed,
    LoadModel,
    LoadProgress,
    Mode,
    ModelLoaded,
    RequestDone,
    RequestFailed,
    RequestStarted,
    Sampling,
    SetDepth,
)
from mtplx_tui.library.disk import resolve
from tests.fakes import tiny
from tests.fakes.driver import EngineProcess, question, text_of, token_ids

pytestmark = pytest.mark.xdist_group("demo")
"""The demo is unpacked once, and its engine loads it once."""


def test_the_demo_answers_with_its_head(demo_engine: EngineProcess) -> None:
    cycles, done = demo_engine.complete(
        question("Why is the sky blue?", seed=7, max_tokens=24, depth=3)
    )
    assert done.finish in (Finish.STOP, Finish.LENGTH)
    assert done.completion_tokens == len(token_ids(cycles)) <= 24
    assert sum(cycle.accepted for cycle in cycles) > 0
    assert len(text_of(cycles, done).split()) > 5
    for cycle in cycles:
        kept = cycle.emitted[:-1]
        assert cycle.drafted[: len(kept)] == kept
        assert cycle.draft_s + cycle.verify_s + cycle.accept_s <= cycle.total_s


def test_the_same_request_repeats_exactly(demo_engine: EngineProcess) -> None:
    asked = question("Name three colours.", seed=3, max_tokens=16, depth=3)
    first, _ = demo_engine.complete(asked)
    second, _ = demo_engine.complete(asked)
    assert token_ids(first) == token_ids(second)


def test_depth_changes_at_the_next_cycle(demo_engine: EngineProcess) -> None:
    seen: list[Event] = []

    def watch(event: Event) -> None:
        seen.append(event)
        if isinstance(event, CycleDone) and event.cycle == 2:
            demo_engine.send(SetDepth("r", 6))

    # So many that the engine is far from the last when the command comes, which shortens a window.
    demo_engine.complete(question("Tell me a story.", depth=1, max_tokens=128), watch)
    at = next(i for i, event in enumerate(seen) if isinstance(event, DepthSet))
    before = [e.depth for e in seen[:at] if isinstance(e, CycleDone)]
    after = [e.depth for e in seen[at:] if isinstance(e, CycleDone)]
    assert set(before) == {1}
    assert after[0] == 6


def test_cancel_takes_effect_within_a_cycle(demo_engine: EngineProcess) -> None:
    demo_engine.send(question("Count to one hundred."))
    demo_engine.wait_for(CycleDone)
    with demo_engine.held():
        demo_engine.send(Cancel("r"))
    cycles = 0
    while not isinstance(event := demo_engine.next_event(), RequestDone):
        cycles += isinstance(event, CycleDone)
    assert event.finish is Finish.CANCELLED
    assert cycles <= 3, "one that ran, one that was not told yet, one while the command was read"


def test_requests_take_turns(demo_engine: EngineProcess) -> None:
    demo_engine.send(
        question("Tell me a long story.", request="long", max_tokens=24),
        question("Hi", request="short", max_tokens=4),
    )
    done: list[str] = []
    while len(done) < 2:
        event = demo_engine.wait_for(RequestDone)
        assert isinstance(event, RequestDone)
        done.append(event.request)
    assert done == ["short", "long"]


def test_max_tokens_is_never_passed(demo_engine: EngineProcess) -> None:
    for limit in (1, 2, 3):
        cycles, done = demo_engine.complete(question("Hello", max_tokens=limit, depth=8))
        assert done.finish is Finish.LENGTH
        assert len(token_ids(cycles)) == done.completion_tokens == limit


def test_a_stop_string_cuts_the_text_before_it(demo_engine: EngineProcess) -> None:
    asked = question("Why is the sky blue?", seed=1, max_tokens=16, depth=3)
    text = text_of(*demo_engine.complete(asked))
    stop = text[20:26]
    cycles, done = demo_engine.complete(replace(asked, stop=(stop,)))
    assert done.finish is Finish.STOP
    assert text_of(cycles, done) == text[: text.index(stop)]


def test_a_prompt_longer_than_the_context_is_refused(demo_engine: EngineProcess) -> None:
    demo_engine.send(question("word " * 9000))
    event = demo_engine.wait_for(RequestFailed, RequestStarted)
    assert isinstance(event, RequestFailed)
    assert event.error.exit_code == 2
    assert "8192" in event.error.message


@pytest.mark.slow
def test_seeded_text_is_the_same_for_every_depth_on_the_stock_library(
    engine_cache: Path, demo_engine: EngineProcess
) -> None:
    engine = EngineProcess(engine_cache, blas="stock")
    try:
        assert engine.started.blas == "stock"
        engine.load("demo", Path(resolve("demo").path))
        texts = {}
        for depth in (0, 1, 2, 3, 6):
            cycles, _ = engine.complete(
                question("Hi!", seed=7, depth=depth, mode=Mode.SEEDED, max_tokens=12)
            )
            texts[depth] = token_ids(cycles)
            assert max(cycle.depth for cycle in cycles) == depth
        assert all(text == texts[0] for text in texts.values()), texts
    finally:
        engine.close()


def test_an_ordinary_checkpoint_runs_by_plain_decoding(
    engine: EngineProcess, tiny_folder: Path
) -> None:
    model = engine.load("tiny", tiny_folder)
    assert model.head is None
    assert "no head" in model.head_note
    cycles, done = engine.complete(question("Hello", depth=3, max_tokens=8))
    assert [cycle.depth for cycle in cycles] == [0] * len(cycles)
    assert done.completion_tokens == len(token_ids(cycles)) > 0


def test_no_model_no_answer(engine: EngineProcess) -> None:
    engine.send(question("Hello"))
    event = engine.wait_for(RequestFailed)
    assert isinstance(event, RequestFailed)
    assert "no model" in event.error.message


def test_a_load_can_be_cancelled_and_another_follows(
    engine: EngineProcess, tiny_folder: Path
) -> None:
    engine.send(LoadModel("one", "demo", resolve("demo").path))
    engine.wait_for(LoadProgress)
    engine.send(CancelLoad("one"))
    assert isinstance(engine.wait_for(LoadCancelled, ModelLoaded), LoadCancelled)
    assert engine.load("tiny", tiny_folder).name == "tiny"


Damage = Callable[[Path], object]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / "config.json").unlink(), "config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "safetensors"),
        (lambda folder: os.truncate(folder / "model.safetensors", 4000), "model.safetensors"),
        (lambda folder: (folder / "tokenizer.json").write_text("rubbish"), "tokenizer"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer"),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_engine_goes_on(
    engine: EngineProcess, tmp_path: Path, tiny_folder: Path, damage: Damage, reason: str
) -> None:
    folder = tiny.write_checkpoint(tmp_path / "model")
    damage(folder)
    engine.send(LoadModel("load", "broken", str(folder)))
    event = engine.wait_for(LoadFailed, ModelLoaded)
    assert isinstance(event, LoadFailed)
    assert reason in event.error.message
    assert "\n" not in event.error.message
    assert engine.load("tiny", tiny_folder).name == "tiny"


def test_an_unknown_architecture_is_named(engine: EngineProcess, tmp_path: Path) -> None:
    folder = tiny.write_checkpoint(tmp_path / "model", model_type="frobnicator")
    engine.send(LoadModel("load", "odd", str(folder)))
    event = engine.wait_for(LoadFailed, ModelLoaded)
    assert isinstance(event, LoadFailed)
    assert "frobnicator" in event.error.message


def test_a_head_this_version_cannot_run_is_named(engine: EngineProcess, tmp_path: Path) -> None:
    folder = tiny.write_checkpoint(tmp_path / "model", mtp_num_hidden_layers=1)
    assert "dropped" in engine.load("promising", folder).head_note


def test_the_engine_leaves_when_its_front_end_does(
    engine: EngineProcess, tiny_folder: Path
) -> None:
    engine.load("tiny", tiny_folder)
    engine.send(question("Hello", sampling=Sampling(1, 1, 0)))
    engine.wait_for(RequestStarted)
    assert engine.close() == 0


def test_a_killed_engine_is_noticed(engine: EngineProcess) -> None:
    os.kill(engine.started.pid, signal.SIGKILL)
    with pytest.raises(EOFError):
        engine.next_event(timeout_s=5)


def test_an_unreadable_command_ends_the_engine_with_an_error(engine: EngineProcess) -> None:
    assert engine.process.stdin is not None
    engine.process.stdin.write(b"rubbish\n")
    engine.process.stdin.flush()
    assert engine.process.wait(10) == 1
