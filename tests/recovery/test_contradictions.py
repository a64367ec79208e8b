"""What a check finds although every checksum is right: parts of a log that contradict each other."""

from __future__ import annotations

import errno
import fcntl
from dataclasses import replace
from pathlib import Path

import pytest

from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot
from qcore.core.entry import EntryKind, HardState, Membership
from qcore.core.version import ClusterVersion
from qcore.errors import SnapshotFileError, StorageError
from qcore.recovery.checks.data_dir_check import check_data_dir
from qcore.recovery.checks.log_check import NewestSeen, fault_of, misfits
from qcore.recovery.clusters.new_cluster_state import Bumps, begin, new_membership
from qcore.recovery.recovery_refused import RecoveryRefused
from qcore.recovery.repairs.data_dir_repair import plan_repair
from qcore.storage.files.directory_lock import LOCK_FILE, owner_of
from qcore.storage.files.snapshot_file import read_snapshot
from qcore.storage.interface import Identity
from qcore.storage.live.log_reader import StoredLog, StoredSnapshot
from qcore.storage.sqlite.log_rows import StoredState
from tests.recovery.directories import MEMBERS, VERSION, entry, make, open_storage, snapshot
from tests.recovery.test_restore import write_file

STATE = StoredState(term=2, first_index=31, last_index=60, has_snapshot=True)
META = snapshot(40).meta
STORED = StoredSnapshot(META, 10, 0, b"")
SOUND = StoredLog(Identity(1, "north"), STATE, STORED, MEMBERS)
LATER = replace(META, last_included_index=61)
NO_VOTERS = replace(MEMBERS, voters=(), keys=())


@pytest.mark.parametrize(
    ("log", "severity", "what"),
    [
        (
            replace(SOUND, snapshot=None, state=replace(STATE, has_snapshot=False)),
            "fault",
            "begins",
        ),
        (replace(SOUND, snapshot=replace(STORED, meta=LATER)), "fault", "do not meet"),
        (replace(SOUND, state=replace(STATE, first_index=42)), "fault", "do not meet"),
        (replace(SOUND, state=replace(STATE, term=1)), "fault", "the current term is only 1"),
        (
            replace(SOUND, snapshot=replace(STORED, meta=replace(META, membership=NO_VOTERS))),
            "fault",
            "it has no voters",
        ),
        (replace(SOUND, membership=None), "fault", "has no configuration"),
        (replace(SOUND, identity=Identity(1, None)), "note", "has not recorded"),
        (replace(SOUND, identity=Identity(1, "south")), "fault", "its configuration to north"),
        (replace(SOUND, identity=Identity(9, "north")), "note", "node 9 is not a member"),
    ],
)
def test_each_contradiction_is_named(log: StoredLog, severity: str, what: str) -> None:
    assert [*misfits(SOUND)] == []
    (found,) = misfits(log)
    assert found.severity == severity
    assert what in found.what


@pytest.mark.parametrize(
    ("kind", "data", "what"),
    [
        ("membership", "[]", "should hold a membership"),
        ("membership", Membership().to_json(), "it has no voters"),
        ("version", "{", "should hold a version"),
        ("version", ClusterVersion(99).to_json(), "needs apply rules 99"),
    ],
)
def test_entry_of_no_meaning_is_a_fault(kind: EntryKind, data: str, what: str) -> None:
    assert what in str(fault_of(entry(5, kind, data), NewestSeen(), 2))


def test_terms_that_go_back_are_a_fault() -> None:
    assert "has term 3" in str(fault_of(entry(5), NewestSeen(3), 9))


def test_contradiction_is_not_repaired_away(tmp_path: Path) -> None:
    """The snapshot covers the entry, and the two differ about its term: nothing says which is right."""
    storage = open_storage(tmp_path)
    first = [entry(1, "membership", MEMBERS.to_json()), *map(entry, range(2, 20))]
    storage.write([SaveHardState(1, HardState(3)), AppendLog(2, first)])
    other = snapshot(10, term=3)
    connection = storage._connection
    connection.execute("BEGIN")
    storage._tables.write([StoreSnapshot(3, other, 0, False)], storage._stored)
    connection.execute(storage._stored.update, storage._stored.row())
    connection.execute("COMMIT")
    storage.close()
    found = check_data_dir(tmp_path).faults[0]
    assert found.what == "entry 10: its term is 2, and 3 in the snapshot"
    with pytest.raises(RecoveryRefused, match="entry 10"):
        plan_repair(tmp_path)


def test_snapshot_of_newer_rules_is_a_fault(tmp_path: Path) -> None:
    newer = snapshot(40)
    newer = replace(newer, meta=replace(newer.meta, version=replace(VERSION, rules=99)))
    storage = open_storage(tmp_path)
    storage.join_cluster("north")
    storage.write([SaveHardState(1, HardState(2)), StoreSnapshot(2, newer, 0, True)])
    storage.close()
    assert any("needs apply rules 99" in found.what for found in check_data_dir(tmp_path).faults)


def test_many_damaged_entries_are_summed_up(tmp_path: Path) -> None:
    path = make(tmp_path / "n").path
    database = path / "log.db"
    database.write_bytes(database.read_bytes().replace(b'"key ', b'"kEy '))
    found = check_data_dir(path).faults
    assert len(found) == 11
    assert found[-1].what == "20 more entries are damaged, up to 60"


def test_lock_that_cannot_be_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert owner_of(tmp_path) is None
    with pytest.raises(StorageError, match="too long"):
        owner_of(tmp_path / ("x" * 300))
    (tmp_path / LOCK_FILE).write_text("")

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(StorageError, match="No locks available"):
        owner_of(tmp_path)


def test_backup_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "b"
    write_file(path, "state \udc80".encode("utf-8", "surrogateescape").decode("latin-1"))
    content = path.read_bytes()
    write_latin(path, content)
    with pytest.raises(SnapshotFileError, match="not UTF-8"):
        read_snapshot(path)


def write_latin(path: Path, content: bytes) -> None:
    """Rewrite the file with a text that is not UTF-8, and with the right checksums."""
    import hashlib
    import json

    line, text = content.split(b"\n", 1)
    data = text.decode().encode("latin-1")
    fields = json.loads(line)
    del fields["header_sha256"]
    fields |= {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    encoded = json.dumps(fields, separators=(",", ":")).encode()
    fields["header_sha256"] = hashlib.sha256(encoded).hexdigest()
    path.write_bytes(json.dumps(fields, separators=(",", ":")).encode() + b"\n" + data)


def test_no_index_is_left_for_another_cluster() -> None:
    membership = new_membership({1: "a:1"}, {1: str(MEMBERS.key_of(1))}, "c", 5)
    with pytest.raises(RecoveryRefused, match="--bump-index"):
        begin(META, iter(["x"]), membership, Bumps(index=2**61))
    with pytest.raises(RecoveryRefused, match="--bump-term"):
        begin(META, iter(["x"]), membership, Bumps(term=2**31))
