"""The settings in the running app: owns what they are now, and what of it is not written yet.

What a changed setting does at once is the app's matter. Knows no screen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from engine.protocol import LimitPrefixes
from mtplx_tui import settings_file
from mtplx_tui.config import Settings
from mtplx_tui.files import reason
from mtplx_tui.settings_schema import SCHEMA
from mtplx_tui.wording import read_size

__all__ = ["Preferences"]


class Preferences:
    """See the module.

    Args:
        settings: as they were loaded.
        path: of config.toml.
        warn: says what went wrong.
        saved: called when changes were written, or could not be.
    """

    def __init__(
        self,
        settings: Settings,
        path: Path,
        warn: Callable[[str], None],
        saved: Callable[[], None],
    ) -> None:
        self.now = settings
        self.writes_newer = False
        """Whether a config.toml of a newer version is written too: the person said so."""
        self._path, self._warn, self._saved = path, warn, saved
        self._unsaved: dict[str, object] = {}
        self._has_told_newer = False
        """That such a file is left as it is."""
        self._saving: asyncio.Task[None] | None = None

    @property
    def is_saving(self) -> bool:
        """Whether changes are being written."""
        return self._saving is not None and not self._saving.done()

    @property
    def prefix_limits(self) -> LimitPrefixes:
        """What the engine may keep of prefixes."""
        memory = self.now.prefix_memory
        return LimitPrefixes(
            memory_bytes=None if memory is None else read_size(memory),
            disk_bytes=read_size(self.now.prefix_disk),
        )

    def change(self, name: str, value: object) -> None:
        """Change a setting and write it; its default takes it out of the file."""
        self.now = replace(self.now, **{name: value})
        self._write(**{name: None if value == SCHEMA[name].default else value})

    def keep(self, **changes: object) -> None:
        """Change settings and write them, each as it is."""
        self.now = replace(self.now, **changes)
        self._write(**changes)

    async def finish(self) -> None:
        """Wait until all is written."""
        if self._saving is not None:
            await self._saving

    def _write(self, **changes: object) -> None:
        """Write changes as soon as an earlier write is through."""
        self._unsaved |= changes
        if not self.is_saving:
            self._saving = asyncio.get_running_loop().create_task(self._write_all())

    async def _write_all(self) -> None:
        while self._unsaved:
            changes, self._unsaved = self._unsaved, {}
            is_allowed = self.writes_newer
            try:
                await asyncio.to_thread(
                    settings_file.write, self._path, changes, writes_newer=is_allowed
                )
            except settings_file.NewerFile as error:
                self._tell_unsaved(error, is_once=True)
            except OSError as error:
                self._tell_unsaved(error)
        self._saved()

    def _tell_unsaved(self, error: OSError, *, is_once: bool = False) -> None:
        if not (is_once and self._has_told_newer):
            self._warn(f"settings not saved: {reason(error)}")
        self._has_told_newer |= is_once
