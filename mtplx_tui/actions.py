"""What keys, and the command palette, do whatever tab is shown: each opens something, or asks an owner.

The base of the app. Screens are imported when they are asked for, so that none is before the first frame.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, cast

from textual.app import SystemCommand
from textual.screen import Screen

from mtplx_tui.chats.desk import Desk
from mtplx_tui.drafting import Drafting
from mtplx_tui.keymap import key_name
from mtplx_tui.loads import Loads
from mtplx_tui.messages import TakesKeys
from mtplx_tui.running_engine import RunningEngine
from mtplx_tui.setup.guide import Guide
from mtplx_tui.view import EngineState
from mtplx_tui.widgets.themed import Themed

if TYPE_CHECKING:
    from mtplx_tui.app import MtplxApp

__all__ = ["Actions"]


class Actions(Themed):
    """See the module; the app gives it the owners."""

    engine: RunningEngine
    loads: Loads
    drafting: Drafting
    guide: Guide
    desk: Desk

    @property
    def _mtplx(self) -> MtplxApp:
        return cast("MtplxApp", self)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Offer themes, and every action that has a key here."""
        yield SystemCommand(
            "theme", "see them all, keep one", functools.partial(self.run_action, "change_theme")
        )
        yield SystemCommand(
            "tour", "a minute in the speculation tab, stop by stop", self.action_tour
        )
        keys: dict[tuple[str, str], list[str]] = {}
        runs: dict[tuple[str, str], Callable[[], object]] = {}
        for active in screen.active_bindings.values():
            binding = active.binding
            if binding.show and binding.description and active.enabled:
                does = binding.description, binding.action
                keys.setdefault(does, []).append(key_name(binding.key))
                runs[does] = functools.partial(self.run_action, binding.action, active.node)
        for does, run_it in runs.items():
            yield SystemCommand(does[0], f"key: {' or '.join(keys[does])}", run_it)

    def action_show_tab(self, tab: str) -> None:
        """Open a tab."""
        if self.current_mode != tab:
            self.switch_mode(tab)

    def action_open_model(self) -> None:
        """Ask which model to open."""
        from mtplx_tui.screens.open_model import OpenModel

        if isinstance(self.screen, OpenModel):
            return
        model = self.engine.view.model
        self.push_screen(OpenModel(None if model is None else model.name), self._open_chosen)

    def _open_chosen(self, name: str | None) -> None:
        if name is not None:
            self.loads.open(name)

    async def action_tour(self) -> None:
        """Show the speculation tab, stop by stop."""
        from mtplx_tui.screens.tour import Tour

        await self.switch_mode("speculation")
        self.push_screen(Tour(), lambda _: self.guide.toured())

    def action_cancel_load(self) -> None:
        """End the load."""
        self.loads.cancel()

    def action_change_depth(self, by: int) -> None:
        """Draft deeper or less deep."""
        model = self.engine.view.model
        if model is not None and model.head is None:
            self.notify("this model has no head: it decodes plainly", severity="warning")
        self.drafting.change_depth(by)

    def action_auto_depth(self) -> None:
        """Let the engine choose the depth."""
        self.drafting.set_depth(None)

    def action_settings(self) -> None:
        """Show the settings."""
        from mtplx_tui.screens.settings import SettingsScreen

        if not isinstance(self.screen, SettingsScreen):
            self.push_screen(SettingsScreen())

    def action_doctor(self) -> None:
        """Look at what is wrong here."""
        from mtplx_tui.screens.doctor import DoctorScreen

        if not isinstance(self.screen, DoctorScreen):
            self.push_screen(DoctorScreen())

    def action_show_keys(self) -> None:
        """Show all keys."""
        from mtplx_tui.screens.key_help import KeyHelp

        if not isinstance(self.screen, KeyHelp):
            self.push_screen(KeyHelp(self.screen.active_bindings))

    def action_set_up(self) -> None:
        """Go on with the set-up, or set up again."""
        from mtplx_tui.screens.set_up_steps import go_on

        go_on(self._mtplx)

    def action_fans(self, policy: str) -> None:
        """Follow a fan policy; where fans need root, sudo asks first, with the command shown."""
        from mtplx_tui.machine.policy import Policy
        from mtplx_tui.screens.fans_asking import ask_for_fans

        ask_for_fans(self._mtplx, Policy(policy))

    def action_change_theme(self) -> None:
        """Let the person look at the themes, and keep the one that is accepted."""
        from mtplx_tui.screens.theme_picker import ask_for_theme

        ask_for_theme(self._mtplx, self.palettes)

    def action_restart_engine(self) -> None:
        """Start the engine again."""
        self._mtplx.restart_engine()

    async def action_quit(self) -> None:
        """Leave; asks first where a chat would be lost by it, and only once."""
        from mtplx_tui.screens.dialogs import LeaveUnkept

        unkept = self.desk.unkept
        if not unkept or isinstance(self.screen, LeaveUnkept):
            self.exit()
            return

        def answered(answer: str | None) -> None:
            if answer is not None:
                self.exit()

        self.push_screen(LeaveUnkept(unkept), answered)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Let keys through to others while their action would do nothing, or all are wanted."""
        if self.screen_stack and isinstance(self.screen, TakesKeys):
            return False
        if action == "cancel_load":
            return self.loads.is_loading
        if action == "restart_engine":
            return self.engine.view.state is EngineState.DEAD
        return super().check_action(action, parameters)
