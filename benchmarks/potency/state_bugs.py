"""Bugs to plant in what a replica keeps: the applied state, sessions, snapshots, watches, and the disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from qcore.core.effects import Send
from qcore.core.entry import DurableState, Entry, Snapshot
from qcore.machines.interface import Change
from qcore.replica.apply.applier import Applier
from qcore.replica.durability_gate import DurabilityGate
from qcore.replica.machine_results import Result
from qcore.replica.messages import Forward
from qcore.replica.replica_context import ReplicaContext
from qcore.replica.requests.forwarder import Forwarder
from qcore.replica.sessions.client_session import Session
from qcore.replica.sessions.session_table import SessionTable
from qcore.replica.watches.change_history import ChangedEntry, ChangeHistory, Position
from qcore.replica.watches.watch_table import Watches
from qcore.sim.world.node.disk import SimDisk

Patch = pytest.MonkeyPatch

#: Fewer entries than the log of a cluster in use.
_NEW_LOG = 4
#: Every so many entries, watches miss the changes of one.
_MISSED = 23


def skips_an_entry_behind_a_snapshot(patch: Patch) -> None:
    """After a snapshot was installed, the first entry behind it is not applied."""
    restored, commit = Applier._restored, Applier.commit
    skips: set[int] = set()

    def on_restored(applier: Applier, snapshot: Snapshot) -> None:
        restored(applier, snapshot)
        skips.add(id(applier))

    def committing(applier: Applier, entries: list[Entry]) -> None:
        skipped = 1 if entries and id(applier) in skips and applier.applied_index else 0
        if skipped:
            skips.discard(id(applier))
        commit(applier, entries[skipped:])

    patch.setattr(Applier, "_restored", on_restored)
    patch.setattr(Applier, "commit", committing)


def applies_a_retried_command_again(patch: Patch) -> None:
    """A session forgets its replies, so a command that is sent again is applied again."""
    record = Session.record

    def recording(session: Session, number: int, reply: Result) -> None:
        record(session, number, reply)
        session.replies.pop(number)

    patch.setattr(Session, "record", recording)


def leaves_replies_out_of_snapshots(patch: Patch) -> None:
    """A snapshot holds the sessions without their replies."""
    add = SessionTable._add

    def adding(table: SessionTable, session_id: int, session: Session) -> None:
        session.replies.clear()
        session.numbers.clear()
        session.characters = session.size_bytes = 0
        add(table, session_id, session)

    patch.setattr(SessionTable, "_add", adding)


def snapshot_loses_replies(patch: Patch) -> None:
    """A node that restores a snapshot loses one reply of each session."""
    add = SessionTable._add

    def adding(table: SessionTable, session_id: int, session: Session) -> None:
        if session.replies:
            session.replies.pop(max(session.replies))
        add(table, session_id, session)

    patch.setattr(SessionTable, "_add", adding)


def never_expires_sessions_after_a_restore(patch: Patch) -> None:
    """A node that restored a snapshot keeps sessions that the others let expire."""
    patch.setattr(SessionTable, "_rebuild_expiries", lambda _table: None)


def forwards_a_write_twice(patch: Patch) -> None:
    """A follower whose leader changes sends a write again, although the old leader may have appended it."""

    def leader_changed(forwarder: Forwarder, leader_id: int) -> None:
        replica: ReplicaContext = forwarder._replica
        for ticket, request in list(forwarder._forwarded.items()):
            moves = request.forwarded_to != leader_id and leader_id != replica.core.node_id
            if moves and (request.kind == "write" or request.kind == "session"):
                request.forwarded_to = leader_id
                timeout_ms = max(1, (request.deadline - replica.now) // 1000)
                replica.send(leader_id, Forward(ticket, request.kind, request.payload, timeout_ms))

    patch.setattr(Forwarder, "leader_changed", leader_changed)


def serves_reads_before_it_has_applied(patch: Patch) -> None:
    """A follower serves a read immediately when the leader has named its index, without waiting to apply that far."""

    def on_applied(forwarder: Forwarder) -> None:
        while forwarder._reads:
            request = forwarder._reads.pop()[2]
            if not request.done:
                forwarder._replica.serve(request)

    patch.setattr(Forwarder, "on_applied", on_applied)


def misses_a_change_for_watches(patch: Patch) -> None:
    """Watches receive no changes of one entry in twenty-three."""
    applied = Watches.applied

    def applying(watches: Watches, entry: Entry, changes: Sequence[Change]) -> int:
        return 0 if entry.index % _MISSED == 0 else applied(watches, entry, changes)

    patch.setattr(Watches, "applied", applying)


def resumes_watches_one_entry_too_late(patch: Patch) -> None:
    """A watch that resumes begins one entry behind the position that it names."""
    entry_after = ChangeHistory.entry_after

    def later(history: ChangeHistory, position: Position) -> ChangedEntry | None:
        return entry_after(history, (position[0] + 1, position[1]))

    patch.setattr(ChangeHistory, "entry_after", later)


def sends_without_waiting_for_the_disk(patch: Patch) -> None:
    """No message waits until the write that it names is durable."""

    def admit(_gate: DurabilityGate, _send: Send) -> bool:
        return True

    patch.setattr(DurabilityGate, "admit", admit)


def loses_the_end_of_the_log_at_a_start(patch: Patch) -> None:
    """A start loses the last entry of the log."""
    original = SimDisk.load

    def load(disk: SimDisk) -> DurableState:
        state = original(disk)
        if len(state.entries) <= _NEW_LOG:
            return state
        disk.durable.entries.pop()
        return replace(state, entries=state.entries[:-1])

    patch.setattr(SimDisk, "load", load)


def takes_the_whole_log_for_committed(patch: Patch) -> None:
    """A start takes every entry of the log for committed."""
    original = SimDisk.load

    def load(disk: SimDisk) -> DurableState:
        state = original(disk)
        if len(state.entries) <= _NEW_LOG:
            return state
        commit = state.entries[-1].index
        return replace(state, hard_state=replace(state.hard_state, commit=commit))

    patch.setattr(SimDisk, "load", load)
