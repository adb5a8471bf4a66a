"""Shapes as data, what is asked of a measurement, and tables of acceptance."""

from __future__ import annotations

import json
import math
from collections import Counter

import pytest

from engine import wire
from engine.verdict.shape_costs import Plan, chances, parse_acceptance, replayed, tokens_per_cycle
from engine.verdict.shapes import SHAPES, UnknownShape, shape_of


def test_a_shape_goes_by_its_name_or_by_its_size() -> None:
    assert shape_of("qwen3.6-27b") is shape_of("27B")
    assert shape_of("35b-a3b").name == "qwen3.6-35b-a3b"
    with pytest.raises(UnknownShape, match=r"no shape is named '27'; there are qwen3\.6-27b, "):
        shape_of("27")


def test_no_two_shapes_answer_to_one_name() -> None:
    names = [name for shape in SHAPES for name in (shape.name, shape.name.partition("-")[2])]
    assert len(set(names) - {""}) == len([name for name in names if name])


def test_a_config_has_the_layers_that_were_asked_for() -> None:
    config = shape_of("9b").config(8)
    text = config["text_config"]
    assert isinstance(text, dict)
    assert text["num_hidden_layers"] == 8
    assert shape_of("9b").layers == 32


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shape": "none"}, "no shape"),
        ({"layers": 3}, "a multiple of 4 up to 4 layers, not 3"),
        ({"layers": 8}, "up to 4 layers"),
        ({"depth": 9}, "8 drafts"),
        ({"contexts": (0,)}, "not 0"),
        ({"contexts": ()}, "a context are needed"),
        ({"acceptance": ()}, "a table of acceptance"),
        ({"repeats": 0}, "not 0"),
        ({"rows": (10,)}, "1 to 9 rows, not 10"),
        ({"stock_rows": (0,)}, "not 0"),
        ({"budget_s": -1}, "not -1"),
    ],
)
def test_a_plan_that_means_nothing_is_refused(changes: dict[str, object], said: str) -> None:
    fields = wire.plain_fields(Plan("tiny")) | json.loads(json.dumps(changes))
    with pytest.raises(ValueError, match=said):
        wire.from_fields(Plan, fields)


def test_a_plan_crosses_to_the_process_as_json() -> None:
    plan = Plan("tiny", 4, ((0.9, 0.5), (1.0,)), 0, (64, 300), 3, (1, 9), (4,), 60)
    assert wire.from_fields(Plan, json.loads(json.dumps(wire.plain_fields(plan)))) == plan
    assert plan.deepest == 2


@pytest.mark.parametrize("text", ["", "x", "1.2", ".5/", "-0.1", "nan", "/".join(["1"] * 9)])
def test_a_malformed_table_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match="acceptance is like"):
        parse_acceptance(text)


def test_a_table_tells_the_tokens_of_a_cycle() -> None:
    table = parse_acceptance(".75/.65/.55")
    assert tokens_per_cycle(table, 0) == 1
    assert tokens_per_cycle(table, 3) == pytest.approx(1 + 0.75 + 0.75 * 0.65 + 0.75 * 0.65 * 0.55)
    assert chances(table, 5) == (0.75, 0.65, 0.55, 0.55, 0.55)


@pytest.mark.parametrize("table", [(0.75, 0.65, 0.55), (0.98, 0.96, 0.94), (0.0,), (1.0,)])
def test_replayed_counts_come_as_often_as_the_table_has_them(table: tuple[float, ...]) -> None:
    depth, cycles = 3, 64
    counts = Counter(replayed(table, depth, cycle) for cycle in range(cycles))
    reached = [math.prod(chances(table, at)) for at in range(depth + 1)] + [0.0]
    for accepted in range(depth + 1):
        wanted = cycles * (reached[accepted] - reached[accepted + 1])
        assert abs(counts[accepted] - wanted) <= 2
    mean = 1 + sum(count * times for count, times in counts.items()) / cycles
    assert mean == pytest.approx(tokens_per_cycle(table, depth), abs=0.05)
