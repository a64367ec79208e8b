"""`ReplicaChanges`: what a node does when its replica changes: role, membership, version, snapshots, a full disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from qcore.core.effects import MembershipChanged, MessageDropped, RoleChanged, StoreSnapshot
from qcore.core.entry import Membership
from qcore.core.version import KEYS_SINCE_RULES
from qcore.errors import DiskFull, StorageError
from qcore.node.addresses.member_addresses import advertised_address_problem
from qcore.node.api.client_requests import RequestHandler
from qcore.node.config import NodeConfig
from qcore.node.observability.logs import NodeLog
from qcore.node.observability.metrics import NodeMetrics
from qcore.node.peers.peer_router import PeerRouter
from qcore.node.status.metrics_object import LeaderHistory
from qcore.node.topology_loader import TopologyLoader
from qcore.node.watches.divergence import DivergenceMark
from qcore.replica.events import DivergenceEnded, DivergenceFound, VersionRaised
from qcore.replica.peers.identity import ClusterIdentity
from qcore.replica.peers.peer_admission import PeerAdmission
from qcore.replica.replica import Replica
from qcore.replica.requests.disk_space import no_space_left
from qcore.security.keys.node_key import fingerprint
from qcore.storage.log_size import Footprint

#: How many keys a line names: more would be cut off.
_KEYS_SHOWN: Final = 7


class ReplicaChanges:
    """The `ReplicaObserver` of a node, and the callbacks of the disk thread that are not about a single write.

    Args:
        config, replica, identity, admission, peers, requests, topology, log, metrics: parts of the node.
        mark: what remembers that this node is diverged.
        fatal: stops the node, because of an error after which it cannot continue.
        footprint: what the disk holds of the log.
        wall_us: microseconds since the Unix epoch.

    Attributes:
        leaders: the leader of each term.
        on_busy: called when the replica becomes busy: it captures a snapshot or applies a long backlog.
        on_step: called after each step of the replica.
        on_role: called when the role, the term or the known leader changed.
    """

    def __init__(
        self,
        config: NodeConfig,
        replica: Replica,
        identity: ClusterIdentity,
        admission: PeerAdmission,
        peers: PeerRouter,
        requests: RequestHandler,
        topology: TopologyLoader | None,
        log: NodeLog,
        metrics: NodeMetrics,
        mark: DivergenceMark,
        *,
        fatal: Callable[[BaseException], None],
        footprint: Callable[[], Footprint],
        wall_us: Callable[[], int],
    ) -> None:
        self._config = config
        self._replica = replica
        self._identity = identity
        self._peers = peers
        self._requests = requests
        self._topology = topology
        self._log = log
        self._metrics = metrics
        self._footprint = footprint
        self._wall_us = wall_us
        log.activity.use_clock(wall_us)
        self._address_problem: str | None = None
        self._keys_are_mandatory = self._needs_keys(replica.versions.active.rules)
        self._mark = mark
        #: The index of the newest snapshot that this process stored.
        self._stored_index = 0
        #: The index of the snapshot that ended the divergence, until it is stored and the mark is removed.
        self._reinstalled_at: int | None = None
        self.leaders = LeaderHistory()
        self.on_busy: Callable[[], None] = lambda: None
        #: Without a method in between, because it is called in each step.
        self.on_step: Callable[[], None] = admission.on_committed_membership
        self.on_role: Callable[[RoleChanged], None] = lambda change: None
        self.fatal = fatal

    def busy(self) -> None:
        """See `ReplicaObserver`."""
        self.on_busy()

    def role_changed(self, change: RoleChanged) -> None:
        """See `ReplicaObserver`."""
        self._metrics.role_changes += 1
        if self._log.role == "leader" and change.role == "learner":
            self._end_requests_if_removed()
        self.leaders.note(change)
        self._log.term, self._log.role = change.term, change.role
        self._log.activity.role_changed(change)
        self._log.info("role changed", leader=change.leader_id)
        self.on_role(change)
        if self._topology is not None:
            self._topology.role_changed(change)

    def version_raised(self, raised: VersionRaised) -> None:
        """See `ReplicaObserver`."""
        version = raised.version
        self._log.info(
            "version raised",
            index=raised.index,
            apply_rules=version.rules,
            machine=version.machine,
            machine_version=version.machine_version,
        )
        self._note_keys(version.rules)

    def _needs_keys(self, rules: int) -> bool:
        return rules >= KEYS_SINCE_RULES and bool(self._replica.core.membership.keys)

    def _note_keys(self, rules: int) -> None:
        """Log once that no member is accepted any more without a proof, and the keys that are known."""
        if not self._keys_are_mandatory and self._needs_keys(rules):
            self._keys_are_mandatory = True
            keys = self._replica.core.membership.keys
            self._log.info(
                "members must prove their public keys from now on",
                keys=",".join(f"{node}={fingerprint(key)}" for node, key in keys[:_KEYS_SHOWN]),
                members=len(keys),
            )

    def message_dropped(self, dropped: MessageDropped) -> None:
        """See `ReplicaObserver`."""
        self._log.warning(
            "message of a peer dropped",
            peer=dropped.from_id,
            message=type(dropped.message).__name__,
            why=dropped.reason,
        )

    def diverged(self, found: DivergenceFound) -> None:
        """See `ReplicaObserver`."""
        self._log.error(
            "this node differs from a majority of the voters: it serves no reads, watches and snapshots, and does not "
            f"lead. Run `qcore member reinstall {self._config.node_id}`",
            index=found.index,
            what=found.what,
            own=found.own,
            majority=found.majority,
        )
        self._save_mark(found.index)

    def divergence_ended(self, ended: DivergenceEnded) -> None:
        """See `ReplicaObserver`."""
        self._log.info("the state was reinstalled: this node serves again", index=ended.index)
        self._reinstalled_at = ended.index
        self._remove_mark()

    def _remove_mark(self) -> None:
        """Remove the mark once the snapshot that ended the divergence is on disk; a crash before keeps the mark."""
        if self._reinstalled_at is not None and self._reinstalled_at <= self._stored_index:
            self._reinstalled_at = None
            self._save_mark(None)

    def _save_mark(self, index: int | None) -> None:
        try:
            self._mark.save(index)
        except StorageError as error:
            # Without it the comparison finds the difference again after a restart.
            self._log.error("the mark of a diverged node could not be changed", why=str(error))

    def on_snapshot(self, write: StoreSnapshot) -> None:
        """See `ReplicaObserver`."""
        snapshot = write.snapshot
        if write.reset_log:
            self._stored_index = (
                0  # a snapshot of this index that is stored already holds another state
            )
        self._log.info(
            "snapshot installed" if write.reset_log else "snapshot taken",
            index=snapshot.meta.last_included_index,
            characters=len(snapshot.data),
        )

    def membership_changed(self, change: MembershipChanged) -> None:
        """See `ReplicaObserver`."""
        self._log.activity.members_changed(change)
        self._log.info(
            "configuration changed",
            index=change.index,
            voters=",".join(map(str, change.membership.voters)),
            learners=",".join(map(str, change.membership.learners)),
        )
        self._note_keys(self._replica.versions.active.rules)
        self.use_membership(change.membership)

    def use_membership(self, membership: Membership) -> None:
        """Join the configuration's cluster and keep connections to its members."""
        if membership.is_empty:
            return
        if self._identity.join(membership.cluster_id):
            self._log.info("joined cluster", cluster_id=membership.cluster_id)
        self._peers.set_membership(membership)
        advertised = self._config.advertise_addr
        problem = advertised and advertised_address_problem(
            self._config.node_id, membership, advertised
        )
        if problem and problem != self._address_problem:
            self._log.warning("others know this node by another address", why=problem)
        self._address_problem = problem

    def _end_requests_if_removed(self) -> None:
        """If this leader has removed itself, end its requests, because it will not learn their outcomes."""
        if self._config.node_id in self._replica.core.membership.members():
            return  # only demoted
        why = "this node led and left the cluster: the request may or may not take effect"
        # Later: this step has yet to report the outcome of the membership change itself.
        asyncio.get_running_loop().call_soon(self._requests.abandon, why)

    # -- callbacks of the disk thread ------------------------------------------------------------

    def on_snapshot_stored(self, index: int) -> None:
        """The snapshot with this last index is on disk."""
        self._metrics.snapshots_stored += 1
        self._stored_index = index
        self._remove_mark()
        self._metrics.snapshot_stored_at = self._wall_us() / 1e6
        self._log.info("snapshot stored", index=index, log_bytes=self._footprint().log_bytes)

    def on_disk_full(self, why: DiskFull | None) -> None:
        """The disk has no space left for a write (the reason), or has space again (None)."""
        self._requests.reject_writes(
            None if why is None else no_space_left(self._config.data_dir, why)
        )
        if why is not None:
            self._log.error(
                "disk full: writes are rejected, and a leader steps down; reads go on while there is a leader",
                why=str(why),
            )
        else:
            self._log.info("the disk has space again: writes are accepted")
