"""The parts of a course: messages, nodes, elections and operations over time.

All times are microseconds since the trace's first record (`Course.origin_us`), as in `TraceTables`.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, overload

from qcore.analysis.rows import Rows
from qcore.analysis.spans import DirectedLink, RoleSpan
from qcore.analysis.tables import Scalar, TraceTables
from qcore.trace import TraceRecord
from qcore.trace.trace_origin import TraceOrigin

MessageOutcome = Literal["received", "lost", "in_flight"]
LogPhase = Literal["append", "cut", "snapshot"]
Cause = Literal[
    "start",
    "crash",
    "cut",
    "pause",
    "stopped",
    "silence",
    "transfer",
    "no_quorum",
    "other",
]
Answer = Literal["granted", "rejected", "none"]

#: What `Messages.outcome` holds, by its numbers.
MESSAGE_OUTCOMES: tuple[MessageOutcome, ...] = ("received", "lost", "in_flight")


@dataclass(slots=True, frozen=True)
class MessageCourse:
    """One message from node `source` to node `target`.

    Attributes:
        end_us: when it was received or lost; the end of the course while it is in flight.
        why: the reason of a loss.
        send_event, end_event: the numbers of its records in the course; -1 if there is none.
    """

    sent_us: int
    end_us: int
    source: int
    target: int
    term: int
    outcome: MessageOutcome
    name: str
    note: str
    why: str
    send_event: int
    end_event: int


@dataclass(slots=True, frozen=True)
class Messages(Sequence[MessageCourse]):
    """The messages between nodes, sorted by `sent_us`: one column for each field, because an hour has half a million.

    Attributes:
        outcome: numbers of `MESSAGE_OUTCOMES`.
        longest_us: the longest flight.
    """

    sent_us: array[int]
    end_us: array[int]
    source: array[int]
    target: array[int]
    term: array[int]
    outcome: bytearray
    name: list[str]
    note: list[str]
    why: list[str]
    send_event: array[int]
    end_event: array[int]
    longest_us: int

    def __len__(self) -> int:
        return len(self.sent_us)

    @overload
    def __getitem__(self, place: int) -> MessageCourse: ...

    @overload
    def __getitem__(self, place: slice) -> list[MessageCourse]: ...

    def __getitem__(self, place: int | slice) -> MessageCourse | list[MessageCourse]:
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        return MessageCourse(
            self.sent_us[place],
            self.end_us[place],
            self.source[place],
            self.target[place],
            self.term[place],
            MESSAGE_OUTCOMES[self.outcome[place]],
            self.name[place],
            self.note[place],
            self.why[place],
            self.send_event[place],
            self.end_event[place],
        )

    def __iter__(self) -> Iterator[MessageCourse]:
        return (self[number] for number in range(len(self)))

    def between(self, start_us: int, end_us: int) -> range:
        """The messages that may be in flight between two times. Some may have ended before `start_us`."""
        first = bisect_left(self.sent_us, start_us - self.longest_us)
        return range(first, max(first, bisect_right(self.sent_us, end_us)))


@dataclass(slots=True, frozen=True)
class Steps:
    """A number over time: `values[i]` from `times[i]` on, and 0 before the first time."""

    times: array[int]
    values: array[int]

    def at(self, t_us: int) -> int:
        """The value at a time."""
        place = bisect_right(self.times, t_us)
        return self.values[place - 1] if place else 0

    def first_at_least(self, value: int, from_us: int = 0) -> int | None:
        """The first time from `from_us` on at which the number is at least `value`; None if there is none."""
        place = max(bisect_right(self.times, from_us) - 1, 0)
        for number in range(place, len(self.times)):
            if self.values[number] >= value:
                return max(self.times[number], from_us)
        return None


@dataclass(slots=True, frozen=True)
class LogChange:
    """A log changed: it appended entries `first` to `last` of one term, or removed them, or stored a snapshot.

    Of a cut, `first` is the first entry that was removed, and `last` is 0. Of a snapshot, `last` and `term` are those
    of its last entry, and `first` is the first entry that stays in the log.
    """

    t_us: int
    phase: LogPhase
    first: int
    last: int
    term: int


@dataclass(slots=True, frozen=True)
class LogShape:
    """The log of a node at one moment: its snapshot, and adjoining runs (first index, last index, term)."""

    snapshot_index: int
    snapshot_term: int
    runs: tuple[tuple[int, int, int], ...]

    @property
    def last_index(self) -> int:
        """The last entry, or that of the snapshot."""
        return self.runs[-1][1] if self.runs else self.snapshot_index

    @property
    def last_term(self) -> int:
        """The term of the last entry."""
        return self.runs[-1][2] if self.runs else self.snapshot_term

    def term_of(self, index: int) -> int | None:
        """The term of an entry; None if the log does not hold it."""
        if index == self.snapshot_index and index:
            return self.snapshot_term
        for first, last, term in reversed(self.runs):
            if first <= index <= last:
                return term
        return None


@dataclass(slots=True, frozen=True)
class VoteCast:
    """A node voted for a candidate in a term."""

    t_us: int
    node: int
    term: int
    candidate: int


@dataclass(slots=True, frozen=True)
class ConfigChange:
    """A node used another configuration from `t_us` on."""

    t_us: int
    index: int
    voters: tuple[int, ...]
    voters_outgoing: tuple[int, ...]
    learners: tuple[int, ...]


@dataclass(slots=True, frozen=True)
class NodeTrack:
    """One node over time.

    Attributes:
        roles: its roles, complete in time.
        durable: the last durable entry; empty if the trace does not say.
        log: the changes of its log.
        is_inferred: whether `log` is inferred from messages and applied entries, because the trace has no details.
        clock_offset_us: its clock minus the true time. Only simulated nodes have one.
    """

    node: int
    roles: tuple[RoleSpan, ...]
    votes: tuple[VoteCast, ...]
    commit: Steps
    applied: Steps
    last: Steps
    durable: Steps
    log: tuple[LogChange, ...]
    is_inferred: bool
    configs: tuple[ConfigChange, ...]
    clock_offset_us: Steps


@dataclass(slots=True, frozen=True)
class NodeMoment:
    """One node at one moment. `why` is the reason while it is down."""

    node: int
    role: str
    term: int
    leader: int | None
    voted_for: int | None
    commit: int
    applied: int
    last: int
    durable: int | None
    log: LogShape
    why: str


@dataclass(slots=True, frozen=True)
class Ask:
    """A candidate asked a voter for a vote or pre-vote. `why` is the reason if it got none."""

    voter: int
    sent_us: int
    received_us: int | None
    answered_us: int | None
    answer: Answer
    why: str


@dataclass(slots=True, frozen=True)
class Round:
    """One candidate's requests for votes in one term, or for pre-votes. `why` is what ended it if it was not won."""

    kind: Literal["pre_vote", "vote"]
    term: int
    candidate: int
    start_us: int
    end_us: int
    asked: tuple[Ask, ...]
    result: Literal["won", "split", "lost", "superseded", "open"]
    why: str = ""


@dataclass(slots=True, frozen=True)
class Election:
    """From the first timeout after a leader was lost until a node leads, or until the end of the trace.

    Attributes:
        number: counted from 1.
        cause_us: when the cause began, such as the crash of the leader.
        start_us: the first timeout, or the arrival of the request to campaign.
        end_us: when the leader was elected; the end of the course if the election is `open`.
        ready_us: the first commit of the winner in its term.
        messages: how many requests for votes and responses were sent. Those that could not be sent do not count.
        is_censored: whether the trace ended before the election did.
        votes: node -> candidate, in the last term.
    """

    number: int
    cause: Cause
    cause_us: int
    cause_note: str
    old_leader: int | None
    old_term: int
    start_us: int
    end_us: int
    ready_us: int | None
    outcome: Literal["elected", "abandoned", "open"]
    winner: int | None
    term: int
    rounds: tuple[Round, ...]
    messages: int
    is_censored: bool
    votes: Mapping[int, int]

    @property
    def duration_us(self) -> int:
        """From the first timeout to the end."""
        return self.end_us - self.start_us

    @property
    def whole_us(self) -> int:
        """How long it took, as texts say: from the cause on, but from the first timeout if the old leader led on."""
        begin_us = self.start_us
        if self.outcome != "abandoned":
            begin_us = min(self.cause_us, self.start_us)
        return self.end_us - begin_us


@dataclass(slots=True, frozen=True)
class OperationCourse:
    """A client's operation on its way through the cluster.

    Attributes:
        took: the node and the time of each attempt.
        index: the entry of the operation; 0 if it has none, or if it is unknown.
        forwarded_us, arrived_us: when the node that took it sent it to the leader, and when the leader received it.
        appended_us, durable_us: when the leader appended the entry, and had it durable.
        quorum_us: when a majority of the voters had it durable.
        replied_us: when the node that took it responded.
        is_inferred: whether the times are inferred, because the trace has no details.
    """

    client: int
    op_id: int
    op: str
    key: str
    value: Scalar
    expected: Scalar
    output: Scalar
    outcome: str
    note: str
    invoke_us: int
    end_us: int | None
    took: tuple[tuple[int, int], ...]
    leader: int | None
    term: int
    index: int
    is_forwarded: bool
    forwarded_us: int | None
    arrived_us: int | None
    appended_us: int | None
    durable_us: int | None
    quorum_us: int | None
    committed_us: int | None
    applied_us: int | None
    replied_us: int | None
    is_inferred: bool

    @property
    def latency_us(self) -> int | None:
        """What the client saw, from invocation to outcome ok; None for any other outcome."""
        return None if self.outcome != "ok" or self.end_us is None else self.end_us - self.invoke_us

    @property
    def commit_latency_us(self) -> int | None:
        """From the append at the leader to the commit there."""
        return _between(self.appended_us, self.committed_us)

    @property
    def queue_us(self) -> int | None:
        """From the arrival at the leader to the append."""
        return _between(self.arrived_us, self.appended_us)

    @property
    def disk_us(self) -> int | None:
        """From the append to durability at the leader."""
        return _between(self.appended_us, self.durable_us)

    @property
    def replication_us(self) -> int | None:
        """From the append to durability on a majority."""
        return _between(self.appended_us, self.quorum_us)


def _between(start_us: int | None, end_us: int | None) -> int | None:
    return None if start_us is None or end_us is None else end_us - start_us


@dataclass(slots=True, frozen=True)
class ClockOffset:
    """The clock of node `b` minus that of node `a`, from `samples` messages in both directions, and its error."""

    a: int
    b: int
    offset_us: int
    error_us: int
    samples: int


@dataclass(slots=True, frozen=True)
class Course:
    """A run as states over time.

    Attributes:
        is_simulated: whether the trace comes from the simulator.
        has_details: whether the trace has records of logs, requests and clocks.
        begin_us: when the cluster begins: 0 for a simulated run.
        records: all records in order. A record's place is the number of the event. Details are included, and a record
            `down` for each real process that ended without one.
    """

    tables: TraceTables
    nodes: tuple[int, ...]
    clients: tuple[int, ...]
    is_simulated: bool
    has_details: bool
    origin_us: int
    begin_us: int
    end_us: int
    tracks: Mapping[int, NodeTrack]
    messages: Messages
    operations: Rows[OperationCourse]
    elections: Rows[Election]
    offsets: Rows[ClockOffset]
    records: Sequence[TraceRecord]
    origin: TraceOrigin | None

    def cut_links(self, t_us: int) -> frozenset[DirectedLink]:
        """The links that are cut at a time."""
        return frozenset(
            link
            for window in self.tables.faults
            if window.cuts and window.covers(t_us)
            for link in window.links
        )
