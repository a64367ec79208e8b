"""`qcore examples`: what it lists, what it copies, and what it says if that is impossible."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qcore.cli.examples import app, copy_examples, example_files
from qcore.errors import ConfigError


def test_every_example_has_a_summary() -> None:
    listed = CliRunner().invoke(app, ["list"])
    assert listed.exit_code == 0
    for file, line in zip(example_files(), listed.output.splitlines()[1:], strict=True):
        name, _, summary = line.partition(" ")
        assert name == file
        assert len(summary.strip()) > 20, line
        assert not summary.endswith(" with"), f"{line}: half a sentence"


def test_the_examples_include_each_kind() -> None:
    assert set(example_files()) >= {
        "bank/bank.py",
        "client.py",
        "counter_machine.py",
        "counter_partition.yaml",
        "elections.ipynb",
        "web/entity_tree.html",
        "json_storage.py",
        "node.toml",
        "plant/plant.py",
        "plant/plant.yaml",
        "raw_client.py",
        "topology.yaml",
    }


def test_copies_replace_no_file(tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text("mine")
    with pytest.raises(ConfigError, match=r"already holds client\.py"):
        copy_examples(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["client.py"]
    assert (tmp_path / "client.py").read_text() == "mine"


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot copy the examples to .*; name another"):
        copy_examples(tmp_path / "file" / "below")


def test_a_missing_kernel_is_named_with_its_extra(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['ipykernel'] = None; sys.argv[1:] = ['examples', 'copy', 'D']\n"
        "from qcore.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "the notebooks need ipykernel: pip install 'qcore-raft[notebook]'" in done.stdout
    assert (tmp_path / "D" / "elections.ipynb").exists()
