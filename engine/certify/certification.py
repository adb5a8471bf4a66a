"""Holds the loaded model to the law within a budget of time, step by step, and says what it found."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import mlx.core as mx

from engine.certify.evidence import Evidence
from engine.certify.statistics import Fit, least_bias, normal_p
from engine.errors import RequestError
from engine.model.load import LoadedModel
from engine.protocol import (
    PROTOCOL_VERSION,
    Certificate,
    Certify,
    CertifyDone,
    CertifyProgress,
    CheckResult,
    Event,
    LawCheck,
    Mode,
    Verdict,
)
from engine.speculation.draft import GREEDY_BELOW

__all__ = ["Certification"]

FAMILY_P = 1e-6
CHECKS = 12
PASSING_P = FAMILY_P / CHECKS
LEAST_TRIALS = 1_000_000
LEAST_PLACES = 100
"""Greedy tokens, and judged drafts, below which nothing is decided."""
LEAST_SEQUENCES = 20
LEAST_TEXT = 300
"""Tokens of whole texts in each mode."""
_GREEDY_TOKENS = 24
_FINITE = 1e300
"""For an infinite statistic, which JSON can't hold."""
_PROMPTS = ("The bicycle", "def add(a, b):", "Once upon a time, in a", '{"name": "', "1, 2, 3,")


@dataclass(frozen=True, slots=True)
class _Stage:
    name: str
    end: float
    """Share of the budget at which it ends."""


_PATIENCE = 0.9
"""Share of the budget up to which a stage that is short of its least goes on."""
_STAGES = (
    _Stage("cycles", 0.15),
    _Stage("rules", 0.22),
    _Stage("texts", 0.62),
    _Stage("sequences", 0.82),
    _Stage("greedy", 0.96),
)


class Certification:
    """See the module; takes turns with requests.

    Args:
        command: what was asked for.
        model: what is loaded.
        clock: seconds.

    Raises:
        RequestError: the model has no head.
    """

    def __init__(
        self,
        command: Certify,
        model: LoadedModel,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if model.head is None:
            raise RequestError("there is no head to certify", model.info.head_note)
        self.name = command.request
        self.is_over = False
        self._clock = clock
        self._begin = clock()
        self._command, self._model = command, model
        own = model.info.sampling
        self._sampling = replace(
            own, temperature=max(own.temperature, GREEDY_BELOW), top_k=own.top_k or 40
        )
        prompts = [model.tokenizer.encode(text, is_rendered=False) for text in _PROMPTS]
        self._prompts = [ids for ids in prompts if len(ids) > 1]
        if not self._prompts:
            raise RequestError("this model's tokenizer reads none of the certificate's prompts")
        self._evidence = Evidence(model, self._sampling, command.depth, command.seed, self._prompts)

    def cancel(self) -> CertifyDone:
        """End it, with a certificate of what was done."""
        return self._done()

    def advance(self) -> list[Event]:
        """Do one step."""
        stage = self._stage()
        if stage is None:
            return [self._done()]
        match stage:
            case "cycles":
                self._evidence.run_cycle()
            case "rules":
                self._evidence.run_trials()
            case "texts":
                self._evidence.run_text()
            case "sequences":
                self._evidence.run_sequences(self._prompts[0])
            case _:
                self._evidence.run_greedy(_GREEDY_TOKENS)
        spent = self._clock() - self._begin
        return [CertifyProgress(self.name, stage, spent, self._command.budget_s)]

    def _stage(self) -> str | None:
        """Return what to do next; what is short of its least goes on while there is time."""
        spent = (self._clock() - self._begin) / self._command.budget_s
        found = self._evidence
        short = {
            "cycles": not (found.windows and found.has_doubtful_drafts)
            or found.judged.sum() < LEAST_PLACES,
            "rules": found.trials["token_rule"].samples < LEAST_TRIALS,
            "texts": min(text.tokens for text in found.texts.values()) < LEAST_TEXT,
            "sequences": found.sequence_count < LEAST_SEQUENCES,
        }
        for stage in _STAGES:
            if spent < stage.end or (short.get(stage.name, False) and spent < _PATIENCE):
                return stage.name
        return None

    def _done(self) -> CertifyDone:
        self.is_over = True
        checks = self._checks()
        verdict = _verdict(checks)
        rules = [check for check in checks if check.name.endswith("rule")]
        smallest = max((check.least_bias for check in rules), default=1.0)
        return CertifyDone(self.name, self._certificate(checks, verdict, smallest))

    def _certificate(
        self, checks: tuple[LawCheck, ...], verdict: Verdict, smallest: float
    ) -> Certificate:
        info = self._model.info
        device = "cpu" if mx.default_device() == mx.cpu else "gpu"
        return Certificate(
            verdict=verdict,
            summary=_summary(checks, verdict, smallest),
            checks=checks,
            least_bias=smallest,
            passing_p=PASSING_P,
            model=info.name,
            path=info.path,
            weights_bytes=info.weights_bytes,
            sampling=self._sampling,
            depth=self._command.depth,
            seed=self._command.seed,
            budget_s=self._command.budget_s,
            took_s=self._clock() - self._begin,
            protocol=PROTOCOL_VERSION,
            device=device,
            mlx=importlib.metadata.version("mlx"),
            mlx_lm=importlib.metadata.version("mlx-lm"),
        )

    def _checks(self) -> tuple[LawCheck, ...]:
        found = self._evidence
        judged = int(found.judged.sum())
        score = found.acceptance_z()
        p = min(1.0, normal_p(score) * self._command.depth)
        acceptance = _check(
            "acceptance",
            "drafts are accepted as often as the overlap of target and draft says (z-score)",
            Fit(score, 0, judged),
            p,
            is_enough=judged >= LEAST_PLACES and found.has_doubtful_drafts,
        )
        errors = found.errors
        state = LawCheck(
            "greedy state",
            "greedy text with drafts parts from plain greedy text at numeric ties alone (errors)",
            _result(0.0 if errors else found.ties_p, is_enough=found.greedy_places >= LEAST_PLACES),
            found.greedy_places,
            float(errors),
            0,
            found.ties_p,
            0.0,
        )
        noise = found.noise_fit()
        return (
            *(self._rule(mode) for mode in ("token_rule", "block_rule")),
            acceptance,
            *(self._text(mode) for mode in Mode),
            *(self._sequences(arm) for arm in ("control", *(mode.value for mode in Mode))),
            state,
            _check("noise", "the numbers of a position are independent by purpose", noise, noise.p),
        )

    def _rule(self, name: str) -> LawCheck:
        fit = self._evidence.trials[name]
        words = name.replace("_", " ")
        return _check(
            words,
            f"the {words} gives the target's own law on real rows",
            fit,
            fit.p,
            is_enough=fit.samples >= LEAST_TRIALS,
        )

    def _text(self, mode: Mode) -> LawCheck:
        fit = self._evidence.texts[mode].fit()
        claim = "the tokens of whole texts follow the rows that plain decoding draws from"
        is_enough = fit.samples >= LEAST_TEXT and fit.degrees > 0
        return _check(f"texts, {mode.value}", claim, fit, fit.p, is_enough=is_enough)

    def _sequences(self, arm: str) -> LawCheck:
        fit = self._evidence.compared(arm)
        claim = "first tokens have the law of plain decoding"
        is_enough = self._evidence.sequence_count >= LEAST_SEQUENCES and fit.degrees > 0
        return _check(f"sequences, {arm}", claim, fit, fit.p, is_enough=is_enough)


def _check(name: str, claim: str, fit: Fit, p: float, *, is_enough: bool = True) -> LawCheck:
    bias = least_bias(fit.degrees, fit.samples, PASSING_P) if fit.degrees else 0.0
    result = _result(p, is_enough=is_enough)
    statistic = min(fit.chi2, _FINITE)
    return LawCheck(name, claim, result, fit.samples, statistic, fit.degrees, p, bias)


def _result(p: float, *, is_enough: bool) -> CheckResult:
    if p < PASSING_P:
        return CheckResult.BROKEN
    return CheckResult.KEPT if is_enough else CheckResult.UNDECIDED


def _verdict(checks: tuple[LawCheck, ...]) -> Verdict:
    results = {check.result for check in checks}
    if CheckResult.BROKEN in results:
        return Verdict.BROKEN
    return Verdict.UNDECIDED if CheckResult.UNDECIDED in results else Verdict.EXACT


def _summary(checks: tuple[LawCheck, ...], verdict: Verdict, smallest: float) -> str:
    if verdict is Verdict.EXACT:
        return (
            f"drafting does not change what this model says here: every law was kept, and rules "
            f"of acceptance with a bias of {smallest:.2%} or more are excluded"
        )
    wanted = CheckResult.BROKEN if verdict is Verdict.BROKEN else CheckResult.UNDECIDED
    names = "; ".join(check.name for check in checks if check.result is wanted)
    if verdict is Verdict.BROKEN:
        return f"a law is broken: {names}"
    return f"a larger budget is needed, too little was seen to decide: {names}"
