"""Faults put into the bodies of the kernels that accept; a test of each kernel must see them."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from kernels import distribution, verdict
from tests.fakes.emulation import needs_compiler
from tests.fakes.faults import Fault, seen
from tests.kernels import test_distribution as rows
from tests.kernels import test_verdict as verdicts

pytestmark = [needs_compiler, pytest.mark.slow]


def replaced(
    module: ModuleType, old: str, new: str, part: str = "BODY"
) -> Callable[[pytest.MonkeyPatch], object]:
    """Write something else into a kernel, everywhere that it stands."""
    text = getattr(module, part)
    assert old in text, f"{old} is not in the kernel"
    return lambda patch: patch.setattr(module, part, text.replace(old, new))


def fault(
    name: str,
    test: Callable[..., object],
    put: Callable[[pytest.MonkeyPatch], object],
    **arguments: Any,
) -> Fault:
    return Fault(name, test, arguments, put)


FAULTS = [
    fault(
        "ties keep the higher token",
        rows.test_ties_at_the_border_keep_the_lower_token,
        replaced(distribution, "(0xffffffu - static_cast<unsigned int>(id))", "id", "HEADER"),
        top_k=3,
        kept=[0, 1, 3],
    ),
    fault(
        "zeros of either sign are told apart",
        rows.test_ties_at_the_border_keep_the_lower_token,
        replaced(distribution, "x == 0.0f ? 0u : as_bits(x)", "as_bits(x)", "HEADER"),
        top_k=6,
        kept=[0, 1, 2, 3, 4, 5],
    ),
    fault(
        "ties cut by no id",
        rows.test_rows_of_one_number_keep_the_lowest_tokens,
        replaced(distribution, "before + here < goal + each", "shift == 16"),
        top_k=20,
    ),
    fault(
        "a token too many",
        rows.test_rows_equal_the_reference,
        replaced(
            distribution, "Wide goal = static_cast<Wide>(top_k)", "Wide goal = Wide(top_k + 1)"
        ),
    ),
    fault(
        "a nucleus that reaches its share and goes on",
        rows.test_a_nucleus_ends_at_its_share_exactly,
        replaced(distribution, "goal = part_of(mass, top_p)", "goal = part_of(mass, top_p) + 1"),
        top_p=0.5,
        kept=2,
    ),
    fault(
        "no carry between halves of a mass",
        rows.test_rows_equal_the_reference,
        replaced(distribution, " + (before + low < before)", "", "HEADER"),
    ),
    fault(
        "min_p forgotten where rows are written",
        rows.test_rows_equal_the_reference,
        replaced(distribution, "if (each >= least) own.at[j]", "own.at[j]"),
    ),
    fault(
        "candidates bounded before they are divided",
        rows.test_tokens_that_temperature_makes_equal_are_kept_by_id,
        replaced(distribution, " - (raw < 0.0f ? -raw : raw) * 1e-6f - 1e-30f", ""),
    ),
    fault(
        "candidates that were not listed",
        rows.test_a_bound_that_lets_too_many_through_is_not_listed,
        replaced(
            distribution,
            "count_at(total) <= Listed;\n    candidates = is_listed ?",
            "true;\n    candidates = count_at(total) > Listed ? Listed : is_listed ?",
        ),
    ),
    fault(
        "a draw that takes a token of probability 0",
        rows.test_the_ends_of_the_uniform_numbers,
        replaced(distribution, "if (parts[i] > 0.0f) {", "{", "HEADER"),
    ),
    fault(
        "a draw by another number",
        rows.test_draws_follow_the_probabilities_that_are_told,
        replaced(distribution, "(uniform[block])", "(uniform[block] * uniform[block])"),
    ),
    fault(
        "a draw whose rest is forgotten",
        rows.test_draws_follow_the_probabilities_that_are_told,
        replaced(distribution, "last = {i, goal - before}", "last = {i, goal}", "HEADER"),
    ),
    fault(
        "columns in the place of tokens",
        rows.test_columns_of_a_trimmed_head_are_the_same_numbers_in_their_places,
        replaced(
            distribution,
            "first + j < vocabulary ? columns[first + j] : -1",
            "first + j < width ? first + j : -1",
        ),
    ),
    fault(
        "no scale between logits and the likeliest",
        rows.test_extremes_of_temperature_and_logits,
        replaced(distribution, "exponential(scaled - top)", "exponential(scaled)"),
    ),
    fault(
        "the draft's chance taken for the target's",
        verdicts.test_verdicts_are_the_rules,
        replaced(verdict, "noise[i] * draft_at < target_at", "noise[i] * target_at < draft_at"),
        rule="token",
        size=37,
    ),
    fault(
        "a draft accepted behind a rejected one",
        verdicts.test_verdicts_are_the_rules,
        replaced(verdict, "accepted == i && ", ""),
        rule="token",
        size=37,
    ),
    fault(
        "the residual is the target",
        verdicts.test_the_next_token_follows_the_residual,
        replaced(verdict, "fused(reach, target, -draft)", "target", "HEADER"),
        accepted=1,
    ),
    fault(
        "the bonus drawn from a residual",
        verdicts.test_one_distribution_accepts_all_and_draws_from_the_last_row,
        replaced(verdict, "is_whole = accepted == depth;", "row = depth - 1;"),
    ),
    fault(
        "an empty excess",
        verdicts.test_an_excess_that_rounding_left_empty_is_the_target,
        replaced(verdict, "if (!is_whole && !(total_of(groups, 32) > 0.0f))", "if (false)"),
    ),
    fault(
        "the token rule's residual in the block rule",
        verdicts.test_verdicts_are_the_rules,
        replaced(verdict, "reached = reach[accepted];", "reached = 1.0f;"),
        rule="block",
        size=37,
    ),
    fault(
        "the block rule without the cap at 1",
        verdicts.test_verdicts_are_the_rules,
        replaced(verdict, "chance < 1.0f ? chance : 1.0f", "chance"),
        rule="block",
        size=37,
    ),
    fault(
        "the block rule that stops at the first failure",
        verdicts.test_verdicts_are_the_rules,
        replaced(
            verdict,
            "if (noise[i - 1] < stop[i])",
            "if (accepted == i - 1 && noise[i - 1] < stop[i])",
        ),
        rule="block",
        size=37,
    ),
    fault(
        "the block rule with h = p",
        verdicts.test_verdicts_are_the_rules,
        replaced(verdict, "stop[i] = whole > 0.0f ? left / whole : 1.0f;", ""),
        rule="block",
        size=37,
    ),
    fault(
        "the number of a draft for the token after it",
        verdicts.test_the_next_token_follows_the_residual,
        replaced(verdict, "noise[depth + accepted]", "noise[accepted]"),
        accepted=2,
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_is_seen(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    seen(fault, monkeypatch=monkeypatch)
