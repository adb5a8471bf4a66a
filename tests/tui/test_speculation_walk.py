"""Where the speculation tab stands: live, paused, at a cycle, on one of several answers."""

from __future__ import annotations

from functools import reduce

import pytest

from mtplx_tui.screens.speculation_walk import Walk
from mtplx_tui.view import KEPT, EngineView, apply
from tests.fakes import streams


def view_of(**counts: int) -> EngineView:
    """Return a view of answers, each with so many cycles."""
    events = [
        event
        for name, count in counts.items()
        for event in (
            streams.started(name),
            *streams.plain_cycles(name, [str(at) for at in range(count)]),
        )
    ]
    return reduce(apply, events, EngineView())


def grown(view: EngineView, name: str, by: int) -> EngineView:
    request = view.request(name)
    done = 0 if request is None else len(request.cycles)
    cycles = streams.plain_cycles(name, [str(at) for at in range(done + by)])[done:]
    return reduce(apply, cycles, view)


def shown(walk: Walk, view: EngineView) -> tuple[str, int]:
    """Return which answer is shown, and how many of its cycles."""
    request = walk.request(view)
    assert request is not None
    return request.request, len(request.cycles)


class TestLive:
    def test_it_follows_the_newest_answer(self) -> None:
        walk = Walk()
        assert shown(walk, view_of(a=3)) == ("a", 3)
        assert shown(walk, view_of(a=3, b=1)) == ("b", 1)
        assert (walk.is_paused, walk.selected) == (False, None)

    def test_with_nothing_to_show_no_key_does_anything(self) -> None:
        walk, view = Walk(), EngineView()
        assert not walk.pause(view)
        walk.step(view, -1)
        walk.stand(view, 3)
        walk.choose(view, -1)
        walk.live(view)
        assert walk.request(view) is None
        assert (walk.is_paused, walk.place(view), walk.behind(view)) == (False, (0, 0), 0)

    def test_an_answer_without_a_cycle_can_not_be_paused(self) -> None:
        walk = Walk()
        assert not walk.pause(view_of(a=0))
        assert not walk.is_paused


class TestPaused:
    def test_what_comes_after_is_counted_and_not_shown(self) -> None:
        walk, view = Walk(), view_of(a=5)
        assert walk.pause(view)
        view = grown(view, "a", 3)
        assert shown(walk, view) == ("a", 5)
        assert (walk.selected, walk.count(view), walk.behind(view)) == (4, 8, 3)

    def test_a_newer_answer_does_not_take_its_place(self) -> None:
        walk = Walk()
        walk.pause(view_of(a=5))
        view = view_of(a=5, b=2)
        assert shown(walk, view) == ("a", 5)
        assert walk.place(view) == (1, 2)

    def test_going_live_shows_what_came_meanwhile(self) -> None:
        walk, view = Walk(), view_of(a=5)
        walk.pause(view)
        view = grown(view, "a", 3)
        walk.live(view)
        assert shown(walk, view) == ("a", 8)
        assert walk.selected is None

    def test_live_on_the_newest_answer_follows_the_next_one(self) -> None:
        walk, view = Walk(), view_of(a=5)
        walk.pause(view)
        walk.live(view)
        assert shown(walk, view_of(a=5, b=1)) == ("b", 1)

    def test_an_answer_no_longer_kept_stays_while_it_is_looked_at(self) -> None:
        walk = Walk()
        walk.pause(view_of(a=5))
        view = view_of(**{f"x{number}": 1 for number in range(KEPT)})
        assert shown(walk, view) == ("a", 5)
        assert walk.place(view) == (0, KEPT)
        walk.step(view, -2)
        assert walk.selected == 2
        walk.live(view)
        assert shown(walk, view) == (f"x{KEPT - 1}", 1)


class TestStepping:
    def test_a_step_back_pauses_at_the_cycle_before_the_newest(self) -> None:
        walk, view = Walk(), view_of(a=5)
        walk.step(view, -1)
        assert (walk.is_paused, walk.selected) == (True, 3)

    def test_a_step_forth_while_live_goes_nowhere(self) -> None:
        walk, view = Walk(), view_of(a=5)
        walk.step(view, 1)
        assert (walk.is_paused, walk.selected) == (False, None)

    def test_it_ends_at_the_first_cycle(self) -> None:
        walk, view = Walk(), view_of(a=3)
        for _ in range(9):
            walk.step(view, -1)
        assert walk.selected == 0

    def test_a_step_beyond_the_frozen_end_takes_in_what_came(self) -> None:
        walk, view = Walk(), view_of(a=3)
        walk.pause(view)
        view = grown(view, "a", 2)
        walk.step(view, 1)
        assert (walk.selected, shown(walk, view)) == (3, ("a", 5))
        for _ in range(9):
            walk.step(view, 1)
        assert walk.selected == 4

    @pytest.mark.parametrize(("cycle", "stands"), [(-3, 0), (0, 0), (2, 2), (99, 4)])
    def test_it_stands_at_the_nearest_cycle_there_is(self, cycle: int, stands: int) -> None:
        walk, view = Walk(), view_of(a=5)
        walk.stand(view, cycle)
        assert walk.selected == stands


class TestChoosing:
    def test_older_and_newer_answers_in_turn(self) -> None:
        walk, view = Walk(), view_of(a=1, b=2, c=3)
        seen = []
        for by in (-1, -1, -1, 1, 1, 1):
            walk.choose(view, by)
            seen.append(shown(walk, view)[0])
        assert seen == ["b", "a", "a", "b", "c", "c"]

    def test_a_chosen_answer_stays_when_another_begins(self) -> None:
        walk = Walk()
        walk.choose(view_of(a=1, b=2), -1)
        assert shown(walk, view_of(a=1, b=2, c=3)) == ("a", 1)

    def test_the_newest_is_followed_once_it_is_chosen_again(self) -> None:
        walk, view = Walk(), view_of(a=1, b=2)
        walk.choose(view, -1)
        walk.choose(view, 1)
        assert shown(walk, view_of(a=1, b=2, c=3)) == ("c", 3)

    def test_choosing_ends_the_pause(self) -> None:
        walk, view = Walk(), view_of(a=1, b=2)
        walk.pause(view)
        walk.choose(view, -1)
        assert (walk.is_paused, walk.selected) == (False, None)
        assert shown(walk, view) == ("a", 1)

    def test_an_older_answer_can_be_walked_and_left_without_losing_it(self) -> None:
        walk, view = Walk(), view_of(a=4, b=2)
        walk.choose(view, -1)
        walk.step(view, -1)
        assert (walk.selected, shown(walk, view)) == (2, ("a", 4))
        walk.live(view)
        assert shown(walk, view) == ("a", 4)
