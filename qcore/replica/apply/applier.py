"""`Applier`: applies committed entries to the state of one replica, and restores the state from snapshots."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from qcore.core.entry import Entry, Snapshot
from qcore.machines.interface import StateMachine
from qcore.replica.access.access_table import AccessTable
from qcore.replica.apply.active_version import Versions
from qcore.replica.apply.apply_backlog import ApplyBacklog, cost_of, work_counter
from qcore.replica.apply.apply_entry import apply_entry
from qcore.replica.apply.state_digests import StateDigests
from qcore.replica.events import Applied, Restored, VersionRaised
from qcore.replica.replica_context import ReplicaContext
from qcore.replica.requests.forwarder import Forwarder
from qcore.replica.requests.reads import Reads
from qcore.replica.requests.writes import Writes
from qcore.replica.sessions.session_table import SessionTable
from qcore.replica.snapshot_builder import SnapshotBuilder, restore_all, restore_snapshot
from qcore.replica.watches.watch_table import NO_CHANGES, ChangeRecorder, Watches


class Applier:
    """Applies entries to the state machine, the sessions and the cluster's version, in bounded steps.

    Args:
        replica: the replica.
        machine: the state machine, in its initial state.
        sessions: the empty table.
        versions: the active version.
        snapshots: counts the entries applied since the newest snapshot.
        access: the empty table of users.
        writes: the writes that wait for their entries.
        reads, forwarder: the reads that wait for the state.
        watches: receive what the entries change.
        hash_log: see `StateDigests`.

    Attributes:
        applied_index: the index of the last applied entry.
        digests: digests of the state at some indexes.
        backlog: what is committed and not applied yet.
        on_installed: called with the index once a leader's snapshot has replaced the state.
    """

    def __init__(
        self,
        replica: ReplicaContext,
        machine: StateMachine,
        sessions: SessionTable,
        versions: Versions,
        snapshots: SnapshotBuilder,
        access: AccessTable,
        *,
        writes: Writes,
        reads: Reads,
        forwarder: Forwarder,
        watches: Watches,
        hash_log: bool,
    ) -> None:
        self._replica = replica
        self._machine = machine
        self._recorder = ChangeRecorder(machine)
        self._watches = watches
        self._sessions = sessions
        self._versions = versions
        self._snapshots = snapshots
        self._access = access
        self._writes = writes
        self._forwarder = forwarder
        self._work = work_counter(machine)
        self.applied_index = 0
        self.digests = StateDigests(machine, access, hash_log)
        self.backlog = ApplyBacklog(self._apply, reads.ready)
        self.on_installed: Callable[[int], None] = lambda index: None

    @property
    def readable_index(self) -> int:
        """Reads up to this index may be served: `applied_index`, or -1 while a snapshot is being restored."""
        return -1 if self.backlog.restoring else self.applied_index

    def restore_at_start(self, snapshot: Snapshot) -> None:
        """Restore the stored snapshot in one piece: no request waits for a node that starts."""
        self.digests.on_replaced()
        self._snapshots.on_replaced(snapshot.meta.last_included_index)
        self._snapshots.size = restore_all(
            restore_snapshot(snapshot.data, self._machine, self._sessions, self._access)
        )
        self._restored(snapshot)

    def begin_restore(self, snapshot: Snapshot) -> None:
        """Replace the state by an installed snapshot, in bounded parts."""
        index = snapshot.meta.last_included_index

        def restored() -> None:
            self._restored(snapshot)
            self._replica.emit(Restored(snapshot))
            self.on_installed(index)

        def restore() -> Iterator[None]:
            self._snapshots.size = yield from restore_snapshot(
                snapshot.data, self._machine, self._sessions, self._access
            )

        self._snapshots.on_replaced(index)
        self.digests.on_replaced()
        self.backlog.replace(restore(), restored)
        self._after_applying()
        self._writes.on_replaced(index)

    def commit(self, entries: list[Entry]) -> None:
        """These entries are committed: apply as many as this step's budget allows, and keep the rest."""
        self.backlog.add(entries)
        self._forwarder.on_applied()

    def advance(self) -> None:
        """Apply or restore as much as this step's budget allows, and serve the reads that waited for it."""
        self.backlog.advance()
        self._after_applying()

    def _after_applying(self) -> None:
        self._forwarder.on_applied()
        self.backlog.reached(self.readable_index)

    def _restored(self, snapshot: Snapshot) -> None:
        self.applied_index = snapshot.meta.last_included_index
        self._watches.replaced(self.applied_index)
        self._versions.on_restored(snapshot.meta.version)
        self._sessions.on_restored(self._versions.active.rules)

    def _apply(self, entry: Entry) -> None:
        before = self._versions.active
        result, error = apply_entry(
            entry, self._recorder, self._sessions, self._versions, self._access
        )
        cost = 0
        if entry.kind in ("command", "session"):
            cost = self._work() + (0 if result is None else cost_of(result))
            if cost:
                self.backlog.spend(cost)
        active = self._versions.active
        if active is not before and active != before:
            self._replica.emit(VersionRaised(active, entry.index))
        self.applied_index = entry.index
        self.digests.applied(entry, active)
        self._snapshots.applied(entry, cost)
        self._replica.emit(Applied(entry))
        recorder = self._recorder
        if recorder.changes:
            changes, recorder.changes = recorder.changes, NO_CHANGES
            self.backlog.spend(self._watches.applied(entry, changes))
        self._writes.on_applied(entry, result, error)
