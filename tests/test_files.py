from __future__ import annotations

import os
from pathlib import Path

import pytest

from mtplx_tui.files import Places, trouble, write_atomically


class TestWriteAtomically:
    def test_it_makes_folders_and_replaces(self, tmp_path: Path) -> None:
        path = tmp_path / "a" / "b" / "file"
        write_atomically(path, "eins\n")
        write_atomically(path, "zwei ü\n")
        assert path.read_text("utf-8") == "zwei ü\n"
        assert os.listdir(path.parent) == ["file"]

    def test_it_keeps_the_mode_and_starts_private(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        write_atomically(path, "x")
        assert path.stat().st_mode & 0o777 == 0o600
        path.chmod(0o640)
        write_atomically(path, "y")
        assert path.stat().st_mode & 0o777 == 0o640

    def test_it_follows_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "real").write_text("old")
        (tmp_path / "link").symlink_to("real")
        write_atomically(tmp_path / "link", "new")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "real").read_text() == "new"

    @pytest.mark.parametrize("step", ["fsync", "fchmod"])
    def test_a_failure_leaves_the_old_file_and_nothing_else(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
    ) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        path = tmp_path / "file"
        path.write_text("old")
        monkeypatch.setattr(os, step, full)
        with pytest.raises(OSError, match="No space"):
            write_atomically(path, "new")
        assert path.read_text() == "old"
        assert os.listdir(tmp_path) == ["file"]

    def test_a_failure_names_the_file_and_not_the_one_beside_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refused(path: Path, *_: object) -> int:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(os, "open", refused)
        with pytest.raises(PermissionError) as raised:
            write_atomically(tmp_path / "file", "new")
        assert trouble(raised.value) == f"{tmp_path / 'file'}: Permission denied"


def test_places_lie_in_their_folders() -> None:
    places = Places(config=Path("/c"), data=Path("/d"), cache=Path("/x"))
    assert places.config_file == Path("/c/config.toml")
    assert places.chats == Path("/d/chats")
    assert places.traces == Path("/d/traces")
    assert places.bench == Path("/d/bench")
    assert places.models == Path("/d/models")
    assert places.logs == Path("/d/state/logs")
