"""Styles are parsed once, and anew where colours change."""

from __future__ import annotations

from typing import Any

import pytest
from textual.css import stylesheet
from textual.css.stylesheet import Stylesheet

from mtplx_tui.widgets.kept_styles import KeptStyles

ONE, OTHER = "Label { color: $shade; }", "Button { color: $shade; }"


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was parsed, in order; the tests' own keeping is left out."""
    seen: list[str] = []
    parse = stylesheet.parse

    def told(scope: str, css: str, *rest: Any, **more: Any) -> Any:
        seen.append(css)
        return parse(scope, css, *rest, **more)

    monkeypatch.setattr(Stylesheet, "_parse_rules", vars(Stylesheet._parse_rules)["__wrapped__"])
    monkeypatch.setattr(stylesheet, "parse", told)
    return seen


def colors(styles: Stylesheet) -> list[str]:
    return [rule.styles.color.hex for rule in styles.rules]


def test_styles_are_parsed_once_for_a_set_of_colours(parsed: list[str]) -> None:
    styles = KeptStyles(variables={"shade": "red"})
    styles.add_source(ONE, ("one", ""))
    styles.parse()
    styles.add_source(OTHER, ("other", ""))
    for _ in range(2):
        styles.set_variables({"shade": "red"})
        styles.reparse()
    assert parsed == [ONE, OTHER]
    assert colors(styles) == ["#FF0000", "#FF0000"]
    styles.set_variables({"shade": "blue"})
    styles.reparse()
    assert parsed == [ONE, OTHER, ONE, OTHER]
    assert colors(styles) == ["#0000FF", "#0000FF"]
