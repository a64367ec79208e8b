"""A user's file imports the modules beside it, and never those beside an earlier file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qcore.machines.loader import ADDED_FOLDERS, load_checks_module


@pytest.fixture(autouse=True)
def _path_as_before() -> Iterator[None]:
    path, added = list(sys.path), list(ADDED_FOLDERS)
    sys.path[:] = [entry for entry in path if entry not in added]
    ADDED_FOLDERS.clear()
    yield
    sys.path[:], ADDED_FOLDERS[:] = path, added


def write(folder: Path, value: str) -> str:
    folder.mkdir()
    (folder / "module_beside_it.py").write_text(f"VALUE = {value!r}\n")
    file = folder / "mine.py"
    file.write_text("from module_beside_it import VALUE\n")
    return str(file)


def test_each_file_imports_the_modules_of_its_folder(tmp_path: Path) -> None:
    files = {name: write(tmp_path / name, name) for name in ("a", "b")}
    before = list(sys.path)
    for name in ("a", "b", "a"):
        assert name == load_checks_module(files[name], Path()).VALUE
        assert sys.path == [*before, str(tmp_path / name)], "one folder at a time"


def test_an_installed_module_wins_over_one_beside_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    (tmp_path / "colorsys.py").write_text("raise AssertionError\n")
    (tmp_path / "mine.py").write_text("from colorsys import rgb_to_hsv\n")
    assert load_checks_module(str(tmp_path / "mine.py"), Path()).rgb_to_hsv(0, 0, 0) == (0, 0, 0)
