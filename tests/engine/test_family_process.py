"""A family's checkpoint through a real engine process: loaded by its path, drafting, named."""

from __future__ import annotations

from pathlib import Path

from engine.protocol import Mode, Sampling
from tests.fakes import checkpoints
from tests.fakes.driver import EngineProcess, question, token_ids

SAMPLING = Sampling(1, 1, 0)


def test_a_recurrent_trunk_with_its_own_head_serves_requests(tmp_path: Path) -> None:
    engine = EngineProcess(tmp_path, blas="stock")
    try:
        info = engine.load("tiny", checkpoints.write(tmp_path / "tiny", "qwen3_5"))
        assert info.head is not None
        assert (info.head.family, info.head_note) == ("qwen3_5", "")
        texts = []
        for depth in (0, 4):
            command = question(
                "hello there",
                seed=5,
                depth=depth,
                mode=Mode.SEEDED,
                sampling=SAMPLING,
                max_tokens=24,
            )
            cycles, done = engine.complete(command)
            assert done.completion_tokens == len(token_ids(cycles))
            assert {len(cycle.drafted) for cycle in cycles[:-3]} == {depth}
            texts.append(token_ids(cycles))
        assert texts[0] == texts[1]
        assert engine.close() == 0
    finally:
        engine.kill()


def test_a_head_that_cant_run_is_told_with_the_model(tmp_path: Path) -> None:
    engine = EngineProcess(tmp_path, blas="stock")
    try:
        folder = checkpoints.write(
            tmp_path / "tiny",
            "qwen3_5",
            edit=lambda weights: {
                name: value for name, value in weights.items() if "q_proj" not in name
            },
        )
        info = engine.load("tiny", folder)
        assert info.head is None
        assert "q_proj.weight missing" in info.head_note
    finally:
        engine.kill()
