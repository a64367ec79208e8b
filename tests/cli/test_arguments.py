"""What every command line tool does: `--version`, completion, and a request on standard input, which has a bound."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import qcore
from qcore.cli.main import GROUPS, app
from qcore.cli.stdin import argument_or_stdin
from qcore.errors import ConfigError
from qcore.transport.limits import TransportLimits


def test_the_version_is_printed_whichever_way_it_is_asked_for() -> None:
    asked = [CliRunner().invoke(app, [argument]) for argument in ("--version", "version")]
    assert [done.exit_code for done in asked] == [0, 0]
    assert asked[0].output == asked[1].output
    assert qcore.__version__ in asked[0].output


def complete(words: str, place: int) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "qcore"],
        env={
            **os.environ,
            "_QCORE_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(place),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_a_shell_completes_commands_and_options() -> None:
    assert complete("qcore ", 1) == list(GROUPS)
    assert complete("qcore cluster health --out", 3) == ["--output"]


def test_completion_is_installed_under_the_name_of_the_program(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "qcore", "--install-completion", "bash"],
        env={**os.environ, "HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (script,) = [path for path in tmp_path.rglob("*") if path.name == "qcore.sh"]
    assert "complete -o default -F _qcore_completion qcore" in script.read_text()


class Stdin:
    """Standard input with these bytes."""

    def __init__(self, held: bytes) -> None:
        self.held = held
        self.buffer = self

    def read(self, size: int) -> bytes:
        return self.held[:size]


def reading(monkeypatch: pytest.MonkeyPatch, held: bytes | None) -> str:
    monkeypatch.setattr(sys, "stdin", None if held is None else Stdin(held))
    return argument_or_stdin("-", "command")


def test_a_command_on_standard_input_is_read_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = TransportLimits().max_frame_bytes
    assert argument_or_stdin("as it is\n", "command") == "as it is\n"
    assert reading(monkeypatch, b"one line\n") == "one line"
    assert reading(monkeypatch, b"x" * limit) == "x" * limit
    with pytest.raises(ConfigError, match=f"larger than {limit} bytes"):
        reading(monkeypatch, b"x" * (limit + 1))
    with pytest.raises(ConfigError, match="not UTF-8"):
        reading(monkeypatch, b"\xff")
    with pytest.raises(ConfigError, match="closed"):
        reading(monkeypatch, None)
    with pytest.raises(ConfigError, match="not UTF-8"):
        argument_or_stdin("\udcff", "command")


@pytest.mark.parametrize("command", ["perform", "execute"])
def test_both_commands_read_it(command: str) -> None:
    done = CliRunner().invoke(app, [command, "-"], b"\xff")
    assert isinstance(done.exception, ConfigError)
    assert "not UTF-8" in str(done.exception)
