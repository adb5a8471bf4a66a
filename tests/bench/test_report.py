"""Figures with their spread, and two results compared."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from mtplx_tui.bench import report
from mtplx_tui.bench.suite import KINDS, Answer, depths_of, kinds_of, prompts_of

NONE = (0,) * 8


def answer(prompt: int, depth: int | None, seconds: float, kind: str = "chat") -> Answer:
    drafted = depth or 0
    return Answer(
        kind=kind,
        prompt=prompt,
        depth=depth,
        tokens=100,
        cycles=50,
        seconds=seconds,
        draft_s=seconds * 0.1,
        verify_s=seconds * 0.7,
        accept_s=seconds * 0.1,
        reached_at=(50,) * drafted + NONE[drafted:],
        accepted_at=(25,) * drafted + NONE[drafted:],
    )


def answers(factor: float, wobble: float = 0.0) -> list[Answer]:
    """Return eight prompts at depths 0 and 2; depth 2 takes `factor` of plain decoding's time."""
    found = []
    for prompt in range(8):
        seconds = 4 + prompt
        uneven = 1 + (wobble if prompt % 2 else -wobble)
        found += [answer(prompt, 0, seconds), answer(prompt, 2, seconds * factor * uneven)]
    return found


def test_a_row_is_paired_with_plain_decoding_of_the_same_prompt() -> None:
    plain, deep = report.rows(answers(0.5))
    assert (plain.depth, deep.depth) == (0, 2)
    assert plain.against_plain == report.Figure(1, 1, 1)
    assert deep.against_plain == report.Figure(2, 2, 2)
    assert deep.tokens_per_s.low < deep.tokens_per_s.median < deep.tokens_per_s.high
    assert deep.tokens_per_cycle == 2
    assert deep.accepted == (0.5, 0.5)
    assert deep.verify_ms == pytest.approx(0.7 * deep.ms_per_cycle)


def test_the_automatic_depth_comes_last_and_kinds_stay_apart() -> None:
    found = [answer(0, None, 1), answer(0, 0, 1), answer(0, 0, 2, "code"), answer(0, 3, 1)]
    order = [(row.kind, row.depth) for row in report.rows(found)]
    assert order == [("chat", 0), ("chat", 3), ("chat", None), ("code", 0)]


def test_a_result_file_is_read_back(tmp_path: Path) -> None:
    found = answers(0.5)
    path = tmp_path / "result.json"
    path.write_text(json.dumps(report.document(found, {"model": "demo"})))
    result = report.read(path)
    assert result.answers == found
    assert result.about["model"] == "demo"


@pytest.mark.parametrize(
    "changed",
    [
        {"seconds": 0.0},
        {"seconds": float("nan")},
        {"tokens": 0},
        {"cycles": 0},
        {"kind": "\x1b[31m"},
        {"prompt": 99},
        {"reached_at": (1,)},
    ],
)
def test_answers_no_figure_can_be_made_of_are_refused(
    tmp_path: Path, changed: dict[str, Any]
) -> None:
    found = answers(0.5)
    whole = report.document(found, {})
    whole["answers"] = [asdict(replace(found[1], **changed)), *map(asdict, found)]
    path = tmp_path / "result.json"
    path.write_text(json.dumps(whole))
    with pytest.raises(ValueError, match="is no result of this bench"):
        report.read(path)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"bench": 99, "answers": []}', '{"bench": 1, "answers": [{}]}']
)
def test_what_is_no_result_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="is no result of this bench"):
        report.read(path)
    with pytest.raises(ValueError, match="can't be read"):
        report.read(tmp_path / "nothing.json")


def verdict(old: list[Answer], new: list[Answer]) -> str:
    line = next(line for line in report.compared(old, new).splitlines() if "  2  " in line)
    return line.split("  ")[-1].strip()


def test_a_change_that_shows_in_every_prompt_is_told() -> None:
    assert verdict(answers(0.6), answers(0.5)) == "faster"
    assert verdict(answers(0.5), answers(0.6)) == "slower"


def test_a_change_within_the_spread_is_noise() -> None:
    assert verdict(answers(0.5), answers(0.5, wobble=0.1)) == "noise"


def test_a_slower_machine_changes_no_ratio() -> None:
    slow = [replace(a, seconds=3 * a.seconds) for a in answers(0.5)]
    assert verdict(answers(0.5), slow) == "noise"
    assert "slower" in report.compared(answers(0.5), slow)


def test_too_few_prompts_give_no_verdict() -> None:
    assert verdict(answers(0.5)[:4], answers(0.6)[:4]) == "too few prompts in common"


def test_a_figure_does_not_depend_on_the_order_of_its_numbers() -> None:
    values = [1.0, 4.0, 2.0, 9.0, 3.0, 5.0, 8.0]
    assert report.figure(values) == report.figure(sorted(values)) != report.figure(values[:6])
    assert report.figure(values).median == 4
    assert 1 < report.figure(values).low < 4 < report.figure(values).high < 9


def test_an_interval_is_told_where_there_is_one() -> None:
    assert str(report.figure([1.5])) == "1.50"
    assert str(report.figure([1.0, 2.0, 3.0])) == "2.00 (1.00-3.00)"


def test_a_summary_claims_no_gain_within_noise() -> None:
    assert report.summary(report.rows(answers(0.5))).startswith("depth 2 is fastest: 2.00")
    assert "no fixed depth is faster" in report.summary(report.rows(answers(0.99, wobble=0.1)))
    assert report.summary(report.rows(answers(0.5)[:4])).startswith("too few prompts")
    plain = [each for each in answers(0.5) if each.depth == 0]
    assert report.summary(report.rows(plain)) == "plain decoding alone"


def test_tables_hold_every_row() -> None:
    found = report.rows(answers(0.5))
    assert len(report.table(found).splitlines()) == 3
    assert report.markdown(found).splitlines()[-1].startswith("| chat | 2 |")


def test_every_kind_has_prompts_of_its_own() -> None:
    texts = [text for kind in KINDS for text in prompts_of(kind)]
    assert len(texts) == len(set(texts)) == 8 * len(KINDS)
    assert all(text.strip() for text in texts)


def test_kinds_and_depths_are_read_as_a_person_writes_them() -> None:
    assert kinds_of("all") == KINDS
    assert kinds_of("code,chat,code") == ("code", "chat")
    assert depths_of("2-4,auto") == (0, 2, 3, 4, None)
    assert depths_of("0,auto,3") == (0, None, 3)


@pytest.mark.parametrize("text", ["", "x", "1-", "3,,4", "9", "0-9", "4-2", "-1"])
def test_depths_that_can_not_be_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"depth|drafted"):
        depths_of(text)


def test_a_kind_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match="'prose'"):
        kinds_of("chat,prose")
