"""Makes tables from a trace: plain lists of small records, for `pandas.DataFrame(columns(rows))` or a loop.

    tables = read_tables("run.qtrace")
    for leadership in tables.leaderships: ...

Each real node writes its own trace; `merge` merges several into one:

    tables = read_tables(merge("node1.jsonl", "node2.jsonl", "node3.jsonl"))

All times are microseconds since the trace's first record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from qcore.analysis.records import LEADERSHIP_KINDS, TraceSource
from qcore.analysis.rows import Rows, columns
from qcore.analysis.spans import (
    KINDS_FROM_OTHERS,
    SILENT,
    FaultWindow,
    Leadership,
    RoleSpan,
    Span,
    fault_windows,
    leaderless_spans,
    leaderships,
    role_spans,
)
from qcore.analysis.trace_view import TraceView, view
from qcore.analysis.watch_spans import WatchSpan, watch_spans
from qcore.trace import RECORD_FIELDS, RECORDS_MISSING_FAULT, TraceRecord, pause_collection

Scalar = str | int | None

#: Kinds of records that the process of a node causes.
_SIGNS_OF_LIFE = frozenset({"up", "down", "role", "vote", "commit", "config", "apply", "send"})
#: The kinds of records about messages, in the order of the columns of `MessageRow`.
_MESSAGE_KINDS = ("send", "recv", "drop")
#: The kinds that are counted over time, in the order of the columns of `MessageBinRow`.
_BINNED = ("send", "drop")
_BIN_US = 10_000
_MOST_BINS = 4_096
#: How long before the first sign of a cluster its time begins.
_LEAD_IN_US = 500_000


@dataclass(slots=True, frozen=True)
class TermRow:
    """A term began: `node` was the first node in it."""

    t_us: int
    node: int
    term: int


@dataclass(slots=True, frozen=True)
class CommitRow:
    """The commit index of a server became `index`."""

    t_us: int
    node: int
    index: int


@dataclass(slots=True, frozen=True)
class OperationRow:
    """A client's operation: `outcome` is `ok`, `refused`, `unknown`, or `open` at the trace's end.

    Attributes:
        node: the node that took the last attempt, which may have forwarded it; 0 if the trace does not say.
    """

    client: int
    op_id: int
    op: str
    key: str
    value: Scalar
    invoke_us: int
    end_us: int | None
    outcome: str
    output: Scalar
    note: str
    node: int = 0

    @property
    def latency_us(self) -> int | None:
        """The time from invocation to outcome ok; None for any other outcome."""
        if self.outcome != "ok" or self.end_us is None:
            return None
        return self.end_us - self.invoke_us


@dataclass(slots=True, frozen=True)
class MessageRow:
    """How many messages of one kind were sent, delivered and lost."""

    message: str
    sent: int
    delivered: int
    dropped: int


@dataclass(slots=True, frozen=True)
class MessageBinRow:
    """How many messages of one kind were sent and lost from `start_us` to `end_us`."""

    start_us: int
    end_us: int
    message: str
    sent: int
    dropped: int


@dataclass(slots=True, frozen=True)
class VoteRow:
    """`node` voted for `candidate` in a term."""

    t_us: int
    node: int
    term: int
    candidate: int


@dataclass(slots=True, frozen=True)
class ViolationRow:
    """A check failed."""

    t_us: int
    node: int
    check: str
    note: str


@dataclass(slots=True, frozen=True)
class GapRow:
    """Records are missing in a trace, between the last one before and the first one after the gap.

    Attributes:
        nodes: the nodes that wrote this trace; empty if they are not known.
        note: how many records are missing, and why.
    """

    start_us: int
    end_us: int
    nodes: tuple[int, ...]
    note: str

    @property
    def label(self) -> str:
        """A short text for a plot."""
        of = f", node {', '.join(map(str, self.nodes))}" if self.nodes else ""
        return f"records missing{of}"


@dataclass(slots=True, frozen=True)
class TraceTables:
    """All tables of one trace.

    Attributes:
        name, seed: from the header, or from the headers of merged traces.
        nodes: the nodes in the headers and the nodes that joined later; without a header, all nodes in the records.
        origin_us: the time of the first record, by the clock of the trace.
        begin_us: when the cluster began, since the first record: shortly before the first voter or candidate of a trace
            of real nodes, which may have waited for each other; 0 for a simulated run.
        end_us: the time of the last record, since the first.
        voters: the voters of the newest configuration, or all nodes.
        gaps: the stretches with missing records; the other tables do not show what happened there.
    """

    name: str
    seed: int
    nodes: tuple[int, ...]
    voters: tuple[int, ...]
    origin_us: int
    begin_us: int
    end_us: int
    role_spans: Rows[RoleSpan]
    leaderships: Rows[Leadership]
    leaderless: Rows[Span]
    terms: Rows[TermRow]
    commits: Rows[CommitRow]
    operations: Rows[OperationRow]
    messages: Rows[MessageRow]
    message_bins: Rows[MessageBinRow]
    votes: Rows[VoteRow]
    faults: Rows[FaultWindow]
    gaps: Rows[GapRow]
    violations: Rows[ViolationRow]
    watches: Rows[WatchSpan]

    def leaderless_after(self, t_us: int) -> Span | None:
        """The first stretch without a leader that begins or continues at `t_us` or later."""
        return next((span for span in self.leaderless if span.end_us > t_us), None)


def read_tables(source: TraceSource, *, kinds: Collection[str] | None = None) -> TraceTables:
    """Make the tables of a trace.

    Args:
        source: a path, lines, records in the order of time, a compact trace, or a writer that keeps its records.
        kinds: read only these kinds of records, which is faster. `LEADERSHIP_KINDS` are enough for everything except
            operations, commits, messages and watches.

    Raises:
        ConfigError: the trace cannot be read or contains an invalid line.
    """
    trace = view(source, kinds)
    with pause_collection():
        return _tables(trace)


def _tables(trace: TraceView) -> TraceTables:
    records = trace.rare()
    outline = _Outline(trace, records)
    origin, end = outline.first_us, outline.last_us - outline.first_us
    headers = [record.fields for record in records if record.kind == "run"]
    named = {node for header in headers for node in header["nodes"]}
    nodes = tuple(sorted(named | outline.acting(everything=not named)))
    voters = _voters(records) or nodes
    spans = role_spans(records, origin, end)
    windows = fault_windows(records, origin, end)
    faults = [window for window in windows if window.fault != RECORDS_MISSING_FAULT]
    return TraceTables(
        name=", ".join(sorted({header["name"] for header in headers})),
        seed=headers[0]["seed"] if headers else 0,
        nodes=nodes,
        voters=voters,
        origin_us=origin,
        begin_us=_begin(records, headers, origin),
        end_us=end,
        role_spans=Rows(RoleSpan, spans),
        leaderships=Rows(Leadership, leaderships(spans)),
        leaderless=Rows(Span, leaderless_spans(spans, [w for w in faults if w.cuts], voters, end)),
        terms=Rows(TermRow, _terms(records, origin)),
        commits=Rows(CommitRow, _commits(trace, origin)),
        operations=Rows(OperationRow, _operations(trace, origin)),
        messages=Rows(MessageRow, outline.messages()),
        message_bins=Rows(MessageBinRow, outline.message_bins()),
        votes=Rows(VoteRow, _votes(trace, origin)),
        faults=Rows(FaultWindow, faults),
        gaps=Rows(GapRow, _gaps(windows, records, spans, origin)),
        violations=Rows(
            ViolationRow,
            (
                ViolationRow(
                    record.t_us - origin, record.node, record.fields["check"], record.fields["note"]
                )
                for record in records
                if record.kind == "violation"
            ),
        ),
        watches=Rows(WatchSpan, watch_spans(records, origin, end)),
    )


def _gaps(
    windows: Sequence[FaultWindow],
    records: Sequence[TraceRecord],
    spans: Sequence[RoleSpan],
    origin: int,
) -> Iterator[GapRow]:
    """The gaps that a trace names, and the lost ends of the traces of nodes that were killed."""
    for window in windows:
        if window.fault == RECORDS_MISSING_FAULT:
            yield GapRow(window.start_us, window.end_us, window.nodes, window.note)
    for span in spans:
        if span.why != SILENT:
            continue
        until_us = max(
            record.t_us - origin
            for record in records
            if record.node == span.node
            and record.kind not in KINDS_FROM_OTHERS
            and record.t_us - origin <= span.start_us
        )
        if until_us < span.start_us:
            note = f"node {span.node} was killed, or its machine failed, before it had written its last records"
            yield GapRow(until_us, span.start_us, (span.node,), note)


class _Outline:
    """The range of time of a trace, its nodes, and its numbers of messages, from one pass over each kind.

    Attributes:
        first_us, last_us: the earliest and the latest time of a record: a real clock may step back. 0 without records.
    """

    def __init__(self, trace: TraceView, rare: Sequence[TraceRecord]) -> None:
        times = [
            record.t_us for record in rare
        ]  # a gap also has the time of a record that is not read
        self._nodes: dict[str, set[int]] = {}
        self._messages: dict[str, Counter[str]] = {}
        self._bins: dict[str, Counter[tuple[int, str]]] = {kind: Counter() for kind in _BINNED}
        for kind in RECORD_FIELDS:
            found = self._nodes.setdefault(kind, set())
            counted = ("message",) if kind in _MESSAGE_KINDS else ()
            counts = self._messages.setdefault(kind, Counter())
            for when, nodes, *names in trace.columns(kind, "t_us", "node", *counted):
                times += (min(when), max(when))
                found.update(nodes)
                for name in names:
                    counts.update(name)
                    if kind in _BINNED:
                        bins = [t_us // _BIN_US for t_us in when]
                        self._bins[kind].update(zip(bins, name, strict=True))
        self.first_us = min(times, default=0)
        self.last_us = max(times, default=0)

    def acting(self, *, everything: bool) -> set[int]:
        """The nodes in the records. A message to a node does not show that the node exists: it may have been sent to an
        address without a node.

        Args:
            everything: also the nodes that other records name.
        """
        kinds = self._nodes if everything else _SIGNS_OF_LIFE
        return {node for kind in kinds for node in self._nodes[kind] if node > 0}

    def messages(self) -> list[MessageRow]:
        names = sorted({name for counts in self._messages.values() for name in counts})
        return [
            MessageRow(name, *(self._messages[kind][name] for kind in _MESSAGE_KINDS))
            for name in names
        ]

    def message_bins(self) -> list[MessageBinRow]:
        """The numbers of messages over time, in at most `_MOST_BINS` stretches of equal length."""
        first, last = self.first_us // _BIN_US, self.last_us // _BIN_US
        size = -(-(last - first + 1) // _MOST_BINS)
        sums: dict[tuple[int, str], list[int]] = {}
        for column, kind in enumerate(_BINNED):
            for (number, name), count in self._bins[kind].items():
                sums.setdefault(((number - first) // size, name), [0, 0])[column] += count
        start = first * _BIN_US - self.first_us
        length = size * _BIN_US
        return [
            MessageBinRow(
                max(0, start + number * length),
                min(start + (number + 1) * length, self.last_us - self.first_us),
                name,
                *sums[number, name],
            )
            for number, name in sorted(sums)
        ]


def _begin(records: Sequence[TraceRecord], headers: Sequence[dict[str, Any]], origin: int) -> int:
    """When the cluster of real nodes began. Before, nodes that wait for others or for a configuration do nothing."""
    if not headers or not all(is_of_real_node(header) for header in headers):
        return 0
    signs = (
        record.t_us
        for record in records
        if (record.kind == "config" and record.fields["voters"])
        or (record.kind == "role" and record.fields["role"] not in ("follower", "learner"))
    )
    return max(0, next(signs, origin) - origin - _LEAD_IN_US)


def is_of_real_node(header: dict[str, Any]) -> bool:
    """Whether a header is that of a real node, which names only itself."""
    return len(header["nodes"]) == 1 and header["name"] == f"node {header['nodes'][0]}"


def _votes(trace: TraceView, origin: int) -> list[VoteRow]:
    return [
        VoteRow(t_us - origin, node, term, candidate)
        for part in trace.columns("vote", "t_us", "node", "term", "candidate")
        for t_us, node, term, candidate in zip(*part, strict=True)
    ]


def _voters(records: Sequence[TraceRecord]) -> tuple[int, ...]:
    configs = [record.fields for record in records if record.kind == "config"]
    newest = max(configs, key=lambda config: int(config["index"]), default=None)
    return tuple(newest["voters"]) if newest is not None else ()


def _terms(records: Sequence[TraceRecord], origin: int) -> list[TermRow]:
    rows: list[TermRow] = []
    highest = 0
    for record in records:
        if record.kind in ("role", "up") and record.fields["term"] > highest:
            highest = record.fields["term"]
            rows.append(TermRow(record.t_us - origin, record.node, highest))
    return rows


def _commits(trace: TraceView, origin: int) -> Iterator[CommitRow]:
    for times, nodes, indexes in trace.columns("commit", "t_us", "node", "index"):
        yield from map(CommitRow, [t_us - origin for t_us in times], nodes, indexes)


def _operations(trace: TraceView, origin: int) -> list[OperationRow]:
    begun: dict[tuple[int, int], tuple[str, str, Scalar, int]] = {}
    ended: dict[tuple[int, int], tuple[int, str, Scalar, str]] = {}
    nodes: dict[tuple[int, int], int] = {}
    fields = ("t_us", "node", "client", "op_id", "phase", "op", "key", "value", "note")
    for part in trace.columns("op", *fields):
        for t_us, node, client, op_id, phase, op, key, value, note in zip(*part, strict=True):
            name = (client, op_id)
            nodes[name] = node or nodes.get(name, 0)
            if phase == "invoke":
                begun[name] = (op, key, value, t_us - origin)
                ended.pop(name, None)
            elif name in begun:
                ended[name] = (t_us - origin, phase, value, note)
    never: tuple[None, str, Scalar, str] = (None, "open", None, "")
    rows: list[OperationRow] = []
    for name, (op, key, value, invoke_us) in begun.items():
        end_us, outcome, output, note = ended.get(name, never)
        rows.append(
            OperationRow(
                *name, op, key, value, invoke_us, end_us, outcome, output, note, nodes[name]
            )
        )
    return rows


__all__ = [
    "LEADERSHIP_KINDS",
    "CommitRow",
    "FaultWindow",
    "GapRow",
    "Leadership",
    "MessageBinRow",
    "MessageRow",
    "OperationRow",
    "RoleSpan",
    "Rows",
    "Span",
    "TermRow",
    "TraceTables",
    "ViolationRow",
    "VoteRow",
    "WatchSpan",
    "columns",
    "read_tables",
]
