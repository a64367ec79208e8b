"""`RaftCore`: the only entry point of the core. Its `step` takes one event and returns effects.

This module decides what each message does to the term, before the parts of the algorithm see it
(paper, figure 2, "rules for servers"):

| message's term | RequestVote | PreVote | append, snapshot | responses |
|---|---|---|---|---|
| above ours | adopt it, unless a leader is live | never adopted | adopt it and follow | adopt it |
| ours | to its handler | to its handler | follow, to its handler | to its handler |
| below ours | rejected with our term | rejected with our term | rejected with our term | ignored |
"""

from __future__ import annotations

import random
from typing import assert_never

from qcore.core import membership
from qcore.core.clocks.cluster_clock import CLOCK_GRANULARITY_US
from qcore.core.config import RaftConfig
from qcore.core.effects import Effect, MessageDropped, Role
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
    SnapshotTaken,
    Tick,
    TransferLeadership,
    WriteDurable,
)
from qcore.core.leadership import election, takeover, transfer
from qcore.core.log import compaction, replication
from qcore.core.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    InstallSnapshotResponse,
    PreVote,
    PreVoteResponse,
    RaftMessage,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
    TimeoutNowResponse,
)
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
        match event:
            case MessageReceived(from_id=from_id, message=message):
                self._on_message(from_id, message)
            case WriteDurable(write_id=write_id):
                self._on_write_durable(write_id)
            case Tick():
                self._on_tick()
            case Propose():
                replication.propose(server, event)
            case ReadRequested(read_id=read_id):
                read_index.on_read_requested(server, read_id, lease=event.lease)
            case ReadCancelled(read_id=read_id):
                read_index.cancel(server, read_id)
            case PeerUnreachable(peer_id=peer_id):
                replication.on_unreachable(server, peer_id)
            case Campaign():
                if server.role != "leader" and not election.is_bound_by_lease(server):
                    election.campaign(server)
            case SnapshotTaken():
                compaction.on_snapshot_taken(server, event)
            case Bootstrap():
                self._on_bootstrap(event)
            case ChangeMembership():
                membership.change(server, event)
            case LeaveJoint():
                membership.leave(server, event)
            case TransferLeadership(to=to):
                transfer.begin(server, to)
            case _:
                assert_never(event)
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

    @property
    def node_id(self) -> int:
        return self._server.node_id

    @property
    def last_log_index(self) -> int:
        return self._server.log.last_index

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
        server = self._server
        # A crash during an earlier attempt leaves term 1 without a vote. No other node sends messages in that term.
        touched = server.term > 1 or server.voted_for is not None
        return not (server.log.last_index or touched) and server.membership.is_empty

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

    def log_entries(self) -> list[Entry]:
        """A copy of the entries in memory, for tests and invariants."""
        return list(self._server.log.entries)

    def status(self) -> CoreStatus:
        """The current status of the server, as immutable values."""
        return status_of(self._server)

    # -- events ----------------------------------------------------------------------------------

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
        contact = election.quorum_contact_at(server)
        if server.commit_index < server.log.last_index:
            return min(contact, server.commit_advanced_at)
        return contact

    def _on_tick(self) -> None:
        server = self._server
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
            transfer.transfer_by_priority(server)

    def _on_write_durable(self, write_id: int) -> None:
        server = self._server
        server.mark_durable(write_id)
        if server.role == "candidate":
            election.count_own_vote(server)
        elif server.role == "leader":
            replication.maybe_commit(server)

    def _on_bootstrap(self, event: Bootstrap) -> None:
        server, initial = self._server, event.membership
        if not self.is_pristine:
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

    # -- messages --------------------------------------------------------------------------------

    def _on_message(self, from_id: int, message: RaftMessage) -> None:
        server = self._server
        if from_id == server.node_id:
            server.emit(MessageDropped(from_id, message, "the sender has this server's own id"))
            return
        match message:
            case AppendEntries() | InstallSnapshot():
                self._on_leader_message(from_id, message)
            case AppendEntriesResponse() | InstallSnapshotResponse():
                if self._is_current_term(from_id, message):
                    replication.on_response(server, from_id, message)
            case RequestVote() | PreVote():
                if message.candidate_id != from_id:
                    server.emit(MessageDropped(from_id, message, "candidate_id is not the sender"))
                elif isinstance(message, PreVote):
                    election.on_pre_vote(server, from_id, message)
                else:
                    self._on_request_vote(from_id, message)
            case PreVoteResponse():
                # A grant is about the next term and carries the voter's current term, which may lag behind.
                if message.term <= server.term or self._is_current_term(from_id, message):
                    if server.incoming_transfer is not None:
                        takeover.on_pre_vote_response(server, from_id, message)
                    else:
                        election.on_pre_vote_response(server, from_id, message)
            case TimeoutNow():
                if message.leader_id == from_id:
                    takeover.on_timeout_now(server, from_id, message)
                else:
                    server.emit(MessageDropped(from_id, message, "leader_id is not the sender"))
            case TimeoutNowResponse():
                if self._is_current_term(from_id, message):
                    transfer.on_timeout_now_response(server, from_id, message)
            case RequestVoteResponse():
                if self._is_current_term(from_id, message):
                    election.on_request_vote_response(server, from_id, message)
            case _:
                assert_never(message)

    def _on_leader_message(self, from_id: int, message: AppendEntries | InstallSnapshot) -> None:
        server = self._server
        if message.leader_id != from_id:
            server.emit(MessageDropped(from_id, message, "leader_id is not the sender"))
        elif message.term < 1:
            server.emit(MessageDropped(from_id, message, "no node leads before term 1"))
        elif message.term < server.term:
            self._reject_stale_leader(from_id, message)
        elif message.term == server.term and server.role == "leader":
            server.emit(MessageDropped(from_id, message, "a second leader in this term"))
        else:
            self._follow(from_id, message)

    def _on_request_vote(self, from_id: int, request: RequestVote) -> None:
        server = self._server
        if request.term < 1:
            server.emit(MessageDropped(from_id, request, "no node campaigns before term 1"))
            return
        if request.term > server.term:
            if not request.leadership_transfer and election.hears_live_leader(server):
                # Do not even adopt the term: otherwise one isolated server could depose a working leader.
                server.send(
                    from_id, RequestVoteResponse(server.term, False), server.after_hard_state
                )
                return
            if request.leadership_transfer and request.term == server.term + 1:
                server.transfer_backoff.on_term_ended(server.now, by_transfer=True)
            election.become_follower(server, request.term, None)
        if request.leadership_transfer and server.membership.is_voter(from_id):
            server.transfer_backoff.on_attempt(from_id, server.now)
        election.on_request_vote(server, from_id, request)

    def _follow(self, from_id: int, message: AppendEntries | InstallSnapshot) -> None:
        server = self._server
        if (
            message.term > server.term
            or server.leader_id != from_id
            or server.role in ("pre_candidate", "candidate")
        ):
            election.become_follower(server, message.term, from_id)
        server.last_leader_contact = server.now
        server.transfer_backoff.on_leader_message(server.now)
        server.reset_election_deadline()
        if isinstance(message, AppendEntries):
            replication.on_append_entries(server, from_id, message)
        else:
            compaction.on_install_snapshot(server, from_id, message)

    def _reject_stale_leader(self, from_id: int, message: AppendEntries | InstallSnapshot) -> None:
        """Inform a leader of an older term of the current term, so that it steps down."""
        server = self._server
        response: AppendEntriesResponse | InstallSnapshotResponse
        if isinstance(message, AppendEntries):
            response = AppendEntriesResponse(
                server.term, False, 0, message.prev_log_index, 0, 0, message.round
            )
        else:
            response = InstallSnapshotResponse(
                server.term, message.last_included_index, 0, 0, message.round
            )
        server.send(from_id, response, server.after_hard_state)

    def _is_current_term(
        self,
        from_id: int,
        response: AppendEntriesResponse
        | InstallSnapshotResponse
        | PreVoteResponse
        | RequestVoteResponse
        | TimeoutNowResponse,
    ) -> bool:
        """Adopt a newer term. True if the response belongs to the term that this server was already in."""
        server = self._server
        if response.term > server.term:
            election.become_follower(server, response.term, None)
            return False
        return response.term == server.term
