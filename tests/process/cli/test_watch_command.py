"""`qcore watch` against a real node: what it prints in each format, and where a later watch continues."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys

import pytest

from qcore.cli.exits import ExitCode
from qcore.processes import ProcessCluster
from tests.checkout import CHECKOUT
from tests.process.cli.conftest import Command

pytestmark = pytest.mark.process


@pytest.fixture
def before(store_cluster: ProcessCluster) -> str:
    """The position before the writes of a test. The cluster may have dropped the changes of earlier tests."""
    return f"{store_cluster.wait_leader().status()['qcore']['applied_index']},0"


@pytest.fixture
def ada(store: Command, before: str) -> str:
    """The id of an entity whose Role was written three times after the position `before`."""
    assert store("load", str(CHECKOUT / "examples" / "topology.yaml")).code == 0
    made: str = store("entity", "create", "User", "ada", "Role=Guest").stdout.strip()
    for role in ("Admin", "Admin", "Guest"):
        assert store("entity", "set", made, f"Role={role}").code == 0
    return made


def test_past_changes_are_printed_in_every_format(store: Command, before: str, ada: str) -> None:
    words = ["watch", ada, "Role", "--after", before, "--changes-only", "--count"]
    done = store(*words, "2", "-o", "json")
    assert done.code == 0
    changes = [json.loads(line) for line in done.stdout.splitlines()]
    assert [change["value"] for change in changes] == ["Admin", "Guest"]
    assert [change["previous_value"] for change in changes] == ["Guest", "Admin"]
    assert {change["entity_id"] for change in changes} == {ada}
    first = changes[0]
    position = f"{first['index']},{first['sequence']}"
    rest = store("watch", ada, "Role", "--after", position, "--count", "2", "-o", "csv")
    header, *rows = csv.reader(io.StringIO(rest.stdout))
    assert header == ["index", "sequence", "entity_id", "field", "previous_value", "value"]
    assert [row[3:] for row in rows] == [["Role", "Admin", "Admin"], ["Role", "Admin", "Guest"]]
    table = store("watch", "--type", "User", "Role", "--after", position, "--count", "2").stdout
    assert f"{ada}  Role  Admin -> Guest" in table.splitlines()[-1]
    assert rest.stderr == f"to continue: --after {rows[-1][0]},{rows[-1][1]}\n"


def test_changes_are_printed_without_delay_until_ctrl_c(store: Command, ada: str) -> None:
    command = [sys.executable, "-m", "qcore", "watch", ada, "Logins", "-o", "csv"]
    watching = subprocess.Popen(
        [*command, "--context", "Parent->Name,Name"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    assert watching.stdout is not None
    assert watching.stdout.readline().endswith("value,Parent->Name,Name\n")
    assert store("entity", "set", ada, "Logins=7").code == 0
    assert watching.stdout.readline().endswith(f"{ada},Logins,0,7,,ada\n")
    watching.send_signal(signal.SIGINT)
    _, error = watching.communicate(timeout=20)
    assert watching.returncode == ExitCode.INTERRUPTED
    assert error.startswith("to continue: --after ")
    assert "Traceback" not in error


def test_a_wrong_watch_is_one_line(store: Command) -> None:
    for words, code, reason in (
        (["User$1"], ExitCode.USAGE, "give ENTITY FIELD, or --type TYPE FIELD, or --topic TOPIC"),
        (["User$1", "Role", "--type", "User"], ExitCode.USAGE, "give ENTITY FIELD"),
        (["Role", "--topic", "t"], ExitCode.USAGE, "give ENTITY FIELD"),
        (["User$1", "Role", "--after", "7"], ExitCode.USAGE, "is not INDEX,SEQ"),
        (["--type", "User", "Nope"], ExitCode.REJECTED, ""),
        (["--type", "Nope", "Role"], ExitCode.REJECTED, "qcore schema list"),
        (["--topic", "t"], ExitCode.REJECTED, ""),
    ):
        done = store("watch", *words, "--timeout", "5")
        assert (done.code, done.stdout) == (code, ""), done
        assert reason in done.stderr
        assert len(done.stderr.splitlines()) == 1
