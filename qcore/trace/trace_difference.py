"""`diff_traces`: the first record at which two traces part, in context."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from pathlib import Path
from typing import Final

from qcore.compiled_build import register_copies
from qcore.errors import ConfigError
from qcore.trace.compact_trace import CompactTrace
from qcore.trace.json_lines import parse_trace
from qcore.trace.trace_files import open_trace
from qcore.trace.trace_record import TraceRecord

#: How many records before and after the difference are reported, unless the caller wants another number.
CONTEXT: Final = 5
#: The header of a trace names the scenario and the seed.
_HEADER: Final = "run"


@dataclass
class NodeAtDifference:
    """What a node was in when two traces parted.

    Attributes:
        node: its id.
        up: whether its process ran.
        role, term, leader: its role, its term, and the leader that it knew.
        commit, applied: its commit index and its apply index.
    """

    node: int
    up: bool = False
    role: str = ""
    term: int = 0
    leader: int | None = None
    commit: int = 0
    applied: int = 0

    def __str__(self) -> str:
        if not self.up:
            return f"node {self.node}: down"
        leader = "no leader" if self.leader is None else f"leader {self.leader}"
        return (
            f"node {self.node}: {self.role or 'started'} in term {self.term}, {leader}, commit index {self.commit}, "
            f"apply index {self.applied}"
        )


@dataclass(frozen=True, repr=False)
class TraceDifference:
    """Where two traces part.

    Attributes:
        index: how many records both traces have in common.
        t_us: the time of the earlier of the two records that differ, in microseconds.
        before: the last common records, in order.
        first, second: the records of the two traces from the difference on, in order. One of them is empty if that
            trace has ended.
        nodes: what each node was in, by its id.
        headers: the two headers, if they differ: traces of two seeds, or of two scenarios.
    """

    index: int
    t_us: int
    before: tuple[TraceRecord, ...]
    first: tuple[TraceRecord, ...]
    second: tuple[TraceRecord, ...]
    nodes: tuple[NodeAtDifference, ...]
    headers: tuple[TraceRecord, TraceRecord] | None = None

    def __repr__(self) -> str:
        return f"TraceDifference(after {self.index} records, at {self.t_us / 1000:.3f} ms)"


@dataclass
class _NodeTable:
    """Follows the states of the nodes through the records."""

    nodes: dict[int, NodeAtDifference] = field(default_factory=dict)

    def follow(self, record: TraceRecord) -> None:
        kind = record.kind
        if kind not in ("up", "down", "role", "commit", "apply"):
            return
        node = self.nodes.setdefault(record.node, NodeAtDifference(record.node))
        values = record.values
        if kind == "up":
            term, commit, _ = values
            self.nodes[record.node] = NodeAtDifference(record.node, True, "", term, None, commit)
        elif kind == "down":
            node.up = False
        elif kind == "role":
            node.role, node.term, node.leader = values
        elif kind == "commit":
            node.commit = values[0]
        else:
            node.applied = values[0]


def diff_traces(
    first: Path | str | Iterable[TraceRecord],
    second: Path | str | Iterable[TraceRecord],
    *,
    context: int = CONTEXT,
) -> TraceDifference | None:
    """Find the first record at which two traces part. They are read record by record.

    Headers that differ do not end the comparison, because traces of two seeds can have the same beginning.

    Args:
        first, second: trace files of either format, or records.
        context: how many records to report before the difference, and of each trace after it.

    Returns:
        The difference; None if the traces have the same records.

    Raises:
        ConfigError: a file cannot be read, is damaged, or is no trace; or `context` is negative.
    """
    if context < 0:
        raise ConfigError(f"context: {context} is not at least 0")
    with ExitStack() as stack:
        return _first_difference(
            _records(first, stack), _records(second, stack), max(1, context), context
        )


def _records(source: Path | str | Iterable[TraceRecord], stack: ExitStack) -> Iterator[TraceRecord]:
    if not isinstance(source, Path | str):
        return iter(source)
    content = stack.enter_context(open_trace(source))
    if isinstance(content, CompactTrace):
        return content.iterate()
    return _named_errors(parse_trace(content), source)


def _named_errors(records: Iterator[TraceRecord], path: Path | str) -> Iterator[TraceRecord]:
    try:
        yield from records
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _first_difference(
    first: Iterator[TraceRecord], second: Iterator[TraceRecord], after: int, before: int
) -> TraceDifference | None:
    common: deque[TraceRecord] = deque(maxlen=before)
    table = _NodeTable()
    headers: tuple[TraceRecord, TraceRecord] | None = None
    index = last_us = 0
    for index, (one, other) in enumerate(zip_longest(first, second)):
        if one == other:
            assert one is not None, "both traces have a record here"
            common.append(one)
            table.follow(one)
            last_us = one.t_us
            continue
        if one is not None and other is not None and one.kind == other.kind == _HEADER:
            headers = headers or (one, other)
            continue
        found = [record for record in (one, other) if record is not None]
        return TraceDifference(
            index,
            min(record.t_us for record in found),
            tuple(common),
            _from(one, first, after),
            _from(other, second, after),
            tuple(table.nodes[node] for node in sorted(table.nodes)),
            headers,
        )
    if headers is None:
        return None
    nodes = tuple(table.nodes[node] for node in sorted(table.nodes))
    return TraceDifference(index + 1, last_us, tuple(common), (), (), nodes, headers)


def _from(
    record: TraceRecord | None, rest: Iterator[TraceRecord], number: int
) -> tuple[TraceRecord, ...]:
    return () if record is None else (record, *islice(rest, number - 1))


register_copies(globals())
