"""Takes out of a text what names a person, a machine or a place, and whatever may be a secret.

Known values go first: folders by their labels, then all that the environment holds, names of user
and host. What only looks like a token, an address or a path goes by its looks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["HIDDEN", "Redactor"]

HIDDEN = "(hidden)"
_SYSTEM = ("/sys", "/proc", "/dev", "/usr", "/lib", "/etc", "/run", "/bin", "/System")
_OWN_FILES = ("config.toml", "keymap.toml", "fans.json", "bookmark.json", "setup.json")
_LOOKS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"//[^/\s@]*@"), f"//{HIDDEN}@"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+"), HIDDEN),
    (re.compile(r"(?i)\b([\w-]*(?:token|key|secret|passw|auth)[\w-]*\s*[=:]\s*)[^\s,;&]+"), rf"\1{HIDDEN}"),
    (re.compile(r"\b(?:hf_|sk-|sk_|gh[pousr]_|github_pat_|xox\w-|AKIA|eyJ)[\w.-]{6,}"), HIDDEN),
    (re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), "(e-mail)"),
    (re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])"), "(address)"),
    (re.compile(r"(?<![\w:.])(?=[0-9a-fA-F:]*::|(?:[0-9a-fA-F]{1,4}:){5})(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4}(?![\w:])"), "(address)"),
    (re.compile(r"(?<![\w-])(?=[\w+/=-]*\d)(?=[\w+/=-]*[A-Za-z])[\w+/=-]{24,}"), HIDDEN),
)  # fmt: skip
_PATH = re.compile(r"(?<![\w.:/~)])(~?/[^\s'\"()<>,;:]+)")
_FILE = re.compile(r"[\w.@+-]+\.(toml|jsonl|json|safetensors|gguf)\b")


class Redactor:
    """See the module.

    Args:
        folders: each with the label that stands for it.
        private: values that must not be shown, wherever they stand.
        names: of user and hosts; hidden as whole words, whatever their case.
    """

    def __init__(
        self, folders: Iterable[tuple[Path, str]], private: Iterable[str], names: Iterable[str]
    ) -> None:
        known: dict[str, str] = {}
        for folder, label in folders:
            for place in _ways(folder):
                known.setdefault(str(place), label)
        self._folders = sorted(known.items(), key=lambda each: len(each[0]), reverse=True)
        self._private = sorted({text for text in private if text}, key=len, reverse=True)
        words = "|".join(re.escape(name) for name in sorted(set(names), key=len, reverse=True))
        self._names = re.compile(rf"(?i)(?<![^\W_])(?:{words})(?![^\W_])") if words else None

    def text(self, text: str) -> str:
        """Return a text that may be shown to others."""
        for place, label in self._folders:
            text = re.sub(rf"{re.escape(place)}(?![\w-])", label, text)
        for value in self._private:
            text = text.replace(value, HIDDEN)
        for pattern, instead in _LOOKS:
            text = pattern.sub(instead, text)
        text = _PATH.sub(_shown_path, text)
        text = _FILE.sub(_shown_file, text)
        return text if self._names is None else self._names.sub("(name)", text)

    def without_values(self, text: str) -> str:
        """Return what is wrong with a line of a person's file, without what stands there."""
        text = re.sub(r"(['\"]).*\1", HIDDEN, text)
        text = re.sub(r"\[.*\] is no setting", f"{HIDDEN} is no setting", text)
        text = re.sub(r"\bnot [^,;]*$", f"not {HIDDEN}", text)
        return self.text(text)


def _ways(folder: Path) -> Sequence[Path]:
    """Return a folder as it is named and as it really lies; the root would stand for everything."""
    return [place for place in (folder, folder.resolve()) if len(place.parts) > 1]


def _shown_path(match: re.Match[str]) -> str:
    path = match[1]
    if path.startswith("~/"):
        return f"~/{HIDDEN}"
    is_system = any(path == top or path.startswith(f"{top}/") for top in _SYSTEM)
    return path if is_system else f"/{HIDDEN}"


def _shown_file(match: re.Match[str]) -> str:
    return match[0] if match[0] in _OWN_FILES else f"{HIDDEN}.{match[1]}"
