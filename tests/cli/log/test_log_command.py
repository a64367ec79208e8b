"""`qcore log` of a stopped node: what it prints in each format, and its exit codes."""

from __future__ import annotations

import csv
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from qcore.cli.log.entry_text import describe_entry
from qcore.cli.log.log import app
from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot
from qcore.core.entry import Entry, EntryKind, HardState, Membership, Snapshot
from qcore.core.version import ClusterVersion
from qcore.errors import ConfigError, LogCorrupt
from qcore.recovery.snapshot_summary import SnapshotSummary, summarise
from qcore.replica.access.access_commands import SetUser, command_text
from qcore.replica.access.access_table import AccessTable
from qcore.replica.sessions.client_session import Session
from qcore.replica.sessions.session_text import table_text
from tests.storage.support.directories import open_storage, snapshot, stopped

TIME_US = 1_700_000_000_123_456


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("kind", "data", "machine", "text"),
    [
        ("noop", "", "register", "the leader of term 2 begins"),
        (
            "version",
            ClusterVersion(4, "bank", 2).to_json(),
            "",
            "apply rules 4, state machine bank 2",
        ),
        (
            "membership",
            Membership((1, 2), (1,), (3,), (), ((1, "a:1"), (3, "c:3"))).to_json(),
            "",
            "voters 1 at a:1, 2 at -; outgoing voters 1 at a:1; learners 3 at c:3",
        ),
        ("session", '["open", 5000]', "", "open a session for 5000 ms"),
        ("session", '["close", 7]', "", "session 7: close"),
        ("session", '["keep", 7]', "", "session 7: keep alive"),
        ("session", '["tick"]', "", "drop expired sessions"),
        (
            "session",
            '["run", 7, 3, 2, "add 1"]',
            "register",
            "session 7 #3 (acknowledged 2): add 1",
        ),
        (
            "session",
            json.dumps(["run", 7, 3, 2, '{"DeleteEntity":{"entity_id":{"typ":"User","id":7}}}']),
            "entity",
            "session 7 #3 (acknowledged 2): DeleteEntity entity_id=User$7",
        ),
        (
            "command",
            '{"UpdateEntity":{"request":[{"Write":{"entity_id":{"typ":"User","id":7},"field_type":"Age",'
            '"value":{"Int":3},"push_condition":"Changes","adjust_behavior":"Add","write_time":null,'
            '"writer_id":{"typ":"User","id":1}}},{"Read":{"entity_id":{"typ":"User","id":7},"field_type":"Age"}}]}}',
            "entity",
            "UpdateEntity request=[Write User$7.Age = {Int: 3} Changes Add by User$1, Read User$7.Age]",
        ),
        (
            "command",
            '{"CreateEntity":{"entity_type":"User","parent_id":null,"name":"a"}}',
            "",
            'CreateEntity entity_type="User" parent_id=null name="a"',
        ),
        ("command", '{"CreateEntity":{"name":"a"}}', "bank", '{"CreateEntity":{"name":"a"}}'),
        ("command", "[" * 100_000, "entity", "[" * 100_000),
        ("membership", "no json", "", "no json"),
    ],
)
def test_entries_in_words(kind: EntryKind, data: str, machine: str, text: str) -> None:
    assert describe_entry(Entry(1, 2, kind, data, TIME_US), machine) == text


def write_directory(path: Path, *commands: str) -> Path:
    storage = open_storage(path)
    entries = [Entry(1, 1, "version", ClusterVersion(4, "bank", 1).to_json(), TIME_US)]
    entries += (Entry(index, 1, "command", text, TIME_US) for index, text in enumerate(commands, 2))
    storage.write([SaveHardState(1, HardState(1, 3)), AppendLog(2, entries)])
    storage.close()
    return path


def test_the_three_formats(tmp_path: Path) -> None:
    long = "y" * 500
    directory = write_directory(tmp_path / "data", "evil \x1b[31m\n", long)
    table = run("dump", "--data-dir", directory)
    assert table.exit_code == 0, table.output
    assert "node id              3\n" in table.stdout
    assert (
        "       2      1  2023-11-14T22:13:20.123Z  command     evil \\x1b[31m\\n\n" in table.stdout
    )
    assert long not in table.stdout
    assert "(500 characters)" in table.stdout
    assert long in run("dump", "--data-dir", directory, "--full").stdout
    lines = run("dump", "--data-dir", directory, "-o", "json").stdout.splitlines()
    head, *entries = map(json.loads, lines)
    assert (head["node_id"], head["first_index"], head["last_index"]) == (3, 1, 3)
    assert entries[2] == {
        "index": 3,
        "term": 1,
        "time": "2023-11-14T22:13:20.123Z",
        "kind": "command",
        "what": long,
        "time_us": TIME_US,
        "clock_us": 0,
        "data": long,
    }
    rows = list(csv.reader(run("tail", "--data-dir", directory, "-o", "csv").stdout.splitlines()))
    assert rows[0] == ["index", "term", "time", "kind", "what"]
    assert rows[2][4] == "evil \\x1b[31m\\n"


def test_parts_of_the_log(tmp_path: Path) -> None:
    directory = stopped(tmp_path / "data").path

    def shown(*arguments: str) -> list[int]:
        done = run(*arguments, "--data-dir", directory, "-o", "json")
        assert done.exit_code == 0, done.output
        return [json.loads(line)["index"] for line in done.stdout.splitlines()[1:]]

    assert shown("dump") == [*range(31, 91)]
    assert shown("dump", "--first", "50", "--last", "52") == [50, 51, 52]
    assert shown("dump", "--first", "91") == []
    assert shown("tail") == [*range(81, 91)]
    assert shown("tail", "-n", "2") == [89, 90]
    assert shown("tail", "-n", "0") == []
    wrong = run("dump", "--first", "5", "--last", "4", "--data-dir", directory)
    assert isinstance(wrong.exception, ConfigError)


def test_damage_is_reported_after_the_sound_entries(tmp_path: Path) -> None:
    directory = stopped(tmp_path / "data").path
    with closing(sqlite3.connect(directory / "log.db")) as connection, connection:
        connection.execute("UPDATE log SET term = 7 WHERE idx = 88")
    done = run("tail", "-n", "3", "--data-dir", directory, "-o", "csv")
    rows = list(csv.reader(done.stdout.splitlines()))
    assert [row[:1] + row[3:4] for row in rows[1:]] == [
        ["88", "damaged"],
        ["89", "command"],
        ["90", "command"],
    ]
    assert isinstance(done.exception, LogCorrupt)
    assert "damaged at entry 88" in str(done.exception)
    assert "add the node again" in str(done.exception)


@pytest.mark.parametrize("rules", [1, 3])
def test_a_snapshot_is_counted_or_printed(tmp_path: Path, rules: int) -> None:
    sessions = [
        (5, Session.restored(1000, 7, 0, [(1, "a\n"), (2, "b" * 40_000)])),
        (9, Session.restored(1000, 8, 0, [])),
    ]
    table = "".join(table_text(sessions, rules))
    text = table + "mächine\x1b" * 100_000
    storage = open_storage(tmp_path)
    storage.write(
        [
            SaveHardState(1, HardState(2)),
            StoreSnapshot(2, Snapshot(snapshot(9).meta, text), 9, True),
        ]
    )
    storage.close()
    found = json.loads(run("dump", "--snapshot", "--data-dir", tmp_path, "-o", "json").stdout)
    assert found["bytes"] == len(text.encode())
    assert (found["sessions"], found["replies"]) == (2, 2)
    assert found["session_bytes"] == len(table.encode())
    assert found["machine_bytes"] == len(text.encode()) - len(table.encode())
    assert "sessions       2\n" in run("dump", "--snapshot", "--data-dir", tmp_path).stdout
    assert "north" in run("dump", "--snapshot", "--data-dir", tmp_path, "-o", "csv").stdout
    assert run("dump", "--snapshot", "--full", "--data-dir", tmp_path).stdout == text


def test_a_snapshot_is_counted_in_any_parts() -> None:
    text = '{"sessions":1}\n[5,1000,7,0,2]\n[[1,"a"]]\n[[2,"b"]]\nmachine'
    for size in range(1, 20):
        parts = (text[start : start + size] for start in range(0, len(text), size))
        assert summarise(parts) == SnapshotSummary(1, 2, len(text) - 7, 7)
    for wrong in ("", "5\n", '{"sessions":1}\n', '{"sessions":1}\n[1]\n', "no json\n"):
        with pytest.raises(ValueError, match=r"."):
            summarise(iter([wrong]))


def test_password_hashes_are_not_printed(tmp_path: Path) -> None:
    secret = "c29tZXNhbHQ$RdescudvJCsgt3ub+b31dWJWJTmaaJObG"
    command = SetUser("ann", f"$argon2id$v=19$m=65536,t=3,p=4${secret}", ("admin",))
    entry = Entry(10, 2, "access", command_text(command), TIME_US, 5, "root")
    table = AccessTable()
    assert table.apply(entry)[1] is None
    users = "".join(table.dump())
    text = users + '{"sessions":1}\n[5,1000,7,0,0,10]\n' + "machine" * 9
    storage = open_storage(tmp_path)
    storage.write(
        [
            SaveHardState(1, HardState(2)),
            StoreSnapshot(2, Snapshot(snapshot(9).meta, text), 9, True),
            AppendLog(3, [entry]),
        ]
    )
    storage.close()
    found = json.loads(run("dump", "--snapshot", "--data-dir", tmp_path, "-o", "json").stdout)
    assert (found["users"], found["sessions"], found["machine_bytes"]) == (1, 1, 63)
    whole = run("dump", "--snapshot", "--full", "--data-dir", tmp_path).stdout
    assert secret not in whole
    assert whole.endswith(text[len(users) :])
    assert len(whole) == len(text)
    for output in ("table", "csv", "json"):
        shown = run("dump", "--full", "--data-dir", tmp_path, "-o", output).stdout
        assert "set_user" in shown
        assert "(hidden)" in shown
        assert "root" in shown
        assert secret not in shown


def test_a_node_without_a_snapshot(tmp_path: Path) -> None:
    done = run("dump", "--snapshot", "--data-dir", write_directory(tmp_path / "data"))
    assert isinstance(done.exception, ConfigError)
    assert "no snapshot yet" in str(done.exception)
