"""The certificate: a sound engine is exact, broken ones are named, too little time decides nothing."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from engine.certify import certification, evidence, statistics
from engine.certify.certification import Certification
from engine.certify.divergence import Kind, classify, excess_of_ties, noise_limit
from engine.errors import RequestError
from engine.model.load import LoadedModel
from engine.protocol import (
    Certificate,
    Certify,
    CertifyDone,
    CertifyProgress,
    CheckResult,
    Sampling,
    Verdict,
)
from tests.conformance.toys import SUITE_P, least_bias
from tests.fakes import faults, tiny


@pytest.fixture(autouse=True)
def small_greedy_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certification, "_GREEDY_TOKENS", 24)


LETTERS = "".join(sorted({*"The bicycle", *"def add(a, b):", *"Once upon a time, in a"}))


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return tiny.loaded(tiny.vocabulary_of(LETTERS))


def certificate(model: LoadedModel, steps: int) -> Certificate:
    """Certify by a clock that counts steps, whatever else the machine is doing."""
    ticks = itertools.count()
    made = Certification(Certify("c", budget_s=2.0 * steps), model, lambda: float(next(ticks)))
    seen: list[str] = []
    while True:
        for event in made.advance():
            if isinstance(event, CertifyProgress):
                seen.append(event.stage)
            if isinstance(event, CertifyDone):
                assert made.is_over
                assert seen[0] == "cycles"
                assert seen[-1] == "greedy"
                return event.certificate


@pytest.mark.slow
def test_a_sound_engine_is_exact(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "TRIALS", 32_768)
    found = certificate(model, 200)
    assert found.verdict is Verdict.EXACT, found.summary
    assert f"{found.least_bias:.2%}" in found.summary
    assert 0 < found.least_bias < 0.2
    rules = [check for check in found.checks if check.name.endswith("rule")]
    assert all(check.samples >= 1_000_000 for check in rules)


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "named"), faults.NAMED.items())
def test_a_broken_engine_is_named(
    model: LoadedModel, fault: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults.put(fault, monkeypatch.setattr)
    found = certificate(model, 180 if fault == "stop chances" else 130)
    assert found.verdict is Verdict.BROKEN
    assert named in found.summary
    broken = [check.name for check in found.checks if check.result is CheckResult.BROKEN]
    assert named in broken


def test_too_little_time_decides_nothing(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certification, "LEAST_TRIALS", 10**12)
    found = certificate(model, 12)
    assert found.verdict is Verdict.UNDECIDED
    _, _, names = found.summary.partition(": ")
    undecided = [check.name for check in found.checks if check.result is CheckResult.UNDECIDED]
    assert names.split("; ") == undecided  # some names hold a comma
    assert "token rule" in undecided


def test_without_a_head_there_is_nothing_to_certify(model: LoadedModel) -> None:
    with pytest.raises(RequestError, match="no head"):
        Certification(Certify("c"), replace(model, head=None))


@pytest.mark.parametrize("degrees", [1, 3, 63, 255, 2000])
def test_chi_squared_is_that_of_scipy(degrees: int) -> None:
    for p in (0.999, 0.5, 1e-3, 1e-9):
        x = float(stats.chi2.isf(p, degrees))
        assert statistics.chi2_sf(x, degrees) == pytest.approx(p, rel=1e-7)
    own = statistics.least_bias(degrees, 300_000, SUITE_P)
    assert own == pytest.approx(least_bias(degrees, 300_000), rel=1e-6)


def test_fits_are_those_of_scipy() -> None:
    rng = np.random.default_rng(1)
    law = rng.dirichlet(np.ones(12))
    law = np.maximum(law, 0.02) / np.maximum(law, 0.02).sum()
    ours, theirs = (
        rng.multinomial(4000, law).astype(float),
        rng.multinomial(3000, law).astype(float),
    )
    one = statistics.fit(ours, law)
    assert one.chi2 == pytest.approx(stats.chisquare(ours, law * 4000).statistic)
    both = statistics.two_samples(ours, theirs)
    table = stats.chi2_contingency(np.stack([ours, theirs]), correction=False)
    assert (both.chi2, both.degrees) == (pytest.approx(table.statistic), table.dof)
    assert statistics.fit(np.array([1.0, 5.0]), np.array([0.0, 1.0])).p == 0


def test_what_is_never_rolled_back_can_not_pass_for_what_widths_do(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = model.tokenizer.encode("Once upon a time, in a", is_rendered=False)
    found = evidence.Evidence(model, Sampling(), depth=3, seed=0, prompts=[prompt])
    found.run_greedy(48)
    assert (found.errors, found.ties_p) == (0, 1)
    faults.put("rollback", monkeypatch.setattr)
    found.run_greedy(48)
    assert found.errors > 12


def row(*logits: float) -> np.ndarray:
    return np.array(logits, np.float32)


TIES: list[tuple[np.ndarray, np.ndarray, Kind]] = [
    (row(1.0, 0.9999, 0), row(0.9999, 1.0, 0), Kind.TIE),
    (row(1.0, 0.5, 0), row(0.9999, 1.0, 0), Kind.ERROR),
    (row(1.0, 0.9999, 0), row(0.9, 0.95, 2.0), Kind.ERROR),
    (row(1.0, 0.999, 0), row(1.0, 1.0001, 0), Kind.ERROR),
    (row(1.0, 0.9999, 0.9998), row(0.9999, 0.9998, 1.0), Kind.TIE),
    (row(1.0, 0.9999, 0.9995), row(0.9999, 0.9998, 1.0), Kind.ERROR),
]


@pytest.mark.parametrize(("alone", "grouped", "kind"), TIES)
def test_a_tie_is_told_from_an_error(alone: np.ndarray, grouped: np.ndarray, kind: Kind) -> None:
    assert classify(alone, grouped, 2e-4) is kind


def test_ties_are_counted_against_the_control() -> None:
    assert excess_of_ties(0, 1000, 0, 1000) == 1
    assert excess_of_ties(5, 1000, 6, 1000) > 0.1
    assert excess_of_ties(40, 1000, 2, 1000) < 1e-6
    wanted = stats.binom.sf(8, 12, 1000 / 4000)
    assert excess_of_ties(9, 1000, 3, 3000) == pytest.approx(wanted)
    assert noise_limit([]) == 0
    assert noise_limit([1e-6] * 999 + [1.0]) < 1.0
