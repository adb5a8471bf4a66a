"""How events are joined into batches."""

from __future__ import annotations

from dataclasses import replace

from engine import wire
from engine.protocol import CycleDone, Ended, Event, Finish, RequestDone
from engine.worker import BATCH_S, Outbox

CYCLE = CycleDone(
    request="r",
    cycle=1,
    depth=0,
    drafted=(),
    drafted_pieces=(),
    accepted=0,
    emitted=(5,),
    emitted_pieces=("x",),
    ended=Ended.PLAIN,
    runs=(),
    draft_s=0.0,
    verify_s=0.0,
    accept_s=0.0,
    total_s=0.0,
)


class Bench:
    """An outbox with a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.batches: list[list[Event]] = []
        self.outbox = Outbox(lambda line: self.batches.append(wire.decode(line)), lambda: self.now)


def test_the_first_cycle_and_the_end_go_out_at_once() -> None:
    bench = Bench()
    bench.outbox.put(replace(CYCLE, cycle=0))
    assert len(bench.batches) == 1
    bench.outbox.put(CYCLE)
    assert len(bench.batches) == 1
    bench.outbox.put(RequestDone("r", Finish.STOP, 2, 0.0, 0.0, 0.0))
    assert [type(event) for event in bench.batches[1]] == [CycleDone, RequestDone]


def test_cycles_make_at_most_twenty_batches_a_second_and_none_is_lost() -> None:
    bench = Bench()
    for number in range(1, 1001):
        bench.now += 0.001
        bench.outbox.put(replace(CYCLE, cycle=number))
    bench.outbox.flush()
    assert len(bench.batches) <= 1.0 / BATCH_S + 2
    events = [event for batch in bench.batches for event in batch]
    cycles = [event.cycle for event in events if isinstance(event, CycleDone)]
    assert cycles == list(range(1, 1001))


def test_nothing_waits_longer_than_a_batch() -> None:
    bench = Bench()
    bench.outbox.put(replace(CYCLE, cycle=0))
    bench.now += 1.01 * BATCH_S
    bench.outbox.put(CYCLE)
    assert len(bench.batches) == 2
