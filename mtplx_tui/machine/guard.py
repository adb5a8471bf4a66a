"""The rules of the fan guard: how long fans may be held, and when they are given back.

Each message and each tick is one call, so every rule can be tried with a clock of one's own. Knows
no pipe, no process and no kind of machine; standard library only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mtplx_tui.machine.guard_state import SCHEMA, Refused, StateFile, boot_id, started_at

__all__ = ["Backend", "Clock", "Guard"]

LEASE_S = 3.0
"""A client that says nothing for so long counts as dead; it speaks every second."""
LOOK_S = 1.0
HOT_CELSIUS, COOL_CELSIUS = 95.0, 90.0
"""From the first on the fans run at full speed, until the second."""
HOT_STAY_S = 60.0
"""The longest that heat keeps the fans from being given back after the client's death."""
BLIND_S = 5.0
IDLE_CAP_S, TOTAL_CAP_S = 15 * 60.0, 2 * 60 * 60.0
"""The longest hold without a new token, and the longest at all."""
SLEEP_S = 5.0
"""A wall clock that got so far ahead of the monotonic one tells that the machine slept."""
QUICK_S, QUICK_TRIES, SLOW_S = 0.05, 5, (5.0, 15.0, 30.0, 60.0)
Originals = list[dict[str, str]]
Say = Callable[[dict[str, object]], None]


class Backend(Protocol):
    """Fans of one kind of machine."""

    name: str

    def snapshot(self) -> Originals:
        """Return how the fans are found; FanError where they must not be touched."""
        ...

    def boost(self, originals: Originals, percent: float, pause: Callable[[float], bool]) -> None:
        """Run the fans faster, verified; OSError where it didn't work."""
        ...

    def is_held(self, originals: Originals) -> bool:
        """Whether they are in our hands still."""
        ...

    def restore(self, originals: Originals) -> list[str]:
        """Give them back; return what is not seen to be given back."""
        ...

    def celsius(self) -> float | None:
        """Return the hottest processor's temperature; may take long."""
        ...


@dataclass(frozen=True, slots=True)
class Clock:
    """The two clocks: one that stands still while the machine sleeps, and the wall's."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time


@dataclass(slots=True)
class Hold:
    """One lease on the fans."""

    lease: int
    percent: float
    began_s: float
    until_s: float
    heard_s: float
    tokens: int
    progress_s: float
    seen_s: float
    """When a temperature was last read."""
    celsius: float
    ahead_s: float
    """The wall clock's advance over the monotonic one when it began."""
    is_hot: bool = False
    leaves_s: float | None = None
    """Once the client is dead: when heat is no reason to stay any more."""


class Guard:
    """The rules, one message and one tick at a time; the process around them is `main`.

    Args:
        fans: those it guards.
        state: locked already.
        say: tells the client; OSError where it is gone.
        celsius: gives the hottest processor's temperature, or None.
        clock: the clocks.
        pause: waits some seconds and says whether the client is there still.
        root: of the backend, noted in the state file.
    """

    def __init__(  # noqa: PLR0913 - what a guard is made of
        self,
        fans: Backend,
        state: StateFile,
        say: Say,
        *,
        celsius: Callable[[], float | None],
        pause: Callable[[float], bool],
        root: str,
        clock: Clock,
    ) -> None:
        self._fans, self._state, self._clock, self._pause = fans, state, clock, pause
        self._celsius = celsius
        self._say_it = say
        self._root = root
        self._hold: Hold | None = None
        self._last_lease = 0
        self._originals: Originals = []
        """Not empty while fans are to be given back."""
        self._why = ""
        self._tries = 0
        self._retry_s: float | None = None
        self._is_leaving = False

    @property
    def is_over(self) -> bool:
        """Whether the process may end."""
        return self._is_leaving and not self._originals

    @property
    def is_giving_back(self) -> bool:
        """Whether fans are given back, and not seen to be yet."""
        return self._retry_s is not None

    def wait_s(self) -> float | None:
        """Return how long nothing need be done; None for as long as nothing is heard."""
        if self._retry_s is not None:
            return max(0.0, self._retry_s - self._clock.monotonic())
        if self._hold is None:
            return None
        return max(0.0, min(LOOK_S, self._hold.until_s - self._clock.monotonic()))

    # What the client and the system ask

    def recover(self) -> None:
        """Give back what a guard that died held. Raises Refused where that can't be tried."""
        content = self._state.read()
        if content is None:
            return
        if content.get("boot") != boot_id():
            self._state.remove()  # The firmware set the fans anew.
            return
        pid, started = content.get("pid"), content.get("started")
        if isinstance(pid, int) and pid != os.getpid() and started and started_at(pid) == started:
            raise Refused(f"process {pid} holds the fans")
        fans = content.get("fans")
        if (content.get("backend"), content.get("root")) != (self._fans.name, self._root):
            raise Refused(f"{self._state.path} is of another machine's fans")
        if not isinstance(fans, list) or not all(isinstance(fan, dict) for fan in fans):
            raise Refused(f"{self._state.path} names no fans")
        self._originals = fans
        self._end("a guard that died was found out")

    def take(self, message: dict[str, object]) -> None:
        """Do what a message asks. Raises Refused where it is none of the protocol's."""
        match message.get("do"):
            case "boost":
                self._boost(message)
            case "beat":
                self._beat(message)
            case "auto":
                if self._originals:
                    self._end("asked to")
                else:
                    self._say({"is": "released", "why": "nothing was held", "lease": 0})
            case other:
                raise Refused(f"{str(other)[:20]!r} is nothing the guard does")

    def lose_client(self) -> None:
        """Take it that nobody is there: give back, unless heat forbids it for a while."""
        self._is_leaving = True
        self._client_died("the client is gone")

    def leave(self) -> None:
        """Give back and end."""
        self._is_leaving = True
        if self._originals and self._retry_s is None:
            self._end("the guard was told to end")

    def tick(self) -> None:
        """Look at clocks and temperatures, and give back where a rule says so."""
        now = self._clock.monotonic()
        if self._retry_s is not None:
            if now >= self._retry_s:
                self._try_restore()
        elif self._hold is not None:
            self._look(self._hold, now)

    # The rules of a hold

    def _look(self, hold: Hold, now: float) -> None:
        self._measure(hold, now)
        has_flipped = self._has_flipped(hold)
        why = self._must_end(hold, now)
        if why:
            self._end(why)
        elif not self._fans.is_held(self._originals):
            self._end("the system or another program took the fans back")
        elif hold.leaves_s is not None and (not hold.is_hot or now >= hold.leaves_s):
            self._end(self._why)
        elif has_flipped:
            self._set(hold)
        elif hold.leaves_s is None and now - hold.heard_s > LEASE_S:
            self._client_died("the client is silent")

    def _measure(self, hold: Hold, now: float) -> None:
        celsius = self._celsius()
        if celsius is not None:
            hold.celsius, hold.seen_s = celsius, now

    def _must_end(self, hold: Hold, now: float) -> str:
        """Return why the hold ends whatever the temperature; empty if it doesn't."""
        if self._clock.wall() - now - hold.ahead_s > SLEEP_S:
            return "the machine slept"
        if now - hold.seen_s > BLIND_S:
            return "no temperature sensor answers"
        if now >= hold.until_s:
            return "the time is up"
        if now - hold.progress_s > IDLE_CAP_S:
            return "no token for 15 minutes"
        return ""

    @staticmethod
    def _has_flipped(hold: Hold) -> bool:
        """Note whether it is too hot; whether that changed."""
        was = hold.is_hot
        hold.is_hot = hold.celsius >= (COOL_CELSIUS if was else HOT_CELSIUS)
        return hold.is_hot is not was

    def _client_died(self, why: str) -> None:
        hold = self._hold
        if hold is None or self._retry_s is not None:
            return
        if hold.is_hot and hold.leaves_s is None:
            hold.leaves_s = self._clock.monotonic() + HOT_STAY_S
            self._why = why
        elif hold.leaves_s is None:
            self._end(why)

    def _beat(self, message: dict[str, object]) -> None:
        lease, tokens = message.get("lease"), message.get("tokens")
        hold, now = self._hold, self._clock.monotonic()
        if hold is None or lease != hold.lease or hold.leaves_s is not None:
            self._say({"is": "late", "lease": lease})
            return
        hold.heard_s = now
        if isinstance(tokens, int) and tokens > hold.tokens:
            hold.tokens, hold.progress_s = tokens, now
        left_s = min(hold.until_s, hold.progress_s + IDLE_CAP_S) - now
        self._say(
            {
                "is": "held",
                "lease": hold.lease,
                "left_s": round(left_s, 1),
                "celsius": round(hold.celsius, 1),
                "is_hot": hold.is_hot,
            }
        )

    # Taking the fans

    def _boost(self, message: dict[str, object]) -> None:
        try:
            lease, percent, for_s = self._checked(message)
            if self._retry_s is not None:
                raise Refused(f"fans are not given back yet ({self._why})")
            hold = self._prepared(lease, percent, for_s)
        except (Refused, OSError) as error:
            self._say({"is": "refused", "why": " ".join(str(error).split())})
            return
        self._hold = hold
        if self._is_leaving:
            self._end("the client is gone")
        else:
            self._set(hold)
        if self._hold is hold and not self.is_giving_back:
            self._say({"is": "boosted", "lease": hold.lease, "fans": len(self._originals)})

    def _checked(self, message: dict[str, object]) -> tuple[int, float, float]:
        """Return lease, percent and seconds. Raises Refused for what can't be meant."""
        lease = message.get("lease")
        if not isinstance(lease, int) or isinstance(lease, bool) or lease <= self._last_lease:
            raise Refused(f"lease {str(lease)[:20]} is no new one")
        percent = _bounded(message.get("percent"), 1.0, 100.0, "percent")
        for_s = _bounded(message.get("for_s", TOTAL_CAP_S), 0.1, TOTAL_CAP_S, "for_s")
        return lease, percent, for_s

    def _prepared(self, lease: int, percent: float, for_s: float) -> Hold:
        """Return a hold whose originals are on disk, and of which the client knows."""
        celsius = self._celsius()
        if celsius is None:
            raise Refused("no temperature sensor answers, and fans are not held blindly")
        if not self._originals:
            originals = self._fans.snapshot()
            self._write_state(originals)
            self._originals = originals
        self._last_lease = lease
        self._say({"is": "armed", "lease": lease})
        now, old = self._clock.monotonic(), self._hold
        began_s = now if old is None else old.began_s
        return Hold(
            lease=lease,
            percent=percent,
            began_s=began_s,
            until_s=min(now + for_s, began_s + TOTAL_CAP_S),
            heard_s=now,
            tokens=0,
            progress_s=now,
            seen_s=now,
            celsius=celsius,
            ahead_s=self._clock.wall() - now,
            is_hot=old is not None and old.is_hot,
        )

    def _write_state(self, originals: Originals) -> None:
        content: dict[str, object] = {
            "schema": SCHEMA,
            "boot": boot_id(),
            "machine": os.uname().nodename,
            "backend": self._fans.name,
            "root": self._root,
            "pid": os.getpid(),
            "started": started_at(os.getpid()),
            "created_s": self._clock.wall(),
            "fans": originals,
        }
        try:
            self._state.write(content)
        except OSError:
            self._state.path.unlink(missing_ok=True)
            raise

    def _set(self, hold: Hold) -> None:
        percent = 100.0 if hold.is_hot else hold.percent
        try:
            self._fans.boost(self._originals, percent, self._pause)
        except OSError as error:
            self._end(" ".join(str(error).split()))
        hold.heard_s = max(hold.heard_s, self._clock.monotonic())

    # Giving them back

    def _end(self, why: str) -> None:
        self._why, self._tries = why, 0
        self._try_restore()

    def _try_restore(self) -> None:
        problems = self._fans.restore(self._originals)
        if not problems:
            problems = self._forget()
        if problems:
            self._tries += 1
            late = self._tries - QUICK_TRIES
            wait_s = QUICK_S if late < 0 else SLOW_S[min(late, len(SLOW_S) - 1)]
            self._retry_s = self._clock.monotonic() + wait_s
            if late >= 0:
                self._say({"is": "stuck", "why": problems[0][:300], "next_s": wait_s})
            return
        lease = self._hold.lease if self._hold is not None else 0
        self._hold, self._retry_s = None, None
        self._say({"is": "released", "why": self._why, "lease": lease})

    def _forget(self) -> list[str]:
        """Drop the originals, the file first; return what is in the way."""
        try:
            self._state.remove()
        except OSError as error:
            return [" ".join(str(error).split())]
        self._originals = []
        return []

    def _say(self, message: dict[str, object]) -> None:
        try:
            self._say_it(message)
        except OSError:
            # Nobody reads any more, which is as good as the end of what they say.
            if not self._is_leaving:
                self.lose_client()


def _bounded(value: object, least: float, most: float, name: str) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not least <= float(str(value)) <= most:
        raise Refused(f"{name} must be a number from {least:g} to {most:g}, not {str(value)[:20]}")
    return float(str(value))
