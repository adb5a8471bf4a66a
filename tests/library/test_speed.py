"""What a model's speed should be: measured before predicted, and never without what it rests on."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from engine.verdict.memory import StepReads, step_reads
from mtplx_tui.config import find_places
from mtplx_tui.files import Places
from mtplx_tui.library import speed
from mtplx_tui.library.catalog import judge_demo
from mtplx_tui.library.disk import resolve
from mtplx_tui.library.speed import MachineSpeed, Speed, known, measured, predict, speed_of

RATES = {1: (0.9e9, 1e9), 2: (0.85e9, 0.95e9), 4: (0.6e9, 0.8e9)}
MACHINE = MachineSpeed("cpu", dict.fromkeys(("plain", "8-bit", "4-bit"), RATES))
READS = StepReads(trunk=10**9, draft=10**8, bits=4)
DENSE: dict[str, object] = {
    "vocab_size": 1000,
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "tie_word_embeddings": True,
}


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    monkeypatch.setenv("MTPLX_TUI_HOME", str(tmp_path / "home"))
    return find_places()


def foretold(reads: StepReads = READS, machine: MachineSpeed = MACHINE) -> Speed:
    found = predict(reads, machine)
    assert found is not None
    return found


def test_a_plain_step_takes_its_weights_and_at_most_the_overhead() -> None:
    found = foretold()
    assert found.plain.high == pytest.approx(1.0)
    assert found.plain.low == pytest.approx(0.9 / (1 + speed.OVERHEAD))
    assert not found.is_measured


def test_what_layers_do_beside_their_weights_is_counted() -> None:
    machine = replace(MACHINE, layer_s=(0.02, 0.01))
    reads = replace(READS, layers=10)
    found = foretold(reads, machine)
    assert found.plain.high == pytest.approx(1 / (1 + 0.1))
    assert found.plain.low == pytest.approx(1 / ((1 / 0.9 + 0.2) * (1 + speed.OVERHEAD)))
    assert "its layers take 100 to 200 ms beside" in found.rests_on
    before = foretold().drafting
    assert before is not None
    assert found.drafting is not None
    assert found.drafting.high < before.high


def test_drafting_is_never_foretold_slower_than_plain_decoding() -> None:
    dear = {1: (0.9e9, 1e9), 2: (1e8, 1e8), 4: (1e8, 1e8)}
    machine = MachineSpeed("cpu", {**MACHINE.rates, "4-bit": dear})
    found = foretold(READS, machine)
    assert found.drafting is not None
    assert (found.drafting.low, found.drafting.high) == (found.plain.low, found.plain.high)


def test_cheap_drafts_and_rows_pay() -> None:
    found = foretold()
    assert found.drafting is not None
    assert found.drafting.low > found.plain.low
    # Depth 3: 4 rows in 1.25 s, 3 drafts in 0.3 s, and 1 + .85 + .85^2 + .85^3 tokens.
    assert found.drafting.high >= (1 - 0.85**4) / 0.15 / 1.55


def test_without_a_head_nothing_is_foretold_of_drafting() -> None:
    assert foretold(replace(READS, draft=0)).drafting is None


def test_it_says_what_is_measured_and_what_is_assumed() -> None:
    said = foretold().rests_on
    assert "measured" in said
    assert "assumed" in said
    # Half a byte, and scale and bias of 64 weights: float32 on a CPU, of 16 bits on a GPU.
    assert f"{0.9 * 0.625:.3g} to 0.625 GB/s" in said
    on_gpu = foretold(READS, replace(MACHINE, device="gpu")).rests_on
    assert f"{0.9 * 0.5625:.3g} to {0.5625:.3g} GB/s" in on_gpu


@pytest.mark.parametrize(
    ("of_packed", "of_plain", "device", "kind"),
    [(2e9, 1e9, "cpu", "4-bit"), (5e8, 1e9, "cpu", "plain"), (5e8, 1e9, "gpu", "4-bit")],
)
def test_what_a_cpu_may_unpack_it_keeps_as_it_is_faster(
    of_packed: float, of_plain: float, device: str, kind: str
) -> None:
    rates = {"4-bit": {1: (of_packed, of_packed)}, "plain": {1: (of_plain, of_plain)}}
    machine = MachineSpeed(device, rates)
    found = foretold(replace(READS, draft=0, is_unpacked_on_cpu=True), machine)
    assert f"billion {kind} weights" in found.rests_on
    assert "billion 4-bit weights" in foretold(replace(READS, draft=0), machine).rests_on


@pytest.mark.parametrize(
    ("config", "size", "parameters"),
    [
        (DENSE, 2_000_000, 1_000_000),
        ({**DENSE, "tie_word_embeddings": False}, 2_000_000, 1_000_000 - 64_000),
        ({**DENSE, "torch_dtype": "float32"}, 4_000_000, 1_000_000),
        ({**DENSE, "quantization": {"bits": 4, "group_size": 64}}, 562_500, 1_000_000),
        ({"text_config": DENSE}, 2_000_000, 1_000_000),
        (  # 8 experts in 4 layers of which 2 are taken: 4 * 6 * 3 * 32 * 64 of them rest
            {**DENSE, "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
            2_000_000,
            1_000_000 - 147_456,
        ),
    ],
)
def test_a_step_reads_what_the_config_says(
    config: dict[str, object], size: int, parameters: int
) -> None:
    found = step_reads(config, size, 0)
    assert found is not None
    assert (found.trunk, found.draft) == (parameters, 0)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"vocab_size": 10},
        {**DENSE, "vocab_size": 10**8},
        {**DENSE, "hidden_size": float("nan")},
        {"text_config": [1], "quantization": "x", "vocab_size": float("inf")},
        {**DENSE, "num_experts": 10**9, "num_experts_per_tok": 1, "intermediate_size": 10**9},
    ],
)
def test_a_config_that_cant_be_right_tells_nothing(config: dict[str, object]) -> None:
    assert step_reads({**config, "tie_word_embeddings": False}, 2_000_000, 0) is None


def test_a_draft_reads_head_and_lm_head() -> None:
    found = step_reads(DENSE, 2_200_000, 200_000)
    assert found == StepReads(1_000_000, 100_000 + 64_000, 16, layers=4)


def test_the_demo_is_known_without_an_engine() -> None:
    reads = judge_demo(Path(resolve("demo").path)).reads
    assert reads is not None
    assert 1.3e8 < reads.trunk < 1.4e8
    assert reads.is_unpacked_on_cpu
    assert reads.layers == 30


def bench(folder: Path, day: str, model: str, plain: float) -> None:
    rows = [
        {"kind": "chat", "depth": depth, "tokens_per_s": {"median": at, "low": at - 1, "high": at + 1}}
        for depth, at in ((0, plain), (2, plain + 4), (None, plain + 5))
    ]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    content = {"bench": 1, "model": model, "made_at": f"{day}T10:00:00", "rows": rows}
    (folder / f"{day}-100000-{model}.json").write_text(json.dumps(content), "utf-8")


def test_the_newest_bench_of_a_model_goes_before_a_prediction(tmp_path: Path) -> None:
    bench(tmp_path, "2026-01-01", "mine", 10)
    bench(tmp_path, "2026-01-02", "mine", 20)
    bench(tmp_path, "2026-01-03", "other", 99)
    found = speed_of("mine", READS, MACHINE, tmp_path)
    assert found is not None
    assert found.is_measured
    assert (found.plain.low, found.plain.high) == (19, 21)
    assert found.drafting is not None
    assert found.drafting.high == 26
    assert "2026-01-02" in found.rests_on


@pytest.mark.parametrize(
    "spoiled", ["", "[]", '{"model": "mine"}', '{"model": "mine", "rows": []}']
)
def test_a_spoiled_result_is_passed_over(tmp_path: Path, spoiled: str) -> None:
    bench(tmp_path, "2026-01-01", "mine", 10)
    (tmp_path / "2026-01-05-100000-mine.json").write_text(spoiled, "utf-8")
    found = measured("mine", tmp_path)
    assert found is not None
    assert "2026-01-01" in found.rests_on


def test_a_toy_is_not_foretold() -> None:
    assert predict(replace(READS, trunk=10**6), MACHINE) is None


_KINDS = {kind: {"1": [1.0, 9.0]} for kind in MACHINE.rates}


def test_it_says_when_something_else_ran(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    said = json.dumps(
        {"device": "cpu", "is_steady": False, "kinds": _KINDS, "layer_s": [0.001, 0.0005]}
    )
    done = subprocess.CompletedProcess("", 0, said, "")
    monkeypatch.setattr("mtplx_tui.library.speed.subprocess.run", lambda *_, **__: done)
    found = speed.measure(places, "auto")
    assert found is not None
    assert "something else ran" in foretold(READS, found).rests_on
    assert known(places) is None  # the next run measures again


def test_a_speed_that_cant_be_kept_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    nowhere = Places(*[tmp_path / "file"] * 3)
    said = json.dumps(
        {"device": "cpu", "is_steady": True, "kinds": _KINDS, "layer_s": [0.001, 0.0005]}
    )
    done = subprocess.CompletedProcess("", 0, said, "")
    monkeypatch.setattr("mtplx_tui.library.speed.subprocess.run", lambda *_, **__: done)
    assert speed.measure(nowhere, "auto") is not None
    assert known(nowhere) is None


def test_nothing_known_is_nothing_told(tmp_path: Path) -> None:
    assert speed_of("mine", READS, None, tmp_path) is None
    assert speed_of("mine", None, MACHINE, tmp_path) is None


@pytest.mark.slow
def test_the_machine_is_measured_once_and_kept(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert known(places) is None
    found = speed.measure(places, "auto")
    assert found is not None
    assert known(places) == (found if found.is_steady else None)
    for of_kind in found.rates.values():
        assert sorted(of_kind) == [1, 2, 4]
    monkeypatch.setattr("platform.node", lambda: "elsewhere")
    assert known(places) is None


@pytest.mark.parametrize("spoiled", ["", "{", "[]", '{"of": 1, "kinds": {}}'])
def test_a_spoiled_measurement_is_as_none(places: Places, spoiled: str) -> None:
    places.state.mkdir(parents=True)
    (places.state / "speed.json").write_text(spoiled, "utf-8")
    assert known(places) is None


def test_an_engine_that_cant_measure_leaves_it_unknown(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    assert speed.measure(places, "auto") is None
    assert known(places) is None
