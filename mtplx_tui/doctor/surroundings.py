"""Where the checks look: values and places, so that a test can build a broken machine for real."""

from __future__ import annotations

import platform
import shutil
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from mtplx_tui import config
from mtplx_tui.config import HubPlace, Login, NoHome, Terminal
from mtplx_tui.doctor.check import NotLookedAt
from mtplx_tui.files import Places

__all__ = ["Needs", "Surroundings", "find_surroundings"]

Found = TypeVar("Found")
_GB = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Needs:
    """Bytes that are wanted."""

    data: int = 50_000_000
    """Of disk for chats, settings and traces."""
    cache: int = _GB
    """Of disk for the matrix library's copy and, without a C compiler, what the demo unpacks: 565 MB on a Linux CPU."""
    models: int = 5 * _GB
    """Of disk for a small model."""
    memory: int = 1_500_000_000
    """For the engine with the demo beside the app."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """See the module."""

    places: Places | None
    """None where there is no home folder."""
    hub_cache: Path | None
    login: Login | None
    hub: HubPlace
    terminal: Terminal
    size: tuple[int, int] | None
    """Columns and rows; None where there is no terminal."""
    sysfs: Path | None = None
    """In place of /sys."""
    root: Path = Path("/")
    """Holds proc and dev."""
    packages: tuple[str, ...] | None = None
    """Folders that installed packages are looked for in; None for the interpreter's own."""
    python: tuple[int, int, int] = (*sys.version_info[:3],)
    system: str = sys.platform
    processor: str = platform.machine()
    examining: tuple[str, ...] = (sys.executable, "-P", "-m", "engine.examining")
    """Starts the engine's process that tells about MLX and the kernels."""
    address: tuple[str, int] = ("127.0.0.1", 8080)
    """Where the server would listen."""
    is_offline: bool = False
    """The hub is not to be asked."""
    needs: Needs = Needs()
    is_over: threading.Event = field(default_factory=threading.Event)
    """Set where nobody waits for the checks any more."""

    @property
    def own_places(self) -> Places:
        """The app's folders. Raises NotLookedAt."""
        if self.places is None:
            raise NotLookedAt("there is no home folder")
        return self.places


def find_surroundings(*, is_offline: bool = False) -> Surroundings:
    """Return this machine as it is."""
    hub = config.find_hub()
    places = _unless_homeless(config.find_places)
    settings = config.Settings() if places is None else config.load_settings(places)[0]
    size = shutil.get_terminal_size((0, 0))
    return Surroundings(
        places=places,
        hub_cache=_unless_homeless(config.find_hub_cache),
        login=_unless_homeless(config.find_login),
        hub=hub,
        terminal=config.read_terminal(),
        size=(size.columns, size.lines) if all(size) else None,
        sysfs=config.find_sysfs(),
        address=(settings.server_host, settings.server_port),
        is_offline=is_offline,
    )


def _unless_homeless(find: Callable[[], Found]) -> Found | None:
    try:
        return find()
    except NoHome:
        return None
