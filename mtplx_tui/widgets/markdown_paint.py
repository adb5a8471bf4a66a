"""Paints a section of Markdown as strips, in the styles it is given.

Model text is data: nothing in it is read as Rich or Textual markup. Rich is asked for wrapping,
tables and highlighting only; importing this module is slow, so widgets do it when they first
have something to paint.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import ClassVar

from markdown_it.token import Token
from pygments.token import Comment, Generic, Keyword, Name, Number, Operator, String
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import (
    CodeBlock,
    Heading,
    HorizontalRule,
    ListItem,
    Markdown,
    MarkdownElement,
)
from rich.rule import Rule
from rich.segment import Segment
from rich.style import Style
from rich.syntax import Syntax, SyntaxTheme
from rich.text import Text
from rich.theme import Theme
from textual.strip import Strip

from mtplx_tui.widgets.markdown_sections import Section, markdown_parser

_BULLET = " • "
_NUMBER_WIDTH = 4


class _CodeTheme(SyntaxTheme):
    """Few colours, all of them the theme's."""

    def __init__(self, styles: Mapping[str, Style]) -> None:
        self._background = styles["code-block"]
        self._styles = {
            Comment: styles["comment"],
            Keyword: styles["keyword"],
            Operator.Word: styles["keyword"],
            String: styles["string"],
            Number: styles["number"],
            Name.Function: styles["name"],
            Name.Class: styles["name"],
            Name.Decorator: styles["name"],
            Name.Tag: styles["keyword"],
            Generic.Deleted: styles["number"],
            Generic.Inserted: styles["string"],
        }

    def get_style_for_token(self, token_type: object) -> Style:
        """Return the style of the nearest ancestor that has one."""
        kind = token_type
        while kind is not None:
            if kind in self._styles:
                return self._background + self._styles[kind]
            kind = getattr(kind, "parent", None)
        return self._background

    def get_background_style(self) -> Style:
        """Return what the block stands on."""
        return self._background


class _Code(CodeBlock):
    def __init__(self, lexer_name: str, colours: SyntaxTheme) -> None:
        super().__init__(lexer_name, "default")
        self._colours = colours

    @classmethod
    def create(cls, markdown: Markdown, token: Token) -> _Code:
        if not isinstance(markdown, _Document):
            raise TypeError("a code block of another document")
        return cls(token.info.partition(" ")[0] or "text", markdown.colours)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = str(self.text).removesuffix("\n")
        yield Syntax(
            code, self.lexer_name, theme=self._colours, word_wrap=True, tab_size=4, padding=(0, 1)
        )


class _Heading(Heading):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.text


class _Rule(HorizontalRule):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Rule(style="markdown.hr")


class _Item(ListItem):
    def render_bullet(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self._hanging(console, options, _BULLET)

    def render_number(
        self, console: Console, options: ConsoleOptions, number: int, last_number: int
    ) -> RenderResult:
        yield from self._hanging(console, options, f"{number}. ".rjust(_NUMBER_WIDTH))

    def _hanging(self, console: Console, options: ConsoleOptions, mark: str) -> RenderResult:
        inner = options.update(width=max(1, options.max_width - len(mark)))
        style = console.get_style("markdown.item.bullet")
        lines = console.render_lines(self.elements, inner, style=self.style)
        for index, line in enumerate(lines or [[]]):
            yield Segment(mark if index == 0 else " " * len(mark), style)
            yield from line
            yield Segment.line()


class _Document(Markdown):
    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "fence": _Code,
        "code_block": _Code,
        "heading_open": _Heading,
        "hr": _Rule,
        "list_item_open": _Item,
    }

    def __init__(self, colours: SyntaxTheme) -> None:
        super().__init__("", hyperlinks=True)
        self.colours = colours


def _console(styles: Mapping[str, Style]) -> Console:
    return Console(
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
        theme=Theme(_markdown_styles(styles), inherit=True),
        markup=False,
        emoji=False,
        highlight=False,
        _environ={},
    )


def _markdown_styles(styles: Mapping[str, Style]) -> dict[str, Style]:
    heading = styles["heading"]
    headings = {f"markdown.h{level}": heading for level in range(1, 7)}
    return {
        **headings,
        "markdown.code": styles["code"],
        "markdown.code_block": styles["code-block"],
        "markdown.link": styles["link"],
        "markdown.link_url": styles["link"],
        "markdown.block_quote": styles["quote"],
        "markdown.hr": styles["rule"],
        "markdown.item.bullet": styles["bullet"],
        "markdown.item.number": styles["bullet"],
        "markdown.table.border": styles["rule"],
        "markdown.table.header": heading,
    }


class MarkdownPainter:
    """Turns sections into strips.

    Args:
        base: what everything stands on; must have both colours.
        styles: one for each name that the answer knows, laid over the base.
    """

    def __init__(self, base: Style, styles: Mapping[str, Style]) -> None:
        self._base = base
        self._console = _console(styles)
        self._document = _Document(_CodeTheme(styles))
        """One for all sections: making it costs more than painting a section does."""

    def paint(self, section: Section, width: int) -> list[Strip]:
        """Return the rows of a section, `width` cells each."""
        if section.is_plain:
            return self.paint_plain(section.source.strip("\n"), width)
        tokens = markdown_parser().parse(section.source)
        if section.number is not None and tokens:
            tokens[0].attrs["start"] = section.number
        self._document.parsed = tokens
        return self._strips(self._document, width)

    def paint_plain(self, text: str, width: int) -> list[Strip]:
        """Return the rows of a text as it stands, wrapped."""
        return self._strips(Text(text, overflow="fold"), width)

    def _strips(self, renderable: Markdown | Text, width: int) -> list[Strip]:
        options = self._console.options.update(width=width, height=None)
        lines = self._console.render_lines(renderable, options, pad=False)
        strips = [Strip(Segment.apply_style(line, self._base)) for line in lines]
        while strips and not strips[0].text.strip() and not _is_painted(strips[0], self._base):
            del strips[0]
        while strips and not strips[-1].text.strip() and not _is_painted(strips[-1], self._base):
            del strips[-1]
        return [strip.adjust_cell_length(width, self._base) for strip in strips]


def _is_painted(strip: Strip, base: Style) -> bool:
    """Whether a blank row shows a background of its own."""
    return any(s.style is not None and s.style.bgcolor != base.bgcolor for s in strip)
