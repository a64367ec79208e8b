"""Gaps between snapshot and log, in both directions, in memory and in SQLite."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from qcore.core import (
    DurableState,
    Entry,
    HardState,
    Membership,
    RaftConfig,
    RaftCore,
    Snapshot,
    SnapshotMeta,
)
from qcore.core import raft_server as server_module
from qcore.core.effects import (
    AppendLog,
    Apply,
    ProposalAccepted,
    SaveHardState,
    StoreSnapshot,
    Write,
)
from qcore.core.events import Campaign, Propose, WriteDurable
from qcore.core.log.raft_log import RaftLog
from qcore.errors import LogCorrupt
from qcore.storage.interface import LogStorage
from qcore.storage.log_outline import LogOutline
from qcore.storage.memory import MemoryStorage
from qcore.storage.sqlite.sqlite_storage import SqliteStorage

Open = Callable[[], LogStorage]

ONE = Membership(voters=(1,))


def snapshot(index: int) -> Snapshot:
    return Snapshot(SnapshotMeta(index, 1, 0, ONE), "state")


#: For a log of entries 1 to 10, all committed: a snapshot, and the part of the log that is dropped.
MEETING = {
    "the log begins before the snapshot ends": StoreSnapshot(3, snapshot(7), 4, False),
    "the log begins where the snapshot ends": StoreSnapshot(3, snapshot(7), 7, False),
}
APART = {
    "the log begins after the snapshot ends": StoreSnapshot(3, snapshot(4), 7, False),
    "the snapshot ends after the log does": StoreSnapshot(3, snapshot(14), 4, False),
}


@pytest.fixture(params=["memory", "sqlite"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """A function that opens the same storage again and again."""
    memory = MemoryStorage(1)
    memory.close()
    if request.param == "memory":
        return memory.reopen
    return lambda: SqliteStorage.open(tmp_path, 1, wal_bytes=100_000)


def restarts_from(storage: Open, write: StoreSnapshot) -> list[int]:
    """redisraft#43, #44: a server restarts from a log and a snapshot that was taken while it ran.

    Returns:
        the indexes in its state afterwards: those that the snapshot covers, then those that were applied.
    """
    entries = [Entry(1, 1, "membership", ONE.to_json(), 0)]
    entries += [Entry(index, 1, "command", f"c{index}", 0) for index in range(2, 11)]
    writes: list[Write] = [SaveHardState(1, HardState(1, None, 0)), AppendLog(2, entries)]
    log = storage()
    try:
        log.write(writes, commit=10)
        log.write([write])
    finally:
        log.close()
    log = storage()
    try:
        durable = log.load()
    finally:
        log.close()
    return state_after_restart(durable)


def state_after_restart(durable: DurableState) -> list[int]:
    """Restart, lead, and apply one more command; return the indexes in the state."""
    covered = durable.snapshot.meta.last_included_index if durable.snapshot else 0
    state = list(range(1, covered + 1))
    core = RaftCore(RaftConfig(1), durable, rng=random.Random(1), now=0)
    effects = core.initial_effects()
    for event in (Campaign(), WriteDurable(1), WriteDurable(2), Propose(["next"], 0)):
        effects += core.step(event, 0)
    effects += core.step(WriteDurable(3), 0)
    assert any(isinstance(effect, ProposalAccepted) for effect in effects)
    for effect in effects:
        if isinstance(effect, Apply):
            state += [entry.index for entry in effect.entries]
    return state


def accept_any_log(durable: DurableState) -> RaftLog:
    """Restore the log at a restart without comparing it with the snapshot."""
    first = durable.entries[0].index
    return RaftLog(durable.entries, offset=first - 1, offset_term=None)


def existing_entries(log: RaftLog, first: int, last: int) -> list[Entry]:
    return [entry for entry in log.entries if first <= entry.index <= last]


@pytest.mark.parametrize("name", MEETING)
def test_adjoining_log_and_snapshot_restart_complete(storage: Open, name: str) -> None:
    assert restarts_from(storage, MEETING[name]) == list(range(1, 13))


@pytest.mark.parametrize("name", APART)
def test_write_that_would_open_a_gap_is_rejected(storage: Open, name: str) -> None:
    with pytest.raises(ValueError, match=r"the log (starts|ends) at entry .*the snapshot"):
        restarts_from(storage, APART[name])


@pytest.mark.parametrize("name", APART)
def test_gap_on_disk_is_detected_at_start(
    storage: Open, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cause does not matter. Here the storage did not check its write."""
    monkeypatch.setattr(LogOutline, "_check", lambda _outline: None)
    with pytest.raises(LogCorrupt, match="they do not meet"):
        restarts_from(storage, APART[name])


@pytest.mark.parametrize("name", APART)
def test_sqlite_detects_a_gap_when_it_loads(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load with the check refuses a file that was written without the check, and names the gap."""
    with monkeypatch.context() as unchecked:
        unchecked.setattr(LogOutline, "_check", lambda _outline: None)
        with pytest.raises(LogCorrupt, match="they do not meet"):
            restarts_from(lambda: SqliteStorage.open(tmp_path, 1, wal_bytes=100_000), APART[name])

    log = SqliteStorage.open(tmp_path, 1, wal_bytes=100_000)
    try:
        with pytest.raises(LogCorrupt, match=r"log\.db.*the snapshot"):
            log.load()
    finally:
        log.close()


@pytest.mark.parametrize("name", APART)
def test_without_gap_check_the_state_has_a_hole(
    storage: Open, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LogOutline, "_check", lambda _outline: None)
    monkeypatch.setattr(server_module, "restored_log", accept_any_log)
    monkeypatch.setattr(RaftLog, "between", existing_entries)
    state = restarts_from(storage, APART[name])
    if name == "the log begins after the snapshot ends":
        assert state == [1, 2, 3, 4, 8, 9, 10, 11, 12]
    else:
        assert state == list(range(1, 15)), "the command, entry 12, is committed and never applied"
