"""The messages of Raft: one class each, with the paper's field names.

They are slotted dataclasses, cheap to make and never mutated. Validation and JSON happen once, at
the wire boundary (`qcore.transport`). Every message names its `term`. The driver knows the sender from the connection
and passes it to the core with the event.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from qcore.compiled_build import mypyc_attr, register_copies, restore_source
from qcore.core.entry import Entry, Membership
from qcore.core.version import (
    FIRST_VERSION,
    SINCE_RULES_2,
    VERSION_SINCE_RULES_2,
    ClusterVersion,
)
from qcore.wire_value import WireValue


@dataclass
class RequestVote(WireValue):
    """A candidate asks for a vote (paper, section 5.2).

    `leadership_transfer` lets the receiver ignore the live leader that it knows (dissertation 4.2.3). `rules` are the
    newest apply rules in the candidate's log if these are 2 or later, else 0. Then the response may carry the voter's
    clock, even if the voter's log is empty (see `qcore.core.clocks.wall_time`).
    """

    term: int
    candidate_id: int
    last_log_index: int
    last_log_term: int
    leadership_transfer: bool = False
    rules: int = field(default=0, metadata=SINCE_RULES_2)


@dataclass
class RequestVoteResponse(WireValue):
    """`wall_us` is the voter's wall clock when it responded; 0 if it does not report it."""

    term: int
    vote_granted: bool
    wall_us: int = field(default=0, metadata=SINCE_RULES_2)


@dataclass
class PreVote(WireValue):
    """Would you vote for me in `next_term`? Changes no state (dissertation 9.6).

    `term` is the candidate's current term, which it has not left. With `leadership_transfer`, the leader asked the
    candidate to take over, and a voter may agree although it is in contact with the leader.
    """

    term: int
    next_term: int
    candidate_id: int
    last_log_index: int
    last_log_term: int
    leadership_transfer: bool = field(default=False, metadata=SINCE_RULES_2)


@dataclass
class PreVoteResponse(WireValue):
    """`next_term` echoes the request, so that a late response cannot count for a later election."""

    term: int
    next_term: int
    vote_granted: bool


@mypyc_attr(acyclic=True)
@dataclass(init=False)
class AppendEntries(WireValue):
    """Replicates entries; without entries it is a heartbeat (paper, section 5.3).

    `round` numbers the leader's read rounds within its term. The response echoes it. A read is confirmed only by a
    response that echoes a round that began after the read arrived (dissertation 6.4).

    The last three fields bound the age of the follower's state (see `qcore.core.reads.freshness`).

    Attributes:
        echo_us: `sent_us` of the newest response that the leader has from this follower; 0 if there is none.
        is_current: the leader has committed an entry of its current term, so `leader_commit` covers everything that
            earlier leaders acknowledged.
        confirmed_ago_us: how long before the arrival of that response a quorum is known to have followed the leader,
            µs; 0 if this is known for that moment or a later one.
    """

    term: int
    leader_id: int
    prev_log_index: int
    prev_log_term: int
    leader_commit: int
    entries: list[Entry]
    round: int = 0
    echo_us: int = field(default=0, metadata=SINCE_RULES_2)
    is_current: bool = field(default=False, metadata=SINCE_RULES_2)
    confirmed_ago_us: int = field(default=0, metadata=SINCE_RULES_2)

    def __init__(
        self,
        term: int,
        leader_id: int,
        prev_log_index: int,
        prev_log_term: int,
        leader_commit: int,
        entries: list[Entry],
        round: int = 0,  # noqa: A002  # its name on the wire
        echo_us: int = 0,
        is_current: bool = False,
        confirmed_ago_us: int = 0,
    ) -> None:
        self.term = term
        self.leader_id = leader_id
        self.prev_log_index = prev_log_index
        self.prev_log_term = prev_log_term
        self.leader_commit = leader_commit
        self.entries = entries
        self.round = round
        self.echo_us = echo_us
        self.is_current = is_current
        self.confirmed_ago_us = confirmed_ago_us


@mypyc_attr(acyclic=True)
@dataclass(init=False)
class AppendEntriesResponse(WireValue):
    """The response to `AppendEntries`.

    Attributes:
        match_index: on success, the highest index up to which the follower's *durable* log is known to equal the
            leader's.
        prev_log_index: echoes the request.
        hint_index, hint_term: on failure, where the follower's log may agree, so that the leader skips whole terms at
            a time (paper, end of section 5.3).
        priority: the follower's priority; see `RaftConfig`.
        promise_ms: for this long after the request the follower grants no other node a vote. A leader's lease
            rests on it. 0 without `lease_reads`.
        sent_us: the follower's monotonic clock when it responded, which the leader echoes; 0 if not reported.
        wall_us: its wall clock at that time; 0 if not reported.
    """

    term: int
    success: bool
    match_index: int
    prev_log_index: int
    hint_index: int
    hint_term: int
    round: int = 0
    priority: int = 1
    promise_ms: int = 0
    sent_us: int = field(default=0, metadata=SINCE_RULES_2)
    wall_us: int = field(default=0, metadata=SINCE_RULES_2)

    def __init__(
        self,
        term: int,
        success: bool,
        match_index: int,
        prev_log_index: int,
        hint_index: int,
        hint_term: int,
        round: int = 0,  # noqa: A002  # its name on the wire
        priority: int = 1,
        promise_ms: int = 0,
        sent_us: int = 0,
        wall_us: int = 0,
    ) -> None:
        self.term = term
        self.success = success
        self.match_index = match_index
        self.prev_log_index = prev_log_index
        self.hint_index = hint_index
        self.hint_term = hint_term
        self.round = round
        self.priority = priority
        self.promise_ms = promise_ms
        self.sent_us = sent_us
        self.wall_us = wall_us


@dataclass
class InstallSnapshot(WireValue):
    """One chunk of a snapshot that replaces a follower's log prefix (paper, section 7).

    `data` holds the characters from `offset` on, out of `total`. `checksum` is the CRC-32 of the whole text as UTF-8.
    A follower that already holds a part of the same snapshot responds with the offset to continue at.

    With `reinstall` it replaces state and log even if the follower's log holds the entries that it covers.
    """

    term: int
    leader_id: int
    last_included_index: int
    last_included_term: int
    last_included_time_us: int
    membership: Membership
    offset: int
    total: int
    checksum: int
    data: str = field(repr=False)
    round: int = 0
    last_included_clock_us: int = field(default=0, metadata=SINCE_RULES_2)
    version: ClusterVersion = field(default=FIRST_VERSION, metadata=VERSION_SINCE_RULES_2)
    reinstall: bool = field(default=False, metadata=SINCE_RULES_2)


@dataclass
class InstallSnapshotResponse(WireValue):
    """The response to a chunk: the offset to continue at, or what the durable log holds once nothing is missing.

    Attributes:
        last_included_index: echoes the request.
        next_offset: how many characters the follower holds; the next chunk begins there.
        match_index: above 0 once the snapshot is installed, or if it was not needed.
        reinstall: echoes the request.
    """

    term: int
    last_included_index: int
    next_offset: int
    match_index: int
    round: int = 0
    priority: int = 1
    promise_ms: int = 0
    sent_us: int = field(default=0, metadata=SINCE_RULES_2)
    wall_us: int = field(default=0, metadata=SINCE_RULES_2)
    reinstall: bool = field(default=False, metadata=SINCE_RULES_2)


@dataclass
class TimeoutNow(WireValue):
    """The leader asks the receiver to campaign now (dissertation 3.10).

    `must_reach` are voters whose pre-votes the receiver needs first; see `qcore.core.leadership.transfer`.
    """

    term: int
    leader_id: int
    must_reach: tuple[int, ...] = field(default=(), metadata=SINCE_RULES_2)


@dataclass
class TimeoutNowResponse(WireValue):
    """Whether the receiver campaigns. Its term also informs an old leader of a newer term.

    If the receiver asks for pre-votes first, it responds once they have decided.
    """

    term: int
    accepted: bool


RaftMessage = (
    RequestVote
    | RequestVoteResponse
    | PreVote
    | PreVoteResponse
    | AppendEntries
    | AppendEntriesResponse
    | InstallSnapshot
    | InstallSnapshotResponse
    | TimeoutNow
    | TimeoutNowResponse
)


restore_source(globals())
register_copies(globals())
