"""What a command reports for errors, and the exit code."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from qcore.cli.clients import connection_options
from qcore.cli.exits import ExitCode, exit_code_of
from qcore.cli.main import _ClickException
from qcore.cli.next_steps import add_next_step, error_text
from qcore.cli.store import watch
from qcore.errors import (
    EntityNotFound,
    NotLeader,
    QcoreError,
    Refused,
    RemoteProtocolError,
    StoreError,
    TlsFailed,
    TypeNotFound,
    Unauthenticated,
    ValueOutOfRange,
    WatchCompacted,
    WatchOverflow,
)
from tests.process.support.commands import run_here

#: How a node names its reasons, and the advice of a command with --user, or with --token-file.
_EXPIRED, _DELETED = "the token has expired: get a new one", "the user of this token was deleted"


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
        (Refused("CreateToken.ttl_s: too long"), "--ttl: too long"),
        (RemoteProtocolError("SetRole.rules.0.type: too long"), "--may-read or --may-write: too long"),
        (RemoteProtocolError("AddLearner.node_addr: no port"), "the address: no port"),
        (RemoteProtocolError("node_addr: no port"), "the address: no port"),
        (Refused("SetUser: the name of a user is short"), "the name of a user is short"),
        (
            Refused(
                "StoreGetChildren: this node runs the state machine 'register', and the message is one of the entity "
                "store: use Perform, or Execute"
            ),
            "this cluster runs the state machine 'register', and the command is for the entity store: "
            "use `qcore execute`",
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


class ScriptedWatch:
    """A watch that nodes serve or not: one item of the script for each look."""

    def __init__(self, *served: bool) -> None:
        self.script = list(served)

    @property
    def is_served(self) -> bool:
        if not self.script:
            raise EOFError
        return self.script.pop(0)


def test_a_watch_says_when_no_node_serves_it_and_when_one_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(watch, "_SILENT_S", 0.0)
    monkeypatch.setattr(watch, "_LOOK_S", 0.0)
    scripted = ScriptedWatch(True, False, False, True, True, False)
    with pytest.raises(EOFError):
        asyncio.run(watch._report_silence(cast("Any", scripted)))
    lines = [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()]
    silent, back = "no node serves the watch", "a node serves the watch again"
    assert lines == [silent, back, silent]
    monkeypatch.setattr(watch, "_SILENT_S", 60.0)
    with pytest.raises(EOFError):
        asyncio.run(watch._report_silence(cast("Any", ScriptedWatch(True, False, True))))
    assert capsys.readouterr().err == "", "a node that restarts quickly is not reported"


@pytest.mark.parametrize(
    ("given", "problem", "advice"),
    [
        ({}, "this cluster has users", "give --token-file FILE, or --user NAME"),
        ({"user": "ann"}, "the password is wrong", "check --user ann and its password"),
        ({"token_file": "t"}, _EXPIRED, "put a new token into t: `qcore token create`"),
        ({"token_file": "t"}, _DELETED, "put the token of another user into t"),
        ({"token_file": "t"}, "not a token", "token of --token-file t and --endpoints belong to"),
    ],
)
def test_the_advice_after_a_failed_login_fits_the_command(
    given: dict[str, str], problem: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_options, "_given", given)
    monkeypatch.delenv("QCORE_TOKEN", raising=False)
    assert advice in error_text(add_next_step(Unauthenticated(problem)))


def test_a_failure_of_tls_is_not_taken_for_a_node_that_is_down() -> None:
    assert error_text(add_next_step(TlsFailed("renew it"))) == "renew it"


def test_a_password_without_a_terminal_names_the_option(tmp_path: Path) -> None:
    for words, option in (
        (("user", "list", "--user", "ann"), "give --password-file FILE"),
        (("user", "add", "ann"), "give --new-password-file FILE"),
        (("role", "set", "x", "--allow", "nothing"), "write observe, read, write, manage or users"),
        (
            ("user", "list", "--token-file", str(tmp_path / "none")),
            "No such file or directory: give a",
        ),
    ):
        done = run_here(*words)
        assert done.code == ExitCode.USAGE
        assert option in done.stderr
