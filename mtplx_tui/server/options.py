"""What can be chosen of the server."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from fnmatch import fnmatchcase

from engine.protocol import Mode

__all__ = ["ServerOptions"]


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """See the module. Raises ValueError naming the field."""

    host: str = "127.0.0.1"
    port: int = 8080
    """0 takes any that is free."""
    key: str | None = None
    """None: one is made and kept."""
    needs_key: bool = False
    """Whether even callers on this machine have to show it; others always do."""
    aliases: tuple[str, ...] = ()
    """Other names of the loaded model, such as claude-*."""
    hosts: tuple[str, ...] = ()
    """Names beside its own under which the server may be called."""
    queue: int = 64
    """Requests that may wait; one more is refused."""
    parallel: int = 8
    """Requests that the engine takes turns with."""
    depth: int | None = None
    """Of requests that name none; None: automatic."""
    mode: Mode = Mode.TOKEN
    """Of requests that name none."""
    has_both_reasoning_fields: bool = False
    """Whether chat answers carry `reasoning` beside `reasoning_content`."""
    heartbeat_s: float = 5.0
    """Between signs of life while nothing else is sent."""
    empty_delta_s: float = 0.0
    """Between empty deltas in a silent chat stream, for clients that count parsed events alone;
    0 sends none."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port must be between 0 and 65535, not {self.port}")
        if self.key is not None and len(self.key) < 16:
            raise ValueError("the key must have 16 characters or more")
        if self.key is not None and not (self.key.isascii() and self.key.isprintable()):
            raise ValueError("the key must be printable ASCII")
        if self.queue < 0 or self.parallel < 1:
            raise ValueError("queue must be 0 or more, parallel 1 or more")

    @property
    def is_loopback(self) -> bool:
        """Whether this machine alone can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def asks_for_key(self) -> bool:
        """Whether the API wants the key."""
        return self.needs_key or not self.is_loopback

    def is_alias(self, name: str) -> bool:
        """Whether a name stands for the loaded model."""
        return any(fnmatchcase(name, alias) for alias in self.aliases)
