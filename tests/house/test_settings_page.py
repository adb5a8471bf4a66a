from __future__ import annotations

from pathlib import Path

from mtplx_tui.settings_schema import SCHEMA

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
HEAD = "| setting | may be | default | counts | what it is |\n| --- | --- | --- | --- | --- |\n"


def table() -> str:
    """Return the page's table, as the schema has it."""
    rows = []
    for name, setting in SCHEMA.items():
        variable = f" `{setting.variable}` goes before it." if setting.variable else ""
        rows.append(
            f"| `{name}` | {setting.allowed} | {setting.shown(setting.default)} | {setting.effect} "
            f"| {setting.explanation}{variable} |\n"
        )
    return HEAD + "".join(rows)


def test_the_page_has_every_setting_as_the_program_has_it() -> None:
    assert table() in PAGE.read_text("utf-8")
