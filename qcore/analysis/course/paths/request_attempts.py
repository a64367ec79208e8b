"""The attempts at operations: which node took a request, forwarded it, and responded, from the details of a trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

from qcore.analysis.course.course_records import events_of
from qcore.analysis.course.course_types import MESSAGE_OUTCOMES, Messages, NodeTrack
from qcore.analysis.course.paths.entry_times import EntryTimes
from qcore.trace import TraceRecord

#: Client and number of an operation.
OperationName = tuple[int, int]

_FORWARDS: Final = frozenset({"Forward", "ForwardResponse"})
_RECEIVED: Final = MESSAGE_OUTCOMES.index("received")
_LOST: Final = MESSAGE_OUTCOMES.index("lost")


@dataclass(slots=True)
class Attempt:
    """A request that a node took for an operation.

    Attributes:
        leader: the node to which it was forwarded, or the node itself if it appended the entry.
        arrived_us: when the leader received it.
        lost: why the last message with it, or with its answer, was lost.
        is_answered: whether the leader answered a forwarded request.
        index, term: of its entry; 0 if it has none or if it is unknown.
    """

    node: int
    took_us: int
    ended_us: int | None = None
    leader: int | None = None
    forwarded_us: int | None = None
    arrived_us: int | None = None
    lost: str = ""
    is_answered: bool = False
    index: int = 0
    term: int = 0


def request_attempts(
    records: Sequence[TraceRecord],
    tracks: Mapping[int, NodeTrack],
    messages: Messages,
    times: EntryTimes,
    origin_us: int,
) -> dict[OperationName, list[Attempt]]:
    """The attempts at each operation, in order. Empty if the trace has no details.

    Args:
        records, tracks, messages: the parts of a course.
        times: finds the entries of its nodes.
        origin_us: the time at which it begins.
    """
    details = [record for _, record in events_of(records, {"request"})]
    if not details:
        return {}
    reader = _Reader(messages, _numbers(records, messages), origin_us)
    for record in details:
        reader.take(record)
    for writes in reader.arrivals(tracks).values():
        _place(writes, tracks, times)
    return reader.attempts


def _numbers(records: Sequence[TraceRecord], messages: Messages) -> dict[str, int]:
    """Id -> number, of the messages that carry requests between nodes."""
    return {
        records[messages.send_event[number]].values[1]: number
        for number, name in enumerate(messages.name)
        if name in _FORWARDS and messages.send_event[number] >= 0
    }


class _Reader:
    """Reads the details of requests."""

    def __init__(self, messages: Messages, numbers: Mapping[str, int], origin_us: int) -> None:
        self.attempts: dict[OperationName, list[Attempt]] = {}
        self._messages = messages
        self._numbers = numbers
        self._origin_us = origin_us
        self._by_request: dict[tuple[int, int], Attempt] = {}
        self._by_forward: dict[tuple[int, int], Attempt] = {}
        self._unplaced: list[Attempt] = []

    def take(self, record: TraceRecord) -> None:
        t_us, _, node, values = record
        phase, client, op_id, request, index, term, message = values
        now = t_us - self._origin_us
        if phase == "take":
            attempt = Attempt(node, now)
            self.attempts.setdefault((client, op_id), []).append(attempt)
            self._by_request[node, request] = attempt
            self._unplaced.append(attempt)
        elif phase == "forward":
            of_node = [each for each in self.attempts.get((client, op_id), ()) if each.node == node]
            if of_node:
                attempt = self._meant(of_node[-1], now, message)
                self._forward(attempt, now, request, message)
        elif phase == "answer":
            self._answer(node, request, index, message)
        elif phase == "end":
            found = self._by_request.pop((node, request), None)
            if found is not None:
                found.ended_us, found.index, found.term = now, index or found.index, term

    def _meant(self, named: Attempt, now: int, message: str) -> Attempt:
        """The attempt that is forwarded. The trace may name another one with the same text, which it has forwarded."""
        number = self._numbers.get(message)
        if named.forwarded_us is None or number is None:
            return named
        if self._messages.target[number] != named.leader:
            return named  # forwarded again, to a new leader
        waiting = (
            attempt
            for attempt in takewhile(lambda each: each.took_us >= now, reversed(self._unplaced))
            if attempt.node == named.node
        )
        return next((each for each in waiting if each.forwarded_us is None), named)

    def _forward(self, attempt: Attempt, now: int, request: int, message: str) -> None:
        self._by_forward[attempt.node, request] = attempt
        attempt.forwarded_us, attempt.arrived_us = now, None
        number = self._numbers.get(message)
        if number is None:
            return
        messages = self._messages
        attempt.leader = messages.target[number]
        if messages.outcome[number] == _RECEIVED:
            attempt.arrived_us = messages.end_us[number]
        elif messages.outcome[number] == _LOST:
            attempt.lost = messages.why[number]

    def _answer(self, leader: int, request: int, index: int, message: str) -> None:
        number = self._numbers.get(message)
        if number is None:
            return
        messages = self._messages
        attempt = self._by_forward.get((messages.target[number], request))
        if attempt is None:
            return
        attempt.leader, attempt.index, attempt.is_answered = leader, index, True
        if messages.outcome[number] == _LOST:
            attempt.lost = messages.why[number]

    def arrivals(self, tracks: Mapping[int, NodeTrack]) -> dict[tuple[int, int], list[Attempt]]:
        """The attempts by the node and the time at which they reached a leader."""
        found: dict[tuple[int, int], list[Attempt]] = {}
        for attempt in self._unplaced:
            if attempt.forwarded_us is None:
                track = tracks.get(attempt.node)
                waited = attempt.ended_us is not None and _led(track, attempt.ended_us)
                if not waited and not _led(track, attempt.took_us):
                    continue
                attempt.leader, attempt.arrived_us = attempt.node, attempt.took_us
            if attempt.leader is not None and attempt.arrived_us is not None:
                found.setdefault((attempt.leader, attempt.arrived_us), []).append(attempt)
        return found


def _led(track: NodeTrack | None, t_us: int) -> bool:
    return track is not None and any(
        span.role == "leader" and span.start_us <= t_us <= span.end_us for span in track.roles
    )


def _place(attempts: Sequence[Attempt], tracks: Mapping[int, NodeTrack], times: EntryTimes) -> None:
    """Find the entry of an attempt without a response: the only one that its leader appended when it arrived."""
    attempt = attempts[0]
    if len(attempts) > 1 or attempt.index or attempt.leader is None:
        return
    track = tracks.get(attempt.leader)
    if track is None or track.is_inferred or attempt.arrived_us is None:
        return
    appended = times.appended_at(attempt.leader, attempt.arrived_us)
    if len(appended) == 1 and appended[0].first == appended[0].last:
        attempt.index, attempt.term = appended[0].first, appended[0].term
