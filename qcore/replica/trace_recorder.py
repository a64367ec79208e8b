"""Writes the effects and messages of a replica as trace records, the same for simulated and real nodes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from qcore.core.effects import (
    AppendLog,
    MembershipChanged,
    MessageDropped,
    RoleChanged,
    SaveCommit,
    Send,
    StoreSnapshot,
    TruncateLog,
    VoteGranted,
)
from qcore.core.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    InstallSnapshotResponse,
    PreVote,
    PreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
    TimeoutNowResponse,
)
from qcore.replica.events import Applied, ReplicaEffect
from qcore.replica.messages import (
    Forward,
    ForwardResponse,
    ReadIndex,
    ReadIndexResponse,
    StateDigests,
)
from qcore.trace import TraceWriter
from qcore.wire_value import WireValue


class ReplicaTracer:
    """Writes the effects of one replica to a trace, and details of its log if the trace takes them.

    The driver records sent, received and dropped messages when that happens, with `trace_fields`.
    """

    def __init__(self, trace: TraceWriter, node_id: int) -> None:
        self._trace = trace
        self._node = node_id
        #: What writes each other effect, by class.
        self._writers: dict[type, Callable[[int, ReplicaEffect], None]] = {
            RoleChanged: self._role,
            VoteGranted: self._vote,
            MembershipChanged: self._membership,
            MessageDropped: self._dropped,
        }
        #: The writes that are not known to be durable: the write, and the last entry of the log after it.
        self._writes: deque[tuple[int, int]] = deque()
        self._takes_details = trace.takes_details
        if self._takes_details:
            self._writers.update({TruncateLog: self._cut, StoreSnapshot: self._snapshot})

    def started(self) -> None:
        """The replica starts, in a new process. What the one before wrote is durable or lost."""
        self._writes.clear()

    def effects(self, t_us: int, effects: Iterable[ReplicaEffect]) -> None:
        """Record the effects of one step for which the trace has a record kind."""
        trace, node, writers = self._trace, self._node, self._writers
        for effect in effects:
            # The most frequent ones first, without a look into the table.
            if isinstance(effect, Send):
                continue
            if isinstance(effect, Applied):
                entry = effect.entry
                trace.apply(t_us, node, entry.index, entry.term, entry.kind)
            elif isinstance(effect, SaveCommit):
                trace.commit(t_us, node, effect.commit)
            elif isinstance(effect, AppendLog):
                if self._takes_details:
                    self._append(t_us, effect)
            elif (writer := writers.get(type(effect))) is not None:
                writer(t_us, effect)

    def durable(self, t_us: int, write_id: int) -> None:
        """All writes up to this one are durable."""
        last = None
        while self._writes and self._writes[0][0] <= write_id:
            _, last = self._writes.popleft()
        if last is not None:
            self._trace.log(t_us, self._node, "durable", last)

    def _append(self, t_us: int, effect: AppendLog) -> None:
        entries = effect.entries
        start = 0
        for place, entry in enumerate(entries):
            if place + 1 == len(entries) or entries[place + 1].term != entry.term:
                first = entries[start]
                self._trace.log(
                    t_us, self._node, "append", first.index, first.term, place + 1 - start
                )
                start = place + 1
        if entries:
            self._writes.append((effect.write_id, entries[-1].index))

    def _cut(self, t_us: int, effect: ReplicaEffect) -> None:
        assert isinstance(effect, TruncateLog)
        self._trace.log(t_us, self._node, "cut", effect.from_index)
        self._writes.append((effect.write_id, effect.from_index - 1))

    def _snapshot(self, t_us: int, effect: ReplicaEffect) -> None:
        assert isinstance(effect, StoreSnapshot)
        meta = effect.snapshot.meta
        index, term = meta.last_included_index, meta.last_included_term
        if effect.reset_log:
            # The entries after those of the snapshot go too.
            self._trace.log(t_us, self._node, "cut", index + 1)
            self._writes.append((effect.write_id, index))
        self._trace.log(t_us, self._node, "snapshot", index, term, effect.compact_through)

    def _role(self, t_us: int, effect: ReplicaEffect) -> None:
        assert isinstance(effect, RoleChanged)
        self._trace.role(t_us, self._node, effect.role, effect.term, effect.leader_id)

    def _vote(self, t_us: int, effect: ReplicaEffect) -> None:
        assert isinstance(effect, VoteGranted)
        self._trace.vote(t_us, self._node, effect.term, effect.candidate_id)

    def _membership(self, t_us: int, effect: ReplicaEffect) -> None:
        assert isinstance(effect, MembershipChanged)
        membership = effect.membership
        self._trace.config(
            t_us,
            self._node,
            effect.index,
            membership.voters,
            membership.voters_outgoing,
            membership.learners,
        )

    def _dropped(self, t_us: int, effect: ReplicaEffect) -> None:
        assert isinstance(effect, MessageDropped)
        self._trace.bad(
            t_us, self._node, effect.from_id, type(effect.message).__name__, effect.reason
        )


def message_name(message: object) -> str:
    """The name of a message: that of its class."""
    if isinstance(message, AppendEntries):  # the most frequent ones, without a look at their class
        return "AppendEntries"
    if isinstance(message, AppendEntriesResponse):
        return "AppendEntriesResponse"
    return type(message).__name__


def trace_fields(message: WireValue) -> tuple[str, int, str]:
    """Name, term (0 if there is none) and a short note of a message. The note contains no quotes."""
    # The most frequent ones first. Compiled, `isinstance` takes less time than `match`.
    if isinstance(message, AppendEntries):
        note = (
            f"prev {message.prev_log_index}.{message.prev_log_term} "
            f"entries {len(message.entries)} commit {message.leader_commit}"
        )
        return "AppendEntries", message.term, note
    if isinstance(message, AppendEntriesResponse):
        note = (
            f"match {message.match_index}"
            if message.success
            else f"rejects {message.prev_log_index} hint {message.hint_index}.{message.hint_term}"
        )
        return "AppendEntriesResponse", message.term, note
    match message:
        case RequestVote() | PreVote():
            note = f"last {message.last_log_index}.{message.last_log_term}"
        case RequestVoteResponse() | PreVoteResponse():
            note = "granted" if message.vote_granted else "refused"
        case InstallSnapshot():
            note = (
                f"through {message.last_included_index}.{message.last_included_term} "
                f"at {message.offset} of {message.total}"
            )
        case InstallSnapshotResponse():
            note = f"match {message.match_index} next {message.next_offset}"
        case TimeoutNow():
            note = ""
        case TimeoutNowResponse():
            note = "accepted" if message.accepted else "refused"
        case ReadIndex():
            return "ReadIndex", 0, f"read {message.read_id}"
        case ReadIndexResponse():
            return "ReadIndexResponse", 0, message.error_code or f"index {message.index}"
        case Forward():
            return "Forward", 0, message.kind
        case ForwardResponse():
            return "ForwardResponse", 0, message.error_code or "ok"
        case StateDigests():
            newest = max((digest.index for digest in message.digests), default=0)
            return "StateDigests", 0, f"through {newest}{' diverged' * message.diverged}"
        case _:
            raise TypeError(f"{type(message).__name__} is no message of a peer")
    return type(message).__name__, message.term, note
