"""What a node does that differs from a majority of the voters: it contains itself.

It serves no reads, watches and snapshots, because its state is wrong. As leader it hands over, because it computes the
results of writes from that state. It votes and replicates, because its log is as durable as any other. Only a snapshot
of the leader ends this: a later digest may be equal by chance of what was overwritten, while the log stays different.

Every `digest_interval_ms` each member sends its digests to the others. Each compares them with what it has, and judges
only itself. So a member that reports wrong digests can stop no other: that takes a majority of the voters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from qcore.core.events import TransferLeadership
from qcore.core.raft_server import NEVER
from qcore.errors import NotLeader, QcoreError
from qcore.replica.apply.active_version import Versions
from qcore.replica.apply.state_digests import StateDigests
from qcore.replica.divergence.member_comparison import (
    Comparison,
    comparable,
    compare,
    contradiction,
)
from qcore.replica.events import DivergenceEnded, DivergenceFound, KnownDiverged
from qcore.replica.messages import StateDigest
from qcore.replica.messages import StateDigests as DigestReport
from qcore.replica.replica_context import ReplicaContext
from qcore.replica.requests.pending import PendingRequest

#: From these apply rules on, every member understands the messages of this module, and `InstallSnapshot.reinstall`.
COMPARED_SINCE_RULES: Final = 5

_WHAT: Final = "the state of this node differs from that of a majority"


class Containment:
    """Compares this node's digests with those of the other members, and contains the node if they differ.

    Args:
        replica: the replica.
        digests: this node's digests.
        versions: the active version.
        interval_us: how often digests are sent, µs; 0: never.
        handover_us: how often a contained leader tries to transfer the leadership, µs.
        on_contained: called when the node contains itself, with the error for the requests that wait.

    Attributes:
        diverged_at: the index at which this node differs from a majority; None if it is not known to differ.
    """

    def __init__(
        self,
        replica: ReplicaContext,
        digests: StateDigests,
        versions: Versions,
        interval_us: int,
        handover_us: int,
        on_contained: Sequence[Callable[[QcoreError], None]],
    ) -> None:
        self._replica = replica
        self._digests = digests
        self._versions = versions
        self._interval_us = interval_us
        self._handover_us = handover_us
        self._on_contained = on_contained
        self._send_at = replica.now
        self._hand_over_at = replica.now
        self._reported: dict[int, dict[int, StateDigest]] = {}
        #: The members that reported that they are contained.
        self._known_diverged: set[int] = set()
        self.diverged_at: int | None = None

    @property
    def diverged_peers(self) -> list[int]:
        """The other members that reported that they are contained, sorted."""
        return sorted(self._known_diverged)

    @property
    def reported_indexes(self) -> dict[int, int]:
        """The newest index of which each other member has reported a digest; without those that reported none."""
        return {member: max(held) for member, held in self._reported.items() if held}

    def next_deadline(self) -> int:
        """When `advance` has work at the latest, µs."""
        due = self._send_at if self._compares else NEVER
        if self.diverged_at is not None and self._replica.core.role == "leader":
            due = min(due, self._hand_over_at)
        return due

    @property
    def _compares(self) -> bool:
        return self._interval_us > 0 and self._replica.core.rules >= COMPARED_SINCE_RULES

    # -- events ----------------------------------------------------------------------------------

    def known(self, event: KnownDiverged) -> None:
        """The node was diverged before its restart, and no snapshot has replaced its state since."""
        self._contain(event.index)

    def received(self, from_id: int, report: DigestReport) -> None:
        """A member reports its digests."""
        if from_id not in self._replica.core.membership.members():
            return
        self._reported[from_id] = {digest.index: digest for digest in report.digests}
        if report.diverged:
            self._known_diverged.add(from_id)
        else:
            self._known_diverged.discard(from_id)
        self._replica.core.set_contained_peers(tuple(sorted(self._known_diverged)))
        if (
            not self._replica.has_apply_backlog
            and self._replica.applied_index in self._reported[from_id]
        ):
            self._digests.now(self._replica.applied_index, self._versions.active)
        self._judge()

    def replaced(self, index: int) -> None:
        """A snapshot of the leader replaced the state and the log up to `index`."""
        if self.diverged_at is not None:
            self.diverged_at = None
            self._replica.core.contained = False
            self._replica.emit(DivergenceEnded(index))

    def advance(self) -> None:
        """Send digests, and hand over the leadership, if it is time."""
        replica = self._replica
        if self._compares and self._send_at <= replica.now:
            self._send_at = replica.now + self._interval_us
            self._send()
            self._judge()
        leads = self.diverged_at is not None and replica.core.role == "leader"
        if leads and self._hand_over_at <= replica.now:
            self._hand_over_at = replica.now + self._handover_us
            if not replica.core.transferring:
                replica.step_core(TransferLeadership(None))

    def _send(self) -> None:
        replica = self._replica
        core = replica.core
        membership = core.membership
        members = membership.members()
        self._reported = {m: held for m, held in self._reported.items() if m in members}
        self._known_diverged.intersection_update(members)
        core.set_contained_peers(tuple(sorted(self._known_diverged)))
        if replica.readable_index < 0:
            return  # the state is that of no index
        self._digests.now(replica.applied_index, self._versions.active)
        report = DigestReport([*self._digests.all().values()], self.diverged_at is not None)
        if not report.digests:
            return
        for member in members:
            if member == core.node_id:
                continue
            # A learner decides nothing for others: only the leader shows it.
            if membership.is_voter(core.node_id) or member == core.leader_id:
                replica.send(member, report)

    # -- the decision ----------------------------------------------------------------------------

    def _judge(self) -> None:
        if self.diverged_at is not None:
            return
        found = contradiction(self._replica.core.membership, self._digests.all(), self._reported)
        if found is not None:
            self._replica.emit(DivergenceFound(found.index, found.what, found.own, found.majority))
            self._contain(found.index)

    def _contain(self, index: int) -> None:
        self.diverged_at = index
        self._replica.core.contained = True
        for abandon in self._on_contained:
            abandon(self.read_error())

    # -- what a contained node rejects -----------------------------------------------------------

    def rejection(self, request: PendingRequest) -> QcoreError | None:
        """The error for a request that a contained node must not serve; None if it may.

        It still passes writes to the leader. As leader it rejects them until another node leads.
        """
        if self.diverged_at is None or request.kind == "read_index":
            return None
        if request.kind in ("write", "session") and self._replica.core.role != "leader":
            return None
        return self.read_error()

    def read_error(self) -> NotLeader:
        """The error for a read here: another node may serve it."""
        core = self._replica.core
        leader_id = core.leader_id if core.leader_id != core.node_id else None
        address = None if leader_id is None else core.membership.address_of(leader_id)
        return NotLeader(
            leader_id,
            address,
            f"{_WHAT} (index {self.diverged_at}), so it answers nothing from it: ask another node. To repair it: "
            f"`qcore member reinstall {core.node_id}`",
        )

    # -- what is shown -----------------------------------------------------------------------------

    def comparison(self) -> Comparison[int] | None:
        """The comparison of the members, as far as this node knows; None before the first report."""
        own = self._digests.all()
        members = self._replica.core.membership.members()
        seen = {self._replica.core.node_id: {at: digest.state for at, digest in own.items()}}
        for member, held in sorted(self._reported.items()):
            if member in members:
                seen[member] = {
                    at: digest.state
                    for at, digest in held.items()
                    if at not in own or comparable(digest, own[at])
                }
        return compare(seen) if len(seen) > 1 else None
