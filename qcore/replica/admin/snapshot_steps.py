"""`SnapshotSteps`: begins the snapshots of one replica, and continues them in bounded steps."""

from __future__ import annotations

from qcore.errors import Refused
from qcore.machines.interface import StateMachine
from qcore.replica.access.access_table import AccessTable
from qcore.replica.admin.reinstalls import Reinstalls
from qcore.replica.apply.active_version import Versions
from qcore.replica.apply.apply_backlog import ApplyBacklog
from qcore.replica.config import ReplicaConfig
from qcore.replica.events import DiskSpaceChanged, TriggerSnapshot
from qcore.replica.replica_context import ReplicaContext
from qcore.replica.requests.requested_snapshots import SnapshotRequests
from qcore.replica.sessions.session_table import SessionTable
from qcore.replica.snapshot_builder import SnapshotBuilder


class SnapshotSteps:
    """Takes a snapshot when the policy, a request or a member that is reinstalled needs one, and the disk has space.

    A snapshot makes space only after it is stored: one that does not fit would fill the disk, and stop the node. Until
    there is space the log grows instead, up to its quota and that of the disk.

    Args:
        replica, config, machine, sessions, access, versions, backlog: the replica and parts of it.
        builder: captures the state.
        requests, reinstalls: what waits for a snapshot.
    """

    def __init__(
        self,
        replica: ReplicaContext,
        config: ReplicaConfig,
        machine: StateMachine,
        sessions: SessionTable,
        access: AccessTable,
        versions: Versions,
        backlog: ApplyBacklog,
        *,
        builder: SnapshotBuilder,
        requests: SnapshotRequests,
        reinstalls: Reinstalls,
    ) -> None:
        self._replica = replica
        self._config = config
        self._machine = machine
        self._sessions = sessions
        self._access = access
        self._versions = versions
        self._backlog = backlog
        self._builder = builder
        self._requests = requests
        self._reinstalls = reinstalls
        self._fits = True

    def on_disk_space(self, event: DiskSpaceChanged) -> None:
        """The space of the disk has changed."""
        self._replica.core.set_short_of_space(event.is_short)
        self._fits = event.fits_snapshot

    def on_trigger(self, event: TriggerSnapshot) -> None:
        """Take a snapshot in this step."""
        if not self._backlog.restoring:
            self._begin(event.keep_entries)
            self.advance(everything=True)

    @property
    def needed(self) -> bool:
        """Whether `advance` may have work."""
        return self._builder.active or self._requests.waiting or self._reinstalls.needs_snapshot

    def advance(self, *, everything: bool = False) -> None:
        """Begin a snapshot if one is needed; continue the one that was begun."""
        if self._backlog.restoring:
            return  # the state is that of no index
        requests, builder, replica = self._requests, self._builder, self._replica
        if requests.waiting:
            requests.settle()
        wanted = requests.waiting or self._reinstalls.needs_snapshot
        if (wanted and not builder.capturing) or builder.due(replica.applied_index):
            if self._fits:
                self._begin(self._config.keep_entries)
            elif requests.waiting:
                why = "the disk of this node has no space for a snapshot: free some, or ask another node"
                requests.abandon(Refused(why))
        if builder.capturing:
            taken = builder.build_step(replica.now, everything=everything)
            if taken is not None:
                replica.step_core(taken)
                requests.settle()

    def _begin(self, keep_entries: int) -> None:
        self._builder.begin(
            self._machine,
            self._sessions,
            self._access,
            self._replica.applied_index,
            keep_entries,
            self._versions.active,
            self._replica.now,
        )
