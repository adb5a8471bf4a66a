"""Settings, places and terminal: the only reader of the environment in the app's process.

Settings are a TOML file that people edit: a wrong value is named with file, line and key and
its default used; what is unknown here, comments included, outlives a save.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

from engine.protocol import MAX_DEPTH, Mode
from mtplx_tui.files import Places, write_atomically
from mtplx_tui.wording import read_bytes

__all__ = [
    "HubPlace",
    "Settings",
    "Terminal",
    "find_hub",
    "find_hub_cache",
    "find_others",
    "find_places",
    "find_sysfs",
    "load_settings",
    "read_terminal",
    "save_settings",
]

APP = "mtplx-tui"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a person can set in config.toml."""

    blas: str = "auto"
    """The engine's matrix library on a Linux CPU: auto or stock."""
    theme: str = "auto"
    depth: int | None = None
    """None: automatic, in the file "auto" or left out."""
    mode: Mode = Mode.TOKEN
    last_model: str | None = None
    """Opened when none is named."""
    feed_hz: int = 10
    """How often a streaming answer is drawn, in a second."""
    download_limit: str | None = None
    """Bytes a second of all downloads together, such as 20MB; None for no limit."""
    notify: bool = True
    """Whether the terminal is told when something long ends unseen."""
    restore: bool = True
    """Whether a start goes back to where the last one ended."""


@dataclass(frozen=True, slots=True)
class Terminal:
    """The terminal, as far as the environment tells."""

    name: str
    is_dumb: bool
    has_color: bool
    """False under NO_COLOR."""
    colors: int
    """16, 256 or 2**24 as the terminal names itself, NO_COLOR or not; 0 for a dumb one."""
    is_utf8: bool
    is_ssh: bool
    osc_notice: int = 0
    """The number of the control sequence that shows a notice on the desktop; 0 where none is known."""


@dataclass(frozen=True, slots=True)
class HubPlace:
    """Where the hub is, as the environment names it."""

    endpoint: str
    is_offline: bool
    """The person wants no hub to be asked."""


def find_places() -> Places:
    """Return the app's folders: inside MTPLX_TUI_HOME, else where the platform puts them."""
    home = _variable("MTPLX_TUI_HOME")
    if home:
        folder = Path(os.path.abspath(os.path.expanduser(home)))
        return Places(config=folder, data=folder, cache=folder / "cache")
    import platformdirs

    return Places(
        config=platformdirs.user_config_path(APP, appauthor=False),
        data=platformdirs.user_data_path(APP, appauthor=False),
        cache=platformdirs.user_cache_path(APP, appauthor=False),
    )


def find_hub() -> HubPlace:
    """Return what HF_ENDPOINT and HF_HUB_OFFLINE say."""
    is_offline = _variable("HF_HUB_OFFLINE").upper() in ("1", "ON", "YES", "TRUE")
    return HubPlace(_variable("HF_ENDPOINT") or "https://huggingface.co", is_offline)


def find_sysfs() -> Path | None:
    """Return the tree that MTPLX_TUI_SYSFS names in place of /sys; None where it names none."""
    named = _variable("MTPLX_TUI_SYSFS")
    return Path(os.path.abspath(os.path.expanduser(named))) if named else None


def find_hub_cache() -> Path:
    """Return the folder where the hub's own programs keep what they download."""
    named = _variable("HF_HUB_CACHE") or _variable("HUGGINGFACE_HUB_CACHE")
    if not named:
        cache = _variable("XDG_CACHE_HOME") or "~/.cache"
        named = os.path.join(_variable("HF_HOME") or f"{cache}/huggingface", "hub")
    return Path(os.path.abspath(os.path.expanduser(os.path.expandvars(named))))


def find_others() -> tuple[tuple[str, Path], ...]:
    """Return folders where other programs keep models as owner/name, with the programs' names.

    LM Studio names its own folder in a file in the home folder.
    """
    home = Path.home()
    try:
        studio = Path((home / ".lmstudio-home-pointer").read_text("utf-8").strip())
    except (OSError, ValueError):
        studio = home / ".lmstudio"
    folders = (studio / "models", home / ".cache" / "lm-studio" / "models")
    return tuple(("LM Studio", folder) for folder in folders if folder.is_absolute())


def read_terminal() -> Terminal:
    """Return what TERM, COLORTERM, NO_COLOR, the locale and SSH_CONNECTION say."""
    name = _variable("TERM")
    is_dumb = name in ("", "dumb", "unknown")
    colors = 0 if is_dumb else _colors(name, _variable("COLORTERM").lower())
    return Terminal(
        name=name,
        is_dumb=is_dumb,
        has_color=colors > 0 and not _variable("NO_COLOR"),
        colors=colors,
        is_utf8=_is_utf8(),
        is_ssh=bool(_variable("SSH_CONNECTION")),
        osc_notice=_osc_notice(name),
    )


def _variable(name: str) -> str:
    """Return an environment variable; empty is as good as unset."""
    return os.environ.get(name, "")


def _colors(name: str, colorterm: str) -> int:
    if colorterm in ("truecolor", "24bit") or "direct" in name or "kitty" in name:
        return 2**24
    return 256 if "256" in name else 16


def _osc_notice(name: str) -> int:
    """Return 9 (iTerm2's, also of kitty, Ghostty and WezTerm), 777 (rxvt's, also of foot and VTE), or 0.

    tmux and screen pass neither on.
    """
    if _variable("TMUX") or name.startswith(("tmux", "screen")):
        return 0
    if _variable("TERM_PROGRAM") in ("iTerm.app", "WezTerm", "ghostty") or "kitty" in name:
        return 9
    return 777 if _variable("VTE_VERSION") or name.startswith(("foot", "rxvt")) else 0


def _is_utf8() -> bool:
    """Whether the locale says UTF-8; where it says nothing, terminals do it nowadays."""
    names = (_variable(key) for key in ("LC_ALL", "LC_CTYPE", "LANG"))
    locale = next((name for name in names if name), "utf-8").lower()
    return "utf-8" in locale or "utf8" in locale


_Check = Callable[[object], object]


def _one_of(*allowed: str) -> _Check:
    def check(value: object) -> object:
        if value not in allowed:
            raise ValueError(f"must be {' or '.join(allowed)}")
        return value

    return check


def _whole(least: int, most: int) -> _Check:
    def check(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"must be a whole number between {least} and {most}")
        return value

    return check


def _depth(value: object) -> object:
    return None if value == "auto" else _whole(0, MAX_DEPTH)(value)


def _flag(value: object) -> object:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _text(value: object) -> object:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be a text in quotes")
    return value


def _size(value: object) -> object:
    read_bytes(str(_text(value)))
    return value


_CHECKS: dict[str, _Check] = {
    "blas": _one_of("auto", "stock"),
    "theme": _text,
    "depth": _depth,
    "mode": lambda value: Mode(str(_one_of(*Mode)(value))),
    "last_model": _text,
    "feed_hz": _whole(1, 20),
    "download_limit": _size,
    "notify": _flag,
    "restore": _flag,
}


def load_settings(places: Places) -> tuple[Settings, tuple[str, ...]]:
    """Return the settings, and what is wrong with them: one line a problem.

    A value that won't do is replaced by its default. MTPLX_TUI_BLAS goes before the file.
    """
    path = places.config_file
    content, problems = _read(path)
    values: dict[str, object] = {}
    for key, value in content.items():
        check = _CHECKS.get(key)
        try:
            if check is None:
                problems += _suggestion(path, key)
            else:
                values[key] = check(value)
        except ValueError as error:
            problems.append(f"{_place(path, key)}: {key} {error}, not {value!r:.60}")
    blas = _variable("MTPLX_TUI_BLAS")
    if blas:
        try:
            values["blas"] = _CHECKS["blas"](blas)
        except ValueError as error:
            problems.append(f"environment: MTPLX_TUI_BLAS {error}, not {blas!r:.60}")
    return replace(Settings(), **values), tuple(problems)


def save_settings(places: Places, **changes: object) -> None:
    """Write some settings into the file; None takes one out. All else in it stays.

    Raises:
        ValueError: no such setting, or a value that won't do.
        OSError: the file can't be written, or is not TOML and is left as it is.
    """
    from mtplx_tui.toml_edit import with_value

    known = {field.name for field in fields(Settings)}
    for key, value in changes.items():
        if key not in known:
            raise ValueError(f"there is no setting {key}")
        if value is not None:
            _CHECKS[key](value)
    path = places.config_file
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        text = ""
    except UnicodeDecodeError as error:
        raise OSError(f"{path} is not UTF-8 text; nothing was saved") from error
    try:
        for key, value in changes.items():
            text = with_value(text, key, value)
    except ValueError as error:
        raise OSError(f"{path} can't be changed: {error}") from error
    write_atomically(path, text)


def _read(path: Path) -> tuple[dict[str, object], list[str]]:
    import tomllib

    try:
        return dict[str, object](tomllib.loads(path.read_text("utf-8-sig"))), []
    except FileNotFoundError:
        return {}, []
    except OSError as error:
        return {}, [f"{path}: {error.strerror}; the defaults are used"]
    except UnicodeDecodeError:
        return {}, [f"{path}: not UTF-8 text; the defaults are used"]
    except tomllib.TOMLDecodeError as error:
        return {}, [f"{path}: {error}; the defaults are used"]


def _place(path: Path, key: str) -> str:
    """Return the file, with the line that seems to hold a key."""
    for number, line in enumerate(path.read_text("utf-8-sig").splitlines(), 1):
        name, is_value, _ = line.partition("=")
        if is_value and name.strip().strip("\"'") == key:
            return f"{path}:{number}"
    return str(path)


def _suggestion(path: Path, key: str) -> list[str]:
    """Return a problem where an unknown key looks like a slip of the pen."""
    from difflib import get_close_matches

    near = get_close_matches(key, _CHECKS, n=1, cutoff=0.75)
    return [f"{_place(path, key)}: {key} is no setting; {near[0]} is"] if near else []
