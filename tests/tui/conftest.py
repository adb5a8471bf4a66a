"""What every screen test needs: a clean environment, still cursors, and SVG snapshots."""

from __future__ import annotations

import functools
import re
from typing import Any

import pytest
import pytest_textual_snapshot
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from textual.css.model import RuleSet
from textual.css.stylesheet import Stylesheet

LEAKS = ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TMUX", "SSH_CONNECTION", "SSH_TTY", "SSH_CLIENT")


class SvgExtension(SingleFileSnapshotExtension):
    """Writes .svg files whose ids don't depend on their content.

    syrupy reads `file_extension` where the plugin still sets an older name; and the plugin's ids
    are a hash of the whole picture, so that one changed cell would change every line. Fonts are
    left to whoever looks at a picture: it names no host.
    """

    file_extension = "svg"
    _write_mode = WriteMode.TEXT

    def serialize(self, data: object, **options: object) -> str:
        """Return the picture with ids that stay, and without fonts to fetch."""
        picture = re.sub(r"terminal-\d+-", "terminal-", str(data))
        return re.sub(r" *@font-face \{.*?\}\n", "", picture, flags=re.DOTALL)


PARSED: dict[tuple[object, ...], list[RuleSet]] = {}
"""Rules by the styles that they were read from, and by the theme's colours."""


def keep_parsed_styles() -> None:
    """Have every app find what others parsed of the same styles with the same colours.

    Textual keeps that too, but for one app, and anew for each tab that is first shown.
    """
    parse = Stylesheet._parse_rules

    @functools.wraps(parse)
    def once(self: Stylesheet, *style: Any, **more: Any) -> list[RuleSet]:
        key = (style, *more.items(), *self._variables.items())
        if key not in PARSED:
            PARSED[key] = parse(self, *style, **more)
        return PARSED[key]

    setattr(Stylesheet, "_parse_rules", once)  # noqa: B010 - it stays in place of Textual's own


keep_parsed_styles()
setattr(pytest_textual_snapshot, "SVGImageExtension", SvgExtension)  # noqa: B010 - no subclass of it


@pytest.fixture(autouse=True)
def clean_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Take out of the environment what changes colours, and point the app's files elsewhere."""
    for name in LEAKS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MTPLX_TUI_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture(autouse=True)
def still_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep cursors from blinking into pictures."""
    from textual.widgets import Input, TextArea

    monkeypatch.setattr(Input, "_toggle_cursor", lambda *_: None)
    monkeypatch.setattr(TextArea, "_toggle_cursor_blink_visible", lambda *_: None)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Textual's pilot look four times as often whether the app is idle, which it does twice a key.

    That waiting is half of what a screen test takes otherwise. An app counts as idle where it
    computed for a twentieth of the time between two looks, as before.
    """
    from textual import _wait

    monkeypatch.setattr(_wait, "SLEEP_GRANULARITY", 1 / 200)
    monkeypatch.setattr(_wait, "SLEEP_IDLE", 1 / 200 / 20)
