"""`RaftServer`: the state of one Raft server, and the primitives that every part of the algorithm shares.

The parts (`election`, `replication`, `read_index`, `compaction`, ...) are functions over a `RaftServer`. They change
it and emit effects through the primitives here, which keep the durability rules in one place.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from qcore.core.clocks.cluster_clock import ClusterClock
from qcore.core.config import RaftConfig
from qcore.core.effects import (
    AppendLog,
    Apply,
    Effect,
    MembershipChanged,
    Role,
    RoleChanged,
    SaveCommit,
    SaveHardState,
    Send,
    TruncateLog,
)
from qcore.core.entry import DurableState, Entry, HardState, Membership, Snapshot, SnapshotMeta
from qcore.core.leadership.transfer_backoff import TransferBackoff
from qcore.core.log.growing_text import TextBuilder
from qcore.core.log.progress import Progress
from qcore.core.log.restore import (
    restored_clock_us,
    restored_log,
    restored_memberships,
    restored_time_us,
    restored_versions,
)
from qcore.core.log.sync_times import RecentSyncs
from qcore.core.messages import RaftMessage
from qcore.core.version import ClusterVersion

#: A deadline that never comes, µs.
NEVER = 1 << 62

#: From these apply rules on, a promise to a leader's lease is durable before it is made.
PROMISES_STORED_SINCE_RULES = 2


@dataclass
class ReadRounds:
    """The linearizable reads in progress (see `qcore.core.reads.read_index`).

    `in_flight`, `queued` and `awaiting_commit` hold dictionaries as ordered sets, so that a read can be removed.

    Attributes:
        round: number of the newest round in this term.
        in_flight: the round that waits for a quorum: (round, commit index when it began, read ids).
        queued: reads for the next round.
        awaiting_commit: reads that arrived before this leader's first commit in its current term.
        round_times: (number, when it began, µs) of rounds, oldest first; see `qcore.core.reads.freshness`.
        confirmed: index of the configuration, and the result of `freshness.confirmed_at` under it; None if that may
            have changed since.
    """

    round: int = 0
    in_flight: tuple[int, int, dict[int, None]] | None = None
    queued: dict[int, None] = field(default_factory=dict)
    awaiting_commit: dict[int, None] = field(default_factory=dict)
    round_times: list[tuple[int, int]] = field(default_factory=list)
    confirmed: tuple[int, int] | None = None

    def pending(self) -> bool:
        """Whether any read is in progress."""
        return self.in_flight is not None or bool(self.queued or self.awaiting_commit)


@dataclass
class OutgoingTransfer:
    """A leadership transfer to `target`, abandoned at `deadline` (µs).

    Attributes:
        by_priority: set if no request asked for it: the target has a higher priority.
        may_retarget: the request named no target, so another one may be asked if this one rejects.
        timeout_now_sent: the target was asked to take over.
        rejected_by: targets that could not win.
    """

    target: int
    deadline: int
    by_priority: bool = False
    may_retarget: bool = False
    timeout_now_sent: bool = False
    rejected_by: list[int] = field(default_factory=list)


@dataclass
class IncomingTransfer:
    """This follower was asked to take over and finds out whether it could win (see `qcore.core.leadership.takeover`).

    Attributes:
        leader_id: the leader that asked.
        must_reach: voters whose pre-votes it needs, besides a majority.
        deadline: when it stops trying, µs.
        votes: the pre-votes received.
    """

    leader_id: int
    must_reach: tuple[int, ...]
    deadline: int
    votes: dict[int, bool]


@dataclass
class IncomingSnapshot:
    """The part of a snapshot that this follower has received.

    Attributes:
        meta, total, checksum: of the whole snapshot; `total` in characters.
        text, received, received_bytes, received_checksum: what arrived: the text, its characters, bytes and CRC-32.
        is_too_large: it exceeds the limit. Its text is forgotten, and its other chunks are dropped.
    """

    meta: SnapshotMeta
    total: int
    checksum: int
    text: TextBuilder = field(default_factory=TextBuilder)
    received: int = 0
    received_bytes: int = 0
    received_checksum: int = 0
    is_too_large: bool = False

    def reject(self) -> None:
        """Forget the text, and remember that it is too large. Otherwise the leader would send it all again."""
        self.text = TextBuilder()
        self.received = self.received_bytes = self.received_checksum = 0
        self.is_too_large = True


class RaftServer:
    """The whole state of one server. `term`, `voted_for`, the log and the snapshot are durable; the rest is not.

    Attributes:
        commit_index, applying_index: highest index known to be committed; highest index emitted in an `Apply`.
        durable_index: highest index up to which this server's log is on stable storage.
        memberships: the configurations in the log as (index, membership), oldest first. The last one is effective
            from the moment it is appended (dissertation 4.1). If it is truncated, the one before is effective again.
        last_leader_contact: when the current leader was last heard, µs; None while no leader is known.
        last_time_us, last_clock_us: the newest time stamp, and value of the cluster clock, ever seen in the log.
        clock: on a leader, the running cluster clock.
        stamped_at: on a leader, when it last appended an entry itself, or was elected, µs on its clock.
        voter_wall_offset_us: on a candidate, how far each voter's wall clock is ahead of this server's monotonic
            clock, µs.
        commit_advanced_at: when the commit index last rose, or when the first entry beyond it was appended, µs.
        versions: the versions of the cluster in log and snapshot, committed or not, as (index, version), oldest
            first; never empty. Those of truncated entries are removed.
        rules: the newest apply rules among them. Every member supports them, so message fields and formats that
            came with them may be used.
        wall_us: this server's wall clock at the last step, µs since the Unix epoch; 0 if the driver has none.
        started_at: when this server last started, µs on its clock.
        contained: its state differs from a majority's. It sends no snapshot, and lets the others campaign first.
        contained_peers, leaderless_timeouts: the members known to be so; election timeouts without a leader's message.
        short_of_space: its disk is almost full, so it rejects most commands. It leads only if no other voter can.
    """

    def __init__(
        self, config: RaftConfig, durable: DurableState, *, rng: random.Random, now: int
    ) -> None:
        self.config = config
        self.node_id = config.node_id
        self.rng = rng
        self.now = now
        self.started_at = now
        self.wall_us = 0
        self.effects: list[Effect] = []

        self.term = durable.hard_state.term
        self.voted_for = durable.hard_state.voted_for
        self.snapshot: Snapshot | None = durable.snapshot
        self.log = restored_log(durable)
        floor = durable.snapshot.meta.last_included_index if durable.snapshot else 0
        self.applying_index = floor
        self.commit_index = max(floor, min(durable.hard_state.commit, self.log.last_index))
        self.memberships = restored_memberships(durable)
        self.last_time_us = restored_time_us(durable)
        self.last_clock_us = restored_clock_us(durable)
        self.versions = restored_versions(durable)
        self.rules = 0
        self._update_rules()
        self.commit_advanced_at = now

        self.role: Role = "follower"
        self.leader_id: int | None = None
        self.last_leader_contact: int | None = None
        self._emitted_role: tuple[Role, int, int | None] | None = None

        self.last_write_id = 0
        self.durable_write_id = 0
        self.hard_state_write_id = 0
        self.durable_index = self.log.last_index
        self._pending_appends: deque[tuple[int, int]] = deque()  # (write id, last index)

        self.votes: dict[int, bool] = {}
        self.voter_wall_offset_us: dict[int, int | None] = {}
        self.own_vote_write_id = 0
        self.progress: dict[int, Progress] = {}
        self.uncommitted_bytes = 0
        self.term_start_index = 0
        self.reads = ReadRounds()
        self.transfer: OutgoingTransfer | None = None
        #: On a leader: voters that were asked to take over in this term and have not rejected, and how often.
        self.unanswered_timeout_now: dict[int, int] = {}
        self.last_transfer_failure = ""  # for humans
        self.incoming_transfer: IncomingTransfer | None = None
        self.incoming_snapshot: IncomingSnapshot | None = None
        self.lease_void = False
        self.contained = self.short_of_space = False
        self.contained_peers: tuple[int, ...] = ()
        self.leaderless_timeouts = 0
        #: On a leader: the configuration of this index is committed, and no step of its change is left.
        self.settled_membership_index = -1
        #: The moment at which the committed state is known to be fresh, and (commit index, moment) that would renew it.
        self.fresh_as_of: int | None = None
        self.pending_freshness: tuple[int, int] | None = None
        self.next_unasked_transfer_at = NEVER
        self._unsynced: deque[tuple[int, int]] = deque()  # (write id, when it was issued)

        #: The promise that this server's responses make to a leader's lease: see `AppendEntriesResponse`.
        self.promise_ms = config.election_timeout_min_ms if config.lease_reads else 0
        #: The promises on disk: those from before the restart, and those of the newest `SaveHardState`.
        self.previous_promise_ms = self.stored_promise_ms = durable.hard_state.promise_ms
        self.heartbeat_us = config.heartbeat_ms * 1000
        self.election_timeout_min_us = config.election_timeout_min_ms * 1000
        self.election_timeout_max_us = config.election_timeout_max_ms * 1000
        self.max_wall_skew_us = config.max_wall_skew_ms * 1000
        self.clock = ClusterClock(self.election_timeout_max_us)
        self.stamped_at = now
        self.transfer_backoff = TransferBackoff(self.election_timeout_max_us)
        self._syncs = RecentSyncs(self.election_timeout_max_us)
        self.heartbeat_deadline = NEVER
        # A lease may rest on promises from before the restart, whatever the settings are now: grant no vote until
        # they have expired. Under rules 1 they were not stored, so only the current settings show how long they are.
        # A new voter responds to heartbeats before it holds any entry, so a term is enough to have promised.
        promised_ms = self.previous_promise_ms
        if self.log.last_index > 0 or self.term > 0:
            promised_ms = max(promised_ms, self.promise_ms)
        self.no_vote_before = now + promised_ms * 1000
        self.election_deadline = 0
        self.reset_election_deadline()
        self.role = self.passive_role()

    # -- membership ------------------------------------------------------------------------------

    @property
    def membership(self) -> Membership:
        """The effective configuration: the newest in the log, committed or not."""
        return self.memberships[-1][1]

    @property
    def membership_index(self) -> int:
        return self.memberships[-1][0]

    def membership_at(self, index: int) -> Membership:
        """The configuration that was effective when the entry at `index` was the last."""
        return next(
            (membership for at, membership in reversed(self.memberships) if at <= index),
            self.memberships[0][1],
        )

    def is_electable(self) -> bool:
        """Whether this server takes part in elections.

        A voter does. So does a server that an uncommitted configuration removes: only its log may hold what
        commits the removal, and until then no other server could win (dissertation 4.2.2).
        """
        if self.membership.is_voter(self.node_id):
            return True
        removed = self.membership_index > self.commit_index and len(self.memberships) > 1
        return removed and self.memberships[-2][1].is_voter(self.node_id)

    def passive_role(self) -> Role:
        """This server's role when it neither campaigns nor leads."""
        return "follower" if self.is_electable() else "learner"

    @property
    def uses_cluster_clock(self) -> bool:
        """Whether entries carry the cluster clock: from rules 2 on, and then for ever."""
        return self.rules >= 2 or self.last_clock_us > 0

    def peers(self) -> list[int]:
        """Every other member, sorted."""
        return [member for member in self.membership.members() if member != self.node_id]

    # -- effects ---------------------------------------------------------------------------------

    def emit(self, effect: Effect) -> None:
        self.effects.append(effect)

    def next_write_id(self) -> int:
        self.last_write_id += 1
        self._unsynced.append((self.last_write_id, self.now))
        return self.last_write_id

    def send(self, to: int, message: RaftMessage, after: int = 0) -> None:
        self.effects.append(Send(to, message, after))

    def save_hard_state(self) -> None:
        """Term or vote changed: messages of the new term wait until that is durable."""
        self.hard_state_write_id = self.next_write_id()
        self.stored_promise_ms = self._promise_to_store()
        hard_state = HardState(self.term, self.voted_for, self.commit_index, self.stored_promise_ms)
        self.emit(SaveHardState(self.hard_state_write_id, hard_state))

    def make_lease_promise(self) -> int:
        """The promise of a response to the leader, ms. Call this before the response's `after` is determined.

        The promise is durable before the response is sent, so it outlives a restart with any settings
        (dissertation 6.4.1 leaves that to the implementation).
        """
        if self.promise_ms > self.stored_promise_ms and self.rules >= PROMISES_STORED_SINCE_RULES:
            self.save_hard_state()
        return self.promise_ms

    def _promise_to_store(self) -> int:
        """The longest promise that may still hold, ms: the one of this run, or the one from before the restart."""
        if self.rules < PROMISES_STORED_SINCE_RULES and not self.stored_promise_ms:
            return 0  # 0.1.0 could not read it
        previous_active = self.now < self.started_at + self.previous_promise_ms * 1000
        return max(self.promise_ms, self.previous_promise_ms if previous_active else 0)

    @property
    def after_hard_state(self) -> int:
        """The write that must be durable before any message of the current term is sent."""
        return self.hard_state_write_id if self.config.safeguards.vote_durable_before_reply else 0

    def emit_role_change(self) -> None:
        """Report role, term and known leader to the driver if they changed since the last report."""
        current = (self.role, self.term, self.leader_id)
        if current != self._emitted_role:
            self._emitted_role = current
            self.emit(RoleChanged(*current))

    # -- the log ---------------------------------------------------------------------------------

    def append(self, entries: Sequence[Entry]) -> None:
        """Add entries to the log. They count as durable once the driver reports it."""
        held = list(entries)
        if self.commit_index == self.log.last_index:
            self.commit_advanced_at = self.now
        self.log.append(held)
        self.last_time_us = max(self.last_time_us, held[-1].time_us)
        self.last_clock_us = max(self.last_clock_us, held[-1].clock_us)
        write_id = self.next_write_id()
        self.emit(AppendLog(write_id, held))
        if self.config.safeguards.append_durable_before_ack:
            self._pending_appends.append((write_id, self.log.last_index))
        else:
            self.durable_index = self.log.last_index
        for entry in held:
            if entry.kind == "membership":
                self._set_membership(entry.index, Membership.from_json(entry.data))
            elif entry.kind == "version":
                self.versions.append((entry.index, ClusterVersion.from_json(entry.data)))
                self._update_rules()

    def truncate(self, from_index: int) -> None:
        """Remove uncommitted entries. A configuration among them is rolled back."""
        assert from_index > self.commit_index, "truncation of committed entries"
        self.log.truncate(from_index)
        self.emit(TruncateLog(self.next_write_id(), from_index))
        keep = from_index - 1
        self._reset_log_times()
        # An append of the removed entries may still become durable later. That must not make
        # other entries at the same indexes count as durable, so its claim is cut back too.
        self.durable_index = min(self.durable_index, keep)
        self._pending_appends = deque(
            (write_id, min(last, keep)) for write_id, last in self._pending_appends
        )
        if self.versions[-1][0] >= from_index:
            while self.versions[-1][0] >= from_index:
                self.versions.pop()
            self._update_rules()
        if self.memberships[-1][0] >= from_index:
            while self.memberships[-1][0] >= from_index:
                self.memberships.pop()
            self.emit(MembershipChanged(self.membership, self.membership_index))
            self._refresh_passive_role()

    def _reset_log_times(self) -> None:
        """Reset the newest times to those of the last entry, after uncommitted entries were removed.

        Otherwise times from a deposed leader's wrong clock would remain.
        """
        last = self.log.entry(self.log.last_index)
        meta = self.snapshot.meta if self.snapshot is not None else None
        if last is not None:
            self.last_time_us, self.last_clock_us = last.time_us, last.clock_us
        elif meta is not None:
            self.last_time_us = meta.last_included_time_us
            self.last_clock_us = meta.last_included_clock_us
        else:
            self.last_time_us = self.last_clock_us = 0

    def reset_log(self, snapshot: Snapshot) -> None:
        """Replace the whole log and the applied state by the snapshot."""
        index = snapshot.meta.last_included_index
        self.snapshot = snapshot
        self.log.reset(index, snapshot.meta.last_included_term)
        self._reset_log_times()
        self.versions = [(index, snapshot.meta.version)]
        self._update_rules()
        self.commit_index = self.applying_index = index
        self._pending_appends.clear()
        self.durable_index = 0 if self.config.safeguards.append_durable_before_ack else index
        self._pending_appends.append((self.last_write_id, index))
        self.memberships = []
        self._set_membership(index, snapshot.meta.membership)

    def mark_durable(self, write_id: int) -> None:
        """Every write up to `write_id` is on stable storage."""
        assert write_id <= self.last_write_id, "durable before it was written"
        self.durable_write_id = max(self.durable_write_id, write_id)
        while self._unsynced and self._unsynced[0][0] <= write_id:
            self._syncs.record(self.now - self._unsynced.popleft()[1], self.now)
        while self._pending_appends and self._pending_appends[0][0] <= write_id:
            self.durable_index = max(self.durable_index, self._pending_appends.popleft()[1])

    def disk_stalled(self) -> bool:
        """True if a write has waited for the disk for a whole election timeout."""
        return bool(self._unsynced) and (
            self.now - self._unsynced[0][1] >= self.election_timeout_max_us
        )

    def slowest_sync_us(self) -> int:
        """How long the slowest recent write took, or has taken until now, to become durable; µs."""
        waiting = self.now - self._unsynced[0][1] if self._unsynced else 0
        return max(waiting, self._syncs.slowest_us(self.now))

    def commit_to(self, index: int) -> None:
        """Everything up to `index` is committed: emit it to be applied."""
        if index <= self.commit_index:
            return
        assert index <= self.log.last_index, "commit beyond the log"
        removal = self.commit_index < self.membership_index <= index
        self.commit_index = index
        self.commit_advanced_at = self.now
        incoming = self.incoming_snapshot
        if incoming is not None and incoming.meta.last_included_index <= index:
            self.incoming_snapshot = None  # appended entries made it unnecessary
        self.emit(SaveCommit(index))
        self.apply_committed()
        if removal:
            self._refresh_passive_role()

    def apply_committed(self) -> None:
        if self.applying_index < self.commit_index:
            self.emit(Apply(self.log.between(self.applying_index + 1, self.commit_index)))
            self.applying_index = self.commit_index

    def _update_rules(self) -> None:
        self.rules = max(version.rules for _, version in self.versions)

    def _set_membership(self, index: int, membership: Membership) -> None:
        self.memberships.append((index, membership))
        self.transfer_backoff.retain(membership.members())
        self.emit(MembershipChanged(membership, index))
        self._refresh_passive_role()
        if self.role == "leader":
            for peer in self.peers():
                if peer not in self.progress:
                    self.progress[peer] = Progress(self.log.last_index, self.now)
                elif membership.address_of(peer) != self.memberships[-2][1].address_of(peer):
                    self.progress[peer].address_changed_in_round = self.reads.round
            # Removed peers stay until the change is committed (see `membership.advance`): one
            # of them may be needed to commit it, and all should learn of it.

    def _refresh_passive_role(self) -> None:
        if self.role in ("follower", "learner"):
            self.role = self.passive_role()
            self.emit_role_change()

    # -- deadlines -------------------------------------------------------------------------------

    def reset_election_deadline(self) -> None:
        """Draw a new election timeout, uniformly from the configured range (paper, 5.2).

        The deadline is not before the promises from before the restart expire.
        """
        low, high = self.election_timeout_min_us, self.election_timeout_max_us
        drawn = self.now + low + int(self.rng.random() * (high - low + 1))
        self.election_deadline = max(drawn, self.no_vote_before)

    def next_deadline(self) -> int:
        if self.role == "leader":
            return self.heartbeat_deadline
        if not self.is_electable():
            return NEVER
        if self.incoming_transfer is not None:
            return min(self.election_deadline, self.incoming_transfer.deadline)
        return self.election_deadline
