"""What a command reports for errors, and the exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import pytest

from qcore.cli.exits import ExitCode, exit_code_of
from qcore.cli.main import _ClickException
from qcore.cli.next_steps import add_next_step, error_text
from qcore.errors import (
    EntityNotFound,
    NotLeader,
    QcoreError,
    Refused,
    StoreError,
    TypeNotFound,
    ValueOutOfRange,
    WatchCompacted,
    WatchOverflow,
)
from tests.process.support.commands import run_here


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            EntityNotFound('request 0 of the list (from 0), Read of "Name": entity "A$9" does not exist'),
            'entity "A$9" does not exist',
        ),
        (
            ValueOutOfRange('request 3 of the list (from 0), Write of "Size": the sum is too large'),
            'field "Size": the sum is too large',
        ),
        (
            TypeNotFound('StoreBulk.requests.0.CreateEntity: entity type "Nope" has no schema'),
            'entity type "Nope" has no schema',
        ),
        (StoreError("as it is"), "as it is"),
        (
            Refused(
                "StoreGetChildren: this node runs the state machine 'kv', and the message is one of the entity store: "
                "use Perform, or Execute"
            ),
            "this cluster runs the state machine 'kv', and the command is for the entity store: use `qcore execute`",
        ),
    ],
)  # fmt: skip
def test_an_error_names_commands_and_no_messages(error: QcoreError, text: str) -> None:
    assert error_text(error) == text


def test_an_uninitialised_node_names_init_once() -> None:
    error = NotLeader(
        text="this node belongs to no cluster yet: begin one with Init (`qcore cluster init`)"
    )
    assert error_text(add_next_step(error)).lower().count("init") == 1  # fmt: skip
    assert error_text(add_next_step(NotLeader())).count("`qcore cluster init`") == 1


def test_a_watch_that_is_rejected_is_exit_code_4() -> None:
    for error in (WatchCompacted("gone", 7), WatchOverflow("too many", 7)):
        assert exit_code_of(error) is ExitCode.REJECTED
    assert "--after" in error_text(add_next_step(WatchCompacted("gone", 7)))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["entity", "get", "Root//Users"], "'Root//Users' has an empty name"),
        (["entity", "get", "/Root/\udc9b"], "ENTITY: /Root/\\udc9b is not UTF-8 text"),
        (["entity", "find", "A", "--filter", "\udcff"], "CEL: \\udcff is not UTF-8 text"),
        (["watch", "--type", "\udcff", "Name"], "TYPE: \\udcff is not UTF-8 text"),
        (["entity", "set", "A$1", "Name=\udcff"], "FIELD=VALUE: Name=\\udcff is not UTF-8"),
        (["entity", "create", "Folder", ""], "the name is empty"),
        (["entity", "rename", "A$1", ""], "the name is empty"),
        (["entity", "set", "A$1", "a\\b"], "'a\\b' is not FIELD=VALUE"),
        (["entity", "nothing\x1b"], "No such command 'nothing\\x1b': see `qcore entity --help`"),
        (["entity", "get"], "Missing argument 'ENTITY': see `qcore entity get --help`"),
        (["watch", "A$1", "F", "--count", "0"], "see `qcore watch --help`"),
    ],
)
def test_a_malformed_name_is_wrong_usage(arguments: Sequence[str], reason: str) -> None:
    done = run_here(*arguments)
    assert done.code == ExitCode.USAGE
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_base_of_usage_errors_is_the_one_of_typer() -> None:
    assert _ClickException.__name__ == "ClickException"


def test_a_broken_pipe_is_exit_code_141_without_a_word() -> None:
    for arguments in (["version"], ["version", "--help"]):
        reader, writer = os.pipe()
        os.close(reader)
        command = [sys.executable, "-m", "qcore", *arguments]
        done = subprocess.run(
            command, stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False
        )
        os.close(writer)
        assert (done.returncode, done.stderr) == (ExitCode.BROKEN_PIPE, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device without space")
def test_output_that_cannot_be_written_is_no_bug() -> None:
    command = [sys.executable, "-m", "qcore", "version"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == ExitCode.FAILED
    assert done.stderr.startswith(b"error: cannot write the result: No space left on device")
