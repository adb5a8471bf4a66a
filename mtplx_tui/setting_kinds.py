"""What kinds of values a setting can have: how each is checked, typed and told in words."""

from __future__ import annotations

from dataclasses import dataclass, field

from mtplx_tui.wording import read_bytes

__all__ = ["Choice", "Flag", "Kind", "Number", "Size", "Text", "Whole"]


@dataclass(frozen=True, slots=True)
class Kind:
    """Any text but blanks; base of the other kinds.

    `check` and `read` raise ValueError without a reason: `words` says what a value must be.
    """

    word: str = field(default="", kw_only=True)
    """Stands for None, where a setting may be left open."""

    @property
    def words(self) -> str:
        """What a value must be."""
        return "a text in quotes"

    @property
    def choices(self) -> tuple[str, ...]:
        """All values there are, as they are typed; empty where they can't be counted up."""
        return ()

    def check(self, value: object) -> object:
        """Return what a value of the file stands for."""
        if not isinstance(value, str) or not value.strip():
            raise ValueError
        return value

    def read(self, text: str) -> object:
        """Return the file's value for what was typed."""
        return text


Text = Kind


@dataclass(frozen=True, slots=True)
class Flag(Kind):
    """True or false."""

    @property
    def words(self) -> str:
        """See Kind."""
        return "true or false"

    @property
    def choices(self) -> tuple[str, ...]:
        """See Kind."""
        return ("true", "false")

    def check(self, value: object) -> object:
        """See Kind."""
        if not isinstance(value, bool):
            raise ValueError
        return value

    def read(self, text: str) -> object:
        """See Kind."""
        return {"true": True, "false": False}.get(text)


@dataclass(frozen=True, slots=True)
class Choice(Kind):
    """One of several, each of its own type of text."""

    options: tuple[str, ...]

    @property
    def words(self) -> str:
        """See Kind."""
        return " or ".join(self.options)

    @property
    def choices(self) -> tuple[str, ...]:
        """See Kind."""
        return tuple(str(option) for option in self.options)

    def check(self, value: object) -> object:
        """See Kind."""
        found = [option for option in self.options if isinstance(value, str) and value == option]
        if not found:
            raise ValueError
        return found[0]


@dataclass(frozen=True, slots=True)
class Whole(Kind):
    """A whole number within bounds."""

    least: int
    most: int

    @property
    def words(self) -> str:
        """See Kind."""
        return f"a whole number between {self.least} and {self.most}"

    def check(self, value: object) -> object:
        """See Kind."""
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if not is_whole or not self.least <= value <= self.most:
            raise ValueError
        return value

    def read(self, text: str) -> object:
        """See Kind."""
        return int(text) if text.isascii() else None


@dataclass(frozen=True, slots=True)
class Number(Kind):
    """A number within bounds; whole ones do too."""

    least: float
    most: float
    is_above: bool = field(default=False, kw_only=True)
    """Whether the least is left out."""

    @property
    def words(self) -> str:
        """See Kind."""
        if self.is_above:
            return f"a number above {self.least:g} and at most {self.most:g}"
        return f"a number between {self.least:g} and {self.most:g}"

    def check(self, value: object) -> object:
        """See Kind."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError
        is_least = value == self.least and self.is_above
        if not self.least <= value <= self.most or is_least:
            raise ValueError
        return float(value)

    def read(self, text: str) -> object:
        """See Kind."""
        return float(text) if text.isascii() else None


@dataclass(frozen=True, slots=True)
class Size(Kind):
    """Bytes as people write them."""

    example: str
    has_zero: bool = field(default=False, kw_only=True)
    """Whether 0 is one of them."""

    @property
    def words(self) -> str:
        """See Kind."""
        zero = ", or 0" if self.has_zero else ""
        return f"a size in quotes such as {self.example}{zero}"

    def check(self, value: object) -> object:
        """See Kind."""
        text = Kind.check(self, value)
        if not (self.has_zero and text == "0"):
            read_bytes(str(text))
        return text
