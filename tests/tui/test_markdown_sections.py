"""A text cut into sections: nothing lost, nothing changed later, the same however it arrives."""

from __future__ import annotations

import random

import pytest

from mtplx_tui.widgets import markdown_sections as sections
from mtplx_tui.widgets.markdown_sections import Section, SectionSplitter, code_blocks
from mtplx_tui.wording import showable

DOCUMENT = """# Title

A paragraph with **bold** and [bold] words
on two lines.
#hashtag is no heading

- a
- b
  - nested

    more of b
- c

1. one
1. two

   ```sh
   ls
   ```
1. three

```python
{code}
```

| a | b |
|---|---|
| 1 | 2 |

> quoted
> on

Setext
------

the end""".format(code="\n".join(f"x{i} = {i}" for i in range(120)))


def cut(text: str, seed: int | None) -> list[Section]:
    """Feed a text in random pieces; mirror the changes as a widget would."""
    chance = random.Random(seed)
    splitter, mirror, at = SectionSplitter(), [], 0
    while at < len(text):
        size = len(text) if seed is None else chance.randint(1, 40)
        splitter.feed(text[at : at + size])
        at += size
        change = splitter.settle()
        mirror = mirror[: len(mirror) - change.dropped] + list(change.added)
        assert mirror == splitter.sections
    change = splitter.finish()
    mirror = mirror[: len(mirror) - change.dropped] + list(change.added)
    assert mirror == splitter.sections
    assert splitter.tail is None
    return mirror


@pytest.mark.parametrize("seed", range(25))
def test_pieces_make_no_difference(seed: int) -> None:
    assert cut(DOCUMENT, seed) == cut(DOCUMENT, None)


def test_nothing_is_lost() -> None:
    joined = "\n".join(section.source.rstrip("\n") for section in cut(DOCUMENT, 3))
    assert [line for line in joined.split("\n") if line] == [
        line for line in DOCUMENT.split("\n") if line
    ]


def test_list_items_keep_their_numbers_and_stand_together() -> None:
    items = [s for s in cut(DOCUMENT, 1) if s.number is not None]
    assert [(item.number, item.is_joined) for item in items] == [(1, False), (2, True), (3, True)]


def test_a_finished_block_is_cut_off_while_the_next_is_written() -> None:
    splitter = SectionSplitter()
    splitter.feed("one\n\ntwo\n\nthr")
    splitter.settle()
    assert [s.source.strip() for s in splitter.sections] == ["one"]
    assert splitter.tail is not None
    assert splitter.tail.source == "two\n\nthr"


def test_a_line_still_being_written_decides_nothing() -> None:
    splitter = SectionSplitter()
    splitter.feed("words\n#")
    splitter.settle()
    assert splitter.sections == []


def test_a_long_open_code_block_is_cut_in_parts_and_joined_at_its_end() -> None:
    splitter = SectionSplitter()
    splitter.feed("```python\n" + "x = 1\n" * 100)
    splitter.settle()
    assert len(splitter.sections) == 2
    assert all(s.source.startswith("```python\n") for s in splitter.sections)
    assert splitter.tail is not None
    assert len(splitter.tail.source) < 600
    splitter.feed("```\n\nafter\n\nlast")
    splitter.settle()
    fences = [s for s in splitter.sections if s.source.startswith("```")]
    assert [s.source.count("x = 1") for s in fences] == [100]


def test_a_very_long_code_block_stays_in_parts() -> None:
    lines = sections.MERGED_FENCE + 100
    parts = [s for s in cut("```\n" + "y\n" * lines + "```\n", 5) if s.source.startswith("```")]
    assert len(parts) > 10
    assert sum(s.source.count("y") for s in parts) == lines


def test_an_endless_paragraph_does_not_stay_in_the_tail() -> None:
    splitter = SectionSplitter()
    for _ in range(100):
        splitter.feed("word " * 40)
        splitter.settle()
    assert splitter.tail is not None
    assert len(splitter.tail.source) <= sections.LONG_PARAGRAPH + 400
    text = "".join(s.source for s in splitter.sections) + splitter.tail.source
    assert text.split() == ["word"] * 4000


def test_what_would_steer_the_terminal_is_made_visible() -> None:
    assert showable("a\x1b[31mb\x07\x9b\ud800\r\nc\td") == "a␛[31mb␇��\nc\td"


def test_code_blocks_are_found_in_order_with_their_language() -> None:
    text = "```py\na\n```\n\n- x\n\n  ```\n  b\n  ```\n\n    c\n"
    assert code_blocks(text)[:2] == (("py", "a\n"), ("", "b\n"))
