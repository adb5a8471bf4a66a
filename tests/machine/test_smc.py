"""Row 14 of the guard's test plan, and the SMC's structure byte for byte."""

from __future__ import annotations

import ctypes
import math
import struct

import pytest

from mtplx_tui.machine.linux import FanError
from mtplx_tui.machine.mac import MacSensors, SmcFans, checked_rpm
from mtplx_tui.machine.readings import Kind, Owner
from mtplx_tui.machine.smc import KeyData, Smc, SmcError, decode, encode
from tests.fakes import smc as fake
from tests.fakes.smc import FakeSmc


class Machine:
    """A Mac, its time, and a guard's fans over it."""

    def __init__(self, **moods: object) -> None:
        self.now = 0.0
        self.smc = FakeSmc(lambda: self.now, **moods)  # ty: ignore[invalid-argument-type] - by name
        self.before = self.smc.fans()
        self.fans = SmcFans(Smc(self.smc.call), lambda: self.now)

    def pause(self, seconds: float) -> bool:
        self.now += seconds
        return True

    def boost(self, percent: float = 100) -> list[dict[str, str]]:
        originals = self.fans.snapshot()
        try:
            self.fans.boost(originals, percent, self.pause)
        except OSError:
            assert self.fans.restore(originals) == []
            raise
        return originals


def test_the_structure_is_laid_out_as_the_controller_wants_it() -> None:
    assert ctypes.sizeof(KeyData) == fake.LENGTH
    offsets = {name: getattr(KeyData, name).offset for name, *_ in KeyData._fields_}
    assert offsets == {
        "key": 0,
        "version": 4,
        "power_limit": 12,
        "info": 28,
        "result": 40,
        "status": 41,
        "data8": 42,
        "data32": 44,
        "bytes": 48,
    }


def test_a_write_is_these_bytes() -> None:
    machine = Machine(is_owned=False)
    Smc(machine.smc.call).write("F0Tg", 2500)
    info, write = machine.smc.requests
    expected = bytearray(80)
    expected[0:4] = struct.pack("=I", 0x46305467)
    expected[42] = 9
    assert info == bytes(expected)
    expected[28:32] = struct.pack("=I", 4)
    expected[42] = 6
    expected[48:52] = struct.pack("<f", 2500)
    assert write == bytes(expected)


@pytest.mark.parametrize(
    ("kind", "data", "number"),
    [
        ("flt ", "00a09444", 1189.0),
        ("ioft", "0080470000000000", 71.5),
        ("fpe2", "1fe0", 2040.0),
        ("sp78", "4780", 71.5),
        ("sp78", "ff80", -0.5),
        ("sp5a", "0400", 1.0),
        ("ui8 ", "03", 3),
        ("ui16", "0102", 258),
        ("ui32", "00000af8", 2808),
        ("flag", "01", 1),
    ],
)
def test_bytes_are_decoded_by_their_type(kind: str, data: str, number: float) -> None:
    assert decode(kind, bytes.fromhex(data)) == number


@pytest.mark.parametrize(("kind", "data"), [("{fds", b"abcd"), ("flt ", b"a"), ("ui8 ", b"")])
def test_bytes_that_are_no_number_are_refused(kind: str, data: bytes) -> None:
    with pytest.raises(ValueError, match=r"no number|are no"):
        decode(kind, data)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1, 300])
def test_numbers_that_dont_fit_are_not_written(value: float) -> None:
    with pytest.raises(ValueError, match=r"no value|doesn't fit"):
        encode("ui8 ", value, 1)


def test_without_root_reading_works_and_writing_says_what_is_missing() -> None:
    machine = Machine()
    machine.smc.is_root = False
    readings, fans = MacSensors(Smc(machine.smc.call), lambda: 2).read()
    assert {(r.name, r.value) for r in readings if r.kind is Kind.CELSIUS} == {
        ("Tp01", 71.5),
        ("Tg05", 64.25),
    }
    assert [r.value for r in readings if r.kind is Kind.PRESSURE] == [2]
    assert [(f.rpm, f.minimum_rpm, f.maximum_rpm, f.owner) for f in fans] == [
        (1300, 1200, 5800, Owner.SYSTEM)
    ] * 2
    with pytest.raises(SmcError, match="without root"):
        Smc(machine.smc.call).write("F0Tg", 2000)


@pytest.mark.parametrize("junk", [0.0, -3.0, 0.5, 150.0, math.nan])
def test_sensors_that_are_not_there_are_left_out(junk: float) -> None:
    machine = Machine()
    machine.smc.put("Tp01", "flt ", junk)
    readings, _ = MacSensors(Smc(machine.smc.call)).read()
    assert [r.name for r in readings if r.kind is Kind.CELSIUS] == ["Tg05"]


@pytest.mark.parametrize(
    ("moods", "seconds"),
    [
        ({"is_owned": False, "has_test_flag": False}, 1.0),
        ({"is_owned": False, "has_test_flag": False, "mode": "md"}, 1.0),
        ({"is_owned": True}, 4.0),
        ({"is_owned": True, "lies_about_size": True}, 4.0),
        ({"is_owned": True, "taken_back_s": 0.25}, 5.0),
        ({"is_owned": False, "taken_back_s": 0.25}, 5.0),
    ],
)
def test_row_14_each_kind_of_machine_is_unlocked_its_own_way(
    moods: dict[str, object], seconds: float
) -> None:
    machine = Machine(**moods)
    originals = machine.boost()
    assert machine.now <= seconds
    assert machine.fans.is_held(originals)
    assert machine.smc.get("F0Tg") == machine.smc.get("F1Tg") == 5800
    assert machine.fans.restore(originals) == []
    assert not machine.fans.is_held(originals)
    assert machine.smc.fans() == machine.before


@pytest.mark.parametrize(
    "moods", [{"has_test_flag": False}, {"unlock_s": 3600.0}], ids=["no flag", "never"]
)
def test_row_14_a_machine_that_doesnt_yield_is_given_up_in_ten_seconds(
    moods: dict[str, object],
) -> None:
    machine = Machine(**moods)
    with pytest.raises(FanError, match="doesn't go into manual mode"):
        machine.boost()
    assert machine.now <= 11
    assert machine.smc.fans() == machine.before


def test_row_14_a_machine_without_a_mode_is_left_alone() -> None:
    machine = Machine(mode="")
    with pytest.raises(FanError, match="no fan whose mode can be set"):
        machine.boost()
    assert not any(request[fake.DATA8] == fake.WRITE for request in machine.smc.requests)


def test_row_14_an_unlock_ends_with_its_client() -> None:
    machine = Machine(unlock_s=3600.0)
    originals = machine.fans.snapshot()
    with pytest.raises(FanError, match="client is gone"):
        machine.fans.boost(originals, 100, lambda _: False)
    assert machine.fans.restore(originals) == []
    assert machine.smc.fans() == machine.before


@pytest.mark.parametrize(("key", "value"), [("F1Md", 1), ("Ftst", 1)])
def test_a_machine_in_other_hands_is_refused(key: str, value: int) -> None:
    machine = Machine()
    machine.smc.put(key, "ui8 ", value)
    with pytest.raises(FanError, match="another program"):
        machine.boost()


def test_a_mode_that_stays_manual_is_not_called_given_back() -> None:
    machine = Machine(is_owned=False)
    originals = machine.boost()
    keep = machine.smc.call

    def stubborn(selector: int, request: bytes) -> tuple[int, bytes]:
        if request[fake.DATA8] == fake.WRITE and request[fake.BYTES] == 0:
            return 0, request
        return keep(selector, request)

    problems = SmcFans(Smc(stubborn)).restore(originals)
    assert problems == ["SMC key F0Md stays in manual mode", "SMC key F1Md stays in manual mode"]


def test_no_fan_is_asked_for_less_than_it_was_found_at() -> None:
    machine = Machine(is_owned=False)
    machine.smc.put("F0Ac", "flt ", 4000)
    machine.boost(percent=10)
    assert machine.smc.get("F0Tg") == 4000
    assert machine.smc.get("F1Tg") == 1350


@pytest.mark.parametrize("rpm", [0, -1, math.nan, 1e9, math.inf])
def test_row_9_speeds_that_cant_be_meant_are_rejected(rpm: float) -> None:
    with pytest.raises(FanError):
        checked_rpm(rpm, 1200, 1300, 5800)


def test_a_fan_that_tells_no_maximum_is_not_driven() -> None:
    with pytest.raises(FanError, match="maximum"):
        checked_rpm(2000, 1200, 1300, None)
