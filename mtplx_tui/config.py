"""Settings, places and terminal: the only reader of the environment in the app's process.

What settings there are is `settings_schema`'s matter, their file `settings_file`'s.
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mtplx_tui.files import Places
from mtplx_tui.settings_schema import SCHEMA, Settings

if TYPE_CHECKING:
    from mtplx_tui.settings_file import Loaded

__all__ = [
    "HubPlace",
    "Login",
    "NoHome",
    "Settings",
    "Terminal",
    "find_home",
    "find_hub",
    "find_hub_cache",
    "find_login",
    "find_others",
    "find_places",
    "find_sysfs",
    "load_settings",
    "private_values",
    "read_settings",
    "read_terminal",
    "read_token",
    "save_settings",
]

APP = "mtplx-tui"


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
    program: str = ""
    """The emulator, as TERM_PROGRAM names it; empty where it does not."""
    is_tmux: bool = False


@dataclass(frozen=True, slots=True)
class HubPlace:
    """Where the hub is, as the environment names it."""

    endpoint: str
    is_offline: bool
    """The person wants no hub to be asked."""


@dataclass(frozen=True, slots=True)
class Login:
    """Where a login to the hub may lie; never the token itself."""

    variable: str
    """The environment variable that holds one; empty where none does."""
    file: Path


class NoHome(OSError):
    """There is no home folder, and nothing says where files belong instead; one line."""

    def __init__(self) -> None:
        super().__init__(
            errno.ENOENT,
            "there is no home folder (HOME is not set); set HOME, or MTPLX_TUI_HOME and HF_HOME, "
            "to folders where files may be kept",
        )


def find_home() -> Path:
    """Return the person's home folder. Raises NoHome."""
    home = os.path.expanduser("~")
    if not os.path.isabs(home):
        raise NoHome
    return Path(home)


def _absolute(named: str) -> Path:
    """Return a folder that a person named. Raises NoHome where it begins with ~ and there is none."""
    if named.startswith("~"):
        find_home()
    return Path(os.path.abspath(os.path.expanduser(named)))


def find_places() -> Places:
    """Return the app's folders: inside MTPLX_TUI_HOME, else where the platform puts them.

    Raises:
        NoHome: the platform puts them into a home folder, and there is none.
    """
    home = _variable("MTPLX_TUI_HOME")
    if home:
        folder = _absolute(home)
        return Places(config=folder, data=folder, cache=folder / "cache")
    find_home()
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
    """Return the folder where the hub's own programs keep what they download. Raises NoHome."""
    named = _variable("HF_HUB_CACHE") or _variable("HUGGINGFACE_HUB_CACHE")
    return _absolute(os.path.expandvars(named or f"{_hub_home()}/hub"))


def find_login() -> Login:
    """Return where the hub's own programs look for a login. Raises NoHome."""
    variables = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
    named = next((name for name in variables if _variable(name).strip()), "")
    file = _variable("HF_TOKEN_PATH") or f"{_hub_home()}/token"
    return Login(named, _absolute(os.path.expandvars(file)))


def read_token(login: Login) -> str:
    """Return the token of a login, to be sent to the hub and shown nowhere; empty where there is none.

    Raises:
        OSError: its file is there and can't be read.
    """
    if login.variable:
        return _variable(login.variable).strip()
    try:
        return login.file.read_text("utf-8", "replace").strip()
    except FileNotFoundError:
        return ""


def _hub_home() -> str:
    cache = _variable("XDG_CACHE_HOME") or "~/.cache"
    return _variable("HF_HOME") or f"{cache}/huggingface"


def find_others() -> tuple[tuple[str, Path], ...]:
    """Return folders where other programs keep models as owner/name, with the programs' names.

    LM Studio names its own folder in a file in the home folder.
    """
    try:
        home = find_home()
    except NoHome:
        return ()
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
        program=_variable("TERM_PROGRAM"),
        is_tmux=bool(_variable("TMUX")),
    )


def private_values() -> frozenset[str]:
    """Return what the environment holds and no report may show: all but a few harmless words.

    Of a list of folders each one counts, and of an address also what stands before its host.
    """
    found: set[str] = set()
    for name, value in os.environ.items():
        if name in _HARMLESS:
            continue
        least = 3 if _SECRET_NAME.search(name) else _LEAST_PRIVATE
        parts = {value, *value.split(os.pathsep)}
        for before in re.findall(r"//([^/@\s]+)@", value):
            parts |= {before, *before.split(":")}
        found |= {part.strip() for part in parts if len(part.strip()) >= least}
    return frozenset(found)


_HARMLESS = frozenset(
    {"TERM", "COLORTERM", "TERM_PROGRAM", "LANG", "LC_ALL", "LC_CTYPE", "NO_COLOR", "PWD", "PATH"}
)
_SECRET_NAME = re.compile(r"TOKEN|KEY|SECRET|PASS|CREDENTIAL|AUTH|COOKIE", re.IGNORECASE)
_LEAST_PRIVATE = 6
"""Characters of a value whose name promises no secret; shorter ones are words such as on or xterm."""


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


def load_settings(places: Places) -> tuple[Settings, tuple[str, ...]]:
    """Return the settings, and what is wrong with them: one line a problem."""
    loaded = read_settings(places)
    return loaded.settings, loaded.problems


def read_settings(places: Places) -> Loaded:
    """Return the settings and their sources: the environment goes before the file.

    A value that won't do is named, and what comes after it in that order is used.
    """
    from mtplx_tui import settings_file
    from mtplx_tui.settings_file import Loaded, Origin, Source

    file = settings_file.read(places.config_file)
    values, problems = dict(file.values), list(file.problems)
    sources = {
        name: Source(Origin.MODEL if setting.is_of_model else Origin.DEFAULT)
        for name, setting in SCHEMA.items()
    }
    sources |= file.sources
    for name, setting in SCHEMA.items():
        text = _variable(setting.variable) if setting.variable else ""
        if not text:
            continue
        try:
            values[name] = setting.read(text)
            sources[name] = Source(Origin.ENVIRONMENT)
        except ValueError as error:
            problems.append(f"environment: {setting.variable} {error}, not {text!r:.60}")
    return Loaded(replace(Settings(), **values), tuple(problems), sources, file.newer)


def save_settings(places: Places, **changes: object) -> None:
    """Write some settings into the file; see `settings_file.write`, which may raise."""
    from mtplx_tui import settings_file

    settings_file.write(places.config_file, changes)
