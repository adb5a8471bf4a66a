"""Makes tests/engine/data/demo_tokens.json: hard strings and the ids llama.cpp gives them.

Run it in an environment of its own, since llama-cpp-python is no dependency of this project:

    python -m venv /tmp/llama && /tmp/llama/bin/pip install llama-cpp-python
    cd tests/engine/data
    /tmp/llama/bin/python ../../../benchmarks/tokenizer_table.py MODEL.gguf demo_tokens.json

Each entry holds `text`, or `bytes` (hexadecimal) where it is no valid UTF-8; `ids` with special
tokens recognised in it, `plain_ids` with their names read as any other text.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import random
from pathlib import Path

SEED = 7
RANDOM_STRINGS = 160

DIGITS = (
    "0",
    "7",
    "42",
    "123",
    "2024",
    "1234567890",
    "000000",
    "3.14159",
    "1,000,000",
    "1 2 3",
    " 12  34",
    "12:34:56.789",
    "2024-11-24T12:30:00Z",
    "+1 (555) 010-0199",
    "1e-10",
    "0xDEADBEEF",
    "50%",
    "$19.99",
    "١٢٣",
    "१२३",
    "１２３",
    "Ⅷ",
    "½",
    "²³",
    "①②",
    "10⁻⁹",
    "𝟘𝟙𝟚",
    "3½ cups",
)
MIXED = (
    "abc123",
    "123abc",
    "a1b2c3",
    "GPT4",
    "v1.2.3-rc4",
    "H2O",
    "COVID19",
    "utf8mb4",
    "x86_64",
    "mp3player",
    "b12 b 12",
    "é1é",
    "日2本",
    "1st 2nd 3rd 4th",
    "4x4",
    "_1_",
    "1a 2b",
    "12ab34cd",
)
SPECIAL = (
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|im_start|>user\nHi<|im_end|>\n",
    "<|im_start|>assistant\n",
    "a<|im_start|>b",
    "a <|im_end|> b",
    " <|im_start|> ",
    "<|im_start|><|im_end|>",
    "<|im_end|><|im_end|><|im_end|>",
    "<|im_start|",
    "|im_start|>",
    "<|im_start |>",
    "<|IM_START|>",
    "<<|im_start|>>",
    "<|<|im_start|>",
    "<|im_start|>|>",
    "<repo_name>",
    "<reponame>",
    "<repo_name>x<file_sep>y<filename>z",
    "<gh_stars>100",
    "<issue_start>a<issue_comment>b<issue_closed>",
    "<jupyter_start><jupyter_text>t<jupyter_code>c<jupyter_output>o<jupyter_script>",
    "<empty_output>",
    "<empty_output",
    "\n<|im_end|>\n\n",
    "\t<|endoftext|>\t",
    "9<|im_start|>9",
    "é<|im_end|>é",
    "<s></s><unk><pad>",
    "[INST] <<SYS>>",
    "<|user|>",
)
SPACES = (
    " ",
    "  ",
    "   ",
    "    ",
    "        ",
    " " * 17,
    " " * 64,
    "\t",
    "\t\t",
    "\t\t\t\t",
    " \t",
    "\t ",
    " \t \t",
    "\n",
    "\n\n",
    "\n\n\n",
    "\n" * 12,
    "\r",
    "\r\n",
    "\r\n\r\n",
    "\n\r",
    " \n",
    "\n ",
    "  \n  ",
    "a b",
    "a  b",
    "a   b",
    " a",
    "  a",
    "a ",
    "a  ",
    "a\tb",
    "a\t b",
    "a \tb",
    "a\nb",
    "a\n\nb",
    "a \n b",
    "a\r\nb",
    "a\n  b",
    "a\n\tb",
    "\x0b",
    "\x0c",
    "a\x0bb\x0cc",
    "\x1c\x1d\x1e\x1f",
    "\x85",
    "a\x85b",
    "\xa0",
    "a\xa0b",
    "\xa0\xa0a",
    " \xa0 ",
    "a\u2003b",
    "\u2028",
    "a\u2028b\u2029c",
    "\u3000",
    "日\u3000本",
    "\u200b",
    "a\u200bb",
    "\u200c\u200d",
    "\ufeff",
    "\ufeffHello",
    "a\u2060b",
    "\u180e",
    "\u1680x",
    "1 \n 2",
    "! \n ?",
)
CONTROL = (
    "\x00",
    "a\x00b",
    "\x01\x02\x03",
    "\x04",
    "a\x04b",
    "!\x04!",
    "\x04\x04",
    "(\x06\x06)",
    "--\x13--",
    "\x14a\x16",
    " \x1d",
    "\x1b[31mred\x1b[0m",
    "\x7f",
    "\x80\x9f",
    "..\x04..",
)
MARKS = (
    "e\u0301",
    "é",
    "n\u0303o",
    "Z\u0351\u036b\u0343\u036a\u0302a\u0334\u0315l\u031eg\u0336o",
    "a\u0301\u0302\u0303",
    "\u0301",
    " \u0301",
    "1\u0301",
    "1\ufe0f\u20e3",
    "ก็ได้",
    "नमस्ते दुनिया",
    "தமிழ்",
    "ﷺ",
    "ﬁ ﬂ",
    "Å Å",
    "ǅ ǆ",
    "İi ıI",
    "straße STRASSE",
)
EMOJI = (
    "🙂",
    "🙂🙂",
    "👍🏽",
    "👨\u200d👩\u200d👧\u200d👦",
    "🏳\ufe0f\u200d🌈",
    "🇩🇪🇫🇷",
    "❤\ufe0f",
    "hi 👋 there",
    "a🙂b",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "🫠🪿",
    "🧑🏿\u200d🚀",
    "✅ done",
    "→ ⇒ ≤ ≥ ≠ ∞",
    "∑∫√π",
    "│├└─",
    "█▓▒░",
    "⠋⠙⠹",
)
SCRIPTS = (
    "你好，世界！",
    "日本語のテキスト",
    "한국어 텍스트",
    "漢字かなカナ",
    "𠮷野家",
    "Привет, мир",
    "Γειά σου Κόσμε",
    "שלום עולם",
    "مرحبا بالعالم",
    "\u202eabc\u202c",
    "\u200fא\u200e",
    "ไทยไม่มีช่องว่าง",
    "ქართული",
    "ᏣᎳᎩ",
    "አማርኛ",
    "ᚠᚢᚦ",
    "𓀀𓀁",
    "𐍈",
    "中文English混排123",
    "Tiếng Việt",
    "Ünïcödé",
    "ꓕꓤ",
    "《书》『本』",
)
RARE_PLANES = (
    "\U00040000",
    "\U000bffff",
    "a\U00050000b",
    "\U000f0000",
    "\U0010fffd",
    "\ue000",
    "\ufffd",
    "\ufffd\ufffd",
    "a\ufffdb",
    "\ufdd0",
    "\uffff",
)
WORDS = (
    "",
    "a",
    "Hello",
    "Hello, world!",
    "hello world",
    "HELLO WORLD",
    "antidisestablishmentarianism",
    "Donaudampfschifffahrtsgesellschaftskapitän",
    "a" * 200,
    "ab" * 100,
    "A" * 33,
    "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogoch",
    "camelCaseAndPascalCase",
    "snake_case_and_SCREAMING_CASE",
    "kebab-case-word",
    "don't",
    "I'm you're he's we've they'll she'd can't",
    "I'M YOU'RE HE'S WE'VE THEY'LL SHE'D CAN'T",
    "'s 'S 'll 'LL 'Ll",
    "it\u2019s",
    "'",
    "''",
    "'''",
    "'sss",
    " 's",
    "x'ty",
    "rock 'n' roll",
    "'tis",
    "o'clock's",
    "1's 2's",
    "\u201cquoted\u201d \u2018text\u2019",
    "wait... what?!",
    "!!!!!!!!!!!!",
    "?!?!?!",
    "--- *** ___",
    "…—–",
    "a.b.c",
    ".,;:",
    " . , ; :",
    "(a) [b] {c} <d>",
    "#hashtag @mention",
    "Why is the sky blue?",
    "Once upon a time, there was a",
)
CODE = (
    "def f(x):\n    return x + 1\n",
    "for (int i = 0; i < n; ++i) {\n\ta[i] = b[i];\n}\n",
    "if x==1 and y!=2: pass",
    "#include <stdio.h>\n",
    "SELECT * FROM t WHERE id=42;",
    '<div class="x">&nbsp;</div>',
    '{"key": [1, 2.5, null, true]}',
    "```python\nprint('hi')\n```",
    "$ rm -rf /tmp/x && echo $?",
    "\\frac{a}{b} \\alpha_1^2",
    "https://example.com/a/b?c=d&e=%20f#g",
    "mailto:someone@example.com",
    "C:\\Users\\name\\file.txt",
    "/usr/local/bin/python3.11",
    "lambda x: x**2  # square",
    "a->b::c<d>&&e||!f",
    "x = {'a':1,\r\n     'b':2}\r\n",
    "| a | b |\n|---|---|\n| 1 | 2 |\n",
    "# Title\n\n- item\n  - nested\n\n1. one\n",
    "&amp;&lt;&#39;",
    "==========\n",
    "/* comment */ // another",
    "    \n        indented\n    ",
    '"""doc"""',
)
BROKEN = (
    "ff",
    "61ff62",
    "c3",
    "61c3",
    "c328",
    "e282",
    "e28261",
    "f09f98",
    "f09f9861",
    "80",
    "8080",
    "61806280",
    "c080",
    "e08080",
    "f0808080",
    "f8888080",
    "fe",
    "fffe",
    "eda080",
    "edb080",
    "eda081edb080",
    "c3a9ffc3a9",
    "3c7c696d5f73746172747c3eff",
    "ff3c7c696d5f656e647c3e",
    "e4bda0e5a5",
    "20ff20ff",
    "31ff32",
    "0aff0a",
)
"""Invalid UTF-8, as hexadecimal. Not f4908080: llama.cpp aborts above U+10FFFF."""
GROUPS = {
    "digits": DIGITS,
    "mixed": MIXED,
    "special": SPECIAL,
    "spaces": SPACES,
    "control": CONTROL,
    "marks": MARKS,
    "emoji": EMOJI,
    "scripts": SCRIPTS,
    "rare planes": RARE_PLANES,
    "words": WORDS,
    "code": CODE,
}


def random_strings() -> list[str]:
    """Return strings put together from pieces that are hard beside each other."""
    pieces = [piece for group in GROUPS.values() for piece in group if 0 < len(piece) <= 6]
    generator = random.Random(SEED)
    return [
        "".join(generator.choices(pieces, k=generator.randint(2, 9))) for _ in range(RANDOM_STRINGS)
    ]


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("table", type=Path)
    options = parser.parse_args()

    from llama_cpp import Llama  # ty: ignore[import-not-found]

    model = Llama(str(options.model), vocab_only=True, verbose=False)

    def entry(group: str, raw: bytes) -> dict[str, object]:
        ids, plain = (model.tokenize(raw, add_bos=False, special=flag) for flag in (True, False))
        try:
            source = {"text": raw.decode("utf-8")}
        except UnicodeDecodeError:
            source = {"bytes": raw.hex()}
        return {"group": group, **source, "ids": ids, "plain_ids": plain}

    entries = [entry(name, text.encode()) for name, group in GROUPS.items() for text in group]
    entries += [entry("broken", bytes.fromhex(raw)) for raw in BROKEN]
    entries += [entry("random", text.encode()) for text in random_strings()]
    lines = ",\n".join(json.dumps(item) for item in entries)
    head = json.dumps(
        {
            "model": options.model.name,
            "llama-cpp-python": importlib.metadata.version("llama-cpp-python"),
        }
    )
    options.table.parent.mkdir(parents=True, exist_ok=True)
    options.table.write_text(f'{{"made": {head},\n"entries": [\n{lines}\n]}}\n', "ascii")


if __name__ == "__main__":
    main()
