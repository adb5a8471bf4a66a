"""The optimised matrix library, where its copy can be kept and where it can't."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or find_spec("scipy_openblas32") is None,
    reason="MLX brings its own matrix library here",
)


def examined(cache: Path, **changed: str) -> dict[str, object]:
    """Return what a fresh process with that cache folder, in a changed environment, tells of itself."""
    command = [sys.executable, "-P", "-m", "engine.examining", "--blas", "auto", "--cache"]
    done = subprocess.run(
        [*command, cache],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, **changed},
    )
    return dict[str, object](json.loads(done.stdout))


def test_a_copy_is_kept(tmp_path: Path) -> None:
    found = examined(tmp_path)
    assert str(found["blas"]).startswith("openblas ")
    kept = sorted(path.name for path in (tmp_path / "blas").iterdir())
    assert [name.split("-")[0] for name in kept] == (
        ["openblas"] if found["few_rows"] else ["few", "openblas"]
    )


def test_without_a_compiler_the_library_does_all_products(tmp_path: Path) -> None:
    found = examined(tmp_path, PATH=str(tmp_path))
    assert found["few_rows"] == "there is no C compiler"
    assert re.fullmatch(r"openblas [0-9.]+", str(found["blas"]))
    assert found["computes"]


def test_where_nothing_can_be_kept_it_is_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = examined(tmp_path / "file")
    assert str(found["blas"]).startswith("openblas "), found["blas_note"]
    assert found["few_rows"] in ("", "there is no C compiler")
    assert found["computes"]


def test_a_folder_that_is_full_in_the_middle_leaves_nothing_half(tmp_path: Path) -> None:
    (tmp_path / "blas").mkdir()
    # Only so many bytes may be written to a file: as good as a full disk, without being root.
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))"
    code = f"{limit}; from engine.blas import prepare; from pathlib import Path; import sys; "
    code += "print(prepare('auto', Path(sys.argv[1])).note)"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "OpenBLAS can't be used" in done.stdout  # memory has that limit too
    assert list((tmp_path / "blas").iterdir()) == []
