"""The state of a run before a chunk of its events, and how its logs change in the chunk."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from qcore.analysis.course.course_types import Course, Steps
from qcore.analysis.course.node_tracks import node_at
from qcore.analysis.spans import PAUSE
from qcore.trace import TraceRecord
from qcore.view.chunk_codec import differences
from qcore.view.run_summary import faults

#: How many runs of a log and how many flying messages a keyframe holds: the newest.
_MOST_RUNS: Final = 64
_MOST_FLIGHTS: Final = 2000
#: The phases of a change of a log, by their numbers in a chunk.
_LOG_PHASES: Final = {"append": 0, "cut": 1, "snapshot": 2}


@dataclass(slots=True, frozen=True)
class Extent:
    """The part of a course that a page shows.

    Attributes:
        first, stop: the numbers of its events. On the page they begin with 0.
        start_us, end_us: its time.
    """

    first: int
    stop: int
    start_us: int
    end_us: int

    @property
    def events(self) -> int:
        """How many events it has."""
        return self.stop - self.first

    def number(self, event: int) -> int:
        """The number of an event on the page; -1 if it is not there."""
        return event - self.first if self.first <= event < self.stop else -1


def whole(course: Course) -> Extent:
    """All of a course."""
    return Extent(0, len(course.records), course.begin_us, course.end_us)


def between(course: Course, start_us: int, end_us: int) -> Extent:
    """The events of a course from `start_us` to `end_us`, both included."""

    def time_of(record: TraceRecord) -> int:
        return record.t_us - course.origin_us

    first = bisect_left(course.records, start_us, key=time_of)
    stop = bisect_right(course.records, end_us, lo=first, key=time_of)
    return Extent(first, stop, max(start_us, 0), min(end_us, course.end_us))


def messages_by_event(course: Course) -> array[int]:
    """For each event, the message that it sends or ends; -1 if it is no such event, or not known to be.

    Of an event that sends several copies of a message, that is the first copy to arrive.
    """
    found = array("q", [-1]) * len(course.records)
    messages = course.messages
    for number in range(len(messages) - 1, -1, -1):
        for event in (messages.end_event[number], messages.send_event[number]):
            if event >= 0:
                found[event] = number
    return found


def flight(course: Course, extent: Extent, number: int) -> list[object]:
    """One message as a row: its sending (event), sent_us, source, target, name, term, note, end_us, outcome."""
    messages = course.messages
    sent = messages.send_event[number]
    return [
        extent.number(sent) if sent >= 0 else -1,
        messages.sent_us[number],
        messages.source[number],
        messages.target[number],
        messages.name[number],
        messages.term[number],
        messages.note[number],
        messages.end_us[number],
        messages.outcome[number],
    ]


class Keyframes:
    """The states of a run before its chunks, which are asked for in the order of time.

    Args:
        course: the course of the run.
        extent: the part of it that the page shows.
    """

    def __init__(self, course: Course, extent: Extent) -> None:
        self._course = course
        self._extent = extent
        self._flying: list[int] = []
        self._sent = 0  # how many messages were taken into account
        self._logs = dict.fromkeys(course.tracks, 0)
        self._faults = faults(course)

    def keyframe(self, start_us: int) -> dict[str, object]:
        """The state after everything that happened before `start_us`."""
        course, before_us = self._course, start_us - 1
        return {
            "t": start_us,
            "nodes": {str(node): _node(course, node, before_us) for node in course.nodes},
            "cut": [list(link) for link in sorted(course.cut_links(before_us))],
            "faults": [
                number for number, window in enumerate(self._faults) if window.covers(before_us)
            ],
            "flights": self._flights(start_us),
        }

    def changes(self, start_us: int, next_us: int) -> dict[str, object]:
        """How logs, their durable parts and clocks change from `start_us` until before `next_us`."""
        logs: list[tuple[int, int, int, int, int, int]] = []
        durable: list[tuple[int, int, int]] = []
        clocks: list[tuple[int, int, int]] = []
        for node, track in self._course.tracks.items():
            place = self._logs[node]
            while place < len(track.log) and track.log[place].t_us < next_us:
                change = track.log[place]
                if change.t_us >= start_us:
                    phase = _LOG_PHASES[change.phase]
                    logs.append((change.t_us, node, phase, change.first, change.last, change.term))
                place += 1
            self._logs[node] = place
            durable += _steps_between(node, track.durable, start_us, next_us)
            clocks += _steps_between(node, track.clock_offset_us, start_us, next_us)
        return {
            "log": _columns(("t", "node", "phase", "first", "last", "term"), logs, start_us),
            "durable": _columns(("t", "node", "index"), durable, start_us),
            "clock": _columns(("t", "node", "offset"), clocks, start_us),
        }

    def _flights(self, start_us: int) -> list[list[object]]:
        messages = self._course.messages
        stop = bisect_left(messages.sent_us, start_us, lo=self._sent)
        ends = messages.end_us
        self._flying = [
            number
            for some in (self._flying, range(self._sent, stop))
            for number in some
            if ends[number] >= start_us
        ]
        self._sent = stop
        return [
            flight(self._course, self._extent, number) for number in self._flying[-_MOST_FLIGHTS:]
        ]


def _steps_between(
    node: int, steps: Steps, start_us: int, next_us: int
) -> list[tuple[int, int, int]]:
    first, stop = bisect_left(steps.times, start_us), bisect_left(steps.times, next_us)
    return [(steps.times[n], node, steps.values[n]) for n in range(first, stop)]


def _node(course: Course, node: int, t_us: int) -> dict[str, object]:
    moment = node_at(course, node, t_us)
    track = course.tracks[node]
    place = bisect_right(track.votes, t_us, key=lambda vote: vote.t_us)
    vote = track.votes[place - 1] if place else None
    return {
        "up": moment.role != "down",
        "paused": moment.role == "down" and moment.why == PAUSE,
        "role": moment.role,
        "term": moment.term,
        "leader": moment.leader,
        "voted": moment.voted_for,
        "vote": [vote.term, vote.candidate] if vote is not None else None,
        "commit": moment.commit,
        "applied": moment.applied,
        "last": moment.last,
        "durable": moment.durable,
        "snap": [moment.log.snapshot_index, moment.log.snapshot_term],
        "log": [list(run) for run in moment.log.runs[-_MOST_RUNS:]],
        "clock": track.clock_offset_us.at(t_us),
    }


def _columns(
    names: Sequence[str], rows: Iterable[Sequence[int]], start_us: int
) -> dict[str, list[int]]:
    in_order = sorted(rows, key=lambda row: row[0])
    columns = {name: [row[place] for row in in_order] for place, name in enumerate(names)}
    columns["t"] = differences(columns["t"], start_us)
    return columns
