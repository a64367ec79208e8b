"""`qcore new machine`: what it writes passes the project's own checks, and it never changes what is there."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qcore.cli.new.new import app, check_name, class_name_of, write_project
from qcore.errors import ConfigError
from qcore.machines import load_machine
from tests.checkout import CHECKOUT

LONGEST = "a_name_that_is_very_long"
CONFIG = str(CHECKOUT / "pyproject.toml")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, which is empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_it_writes_four_files_and_says_what_to_do_next(folder: Path) -> None:
    done = CliRunner().invoke(app, ["machine", "stock"])
    assert done.exit_code == 0, done.output
    assert names_in(folder / "stock") == [
        "README.md",
        "stock_machine.py",
        "stock_partition.yaml",
        "test_stock_machine.py",
    ]
    assert "cd stock && qcore sim run stock_partition.yaml --seed 1" in done.stdout
    for path in (folder / "stock").iterdir():
        assert "$name" not in path.read_text()
        assert "$class" not in path.read_text()
    # The import comes last, because it may leave a `__pycache__` beside the files.
    machine = load_machine("stock_machine.py:StockMachine", folder / "stock")()
    assert (machine.name, machine.versions) == ("stock", (1, 1))


def run_check(directory: Path, module: str, *arguments: str) -> None:
    """Run a check of this project on the files of a new machine."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=directory,
        env={**os.environ, "MYPYPATH": str(CHECKOUT)},  # mypy follows no editable installation
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["a", LONGEST, "a" * 24])
def test_the_files_pass_the_linter_of_this_project(folder: Path, name: str) -> None:
    write_project(Path(name), name)
    run_check(folder / name, "ruff", "check", "--config", CONFIG, ".")
    run_check(folder / name, "ruff", "format", "--check", "--config", CONFIG, ".")


# The types do not depend on the length of the name, and mypy takes seconds.
@pytest.mark.long
@pytest.mark.parametrize("name", [LONGEST, pytest.param("a", marks=pytest.mark.long)])
def test_the_files_pass_the_type_check_of_this_project(folder: Path, name: str) -> None:
    write_project(Path(name), name)
    files = (f"{name}_machine.py", f"test_{name}_machine.py")
    cache = str(CHECKOUT / ".mypy_cache")
    run_check(folder / name, "mypy", "--config-file", CONFIG, "--cache-dir", cache, *files)


@pytest.mark.parametrize("name", ["stock", "a", "bank_account_2", "x9", "if", LONGEST])
def test_possible_names(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    ("name", "proposal"),
    [
        ("my-machine", "for example my_machine"),
        ("MyMachine", "for example my_machine"),
        ("../evil", "for example evil"),
        ("9lives", "for example lives"),
        ("a__b", "for example a_b"),
        ("_a_", "for example a"),
        ("größe", "for example gr_e"),
        (LONGEST + "er", f"for example {LONGEST}"),
        ("", "beginning with a letter"),
        ("--", "beginning with a letter"),
        ("a\n", "for example a"),
        ("entity", "is a state machine of qcore"),
        ("register", "is a state machine of qcore"),
    ],
)
def test_impossible_names(folder: Path, name: str, proposal: str) -> None:
    done = CliRunner().invoke(app, ["machine", "--", name])
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception).endswith(proposal) or proposal in str(done.exception)
    assert names_in(folder) == []


@pytest.mark.parametrize("is_file", [False, True])
def test_what_exists_is_not_changed(folder: Path, is_file: bool) -> None:
    if is_file:
        (folder / "stock").write_text("mine")
    else:
        (folder / "stock").mkdir()
    with pytest.raises(ConfigError, match="exists and was not changed"):
        write_project(Path("stock"), "stock")
    assert names_in(folder) == ["stock"]
    assert is_file or names_in(folder / "stock") == []


@pytest.mark.parametrize("method", ["mkdir", "write_text"])
def test_a_failed_write_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, method, fail)
    with pytest.raises(ConfigError, match="Permission denied; run the command in a directory"):
        write_project(Path("stock"), "stock")
    assert names_in(folder) == []


def test_class_names() -> None:
    assert class_name_of("stock") == "StockMachine"
    assert class_name_of("bank_account_2") == "BankAccount2Machine"
