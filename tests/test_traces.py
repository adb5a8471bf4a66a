"""Traces as files: what is written is read again; what is no trace is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engine.protocol import PROTOCOL_VERSION, Cancel, CycleDone, Event
from engine.wire import to_plain
from mtplx_tui.replay import INSTANT, SPEEDS, Replay, whole_view
from mtplx_tui.trace_command import main
from mtplx_tui.trace_diff import compare
from mtplx_tui.traces import LINE_LIMIT, Trace, TraceError, TraceHeader, read_trace, write_trace
from mtplx_tui.view import RequestView
from tests.fakes import streams

EVENTS = streams.recorded()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "answer.jsonl"
    write_trace(file, EVENTS)
    return file


def answer_of(trace: Trace) -> RequestView:
    newest = whole_view(trace).newest
    assert newest is not None
    return newest


def changed(path: Path, number: int, line: str | bytes) -> Path:
    """Put another line in place of one."""
    lines = path.read_bytes().split(b"\n")
    lines[number] = line.encode() if isinstance(line, str) else line
    path.write_bytes(b"\n".join(lines))
    return path


class TestFiles:
    def test_what_was_written_is_read_again(self, path: Path) -> None:
        trace = read_trace(path)
        assert list(trace.events) == EVENTS
        assert (trace.name, trace.note) == ("answer.jsonl", "")

    def test_the_header_names_model_versions_sampling_and_machine(self, path: Path) -> None:
        head = json.loads(path.read_text("utf-8").splitlines()[0])
        assert head["trace"] == PROTOCOL_VERSION
        assert head["model"] == "demo"
        assert head["sampling"].startswith("temperature 0.6, top_p 0.95, top_k 20")
        assert "seed 7" in head["sampling"]
        assert "mlx 0.32.4" in head["engine"]
        assert head["machine"]
        assert read_trace(path).header.model == "demo"

    @pytest.mark.parametrize("kept", [0.2, 0.5, 0.9, 0.999])
    def test_of_a_cut_one_everything_before_the_cut_is_shown(self, path: Path, kept: float) -> None:
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * kept)])
        trace = read_trace(path)
        whole_lines = path.read_bytes().count(b"\n")
        assert list(trace.events) == EVENTS[: whole_lines - 1]
        assert trace.note == f"cut in line {whole_lines + 1}: what came before it is shown"

    def test_one_cut_between_lines_says_that_its_end_is_missing(self, path: Path) -> None:
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:40]))
        trace = read_trace(path)
        assert len(trace.events) == 39
        assert trace.note == "it ends before its answer does"
        assert answer_of(trace).was_cut

    def test_a_last_line_without_a_line_end_is_whole_if_it_can_be_read(self, path: Path) -> None:
        path.write_bytes(path.read_bytes().rstrip(b"\n"))
        assert read_trace(path).note == ""


def bad_cycle(**changes: object) -> str:
    cycle = next(event for event in EVENTS if isinstance(event, CycleDone))
    return json.dumps({**to_plain(cycle), **changes})


HOSTILE: dict[str, str | bytes] = {
    "not JSON": "{",
    "a huge line": b'{"is": "' + b"x" * LINE_LIMIT + b'"}',
    "deep nesting": "[" * 200_000,
    "a list": "[]",
    "an unknown event": '{"is": "Elephant"}',
    "a command": json.dumps(to_plain(Cancel("r1"))),
    "not UTF-8": b'{"is": "\xff"}',
    "a wrong type": bad_cycle(depth="3"),
    "a field too many": bad_cycle(more=1),
    "a depth that does not exist": bad_cycle(depth=99),
    "a depth below zero": bad_cycle(depth=-1),
    "more accepted than drafted": bad_cycle(accepted=8),
    "pieces that are missing": bad_cycle(drafted_pieces=[]),
    "infinite seconds": bad_cycle(total_s=0).replace('"total_s": 0', '"total_s": 1e999'),
    "no number": bad_cycle(total_s=0).replace('"total_s": 0', '"total_s": NaN'),
    "negative seconds": bad_cycle(total_s=-1),
    "seconds of four hundred digits": bad_cycle(total_s=10**400),
    "an enormous count": bad_cycle(cycle=10**300),
    "a number too long to be read": '{"is": ' + "1" * 5_000 + "}",
}


class TestHostileFiles:
    @pytest.mark.parametrize("kind", HOSTILE)
    def test_a_line_that_is_no_event_is_named_in_one_line(self, path: Path, kind: str) -> None:
        with pytest.raises(TraceError) as caught:
            read_trace(changed(path, 20, HOSTILE[kind]))
        text = str(caught.value)
        assert text.startswith("answer.jsonl, line 21: ")
        assert "\n" not in text
        assert len(text) < 300

    def test_another_version_is_named_with_both(self, path: Path) -> None:
        changed(path, 0, '{"trace": 1}')
        with pytest.raises(TraceError, match=r"of version 1; this program reads \d+$"):
            read_trace(path)

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "is empty"),
            (b"\n", "is no trace"),
            (b"hello\n", "is no trace: not JSON"),
            (b"{}\n", "names no version"),
            (b'{"trace": "3"}\n', "names no version"),
            (b'{"trace": true}\n', "names no version"),
            (b"\x7fELF\x00\n", "is no trace"),
            (b"[" * 100_000, "is no trace"),
            (f'{{"trace": {PROTOCOL_VERSION}}}\n'.encode(), "holds no answer"),
            (f'{{"trace": {PROTOCOL_VERSION}}}\n{{"is'.encode(), "cut too early"),
        ],
    )
    def test_what_is_no_trace_is_refused(self, path: Path, content: bytes, words: str) -> None:
        path.write_bytes(content)
        with pytest.raises(TraceError, match=words):
            read_trace(path)

    def test_a_header_of_other_types_is_shown_as_text(self, path: Path) -> None:
        changed(path, 0, json.dumps({"trace": PROTOCOL_VERSION, "model": ["\x1b[2J"] * 99}))
        assert len(read_trace(path).header.model) == 200

    def test_a_folder_and_a_missing_file_are_refused(self, tmp_path: Path) -> None:
        for name in (tmp_path, tmp_path / "none.jsonl"):
            with pytest.raises(TraceError, match="can't be read"):
                read_trace(name)


class TestReplay:
    TRACE = Trace("t", TraceHeader(), tuple(EVENTS), "")

    @pytest.mark.parametrize("speed", SPEEDS)
    def test_at_every_speed_it_comes_to_the_same_view(self, speed: float) -> None:
        replay = Replay(self.TRACE, speed)
        looks = 0
        while not replay.is_over:
            replay.advance(0.05)
            looks += 1
        whole = whole_view(self.TRACE)
        assert replay.view.newest is not None
        assert whole.newest is not None
        assert list(replay.view.newest.cycles) == list(whole.newest.cycles)
        expected = 1 if speed == INSTANT else replay.total_s / (0.05 * speed)
        assert looks == pytest.approx(expected, abs=1.5)

    def test_a_cycle_comes_when_its_seconds_have_passed(self) -> None:
        replay = Replay(self.TRACE)
        replay.advance(0.08)
        cycles = [event for event in EVENTS if isinstance(event, CycleDone)]
        for count in range(1, 9):
            replay.advance(cycles[count - 1].total_s + 1e-9)
            assert replay.view.newest is not None
            assert len(replay.view.newest.cycles) == count

    def test_held_it_stands_still_and_again_begins_anew(self) -> None:
        replay = Replay(self.TRACE)
        replay.advance(0.5)
        at, view = replay.position_s, replay.view
        replay.is_held = True
        assert not replay.advance(5)
        assert (replay.position_s, replay.view) == (at, view)
        replay.again()
        assert (replay.position_s, replay.view.newest) == (0, None)

    def test_speeds_end_where_they_end(self) -> None:
        replay = Replay(self.TRACE)
        for by in [1] * 9:
            replay.change_speed(by)
        assert replay.speed == INSTANT
        for by in [-1] * 9:
            replay.change_speed(by)
        assert replay.speed == 0.25


class TestDiff:
    def test_the_first_token_that_differs_is_named(self) -> None:
        left = answer_of(Trace("a", TraceHeader(), tuple(streams.answer("a")), ""))
        events = streams.answer("b")
        cycle = events[30]
        assert isinstance(cycle, CycleDone)
        events[30] = replace(cycle, emitted=(*cycle.emitted[:-1], 999), total_s=0.5)
        right = answer_of(Trace("b", TraceHeader(), tuple(events), ""))
        tokens = [[t for c in side.cycles for t in c.emitted] for side in (left, right)]
        found = compare(left, right)
        assert found.parts_at is not None
        at = found.parts_at - 1
        assert tokens[0][:at] == tokens[1][:at]
        assert tokens[0][at] != tokens[1][at] == 999
        assert [row.left.reached for row in found.depths] == [n for n in left.reached_at if n]
        assert found.speed_ratio == pytest.approx(
            (right.tokens_per_s or 0) / (left.tokens_per_s or 1)
        )

    def test_the_same_answer_does_not_part(self) -> None:
        side = answer_of(TestReplay.TRACE)
        assert compare(side, side).parts_at is None
        assert compare(side, side).speed_ratio == 1

    def test_one_that_goes_on_parts_at_the_others_end(self) -> None:
        events = streams.answer("a")
        whole = answer_of(Trace("a", TraceHeader(), tuple(events), ""))
        short = answer_of(Trace("a", TraceHeader(), tuple(events[:20]), ""))
        found = compare(short, whole)
        assert found.parts_at == short.emitted + 1
        assert found.left.at_parting is None
        assert found.right.at_parting is not None


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str | Path) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


class TestCommand:
    def test_view_over_a_pipe_tells_figures_and_every_cycle(self, path: Path, run: Run) -> None:
        code, out, err = run("view", path)
        assert (code, err) == (0, "")
        assert out.startswith("answer.jsonl: demo, temperature 0.6")
        cycles = [event for event in EVENTS if isinstance(event, CycleDone)]
        tail = out.rstrip("\n").splitlines()[-len(cycles) :]
        assert [line.split()[0] for line in tail] == [str(cycle.cycle) for cycle in cycles]
        assert "what each depth would give" in out
        assert "against plain decoding: " in out
        assert "\x1b" not in out

    def test_view_as_json_is_one_document(self, path: Path, run: Run) -> None:
        code, out, _ = run("view", path, "--json")
        document = json.loads(out)
        assert code == 0
        (answer,) = document["answers"]
        assert len(answer["cycles"]) == 60
        assert document["header"]["model"] == "demo"
        assert [each["depth"] for each in answer["forecast"]] == list(range(9))

    def test_diff_tells_where_they_part_and_both_sides(self, path: Path, run: Run) -> None:
        other = path.with_name("other.jsonl")
        write_trace(other, streams.answer("b", seed=8))
        code, out, _ = run("diff", path, other)
        assert code == 0
        assert "they part at token" in out
        assert "tokens a second" in out
        code, out, _ = run("diff", path, path)
        assert (code, "the same tokens from first to last" in out) == (0, True)
        document = json.loads(run("diff", path, other, "--json")[1])
        assert document["same"] is False
        assert document["depths"][0]["depth"] == 1

    def test_a_cut_trace_is_shown_with_a_note(self, path: Path, run: Run) -> None:
        path.write_bytes(path.read_bytes()[:9_000])
        code, out, _ = run("view", path)
        assert code == 0
        assert "note: cut in line" in out

    def test_a_bad_file_is_one_line_on_stderr(self, path: Path, run: Run) -> None:
        code, out, err = run("view", changed(path, 5, '{"is": "\x1b[2J\\n"}'))
        assert (code, out) == (1, "")
        assert err.count("\n") == 1
        assert "\x1b" not in err

    def test_text_that_steers_terminals_is_made_harmless(self, path: Path, run: Run) -> None:
        events: list[Event] = [
            streams.started(),
            *streams.plain_cycles("r1", ["\x1b[2J", "\ud800"]),
        ]
        write_trace(path, events)
        _, out, _ = run("view", path)
        assert "\x1b" not in out
        assert out.encode("utf-8")
