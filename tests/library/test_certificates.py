"""A certificate makes its model verified, and no other one."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from engine.protocol import PROTOCOL_VERSION, Certificate, Sampling, Verdict
from engine.verdict.tiers import Tier
from mtplx_tui.cli import main
from mtplx_tui.config import find_places
from mtplx_tui.library import certificates
from mtplx_tui.library.catalog import judge_here
from mtplx_tui.library.certificates import find, keep
from mtplx_tui.library.disk import resolve
from tests.fakes import checkpoints

SAID = "drafting does not change what this model says here"


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a sound head, and a home of its own."""
    monkeypatch.setenv("MTPLX_TUI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return checkpoints.write(tmp_path / "model", "qwen3_5")


def made(model: Path, verdict: Verdict = Verdict.EXACT, seed: int = 0) -> Certificate:
    return Certificate(
        verdict=verdict,
        summary=f"{SAID}: {verdict}",
        checks=(),
        least_bias=0.01,
        passing_p=1e-7,
        model=str(model),
        path=str(model),
        weights_bytes=1,
        sampling=Sampling(),
        depth=3,
        seed=seed,
        budget_s=60.0,
        took_s=60.0,
        protocol=PROTOCOL_VERSION,
        device="cpu",
        mlx="0",
        mlx_lm="0",
    )


def tier(model: Path) -> Tier:
    return judge_here("it", model, find_places().certificates).verdict.tier


def test_what_was_proven_here_is_verified(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tier(model) is Tier.COMPATIBLE
    place = keep(made(model), find_places().certificates)
    assert place.is_file()
    verdict = judge_here("it", model, find_places().certificates).verdict
    assert verdict.tier is Tier.VERIFIED
    assert verdict.reasons[-1].ok is True
    assert SAID in verdict.reasons[-1].detail
    assert main(["inspect", str(model), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tier"] == "verified"


def test_the_list_of_models_tells_tiers(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = find_places().models / "mine"
    own.parent.mkdir(parents=True)
    model.rename(own)
    keep(made(own), find_places().certificates)
    assert main(["models", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["models"]
    assert {entry["name"]: entry["tier"] for entry in listed}[str(own)] == "verified"


@pytest.mark.parametrize(("verdict", "ok"), [(Verdict.BROKEN, False), (Verdict.UNDECIDED, None)])
def test_what_was_not_proven_is_told_and_not_verified(
    model: Path, verdict: Verdict, *, ok: bool | None
) -> None:
    keep(made(model, verdict), find_places().certificates)
    found = judge_here("it", model, find_places().certificates).verdict
    assert found.tier is Tier.COMPATIBLE
    assert found.reasons[-1].ok is ok


def test_a_law_seen_broken_stays_broken(model: Path) -> None:
    for seed, verdict in enumerate((Verdict.EXACT, Verdict.BROKEN, Verdict.EXACT)):
        keep(made(model, verdict, seed), find_places().certificates)
    assert tier(model) is Tier.COMPATIBLE


def test_other_files_need_another_certificate(model: Path) -> None:
    keep(made(model), find_places().certificates)
    weights = next(model.glob("*.safetensors"))
    seen = weights.stat()
    os.utime(weights, ns=(seen.st_atime_ns, seen.st_mtime_ns + 1))
    assert tier(model) is Tier.COMPATIBLE


def test_other_versions_and_machines_need_another_certificate(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(made(model), find_places().certificates)
    for change in (
        {"version": lambda name: f"{name} 9"},
        {"PROTOCOL_VERSION": PROTOCOL_VERSION + 1},
    ):
        with monkeypatch.context() as other:
            for name, value in change.items():
                other.setattr(certificates, name, value)
            assert find(model, find_places().certificates) is None
    monkeypatch.setattr("platform.node", lambda: "elsewhere")
    assert find(model, find_places().certificates) is None


def test_a_certificate_of_another_model_is_not_taken(model: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    shutil.copytree(model, twin)  # the very files, in another place
    keep(made(model), find_places().certificates)
    assert tier(twin) is Tier.COMPATIBLE


@pytest.mark.parametrize("spoiled", ["", "{", "[]", "{}", '{"rests_on": 1, "certificate": 2}'])
def test_a_spoiled_certificate_is_as_none(model: Path, spoiled: str) -> None:
    place = keep(made(model), find_places().certificates)
    place.write_text(spoiled, "utf-8")
    assert tier(model) is Tier.COMPATIBLE


def test_the_demo_can_be_verified(model: Path) -> None:
    demo = Path(resolve("demo").path)
    keep(made(demo), find_places().certificates)
    assert tier(demo) is Tier.VERIFIED
