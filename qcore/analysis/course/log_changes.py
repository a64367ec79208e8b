"""The changes of each node's log: from the details of the trace, or inferred from starts, messages and applied entries.

The rules of inference are those of Raft. A leader's log only grows, by entries of its term. A follower accepts entries
if it holds the entry before them with the same term, and removes what conflicts with them. What no record shows stays
unknown: an entry that no message and no application names has the term 0. The snapshot with which a node shortens its
log does not appear.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from qcore.analysis.course.course_records import events_of
from qcore.analysis.course.course_types import LogChange, LogPhase, Messages
from qcore.analysis.course.log_shapes import LogHistory, LogState
from qcore.analysis.course.message_pairs import RECEIVED
from qcore.analysis.spans import PAUSE
from qcore.trace import TraceRecord

_DETAILED_KINDS: Final = frozenset({"up", "down", "log"})
_KINDS: Final = _DETAILED_KINDS | {"role", "commit", "apply", "send", "recv"}
_ENTRIES: Final = re.compile(r"prev (\d+)\.(\d+) entries (\d+) ")
_SNAPSHOT: Final = re.compile(r"through (\d+)\.(\d+) ")
_MATCH: Final = re.compile(r"match (\d+)")


def log_changes(
    records: Sequence[TraceRecord], messages: Messages, nodes: Iterable[int], origin_us: int
) -> tuple[dict[int, LogHistory], frozenset[int]]:
    """The changes of each node's log, and the nodes for which they are inferred.

    Args:
        records: the records of a course.
        messages: its messages.
        nodes: its nodes.
        origin_us: the time that counts as 0.
    """
    detailed = {record.node for _, record in events_of(records, {"log"})}
    inferred = frozenset(nodes) - detailed
    cluster = _Cluster(records, messages, nodes, inferred)
    for event, record in events_of(records, _KINDS if inferred else _DETAILED_KINDS):
        cluster.take(event, record, record.t_us - origin_us)
    return {node: LogHistory(log.changes) for node, log in cluster.logs.items()}, inferred


class _Log:
    """The log of one node while the records are read."""

    def __init__(self, *, is_inferred: bool) -> None:
        self.is_inferred = is_inferred
        self.state = LogState()
        self.changes: list[LogChange] = []
        self.role = ""
        self.term = 0
        self.is_paused = False
        self.waiting: list[int] = []  # messages that arrived while the process was frozen
        self.snapshot = (0, 0)  # the last entry of the snapshot that it receives

    def change(self, t_us: int, phase: LogPhase, first: int, last: int, term: int) -> None:
        change = LogChange(t_us, phase, first, last, term)
        self.state.change(change)
        self.changes.append(change)


class _Cluster:
    """The logs of all nodes while the records are read."""

    def __init__(
        self,
        records: Sequence[TraceRecord],
        messages: Messages,
        nodes: Iterable[int],
        inferred: Collection[int],
    ) -> None:
        self.logs = {node: _Log(is_inferred=node in inferred) for node in nodes}
        self._messages = messages
        self._committed: dict[int, int] = {}
        for _, (_, _, _, (index, term, _)) in events_of(records, {"apply"}):
            self._committed[index] = term
        self._received: dict[int, int] = {}
        if inferred:
            self._received = {
                event: number
                for number, event in enumerate(messages.end_event)
                if messages.outcome[number] == RECEIVED
            }

    def take(self, event: int, record: TraceRecord, t_us: int) -> None:
        """Follow one record."""
        _, kind, node, values = record
        log = self.logs.get(node)
        if log is None:
            return
        if kind == "down":
            log.is_paused = values[0] == PAUSE
            log.waiting.clear()
        elif kind == "up":
            if log.is_paused:
                log.is_paused = False
                for number in log.waiting:
                    self._receive(log, t_us, number)
            else:
                log.role, log.term = "follower", values[0]
                self._started(log, t_us, values[2])
        elif kind == "log":
            _detail(log, t_us, *values)
        elif log.is_inferred:
            self._infer(log, event, t_us, kind, values)

    def _infer(self, log: _Log, event: int, t_us: int, kind: str, values: tuple[Any, ...]) -> None:
        if kind == "send":
            self._sent(log, t_us, *values)
        elif kind == "recv":
            number = self._received.get(event)
            if number is not None and log.is_paused:
                log.waiting.append(number)
            elif number is not None:
                self._receive(log, t_us, number)
        elif kind == "apply":
            self._applied(log, t_us, values[0], values[1])
        elif kind == "role":
            log.role, log.term = values[0], values[1]
        elif log.role == "leader" and values[0] > log.state.last_index:  # it leads alone
            log.change(t_us, "append", log.state.last_index + 1, values[0], log.term)

    def _started(self, log: _Log, t_us: int, last: int) -> None:
        known = log.state.last_index
        if last < known:
            log.change(t_us, "cut", last + 1, 0, 0)
        elif last > known:
            self._append_committed(log, t_us, known + 1, last)

    def _append_committed(self, log: _Log, t_us: int, first: int, last: int) -> None:
        """Append entries of which only their application can show the terms."""
        begin = first
        for index in range(first, last + 1):
            term = self._committed.get(begin, 0)
            if index == last or self._committed.get(index + 1, 0) != term:
                log.change(t_us, "append", begin, index, term)
                begin = index + 1

    def _sent(
        self, log: _Log, t_us: int, to: int, _id: str, name: str, term: int, note: str
    ) -> None:
        if name == "AppendEntries":
            found = _ENTRIES.match(note)
            if found is not None:
                last = int(found[1]) + int(found[3])
                if last > log.state.last_index:
                    log.change(t_us, "append", log.state.last_index + 1, last, term)
        elif name == "InstallSnapshotResponse":
            found = _MATCH.match(note)
            index, of_term = log.snapshot
            if found is not None and index and int(found[1]) >= index:
                log.snapshot = (0, 0)
                if log.state.term_of(index) == of_term:
                    log.change(t_us, "snapshot", index + 1, index, of_term)
                elif index > log.state.snapshot_index:
                    if log.state.last_index > index:
                        log.change(t_us, "cut", index + 1, 0, 0)
                    log.change(t_us, "snapshot", index + 1, index, of_term)

    def _receive(self, log: _Log, t_us: int, number: int) -> None:
        name = self._messages.name[number]
        if name == "AppendEntries":
            found = _ENTRIES.match(self._messages.note[number])
            if found is not None and self._messages.term[number] >= log.term:
                prev, term, count = map(int, found.groups())
                self._append_entries(log, t_us, number, (prev, term, count))
        elif name == "InstallSnapshot":
            found = _SNAPSHOT.match(self._messages.note[number])
            if found is not None:
                log.snapshot = (int(found[1]), int(found[2]))

    def _append_entries(
        self, log: _Log, t_us: int, number: int, entries: tuple[int, int, int]
    ) -> None:
        prev, prev_term, count = entries
        state = log.state
        if prev > state.last_index:
            return
        if prev > state.snapshot_index and state.term_of(prev) not in (prev_term, 0):
            return
        first, last = max(prev, state.snapshot_index) + 1, prev + count
        leader = self.logs.get(self._messages.source[number])
        runs = [] if leader is None else leader.state.runs_between(first, last)
        term = self._messages.term[number]
        for begin, end, of_run in runs or ([(first, last, term)] if first <= last else []):
            for index in range(begin, end + 1):
                if state.term_of(index) != of_run:
                    if index <= state.last_index:
                        log.change(t_us, "cut", index, 0, 0)
                    log.change(t_us, "append", index, end, of_run)
                    break

    def _applied(self, log: _Log, t_us: int, index: int, term: int) -> None:
        state = log.state
        if index <= state.snapshot_index:
            return
        known = state.term_of(index)
        if known == term:
            return
        last = state.last_index
        if known is None:
            self._append_committed(log, t_us, last + 1, index)
            return
        # The log held another entry than was inferred. What follows it was inferred, too.
        after = state.runs_between(index + 1, last)
        log.change(t_us, "cut", index, 0, 0)
        log.change(t_us, "append", index, index, term)
        for run in after:
            log.change(t_us, "append", *run)


def _detail(log: _Log, t_us: int, phase: str, index: int, term: int, count: int) -> None:
    if phase == "append":
        log.change(t_us, "append", index, index + count - 1, term)
    elif phase == "cut":
        if index <= log.state.last_index:
            log.change(t_us, "cut", index, 0, 0)
    elif phase == "snapshot":
        log.change(t_us, "snapshot", count + 1, index, term)
