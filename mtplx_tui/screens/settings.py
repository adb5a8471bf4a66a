"""Settings: every row of the schema, what it means, where its value comes from, and its change.

A change counts and is written at once; what the file says is looked up anew after each write.
"""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from mtplx_tui import config
from mtplx_tui.keymap import SETTINGS, bindings
from mtplx_tui.messages import SettingsSaved
from mtplx_tui.screens.app_screen import AppScreen
from mtplx_tui.screens.dialogs import AskText, Choose, Confirm
from mtplx_tui.settings_file import VERSION, Loaded, Origin, Source
from mtplx_tui.settings_schema import SCHEMA, Effect, Setting
from mtplx_tui.wording import showable

__all__ = ["SettingsScreen"]

NAME_CELLS = max(len(name) for name in SCHEMA) + 2
VALUE_CELLS = 18


class AskSetting(AskText):
    """Asks for a setting's value and says while it is typed whether it will do."""

    def __init__(self, setting: Setting, value: str) -> None:
        def check(text: str) -> None:
            setting.read(text)

        super().__init__(f"{setting.name}: {setting.allowed}", value, check)
        self._setting = setting

    @on(Input.Changed)
    def _judge(self, event: Input.Changed) -> None:
        try:
            self._setting.read(event.value)
        except ValueError as error:
            self.show_error(str(error))
        else:
            self.show_error("")


class SettingsScreen(AppScreen):
    """See the module."""

    CSS_PATH = "settings.tcss"
    BINDINGS: ClassVar[list[BindingType]] = bindings(SETTINGS)

    def __init__(self) -> None:
        super().__init__()
        self._loaded: Loaded | None = None

    @property
    def chosen(self) -> Setting:
        """The setting under the cursor."""
        at = self.query_one(OptionList).highlighted_option
        return (
            SCHEMA[str(at.id)]
            if at is not None and at.id is not None
            else next(iter(SCHEMA.values()))
        )

    def compose(self) -> ComposeResult:
        """Lay out the list beside or above what there is to say of one row."""
        yield Static(id="settings-title", markup=False)
        with Container(id="settings-body"):
            yield OptionList(markup=False, id="settings-list")
            yield Static(id="settings-detail", markup=False)
        yield Static(id="settings-hint", markup=False)

    def on_mount(self) -> None:
        """Fill the list."""
        self.read_again()
        self.query_one(OptionList).focus()

    @on(SettingsSaved)
    def read_again(self) -> None:
        """Look up what the file says, and show everything as it is now."""
        self._loaded = config.read_settings(self.mtplx.places)
        listed = self.query_one(OptionList)
        at = listed.highlighted
        options: list[Option] = []
        group = ""
        for setting in SCHEMA.values():
            if setting.group != group:
                group = setting.group
                if options:
                    options.append(Option("", disabled=True))
                title = Content.styled(group, "bold $text-primary")
                options.append(Option(title, disabled=True))
            options.append(Option(self._row(setting), id=setting.name))
        listed.clear_options()
        listed.add_options(options)
        listed.highlighted = 1 if at is None else at
        title = f" Settings {self.marks.dot} {self.mtplx.places.config_file}"
        self.query_one("#settings-title", Static).update(Content.styled(showable(title), "bold"))
        self._show_hint()
        self.show_detail()

    @on(OptionList.OptionHighlighted)
    def show_detail(self) -> None:
        """Say what the marked setting means."""
        detail = self.query_one("#settings-detail", Static)
        detail.update(self._detail(self.chosen))

    # What is seen

    def value_of(self, setting: Setting) -> object:
        """Return the value that counts now, or from the moment its row tells."""
        if self._source(setting).origin is Origin.ENVIRONMENT and self._loaded is not None:
            return getattr(self._loaded.settings, setting.name)
        return getattr(self.mtplx.settings, setting.name)

    def _source(self, setting: Setting) -> Source:
        source = self._loaded.sources[setting.name] if self._loaded else Source(Origin.DEFAULT)
        is_named = setting.name == "last_model" and self.mtplx.named_model is not None
        return Source(Origin.FLAG) if is_named else source

    def _is_unsaved(self, setting: Setting) -> bool:
        """Whether the value of this run is not the one that the next would begin with."""
        here = getattr(self.mtplx.settings, setting.name)
        kept = getattr(self._loaded.settings, setting.name) if self._loaded else here
        return self._source(setting).origin is not Origin.ENVIRONMENT and here != kept

    def _row(self, setting: Setting) -> Content:
        value = setting.shown(self.value_of(setting)).replace("\n", " ")
        text = Content(showable(value))
        if text.cell_length > VALUE_CELLS:
            text = text.truncate(VALUE_CELLS - 1) + Content(self.marks.more)
        is_changed = self.value_of(setting) != setting.default
        return Content.assemble(
            f"  {setting.name.ljust(NAME_CELLS)}",
            text.stylize("bold" if is_changed else ""),
            " " * (VALUE_CELLS + 2 - text.cell_length),
            (self._origin(setting), "$text-error" if self._source(setting).problem else ""),
        )

    def _origin(self, setting: Setting) -> str:
        """Return where a value comes from, in a word or two."""
        source = self._source(setting)
        if source.problem:
            return "wrong in the file"
        if self._is_unsaved(setting):
            return "this run only"
        return {
            Origin.FLAG: "command line",
            Origin.ENVIRONMENT: "environment",
            Origin.FILE: "file",
            Origin.MODEL: "model",
        }.get(source.origin, "")

    def _detail(self, setting: Setting) -> Content:
        source = self._source(setting)
        value = setting.shown(self.value_of(setting))
        lines = [
            Content.assemble(
                (setting.name, "bold $text-primary"), " = ", (showable(value), "bold")
            ),
            Content(setting.explanation),
            Content.assemble(("may be   ", "dim"), setting.allowed),
            Content.assemble(("default  ", "dim"), setting.shown(setting.default)),
            Content.assemble(("from     ", "dim"), showable(self._origin_words(setting))),
            Content.assemble(("counts   ", "dim"), self._effect_words(setting)),
        ]
        if source.problem:
            at = f"line {source.line}: " if source.line is not None else ""
            lines.append(Content.styled(showable(f"{at}{source.problem}"), "$text-error"))
        return Content("\n").join(lines)

    def _origin_words(self, setting: Setting) -> str:
        source = self._source(setting)
        line = f", line {source.line}" if source.line is not None else ""
        match source.origin:
            case Origin.FLAG:
                return f"the command line, which names {self.mtplx.named_model}"
            case Origin.ENVIRONMENT:
                return f"{setting.variable} in the environment, which goes before the file"
            case Origin.MODEL:
                model = self.mtplx.view.model
                if model is None or self._is_unsaved(setting):
                    return "the loaded model"
                return f"the loaded model, which says {getattr(model.sampling, setting.name):g}"
        if self._is_unsaved(setting):
            return "a change of this run; it is not in the file"
        return f"config.toml{line}" if source.origin is Origin.FILE else "the default"

    def _effect_words(self, setting: Setting) -> str:
        if setting.effect is Effect.NEXT_SERVER and self.mtplx.serving.is_running:
            return "when the server is started next; it runs now"
        return str(setting.effect)

    def _show_hint(self) -> None:
        keys = self.mtplx.keys
        hints = [
            (keys.sign("settings.change"), "change"),
            (keys.sign("settings.reset"), "back to the default"),
            (keys.sign("settings.keys"), "keys"),
            (keys.sign("settings.close"), "close"),
        ]
        parts = [Content.assemble((key, "bold"), f" {what}") for key, what in hints]
        line = Content.assemble(" ", Content("   ").join(parts))
        self.query_one("#settings-hint", Static).update(line)

    # Keys

    @on(OptionList.OptionSelected)
    def action_change(self) -> None:
        """Change the marked setting: the other of two at once, else it is asked for."""
        setting = self.chosen
        if self._is_fixed(setting):
            return
        now = self.value_of(setting)
        if isinstance(now, bool):
            self._change(setting, not now)
            return
        choices = self._choices(setting)
        if not choices:
            shown = "" if now is None and not setting.kind.word else setting.shown(now)
            self.app.push_screen(
                AskSetting(setting, shown), lambda text: self._typed(setting, text)
            )
            return

        def answered(index: str | None) -> None:
            self._typed(setting, None if index is None else choices[int(index)])

        start = choices.index(setting.shown(now)) if setting.shown(now) in choices else 0
        self.app.push_screen(Choose(f"{setting.name}: which?", choices, start), answered)

    def _choices(self, setting: Setting) -> tuple[str, ...]:
        if setting.name == "theme":
            return ("auto", *sorted(self.app.available_themes))
        return setting.kind.choices

    def _is_fixed(self, setting: Setting) -> bool:
        """Whether the environment holds a setting; then that is told."""
        if self._source(setting).origin is not Origin.ENVIRONMENT:
            return False
        text = f"{setting.variable} is set in the environment and goes before the file"
        self.notify(text, severity="warning", markup=False)
        return True

    def _typed(self, setting: Setting, text: str | None) -> None:
        if text is not None:
            self._change(setting, setting.read(text))

    def action_reset(self) -> None:
        """Give the marked setting its default back, and take it out of the file."""
        if not self._is_fixed(self.chosen):
            self._change(self.chosen, self.chosen.default)

    def _change(self, setting: Setting, value: object) -> None:
        """Change a setting; before a newer program's file is written, say what that means."""
        newer = self._loaded.newer if self._loaded else None
        if newer is None or self.mtplx.preferences.writes_newer:
            self.mtplx.change_setting(setting.name, value)
            self._show_value(setting)
            return

        def answered(answer: str | None) -> None:
            self.mtplx.preferences.writes_newer = answer is not None
            self.mtplx.change_setting(setting.name, value)
            self._show_value(setting)

        detail = (
            f"config.toml was written by a newer version ({newer}; this program knows {VERSION}).\n\n"
            f"Writing changes the line of {setting.name}, here and with each later change of this "
            f"run; whatever only the newer program understands in that line is lost. All other "
            f"lines stay. Without it the change lasts for this run only."
        )
        self.app.push_screen(Confirm("Write into a newer program's settings?", detail), answered)

    def _show_value(self, setting: Setting) -> None:
        listed = self.query_one(OptionList)
        listed.replace_option_prompt(setting.name, self._row(setting))
        self.show_detail()

    def action_close(self) -> None:
        """Go back."""
        self.dismiss()

    def action_keys(self) -> None:
        """Show the keys, to be changed."""
        from mtplx_tui.screens.key_settings import KeySettings

        self.app.push_screen(KeySettings())
