"""`RaftServer`: the state of one Raft server, and the primitives that every part of the algorithm shares.

The parts (`election`, `replication`, `read_index`, `compaction`, ...) are functions over a `RaftServer`. They change
it and emit effects through the primitives here, which keep the durability rules in one place.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final

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
from qcore.core.leadership.transfer_state import IncomingTransfer, OutgoingTransfer
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
from qcore.core.reads.read_rounds import ReadRounds
from qcore.core.version import ClusterVersion

#: A deadline that never comes, µs.
NEVER: Final = (1 << 62) - 1

#: From these apply rules on, a promise to a leader's lease is durable before it is made.
PROMISES_STORED_SINCE_RULES: Final = 2


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
        membership_index, membership: the last one of these.
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
        # Settings that almost every step reads, so that it need not look them up in `config`.
        self.priority = config.priority
        self.max_inflight_messages = config.max_inflight_messages
        self.max_inflight_bytes = config.max_inflight_bytes
        self.max_batch_bytes = config.max_batch_bytes
        self.max_uncommitted_bytes = config.max_uncommitted_bytes
        self.vote_durable_before_reply = config.safeguards.vote_durable_before_reply
        self.durable_before_ack = config.safeguards.append_durable_before_ack
        self.commit_own_term_only = config.safeguards.commit_own_term_only
        self.freshness_check = config.safeguards.freshness_check
        self.slowest_clock_percent = 100 - config.max_clock_drift_percent
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
        self.membership_index, self.membership = self.memberships[-1]
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
        # For each write that is not known to be durable, oldest first: when it was issued, and the last index of its
        # entries (0 for another write). Ids have no gap, so the newest write has the last place.
        self._issued_at: list[int] = []
        self._appended_through: list[int] = []

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
        self._issued_at.append(self.now)
        self._appended_through.append(0)
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
        return self.hard_state_write_id if self.vote_durable_before_reply else 0

    def emit_role_change(self) -> None:
        """Report role, term and known leader to the driver if they changed since the last report."""
        current = (self.role, self.term, self.leader_id)
        if current != self._emitted_role:
            self._emitted_role = current
            self.emit(RoleChanged(*current))

    # -- the log ---------------------------------------------------------------------------------

    def append(self, entries: list[Entry]) -> None:
        """Add entries to the log. They count as durable once the driver reports it. It keeps the list."""
        log, newest = self.log, entries[-1]
        if self.commit_index == log.last_index:
            self.commit_advanced_at = self.now
        log.append(entries)
        self.last_time_us = max(self.last_time_us, newest.time_us)
        self.last_clock_us = max(self.last_clock_us, newest.clock_us)
        self.emit(AppendLog(self.next_write_id(), entries))
        if self.durable_before_ack:
            self._appended_through[-1] = log.last_index
        else:
            self.durable_index = log.last_index
        for entry in entries:
            kind = entry.kind
            if kind == "membership":
                self._set_membership(entry.index, Membership.from_json(entry.data))
            elif kind == "version":
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
        self._appended_through = [min(last, keep) for last in self._appended_through]
        if self.versions[-1][0] >= from_index:
            while self.versions[-1][0] >= from_index:
                self.versions.pop()
            self._update_rules()
        if self.memberships[-1][0] >= from_index:
            while self.memberships[-1][0] >= from_index:
                self.memberships.pop()
            self.membership_index, self.membership = self.memberships[-1]
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
        self.durable_index = 0 if self.durable_before_ack else index
        self._appended_through = [0] * len(self._appended_through)
        self._appended_through[-1] = index  # the write of this snapshot
        self.memberships = []
        self._set_membership(index, snapshot.meta.membership)

    def mark_durable(self, write_id: int) -> None:
        """Every write up to `write_id` is on stable storage."""
        assert write_id <= self.last_write_id, "durable before it was written"
        if write_id <= self.durable_write_id:
            return
        issued_at, appended_through = self._issued_at, self._appended_through
        count = write_id - self.durable_write_id
        for place in range(count):
            self._syncs.record(self.now - issued_at[place], self.now)
            self.durable_index = max(self.durable_index, appended_through[place])
        self.durable_write_id = write_id
        if write_id == self.last_write_id:
            issued_at.clear()
            appended_through.clear()
        else:
            del issued_at[:count]
            del appended_through[:count]

    def disk_stalled(self) -> bool:
        """True if a write has waited for the disk for a whole election timeout."""
        return bool(self._issued_at) and (
            self.now - self._issued_at[0] >= self.election_timeout_max_us
        )

    def slowest_sync_us(self) -> int:
        """How long the slowest recent write took, or has taken until now, to become durable; µs."""
        waiting = self.now - self._issued_at[0] if self._issued_at else 0
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
        self.membership_index, self.membership = index, membership
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
        share: float = self.rng.random()
        drawn = self.now + low + int(share * (high - low + 1))
        self.election_deadline = max(drawn, self.no_vote_before)

    def next_deadline(self) -> int:
        if self.role == "leader":
            return self.heartbeat_deadline
        if not self.is_electable():
            return NEVER
        if self.incoming_transfer is not None:
            return min(self.election_deadline, self.incoming_transfer.deadline)
        return self.election_deadline
