"""`--version`, shell completion, and arguments: standard input with its limit, empty paths and lists."""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, get_args, get_origin

import pytest
from typer.testing import CliRunner

import qcore
from qcore.cli.exits import ExitCode
from qcore.cli.main import GROUPS, app
from qcore.cli.options import non_empty_path
from qcore.cli.stdin import argument_or_stdin
from qcore.errors import ConfigError
from qcore.transport.limits import TransportLimits


def test_version_option_and_command_print_the_same() -> None:
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


def test_completion_is_installed_under_the_program_name(tmp_path: Path) -> None:
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
    """Standard input that holds these bytes."""

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
    with pytest.raises(ConfigError, match=f"larger than the limit of {limit} bytes"):
        reading(monkeypatch, b"x" * (limit + 1))
    with pytest.raises(ConfigError, match="not UTF-8"):
        reading(monkeypatch, b"\xff")
    with pytest.raises(ConfigError, match="closed"):
        reading(monkeypatch, None)
    with pytest.raises(ConfigError, match="not UTF-8"):
        argument_or_stdin("\udcff", "command")


@pytest.mark.parametrize("command", ["perform", "execute"])
def test_perform_and_execute_read_standard_input(command: str) -> None:
    done = CliRunner().invoke(app, [command, "-"], b"\xff")
    assert isinstance(done.exception, ConfigError)
    assert "not UTF-8" in str(done.exception)


def paths_of(command: Callable[..., object]) -> Iterator[tuple[str, object]]:
    """The path parameters of a command, each with its parser."""
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        hint = parameter.annotation
        kind, *extra = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        if Path in (kind, *get_args(kind)):
            yield f"{command.__name__} {name}", getattr(extra[0], "parser", None)


def test_every_path_option_rejects_an_empty_text() -> None:
    """`Path("")` is the working directory, and an unset shell variable expands to an empty text."""
    commands = [
        info.callback
        for module, _ in GROUPS.values()
        for info in importlib.import_module(module).app.registered_commands
    ]
    parsers = dict(path for command in commands for path in paths_of(command))
    assert {"start data_dir", "save file", "run trace", "demo out"} <= set(parsers)
    assert {name for name, parser in parsers.items() if parser is not non_empty_path} == set()
    done = CliRunner().invoke(app, ["node", "start", "--id", "1", "--data-dir", ""])
    assert done.exit_code == ExitCode.USAGE
    assert "'--data-dir'" in done.output
    assert "the path is empty" in done.output


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("--nodes", "--nodes is empty: name the voters"),
        ("--endpoints", "--endpoints is empty"),
        ("--init-token", "--init-token has 0 characters"),
    ],
)
@pytest.mark.parametrize("text", ["", " , "])
def test_an_empty_list_is_rejected_and_not_taken_as_missing(
    option: str, reason: str, text: str
) -> None:
    """Else the command would initialise a cluster of one node, permanently."""
    given = "" if option == "--init-token" else text
    done = CliRunner().invoke(app, ["cluster", "init", option, given])
    assert isinstance(done.exception, ConfigError)
    assert reason in str(done.exception)
