"""THIRD_PARTY.md says of everything installed with the package what its own metadata says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
WEB = ROOT / "mtplx_tui" / "server" / "web"


def script() -> Any:
    spec = importlib.util.spec_from_file_location("licences", ROOT / ".ci" / "licences.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(sys.platform != "linux", reason="the page tells what Linux installs")
def test_the_page_is_what_the_script_writes() -> None:
    assert (ROOT / "THIRD_PARTY.md").read_text("utf-8") == script().page()


def test_the_browser_page_asks_nobody_else() -> None:
    files = [path for path in WEB.iterdir() if path.suffix in (".html", ".js", ".css")]
    assert len(files) > 10
    for path in files:
        text = path.read_text("utf-8")
        assert "@import" not in text, path.name
        assert not any(f'{name}="http' in text for name in ("src", "href")), path.name
        assert 'from "http' not in text, path.name
