"""Every fault we can think of is put into the production functions, and a test must see it.

A fault replaces a function that the engine, or the suite's own draft process, really uses; the
test that has to fail is one of the suite's, called as it stands, at a size at which it is sure to
see the fault.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from engine.errors import RequestError
from engine.model.cache import Cache
from engine.protocol import Mode, Sampling
from engine.speculation import acceptance, cycle, draft, noise
from engine.speculation.grammar import Grammar
from engine.speculation.history import History
from engine.speculation.noise import CycleNoise, Purpose
from engine.speculation.stream import Stream
from tests.conformance import (
    test_bad_drafts,
    test_ends,
    test_engine_law,
    test_exact_acceptance,
    test_laws,
    test_noise,
    test_state,
    test_transforms,
)
from tests.conformance.checks import killed
from tests.conformance.decoding import VOCABULARY
from tests.conformance.toys import A, B, C
from tests.conformance.windows import PLAIN, Process
from tests.fakes import tiny
from tests.fakes.faults import Fault, seen

Patch = pytest.MonkeyPatch


def replaced(name: str, function: Callable[..., object]) -> Callable[[Patch], object]:
    """Put a function in the place of one of `acceptance`."""
    return lambda patch: patch.setattr(acceptance, name, function)


def around(name: str, change: Callable[..., tuple[mx.array, ...]]) -> Callable[[Patch], object]:
    """Change what a rule of `acceptance` is given."""
    rule = getattr(acceptance, name)
    return replaced(name, lambda *window: rule(*change(*window)))


def discarding(rows: np.ndarray, drafted: np.ndarray, full: np.ndarray) -> np.ndarray:
    """Throw away the first draft that came out unlikely."""
    chance = np.take_along_axis(rows, drafted[:, :, None], 2)[:, :, 0]
    return np.cumprod(chance >= 0.35, axis=1).sum(1)


def foreseeing(rows: np.ndarray, drafted: np.ndarray, full: np.ndarray) -> np.ndarray:
    """Let the second draft decide whether there is one."""
    chance = np.take_along_axis(rows, drafted[:, :, None], 2)[:, :, 0]
    return np.where(chance[:, 1] < 0.35, 1, 2)


def token(samples: int, process: Process | None = None, depth: int = 2) -> dict[str, Any]:
    return {"toy": A, "depth": depth, "samples": samples, "process": process or Process()}


def block(samples: int, toy: object, process: Process | None = None) -> dict[str, Any]:
    return {"toy": toy, "depth": 2, "samples": samples, "process": process or Process()}


def stopping(process: Process) -> dict[str, Any]:
    return {"rule": "token_rule", "submitted": "a fault", "samples": 20_000, "process": process}


def kind(samples: int, process: Process) -> dict[str, Any]:
    return {"kind": "faulty", "samples": samples, "process": process}


def minus(one: mx.array, other: mx.array) -> mx.array:
    excess = mx.maximum(one - other, 0)
    return excess / mx.maximum(mx.sum(excess), 1e-20)


TOKEN_LAW = test_laws.test_the_token_rule_keeps_the_law
BLOCK_LAW = test_laws.test_the_block_rule_keeps_the_law
KIND_LAW = test_laws.test_every_kind_of_draft_keeps_the_law
DEPTH_LAW = test_laws.test_a_depth_that_is_a_stopping_time_keeps_the_law
TOP_3 = Sampling(1.0, 1.0, 3)

RULES = [
    Fault(
        "residual replaced by the target",
        TOKEN_LAW,
        token(10_000),
        replaced("residual", lambda p, q, *_: p),
    ),
    Fault(
        "residual the wrong way round",
        TOKEN_LAW,
        token(10_000),
        replaced("residual", lambda p, q, *_: minus(q, p)),
    ),
    Fault(
        "ratio inverted",
        TOKEN_LAW,
        token(10_000),
        replaced("_passes", lambda u, p, q: u * p < q),
    ),
    Fault(
        "accepted where the target is likelier",
        TOKEN_LAW,
        token(10_000),
        replaced("_passes", lambda u, p, q: p >= q),
    ),
    Fault(
        "leniency of 5 %",
        TOKEN_LAW,
        token(100_000),
        replaced("_passes", lambda u, p, q: u * q < 1.05 * p),
    ),
    Fault(
        "leniency of 1 %",
        TOKEN_LAW,
        token(2_000_000),
        replaced("_passes", lambda u, p, q: u * q < 1.01 * p),
    ),
    Fault(
        "bonus from the row before",
        TOKEN_LAW,
        token(10_000),
        around("token_rule", lambda p, *rest: (mx.concatenate([p[:-1], p[-2:-1]]), *rest)),
    ),
    Fault(
        "bonus from a residual",
        TOKEN_LAW,
        token(10_000),
        around(
            "token_rule",
            lambda p, q, *rest: (mx.concatenate([p[:-1], minus(p[-1], q[-1])[None]]), q, *rest),
        ),
    ),
    Fault(
        "window shifted by a row",
        TOKEN_LAW,
        token(10_000),
        around("token_rule", lambda p, *rest: (mx.concatenate([p[:1], p[:-1]]), *rest)),
    ),
    Fault(
        "one number for accept and residual",
        TOKEN_LAW,
        token(20_000),
        around(
            "token_rule", lambda p, q, d, u, n: (p, q, d, u, mx.concatenate([u, n[u.shape[0] :]]))
        ),
    ),
    Fault(
        "block rule with the token rule's residual, toy C",
        BLOCK_LAW,
        block(30_000, C),
        replaced("residual", lambda p, q, *_: minus(p, q)),
    ),
    Fault(
        "block rule with the token rule's residual, toy A",
        BLOCK_LAW,
        block(4_000_000, A),
        replaced("residual", lambda p, q, *_: minus(p, q)),
    ),
    Fault(
        "block rule without the cap at 1",
        BLOCK_LAW,
        block(10_000, B),
        replaced(
            "_reach",
            lambda p, q: mx.concatenate([mx.ones((1,)), mx.cumprod(p / q)]),
        ),
    ),
    Fault(
        "block rule with h = p everywhere",
        BLOCK_LAW,
        block(10_000, B),
        replaced("_stop_chances", lambda reach, left: reach[1:]),
    ),
    Fault(
        "block rule that stops at the first failure",
        BLOCK_LAW,
        block(10_000, B),
        replaced("_longest", acceptance._leading),
    ),
]

PROCESSES = [
    Fault(
        "arg-max drafts claimed soft",
        KIND_LAW,
        kind(10_000, Process(Sampling(0.0, 1, 0), claimed=PLAIN)),
    ),
    Fault(
        "drafts at T 0.9 claimed at 1",
        KIND_LAW,
        kind(100_000, Process(Sampling(0.9, 1, 0), claimed=PLAIN)),
    ),
    Fault(
        "drafts at T 0.97 claimed at 1",
        KIND_LAW,
        kind(1_200_000, Process(Sampling(0.97, 1, 0), claimed=PLAIN)),
    ),
    Fault(
        "drafts from the top 3 claimed from all",
        KIND_LAW,
        kind(10_000, Process(TOP_3, claimed=PLAIN)),
    ),
    Fault(
        "drafts from the top 3 claimed unnormalised",
        KIND_LAW,
        kind(20_000, Process(TOP_3, forgets_to_normalise=True)),
    ),
    Fault(
        "unlikely drafts thrown away",
        DEPTH_LAW,
        stopping(Process(submitted=discarding)),
    ),
    Fault(
        "depth decided by a later draft",
        DEPTH_LAW,
        stopping(Process(submitted=foreseeing)),
    ),
    Fault(
        "target at T 0.95 in place of 1",
        TOKEN_LAW,
        token(500_000, Process(target=Sampling(0.95, 1, 0))),
    ),
    Fault(
        "block rule with numbers by position alone",
        BLOCK_LAW,
        block(100_000, A, Process(noise_by_place=True)),
    ),
    Fault(
        "one Gumbel vector for draft and residual",
        test_laws.test_the_first_token_keeps_its_law_with_gumbel_noise,
        {"samples": 250_000, "is_noise_shared": True},
    ),
]


def never_rolled_back(patch: Patch) -> None:
    commit = Cache.commit
    patch.setattr(Cache, "commit", lambda self, kept: commit(self, self.open))


def last_row_for_the_head(patch: Patch) -> None:
    add = Stream.add_pending

    def shifted(self: Stream, hidden: mx.array | None, tokens: mx.array) -> None:
        assert hidden is not None
        add(self, mx.concatenate([hidden[:, 1:], hidden[:, -1:]], axis=1), tokens)

    patch.setattr(Stream, "add_pending", shifted)


def one_history_for_all_rows(patch: Patch) -> None:
    def shared(self: History, drafted: mx.array) -> mx.array:
        return mx.broadcast_to(self.counts, (drafted.shape[0] + 1, self.counts.shape[0]))

    patch.setattr(History, "_counts_by_row", shared)


def bans_forgotten(patch: Patch) -> None:
    patch.setattr(History, "_banned", lambda *_: None)


def matcher_fed_with_drafts(patch: Patch) -> None:
    masks = Grammar.masks

    def eager(self: Grammar, drafted: tuple[int, ...]) -> mx.array:
        found = masks(self, drafted)
        self._matcher.try_consume_tokens(list(drafted))
        return found

    patch.setattr(Grammar, "masks", eager)


def one_mask_for_all_rows(patch: Patch) -> None:
    masks = Grammar.masks
    patch.setattr(
        Grammar, "masks", lambda self, drafted: mx.repeat(masks(self, ()), len(drafted) + 1, 0)
    )


def logprobs_of_the_row_before(patch: Patch) -> None:
    right = cycle.log_probabilities
    patch.setattr(cycle, "log_probabilities", lambda logits: mx.roll(right(logits), 1, 0))


def rows_shifted_in_the_engine(patch: Patch) -> None:
    right = cycle.target_distribution

    def shifted(logits: mx.array, *rest: Any) -> mx.array:
        rows = right(logits, *rest)
        return mx.concatenate([rows[:1], rows[:-1]])

    patch.setattr(cycle, "target_distribution", shifted)


def drafts_judged_by_themselves(patch: Patch) -> None:
    right = cycle.token_rule

    def rule(target: mx.array, own: mx.array, *rest: mx.array) -> acceptance.Verdict:
        return right(mx.concatenate([own, target[-1:]]), own, *rest)

    patch.setattr(cycle, "token_rule", rule)
    patch.setattr(cycle, "verdict", lambda *_, **__: None)  # no kernel in the rule's place


def keys_without_the_cycle(patch: Patch) -> None:
    bits = noise._bits
    patch.setattr(noise, "_bits", lambda seed, _, place, purpose: bits(seed, 0, place, purpose))


def one_purpose_for_all(patch: Patch) -> None:
    bits = noise._bits
    patch.setattr(
        noise, "_bits", lambda seed, number, place, _: bits(seed, number, place, Purpose.DRAFT)
    )


def seeded_noise_by_cycle(patch: Patch) -> None:
    def by_cycle(self: CycleNoise, index: int, vocabulary: int) -> mx.array:
        return noise.gumbel(self._seed + self._cycle, self._first + index, vocabulary)[None]

    patch.setattr(CycleNoise, "gumbel", by_cycle)


def half_precision_drafts(patch: Patch) -> None:
    right = draft.target_distribution
    patch.setattr(draft, "target_distribution", lambda *a: right(*a).astype(mx.bfloat16))


MODEL = tiny.trunk_and_head(VOCABULARY)
SEEDED = {"depth": "3", "sampling": Sampling(1, 1, 0)}
LETTERS = tiny.loaded(tiny.vocabulary_of(test_ends.LETTERS))
NUMBERS = tiny.vocabulary_of(test_ends.JSON_LETTERS)
NUMBERS.add_special_tokens(["<|end|>"])
JSON = tiny.loaded(NUMBERS, frozenset({len(test_ends.JSON_LETTERS)}))
GRAMMAR = {"json_model": JSON, "depth": 3}

ENGINE = [
    Fault(
        "rejected drafts left in the caches",
        test_state.test_state_is_that_of_sequential_decoding,
        {"model": MODEL, "accepted": 2},
        never_rolled_back,
    ),
    Fault(
        "what a stop cut left in the caches",
        test_state.test_a_stop_leaves_the_state_of_sequential_decoding,
        {"model": MODEL, "kept": 2},
        never_rolled_back,
    ),
    Fault(
        "a cache bug called a tie",
        test_engine_law.test_greedy_text_parts_from_plain_greedy_text_at_ties_alone,
        {"model": MODEL},
        never_rolled_back,
    ),
    Fault(
        "the head fed with the wrong hidden row",
        test_state.test_caches_after_many_cycles_equal_one_pass,
        {"model": MODEL, "mode": Mode.TOKEN},
        last_row_for_the_head,
    ),
    Fault(
        "one history for all rows",
        test_transforms.test_rows_of_a_window_equal_the_reference,
        {"sampling": Sampling(1, 1, 0)},
        one_history_for_all_rows,
    ),
    Fault(
        "bans forgotten",
        test_transforms.test_rows_of_a_window_equal_the_reference,
        {"sampling": Sampling(1, 1, 0)},
        bans_forgotten,
    ),
    Fault(
        "the matcher advanced by drafts",
        test_ends.test_grammatical_text_is_the_same_for_every_depth,
        GRAMMAR,
        matcher_fed_with_drafts,
    ),
    Fault(
        "one grammar mask for all rows",
        test_ends.test_grammatical_text_is_the_same_for_every_depth,
        GRAMMAR,
        one_mask_for_all_rows,
    ),
    Fault(
        "log-probabilities of the row before",
        test_ends.test_log_probabilities_are_those_of_teacher_forcing,
        {"model": LETTERS, "depth": 3, "mode": Mode.TOKEN},
        logprobs_of_the_row_before,
    ),
    Fault(
        "rows shifted in the engine",
        test_engine_law.test_greedy_text_is_plain_greedy_text,
        {"model": MODEL, "depth": "3"},
        rows_shifted_in_the_engine,
    ),
    Fault(
        "drafts judged by themselves",
        test_bad_drafts.test_trap_23_bad_drafts_are_rejected_at_the_analytic_rate,
        {"model": test_bad_drafts.with_bad_head(), "mode": Mode.TOKEN},
        drafts_judged_by_themselves,
    ),
    Fault(
        "keys without the cycle",
        test_noise.test_every_part_of_the_key_counts,
        {},
        keys_without_the_cycle,
    ),
    Fault(
        "keys without the purpose",
        test_noise.test_purposes_are_independent,
        {},
        one_purpose_for_all,
    ),
    Fault(
        "seeded noise by cycle",
        test_engine_law.test_seeded_text_depends_on_the_seed_alone,
        {"model": MODEL, **SEEDED},
        seeded_noise_by_cycle,
    ),
    Fault(
        "draft distributions kept in half precision",
        test_engine_law.test_drafts_are_drawn_above_a_temperature_and_likeliest_below,
        {"model": MODEL, "sampling": Sampling(0.8, 1, 0), "is_soft": True},
        half_precision_drafts,
    ),
]


@pytest.mark.parametrize("fault", [*RULES, *PROCESSES, *ENGINE], ids=lambda fault: fault.name)
def test_every_fault_is_seen(fault: Fault, monkeypatch: Patch) -> None:
    # Where a fault lets something illegal out, the matcher refuses to go on before the test does.
    seen(fault, RequestError, monkeypatch=monkeypatch)
    killed[fault.name] = getattr(fault.test, "__name__", "")


def test_rounding_of_a_draft_distribution_is_seen_without_samples() -> None:
    """Stored in bfloat16 the bias is 0.0004, which no sample shows; integration does."""
    test_exact_acceptance.test_half_precision_drafts_are_seen()
    killed["draft distributions rounded"] = "test_half_precision_drafts_are_seen"
