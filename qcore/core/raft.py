"""`RaftCore`: the only entry point of the core. Its `step` takes one event and returns effects."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

from qcore.compiled_build import restore_source
from qcore.core import membership
from qcore.core.clocks.cluster_clock import CLOCK_GRANULARITY_US
from qcore.core.config import RaftConfig
from qcore.core.dispatch.message_handlers import on_message
from qcore.core.effects import Effect, Role
from qcore.core.entry import DurableState, Entry, EntryKind, Membership, Snapshot
from qcore.core.events import (
    Bootstrap,
    Campaign,
    ChangeMembership,
    Event,
    LeaveJoint,
    MessageReceived,
    PeerUnreachable,
    Propose,
    ReadCancelled,
    ReadRequested,
    Reinstall,
    SnapshotTaken,
    Tick,
    TransferLeadership,
    WriteDurable,
)
from qcore.core.leadership import election, takeover, transfer
from qcore.core.log import compaction, reinstall, replication
from qcore.core.raft_server import RaftServer
from qcore.core.reads import freshness, read_index
from qcore.core.status import CoreStatus, cluster_clock_us, status_of
from qcore.core.version import ClusterVersion, activated_versions
from qcore.errors import ConfigError


class RaftCore:
    """One Raft server, pure. See the package docstring for the driver's duties.

    Args:
        config: settings.
        durable: the state that the storage holds at the start. The core does not keep it, but shares its entries.
        rng: draws the election timeouts; nothing else is random.
        now: µs on the clock that later events will use.

    Raises:
        LogCorrupt: log and snapshot do not meet.
    """

    def __init__(
        self, config: RaftConfig, durable: DurableState, *, rng: random.Random, now: int
    ) -> None:
        self._server = RaftServer(config, durable, rng=rng, now=now)
        self._server.emit_role_change()
        self._server.apply_committed()
        self._initial_effects: list[Effect] = self._server.effects

    def initial_effects(self) -> list[Effect]:
        """The effects to execute before the first event: apply the committed entries. Empty after the first call."""
        effects, self._initial_effects = self._initial_effects, []
        return effects

    def step(self, event: Event, now: int, wall_us: int = 0) -> list[Effect]:
        """Take one event at time `now` and return the effects to execute.

        Args:
            event: what happened.
            now: µs on the monotonic clock.
            wall_us: µs since the Unix epoch, which responses report to the leader; 0 if the driver has no wall clock.

        Raises:
            ConfigError: a `Bootstrap` was refused; nothing changed. No other event raises.
        """
        server = self._server
        if now > server.now:
            server.now = now
        if wall_us:
            server.wall_us = wall_us
        if server.role == "leader" and server.now - server.clock.updated_at >= CLOCK_GRANULARITY_US:
            self._advance_clock()
        effects: list[Effect] = []
        server.effects = effects
        # The most frequent events, without a look into a table.
        if isinstance(event, MessageReceived):
            on_message(server, event)
        elif isinstance(event, WriteDurable):
            _on_write_durable(server, event)
        elif isinstance(event, Propose):
            replication.propose(server, event)
        elif isinstance(event, ReadRequested):
            read_index.on_read_requested(server, event)
        else:
            _ON_EVENT[type(event)](server, event)
        if server.role == "leader":
            if server.settled_membership_index != server.membership_index:
                membership.advance(server)
            if server.transfer is not None:
                transfer.advance(server)
            if server.reads.pending():
                read_index.advance(server)
        return effects

    def next_deadline(self) -> int:
        """When to step `Tick` at the latest, µs; `qcore.core.raft_server.NEVER` if nothing is due."""
        return self._server.next_deadline()

    def holds_lease(self, now: int) -> bool:
        """Whether this server leads and would serve a lease read at `now` (µs), without a message to other servers."""
        return self._server.role == "leader" and read_index.holds_lease(self._server, now)

    @property
    def node_id(self) -> int:
        return self._server.node_id

    @property
    def last_log_index(self) -> int:
        return self._server.log.last_index

    def log_bytes_after(self, index: int) -> int:
        """Bytes of the entries in the log after `index`, as `Entry.size_bytes` counts them; of all entries for 0."""
        return self._server.log.bytes_after(index)

    @property
    def membership_index(self) -> int:
        return self._server.membership_index

    @property
    def newest_version(self) -> ClusterVersion:
        """The version that is active once the whole log is applied, committed or not."""
        return activated_versions(version for _, version in self._server.versions)[-1]

    @property
    def rules(self) -> int:
        """The newest apply rules in log or snapshot, committed or not; every member supports them."""
        return self._server.rules

    @property
    def is_pristine(self) -> bool:
        """Whether this server may begin a cluster: its log is empty, and it has taken part in no election."""
        return _is_pristine(self._server)

    @property
    def has_committed_in_term(self) -> bool:
        """True on a leader that has committed an entry of its current term, and so knows what is committed."""
        server = self._server
        return server.role == "leader" and server.commit_index >= server.term_start_index

    @property
    def clock_us(self) -> int:
        """On a leader the cluster clock at its last step; elsewhere its newest value in log or snapshot, µs."""
        return cluster_clock_us(self._server)

    @property
    def last_clock_us(self) -> int:
        """The newest value of the cluster clock in log or snapshot, µs."""
        return self._server.last_clock_us

    @property
    def max_wall_skew_us(self) -> int:
        """How far from a quorum's wall clocks a time stamp may be, µs."""
        return self._server.max_wall_skew_us

    def time_when_clock_shows(self, clock_us: int) -> int:
        """On a leader: when the cluster clock reaches this value if it continues to lead, µs on the monotonic clock."""
        return self._server.clock.time_when(clock_us)

    @property
    def transferring(self) -> bool:
        """True on a leader that is transferring its leadership."""
        return self._server.transfer is not None

    @property
    def is_settled(self) -> bool:
        """True on a leader whose whole log is committed, without reads or a transfer in progress."""
        server = self._server
        return (
            server.role == "leader"
            and server.commit_index == server.log.last_index
            and server.transfer is None
            and not server.reads.pending()
        )

    @property
    def has_unanswered_timeout_now(self) -> bool:
        """True on a leader that asked a voter to take over and got no rejection: the voter may win later."""
        return bool(self._server.unanswered_timeout_now)

    @property
    def last_transfer_failure(self) -> str:
        """Why the last transfer of this server ended without another leader; for humans."""
        return self._server.last_transfer_failure

    @property
    def transfer_deadline(self) -> int | None:
        """On a leader that is transferring: when it stops trying and accepts proposals again, µs."""
        transfer = self._server.transfer
        return None if transfer is None else transfer.deadline

    def match_index_of(self, peer_id: int) -> int | None:
        """On a leader, how far the peer's durable log is known to agree; None for an unknown node."""
        progress = self._server.progress.get(peer_id)
        return None if progress is None else progress.match

    def last_response_at(self, peer_id: int) -> int | None:
        """On a leader, when the peer last responded (or was added), µs; None for an unknown node."""
        progress = self._server.progress.get(peer_id)
        return None if progress is None else progress.last_response_at

    def reinstall_through(self, peer_id: int) -> int | None:
        """On a leader: the index that a snapshot must cover to replace all that the peer has; None if none is due.

        See `qcore.core.log.reinstall`.
        """
        progress = self._server.progress.get(peer_id)
        return None if progress is None else progress.reinstall_through

    @property
    def contained(self) -> bool:
        """Whether this server's state differs from that of a majority: see `RaftServer`."""
        return self._server.contained

    @contained.setter
    def contained(self, contained: bool) -> None:
        self._server.contained = contained

    def set_contained_peers(self, peers: tuple[int, ...]) -> None:
        """These other members are contained: see `RaftServer`."""
        self._server.contained_peers = peers

    @property
    def short_of_space(self) -> bool:
        """Whether the disk of this server is almost full: see `RaftServer`."""
        return self._server.short_of_space

    def set_short_of_space(self, is_short: bool) -> None:
        """The disk of this server is almost full, or is not any more."""
        self._server.short_of_space = is_short

    def has_responded(self, peer_id: int) -> bool:
        """On a leader, whether the peer has responded from its current address; False for an unknown node.

        A response to the round in which the address changed does not count: the old address may have sent it.
        """
        progress = self._server.progress.get(peer_id)
        return progress is not None and progress.acked_round > progress.address_changed_in_round

    def fresh_as_of(self, now: int) -> int | None:
        """The moment on this server's clock at which its committed state is known to be fresh, µs; None if unknown.

        The commit index covers every write that any node acknowledged before that moment; see
        `qcore.core.reads.freshness`. `now` is the current time on that clock.
        """
        return freshness.fresh_as_of(self._server, now)

    @property
    def commit_index(self) -> int:
        return self._server.commit_index

    @property
    def role(self) -> Role:
        return self._server.role

    @property
    def term(self) -> int:
        return self._server.term

    @property
    def leader_id(self) -> int | None:
        return self._server.leader_id

    @property
    def last_leader_contact(self) -> int | None:
        """When a follower last heard from the current leader, µs; on a leader, when it was elected."""
        return self._server.last_leader_contact

    @property
    def membership(self) -> Membership:
        return self._server.membership

    @property
    def committed_membership(self) -> tuple[int, Membership]:
        """The newest committed configuration, with its index. Unlike the effective one it is never rolled back."""
        server = self._server
        return next(
            (held for held in reversed(server.memberships) if held[0] <= server.commit_index),
            server.memberships[0],
        )

    @property
    def snapshot(self) -> Snapshot | None:
        """The newest snapshot, which replaces the log up to its index."""
        return self._server.snapshot

    def term_at(self, index: int) -> int | None:
        """The term of the entry at `index`; None if the log does not hold the entry (any more)."""
        return self._server.log.term(index)

    def entry_at(self, index: int) -> Entry | None:
        """The entry at `index`; None if the log does not hold it (any more)."""
        return self._server.log.entry(index)

    def log_entries(self) -> list[Entry]:
        """A copy of the entries in memory, for tests and invariants."""
        return list(self._server.log.entries)

    def status(self) -> CoreStatus:
        """The current status of the server, as immutable values."""
        return status_of(self._server)

    def _advance_clock(self) -> None:
        server = self._server
        if server.uses_cluster_clock:
            server.clock.advance(server.now, self._quorum_active_at)
        else:
            server.clock.skip_to(server.now)

    def _quorum_active_at(self) -> int:
        """When a quorum was last known to follow this leader, µs.

        Responses to heartbeats are not enough: while disks stall, a quorum responds, but nothing commits.
        """
        server = self._server
        contact = freshness.quorum_contact_at(server, server.now)
        if server.commit_index < server.log.last_index:
            return min(contact, server.commit_advanced_at)
        return contact


# -- events --------------------------------------------------------------------------------------


def _is_pristine(server: RaftServer) -> bool:
    # A crash during an earlier attempt leaves term 1 without a vote. No other node sends messages in that term.
    touched = server.term > 1 or server.voted_for is not None
    return not (server.log.last_index or touched) and server.membership.is_empty


def _on_tick(server: RaftServer, _event: Tick) -> None:
    if server.now < server.next_deadline():
        return
    if server.incoming_transfer is not None:
        takeover.reject_transfer(server)
        if server.now < server.next_deadline():
            return
    if server.role != "leader":
        election.campaign(server)
    elif election.check_quorum(server):
        read_index.begin_heartbeat_round(server)
        replication.heartbeat(server)
        transfer.transfer_unasked(server)


def _on_write_durable(server: RaftServer, event: WriteDurable) -> None:
    server.mark_durable(event.write_id)
    if server.role == "candidate":
        election.count_own_vote(server)
    elif server.role == "leader":
        replication.maybe_commit(server)


def _on_snapshot_taken(server: RaftServer, event: SnapshotTaken) -> None:
    compaction.on_snapshot_taken(server, event)
    if server.role == "leader":
        reinstall.send_due(server)


def _on_campaign(server: RaftServer, _event: Campaign) -> None:
    if server.role != "leader" and not election.is_bound_by_lease(server):
        election.campaign(server)


def _on_bootstrap(server: RaftServer, event: Bootstrap) -> None:
    initial = event.membership
    if not _is_pristine(server):
        raise ConfigError(
            f"node {server.node_id} already belongs to a cluster or has taken part in an election; "
            "only a pristine node can be initialised"
        )
    if not initial.is_voter(server.node_id):
        raise ConfigError(
            f"node {server.node_id} is not among the voters {list(initial.voters)}; "
            "initialise a node that is"
        )
    if server.config.priority == 0:
        # Only this node holds the first configuration, which the first leader has to commit.
        raise ConfigError(
            f"node {server.node_id} has priority 0 and never leads: initialise a node that may lead"
        )
    if initial.is_joint:
        raise ConfigError("a cluster begins with a simple configuration, this one is joint")
    if (fault := initial.invalid_reason()) is not None:
        raise ConfigError(f"this configuration cannot be used: {fault}")
    server.term = 1
    server.save_hard_state()
    kinds: list[EntryKind] = ["membership"]
    data = [initial.to_json()]
    if event.version is not None:
        kinds.append("version")
        data.append(event.version.to_json())
    # With other voters, this clock may be the wrong one, and a stamp cannot be taken back. So these entries get no
    # stamp. The leader's first stamp comes once the votes have reported the other clocks.
    alone = len(initial.voters) == 1
    unstamped = event.version is not None and event.version.rules >= 2 and not alone
    replication.append_as_leader(server, kinds, data, 0 if unstamped else event.wall_us)
    server.uncommitted_bytes = 0
    server.emit_role_change()
    election.campaign(server)


#: What handles each other event, by class. `Any`: each handler takes the class that it is listed under.
_ON_EVENT: Final[dict[type, Callable[[RaftServer, Any], None]]] = {
    Tick: _on_tick,
    ReadCancelled: read_index.cancel,
    PeerUnreachable: replication.on_unreachable,
    Campaign: _on_campaign,
    SnapshotTaken: _on_snapshot_taken,
    Reinstall: reinstall.on_reinstall,
    Bootstrap: _on_bootstrap,
    ChangeMembership: membership.change,
    LeaveJoint: membership.leave,
    TransferLeadership: transfer.begin,
}


restore_source(globals())
