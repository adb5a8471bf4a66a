"""How the app's end becomes an exit code."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from mtplx_tui import opening


class Ended:
    """An app that is through."""

    def __init__(self, result: int | None, return_code: int | None) -> None:
        self._result, self.return_code = result, return_code

    def run(self) -> int | None:
        """Run."""
        return self._result


@pytest.mark.parametrize(
    ("result", "return_code", "code"),
    [(None, 0, 0), (130, 0, 130), (None, 1, 1), (None, None, 1)],
    ids=["left", "by a signal", "an exception", "its keys could not be read"],
)
def test_only_who_left_was_successful(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    result: int | None,
    return_code: int | None,
    code: int,
) -> None:
    for name in ("private_terminal", "given_back"):
        monkeypatch.setattr(opening, name, lambda *_, **__: nullcontext())
    ended: Any = Ended(result, return_code)
    assert opening._run(lambda: ended, tmp_path / "app.log", is_utf8=True) == code
    told = capsys.readouterr().err
    assert (f"{tmp_path / 'app.log'} tells more" in told) == (code == 1)
