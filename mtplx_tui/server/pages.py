"""The browser chat's files: those of one folder, by name, of known kinds and nothing else."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

from starlette.responses import Response

from mtplx_tui.server.faults import Fault

__all__ = ["Pages"]

FOLDER = Path(__file__).with_name("web")
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".woff2": "font/woff2",
    ".json": "application/json",
}


class Pages:
    """See the module. Files are found once, when the server begins: no name leads elsewhere."""

    def __init__(self) -> None:
        self._files = {
            path.relative_to(FOLDER).as_posix(): path
            for path in sorted(FOLDER.rglob("*"))
            if path.is_file() and path.suffix in _KINDS
        }

    def file(self, name: str, known: str = "") -> Response:
        """Return a file, or that it is as the browser knows it. Raises Fault."""
        path = self._files.get(name)
        if path is None:
            raise Fault(404, "there is no such page", code="not_found")
        content = path.read_bytes()
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        headers = {"etag": tag, "cache-control": "no-cache"}
        if known == tag:
            return Response(status_code=304, headers=headers)
        kind = _KINDS[PurePosixPath(name).suffix]
        return Response(content, headers=headers, media_type=kind)
