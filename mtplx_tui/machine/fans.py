"""The one owner of the fans in the app's process: a policy, and the guard that carries it out.

`tick` is called once a second from the loop that must not freeze: it is the heartbeat. Nothing here
writes a fan; with the automatic policy no guard is even started.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from mtplx_tui.machine.guarding import GuardGone, GuardLink, GuardSetup, Message, start
from mtplx_tui.machine.policy import Facts, Policy, wants_fans

__all__ = ["FanKeeper", "FanState", "FanView"]

ARM_S = 2.0
"""Without an answer for so long, the guard is given up before it touches anything."""
START_S, BOOST_S, SILENT_S = 10.0, 20.0, 4.0
"""The same until it greets, until the fans run, and while they do."""
AGAIN_S = 60.0
"""After a refusal nothing is tried for so long."""
BY_HAND = "fans may be held: run mtplx-tui fans restore"
RESTARTS = 3
"""So often in a row a guard that dies is started again."""


class FanState(StrEnum):
    """What is with the fans, as far as this app is concerned."""

    FREE = "free"
    """The machine's own control."""
    ARMING = "arming"
    HELD = "held"
    RELEASING = "releasing"
    STUCK = "stuck"
    """The guard tries to give them back, and doesn't see it happen."""
    LOST = "lost"
    """Fans may be held, and no guard is there to give them back."""


@dataclass(frozen=True, slots=True)
class FanView:
    """What a screen shows of it."""

    policy: Policy = Policy.AUTOMATIC
    state: FanState = FanState.FREE
    since_s: float = 0.0
    """When the state began, of the monotonic clock."""
    left_s: float | None = None
    """Until the guard's own end of the hold, when it was last heard."""
    is_hot: bool = False
    """The guard runs the fans at full speed because of heat."""
    note: str = ""
    """What happened last, in a line."""
    is_alarm: bool = False
    """Whether the note must not be overlooked."""


class FanKeeper:
    """See the module.

    Args:
        setup: how a guard is started here.
        on_change: called when the view is another one.
        listen: called with the descriptor that `hear` is to be called for; None for none.
        clock: the monotonic one.
        start_guard: starts the process.
    """

    def __init__(
        self,
        setup: GuardSetup,
        on_change: Callable[[], None],
        listen: Callable[[int | None], None],
        clock: Callable[[], float] = time.monotonic,
        start_guard: Callable[[GuardSetup], subprocess.Popen[bytes]] | None = None,
    ) -> None:
        self.setup = setup
        self.view = FanView()
        self._on_change, self._listen, self._clock = on_change, listen, clock
        self._start = start_guard or _start_quietly
        self._link: GuardLink | None = None
        self._facts = Facts(clock())
        self._lease = 0
        self._tokens = 0
        self._due_s: float | None = None
        """Until when the guard owes an answer; None where it owes none."""
        self._not_before_s = 0.0
        self._restarts = 0
        self._loss = ""
        """What happened to a guard whose holds another one is giving back."""

    @property
    def has_guard(self) -> bool:
        """Whether a guard runs for us."""
        return self._link is not None

    # What the app calls

    def choose(self, policy: Policy) -> None:
        """Follow a policy from now on; the automatic one gives the fans back at once."""
        self._facts = replace(self._facts, chosen_s=self._clock(), token_s=None)
        self._not_before_s, self._restarts = 0.0, 0
        self._show(policy=policy)
        self._follow()

    def progress(self, tokens: int) -> None:
        """Take it that tokens came."""
        self._tokens += tokens
        self._facts = replace(self._facts, token_s=self._clock())
        if self.view.state is FanState.FREE:
            self._follow()

    def tick(self, celsius: float | None) -> None:
        """Beat, look at what the guard owes us, and follow the policy. Once a second."""
        self._facts = replace(self._facts, celsius=celsius)
        self.hear()
        if self._is_overdue():
            self._give_up()
        elif self.view.state is FanState.HELD:
            self._send(SILENT_S, do="beat", lease=self._lease, tokens=self._tokens)
        self._follow()

    def hear(self) -> None:
        """Take what the guard said."""
        if self._link is None:
            return
        try:
            for message in self._link.read():
                self._take(message)
        except GuardGone:
            self._lose()

    def recover(self) -> None:
        """Have fans given back that an app which died left held."""
        if self.setup.state_file.exists():
            self._show(state=FanState.RELEASING, note="giving back fans that were left held")
            self._open()

    def adopt(self, link: GuardLink) -> None:
        """Use a guard that runs already, as one that sudo started."""
        self._link = link
        self._listen(link.fileno())

    def close(self) -> bool:
        """Give everything back and let the guard end; whether that was seen."""
        link, self._link = self._link, None
        if link is None:
            return True
        self._listen(None)
        return link.close()

    # Following the policy

    def _follow(self) -> None:
        wanted = wants_fans(self.view.policy, self._facts, self._clock())
        state = self.view.state
        if wanted and state is FanState.FREE and self._clock() >= self._not_before_s:
            self._boost()
        elif not wanted and state in (FanState.HELD, FanState.ARMING):
            self._show(state=FanState.RELEASING)
            self._send(SILENT_S, do="auto")
        elif not wanted and self.view.policy is Policy.MAXIMUM and state is FanState.FREE:
            self._show(policy=Policy.AUTOMATIC, note="no token for ten minutes: automatic again")

    def _boost(self) -> None:
        if self._link is None and not self._open():
            return
        self._lease += 1
        self._show(state=FanState.ARMING, note="", is_alarm=False)
        self._send(ARM_S, do="boost", lease=self._lease, percent=100)

    def _open(self) -> bool:
        try:
            self.adopt(GuardLink(self._start(self.setup)))
            self._due_s = self._clock() + START_S
        except OSError as error:
            self._refused(f"the fan guard can't be started: {error}")
            return False
        return True

    def _send(self, within_s: float, **message: object) -> None:
        if self._link is None:
            return
        if self._due_s is None:
            self._due_s = self._clock() + within_s
        try:
            self._link.send(**message)
        except GuardGone:
            self._lose()

    # What the guard says

    def _take(self, message: Message) -> None:
        self._due_s = None
        why = str(message.get("why", ""))
        match message.get("is"):
            case "armed":
                self._due_s = self._clock() + BOOST_S
            case "hello" if self.view.state is FanState.ARMING:
                self._due_s = self._clock() + ARM_S
            case "boosted" if message.get("lease") == self._lease:
                self._facts = replace(self._facts, held_s=self._clock())
                self._restarts = 0
                if self.view.state is FanState.ARMING:
                    self._show(state=FanState.HELD)
            case "held":
                left_s = message.get("left_s")
                self._show(
                    left_s=float(left_s) if isinstance(left_s, int | float) else None,
                    is_hot=message.get("is_hot") is True,
                )
            case "stuck":
                next_s = message.get("next_s")
                note = f"fans not given back yet: {why}; tried again in {next_s:g} s"
                self._show(state=FanState.STUCK, note=note, is_alarm=True)
            case "released":
                self._released(why)
            case "refused":
                self._refused(why)
            case "hello" if self.view.state is FanState.RELEASING and self._facts.held_s is None:
                self._released("")

    def _released(self, why: str) -> None:
        was, loss = self.view.state, self._loss
        self._facts, self._loss = replace(self._facts, held_s=None), ""
        if loss:
            self._free(f"{loss}; a new one gave the fans back")
        elif was is FanState.RELEASING or not why:
            self._free("the fans are the machine's own again" if why else "")
        else:
            # The guard ended it: the next token is no reason to try again at once.
            self._not_before_s = self._clock() + AGAIN_S
            self._free(f"fans given back: {why}")

    def _refused(self, why: str) -> None:
        self._not_before_s = self._clock() + AGAIN_S
        self._free(f"fans left alone: {why}")

    def _free(self, note: str) -> None:
        self._show(state=FanState.FREE, left_s=None, is_hot=False, note=note)

    # A guard that is not there any more

    def _is_overdue(self) -> bool:
        return self._due_s is not None and self._clock() > self._due_s

    def _give_up(self) -> None:
        """End a guard that hangs: what it held is given back by the next one."""
        link = self._link
        if link is None:
            return
        try:
            link.process.kill()
        except PermissionError:
            link.hang_up()  # It runs as root: its end of the pipe tells it.
        self._lose("the fan guard doesn't answer")

    def _lose(self, why: str = "") -> None:
        """Let go of a guard that ended, and have another give back what it held."""
        link, self._link, self._due_s = self._link, None, None
        if link is None:
            return
        self._listen(None)
        link.hang_up()
        code = _code_of(link.process)
        if not self.setup.state_file.exists():
            if self.view.state is not FanState.FREE:
                self._refused(why or f"fan guard ended ({code})")
            return
        self._restarts += 1
        self._facts = replace(self._facts, held_s=None)
        self._loss = what = why or f"fan guard died ({code})"
        if self._restarts > RESTARTS:
            note = f"{what}; {BY_HAND}"
            self._show(state=FanState.LOST, note=note, is_alarm=True)
            return
        note = f"{what}; a new one gives the fans back"
        self._show(state=FanState.RELEASING, note=note, is_alarm=True)
        self._not_before_s = self._clock() + AGAIN_S
        if not self._open():
            note = f"{what}; {BY_HAND}"
            self._show(state=FanState.LOST, note=note, is_alarm=True)

    def _show(self, **changes: object) -> None:
        view = replace(self.view, **changes)
        if view.state is not self.view.state:
            view = replace(view, since_s=self._clock())
        if view != self.view:
            self.view = view
            self._on_change()


def _start_quietly(setup: GuardSetup) -> subprocess.Popen[bytes]:
    return start(setup, may_ask=False)


def _code_of(process: subprocess.Popen[bytes]) -> str:
    try:
        code = process.wait(1.0)
    except subprocess.TimeoutExpired:
        return "still running"
    return f"signal {-code}" if code < 0 else f"exit code {code}"
