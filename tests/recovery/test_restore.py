"""`restore`: a new cluster from a snapshot file: its state, its positions, and what it refuses."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.cli.recovery import bump_options
from qcore.core.dispatch.message_handlers import MAX_TERM_JUMP
from qcore.core.entry import DurableState, Membership, SnapshotMeta
from qcore.core.log.compressed_text import text_parts
from qcore.core.version import ClusterVersion
from qcore.errors import ConfigError, SnapshotFileError
from qcore.recovery.checks.data_dir_check import check_data_dir
from qcore.recovery.clusters.new_cluster_state import (
    INDEX_BUMP,
    TERM_BUMP,
    Bumps,
    begin,
    cleared,
    new_membership,
)
from qcore.recovery.clusters.snapshot_restore import Restored, restore
from qcore.recovery.recovery_refused import RecoveryRefused
from qcore.recovery.snapshot_summary import summarise
from qcore.replica.access.access_records import JoinToken, Role, User
from qcore.replica.access.access_table import AccessTable
from qcore.replica.access.access_text import table_text as access_text
from qcore.replica.sessions.client_session import Session
from qcore.replica.sessions.session_text import table_text as session_text
from qcore.storage.files.snapshot_file import SnapshotFileWriter, SnapshotHeader
from qcore.storage.sqlite.sqlite_storage import SqliteStorage
from tests.process.support.commands import run_here
from tests.recovery.directories import MEMBERS, VERSION, keys, make

MACHINE_TEXT = '{"a":"ü"}\n'
ALONE = {1: "a:1"}
THREE = {1: "a:1", 2: "b:1", 3: "c:1"}
DEFAULT = Bumps()
OTHERS = {node: key for node, key in keys().items() if node != 1}


def state_text(rules: int = 5, sessions: int = 2, users: int = 2) -> str:
    """The text of a state with users, a role, a join token and sessions."""
    held = [
        (10 + number, Session.restored(5000, 7, 1, [(2, "reply")])) for number in range(sessions)
    ]
    names = [User(f"user{number}", "", ("admin",), 3, 3) for number in range(users)]
    token = JoinToken("t1", keys()[1], 99, 4)
    access = access_text(names, [Role("reader", ("read",), (), ())], [token]) if users else ()
    return "".join([*access, *session_text(held, rules), MACHINE_TEXT])


def write_file(path: Path, text: str, version: ClusterVersion = VERSION) -> SnapshotHeader:
    """A snapshot file through entry 40 of term 2."""
    import hashlib

    data = text.encode()
    digest = hashlib.sha256(data).hexdigest()
    header = SnapshotHeader("north", 40, 2, 900, MEMBERS, len(data), digest, 800, version)
    with SnapshotFileWriter(path, header) as writer:
        writer.write(text)
        writer.finish()
    return header


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    path = tmp_path / "backup.snapshot"
    write_file(path, state_text())
    return path


def restored(
    backup: Path,
    directory: Path,
    node_id: int = 1,
    members: dict[int, str] = ALONE,
    public_keys: dict[int, str] = OTHERS,
    token: str | None = None,
    bumps: Bumps = DEFAULT,
) -> Restored:
    return restore(
        backup,
        directory,
        node_id,
        members,
        keys={node: key for node, key in public_keys.items() if node in members},
        token=token,
        bumps=bumps,
        random_bytes=lambda size: bytes([node_id]) * size if size == 32 else os.urandom(size),
    )


def stored(directory: Path, node_id: int = 1) -> tuple[DurableState, str | None, str]:
    """What a node finds: the log, the cluster and the incarnation."""
    storage = SqliteStorage.open(directory, node_id)
    found = storage.load(), storage.identity().cluster_id, storage.incarnation
    storage.close()
    return found


def test_new_cluster_continues_above_the_old_positions(backup: Path, tmp_path: Path) -> None:
    done = restored(backup, tmp_path / "1")
    state, cluster_id, _ = stored(tmp_path / "1")
    assert state.snapshot is not None
    meta = state.snapshot.meta
    assert (meta.last_included_index, meta.last_included_term) == (40 + INDEX_BUMP, 2 + TERM_BUMP)
    assert (meta.last_included_time_us, meta.last_included_clock_us, meta.version) == (
        900,
        800,
        VERSION,
    )
    assert (state.hard_state.term, state.hard_state.voted_for) == (2 + TERM_BUMP, None)
    assert state.hard_state.commit == 40 + INDEX_BUMP
    assert cluster_id == done.new.cluster_id != "north"
    assert meta.membership == Membership(
        voters=(1,), addresses=((1, "a:1"),), cluster_id=cluster_id, keys=((1, done.public_key),)
    )
    assert check_data_dir(tmp_path / "1").findings == []


def test_users_stay_and_sessions_and_join_tokens_end(backup: Path, tmp_path: Path) -> None:
    restored(backup, tmp_path / "1")
    snapshot = stored(tmp_path / "1")[0].snapshot
    assert snapshot is not None
    assert summarise(text_parts(snapshot.data)).sessions == 0
    access = AccessTable()
    for _ in access.load(snapshot.data):
        pass
    assert [user.name for user in access.users()] == ["user0", "user1"]
    assert [role.name for role in access.roles()] == ["reader"]
    assert access.join_tokens() == []
    assert str(snapshot.data).endswith("\n" + MACHINE_TEXT)


def test_large_state_is_kept_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "large.snapshot"
    text = state_text() + "ü€x" * 400_000
    write_file(path, text)
    restored(path, tmp_path / "1")
    snapshot = stored(tmp_path / "1")[0].snapshot
    assert snapshot is not None
    assert str(snapshot.data).endswith(text[text.index(MACHINE_TEXT) :])
    assert check_data_dir(tmp_path / "1").findings == []


def test_members_with_one_token_get_the_same_cluster(backup: Path, tmp_path: Path) -> None:
    for node in THREE:
        restored(backup, tmp_path / str(node), node, THREE, keys(), "once")
    found = [stored(tmp_path / str(node), node) for node in THREE]
    assert len({cluster_id for _, cluster_id, _ in found}) == 1
    assert found[0][0] == found[1][0] == found[2][0]
    assert len({incarnation for _, _, incarnation in found}) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"token": "twice"},
        {"bumps": Bumps(5, 5)},
        {"members": {**THREE, 3: "d:1"}},
        {"public_keys": {**keys(), 3: "ed25519:" + "A" * 43}},
    ],
)
def test_other_arguments_give_another_cluster(
    backup: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    usual: dict[str, object] = {"members": THREE, "public_keys": keys(), "token": "once"}
    one = restored(backup, tmp_path / "1", 1, **usual)  # type: ignore[arg-type]  # by name
    other = restored(backup, tmp_path / "2", 2, **{**usual, **change})  # type: ignore[arg-type]  # by name
    assert one.new.cluster_id != other.new.cluster_id


def test_without_token_each_restore_is_another_cluster(backup: Path, tmp_path: Path) -> None:
    ids = {restored(backup, tmp_path / name).new.cluster_id for name in "ab"}
    assert len(ids) == 2


@pytest.mark.parametrize(
    ("members", "public_keys", "token", "text"),
    [
        (THREE, OTHERS, None, "--token is missing"),
        (THREE, {2: keys()[2]}, "t", "public key of node 3 is missing"),
        ({2: "b:1"}, OTHERS, "t", "and not node 1"),
        ({1: "a:1", 2: "a:1"}, OTHERS, "t", "two nodes"),
        ({1: "0.0.0.0:1"}, OTHERS, None, "every address"),
        ({1: "a:1", 2: "b:1"}, {2: keys()[1]}, "t", "the same public key"),
    ],
)
def test_wrong_members_are_refused(
    backup: Path,
    tmp_path: Path,
    members: dict[int, str],
    public_keys: dict[int, str],
    token: str | None,
    text: str,
) -> None:
    with pytest.raises(ConfigError, match=text):
        restored(backup, tmp_path / "1", 1, members, public_keys, token)


def test_directory_with_data_is_refused_and_unchanged(backup: Path, tmp_path: Path) -> None:
    sample = make(tmp_path / "old")
    with pytest.raises(RecoveryRefused, match="belongs to cluster north"):
        restored(backup, sample.path)
    restored(backup, tmp_path / "new")
    with pytest.raises(RecoveryRefused, match="belongs to cluster"):
        restored(backup, tmp_path / "new")
    storage = SqliteStorage.open(tmp_path / "used", 1)
    with pytest.raises(RecoveryRefused, match="in use"):
        restored(backup, tmp_path / "used")
    storage.close()


def test_directory_that_a_new_node_made_is_used(backup: Path, tmp_path: Path) -> None:
    SqliteStorage.open(tmp_path / "1", 1).close()
    restored(backup, tmp_path / "1")
    assert stored(tmp_path / "1")[0].snapshot is not None


def test_state_of_old_rules_has_no_keys(tmp_path: Path) -> None:
    path = tmp_path / "old.snapshot"
    write_file(path, state_text(2, users=0), ClusterVersion())
    done = restored(path, tmp_path / "1", 1, THREE, {}, "t")
    assert done.membership.keys == ()


def test_damaged_file_and_newer_rules_are_refused(backup: Path, tmp_path: Path) -> None:
    content = backup.read_bytes()
    backup.write_bytes(content.replace(b"reply", b"rEply", 1))
    with pytest.raises(SnapshotFileError, match="was changed"):
        restored(backup, tmp_path / "1")
    newer = tmp_path / "newer.snapshot"
    write_file(newer, state_text(), replace(VERSION, rules=99))
    with pytest.raises(SnapshotFileError, match="apply rules 99"):
        restored(newer, tmp_path / "1")
    strange = tmp_path / "strange.snapshot"
    write_file(strange, "no state\n")
    with pytest.raises(SnapshotFileError, match="not that of a snapshot"):
        restored(strange, tmp_path / "1")
    assert not (tmp_path / "1").exists()


@given(
    index=st.integers(1, 2**60) | st.integers(1, 2**62),
    term=st.integers(1, 2**30) | st.integers(1, 2**62),
    bump_index=st.integers(1, 2**40),
    bump_term=st.integers(1, 2**20) | st.integers(1, 2**40),
    rules=st.sampled_from([1, 2, 3, 5]),
    sessions=st.integers(0, 3),
    users=st.integers(0, 2),
)
def test_positions_always_grow_and_the_machine_stays(
    index: int, term: int, bump_index: int, bump_term: int, rules: int, sessions: int, users: int
) -> None:
    users = users if rules >= 5 else 0
    text = state_text(rules, sessions, users)
    meta = SnapshotMeta(index, term, 5, MEMBERS, 6, ClusterVersion(rules, "register", 1))
    membership = new_membership(ALONE, keys(), "new", rules)
    try:
        new = begin(meta, cleared(text, rules), membership, Bumps(bump_index, bump_term))
    except RecoveryRefused:
        assert index + bump_index >= 2**61 or term + bump_term >= MAX_TERM_JUMP // 2
        return
    # A node without a log must accept the first message of the leader.
    assert new.hard_state.term < MAX_TERM_JUMP // 2
    after = new.snapshot.meta
    assert after.last_included_index == index + bump_index > index
    assert new.hard_state.term == after.last_included_term == term + bump_term > term
    assert str(new.snapshot.data).endswith(MACHINE_TEXT)
    found = summarise(text_parts(new.snapshot.data))
    assert (found.sessions, found.users) == (0, users)


def test_commands_verify_and_restore(backup: Path, tmp_path: Path) -> None:
    assert (bump_options.INDEX_BUMP, bump_options.TERM_BUMP) == (INDEX_BUMP, TERM_BUMP)
    shown = run_here("snapshot", "verify", str(backup))
    assert shown.code == 0
    assert [
        line.split() for line in shown.stdout.splitlines() if line.startswith(("USERS", "SESS"))
    ] == [
        ["USERS", "2"],
        ["SESSIONS", "2"],
    ]
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    error = run_here("snapshot", "verify", str(empty)).stderr
    assert error.endswith("is empty: save the snapshot again, or use another backup\n"), (
        "one advice"
    )
    words = ["snapshot", "restore", str(backup), "--id", "1", "--members", "1=127.0.0.1:1"]
    done = run_here(*words, "--data-dir", str(tmp_path / "1"))
    assert done.code == 0
    assert "the log continues after index 1000000000040" in done.stdout
    again = run_here(*words, "--data-dir", str(tmp_path / "1"))
    assert (again.code, again.stdout) == (1, "")
    assert "nothing was changed" in again.stderr
