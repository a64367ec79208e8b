"""What each node of a trace does over time, and its state at any moment."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from itertools import repeat
from typing import Final

from qcore.analysis.course.course_records import events_of
from qcore.analysis.course.course_types import (
    ConfigChange,
    Course,
    LogShape,
    Messages,
    NodeMoment,
    NodeTrack,
    Steps,
    VoteCast,
)
from qcore.analysis.course.log_changes import log_changes
from qcore.analysis.course.log_shapes import LogHistory, LogState, shape_of
from qcore.analysis.spans import PAUSE, RoleSpan
from qcore.analysis.tables import TraceTables
from qcore.trace import TraceRecord

_KINDS: Final = frozenset({"up", "down", "vote", "config", "commit", "apply", "log", "clock"})
#: While a clock drifts, its offset changes in steps of this time, or longer ones in a long run.
_DRIFT_STEP_US: Final = 100_000
_MOST_DRIFT_STEPS: Final = 1_000
_MILLION: Final = 1_000_000


def node_tracks(
    records: Sequence[TraceRecord], tables: TraceTables, messages: Messages
) -> dict[int, NodeTrack]:
    """The track of each node.

    Args:
        records: the records of a course, in the order of time.
        tables: their tables.
        messages: their messages.
    """
    drafts = {node: _Draft(tables.end_us) for node in tables.nodes}
    for _, record in events_of(records, _KINDS):
        draft = drafts.get(record.node)
        if draft is not None:
            draft.take(record, record.t_us - tables.origin_us)
    roles: dict[int, list[RoleSpan]] = {}
    for span in tables.role_spans:
        roles.setdefault(span.node, []).append(span)
    logs, inferred = log_changes(records, messages, tables.nodes, tables.origin_us)
    return {
        node: draft.track(node, roles.get(node, ()), logs[node], is_inferred=node in inferred)
        for node, draft in drafts.items()
    }


def node_at(course: Course, node: int, t_us: int) -> NodeMoment:
    """The state of a node at a time, after what happened at this time.

    Raises:
        KeyError: the course has no such node.
    """
    track = course.tracks[node]
    place = bisect_right(track.roles, t_us, key=lambda span: span.start_us)
    span = track.roles[place - 1] if place else RoleSpan(node, 0, t_us, "down", 0, None)
    return NodeMoment(
        node=node,
        role=span.role,
        term=span.term,
        leader=span.leader,
        voted_for=_vote_at(track.votes, span.term, t_us),
        commit=track.commit.at(t_us),
        applied=track.applied.at(t_us),
        last=track.last.at(t_us),
        durable=track.durable.at(t_us) if track.durable.times else None,
        log=shape_of(track.log, t_us),
        why=span.why,
    )


def log_at(course: Course, node: int, t_us: int) -> LogShape:
    """The log of a node at a time, after what happened at this time.

    Raises:
        KeyError: the course has no such node.
    """
    return shape_of(course.tracks[node].log, t_us)


def _vote_at(votes: Sequence[VoteCast], term: int, t_us: int) -> int | None:
    place = bisect_right(votes, t_us, key=lambda vote: vote.t_us)
    if place and votes[place - 1].term == term:
        return votes[place - 1].candidate
    return None


class _StepsDraft:
    """A number over time, while it is read."""

    def __init__(self) -> None:
        self.times = array("q")
        self.values = array("q")

    @property
    def newest(self) -> int:
        return self.values[-1] if self.values else 0

    def put(self, t_us: int, value: int) -> None:
        if self.times and self.times[-1] == t_us:
            self.values[-1] = value
        elif not self.values or self.values[-1] != value:
            self.times.append(t_us)
            self.values.append(value)

    def steps(self) -> Steps:
        return Steps(self.times, self.values)


class _Draft:
    """One node, while its records are read."""

    def __init__(self, end_us: int) -> None:
        self.votes: list[VoteCast] = []
        self.configs: list[ConfigChange] = []
        self.commit = _StepsDraft()
        self.applied = _StepsDraft()
        self.durable = _StepsDraft()
        self.clock = _StepsDraft()
        self._end_us = end_us
        self._drift_ppm = 0
        self._is_paused = False
        self._started_us: int | None = None  # when it started, if it has applied nothing since

    def take(self, record: TraceRecord, t_us: int) -> None:
        _, kind, node, values = record
        if kind == "commit":
            self.commit.put(t_us, values[0])
        elif kind == "apply":
            index = values[0]
            if self._started_us is not None:
                # It started with a snapshot: the entry before the first one that it applies is the last one of it.
                self.applied.put(self._started_us, index - 1)
                self._started_us = None
            self.applied.put(t_us, index)
        elif kind == "vote":
            self.votes.append(VoteCast(t_us, node, values[0], values[1]))
        elif kind == "config":
            index, *members = values
            voters, outgoing, learners = map(tuple, members)
            self.configs.append(ConfigChange(t_us, index, voters, outgoing, learners))
        elif kind == "log":
            if values[0] == "durable":
                self.durable.put(t_us, values[1])
        elif kind == "clock":
            self._drift_to(t_us)
            self.clock.put(t_us, values[0])
            self._drift_ppm = values[1]
        elif kind == "down":
            self._is_paused = values[0] == PAUSE
        elif self._is_paused:
            self._is_paused = False
        else:
            self.commit.put(t_us, values[1])
            self.durable.put(t_us, values[2])
            self._started_us = t_us

    def _drift_to(self, t_us: int) -> None:
        """Follow a clock that drifts until a time."""
        if self._drift_ppm and self.clock.times:
            begin, offset = self.clock.times[-1], self.clock.newest
            step = max(_DRIFT_STEP_US, self._end_us // _MOST_DRIFT_STEPS)
            for when in range(begin + step, t_us, step):
                self.clock.put(when, offset + (when - begin) * self._drift_ppm // _MILLION)

    def track(
        self, node: int, roles: Sequence[RoleSpan], log: LogHistory, *, is_inferred: bool
    ) -> NodeTrack:
        self._drift_to(self._end_us)
        nothing = Steps(array("q"), array("q"))
        return NodeTrack(
            node=node,
            roles=tuple(roles),
            votes=tuple(self.votes),
            commit=_raised(self.commit.steps(), log),
            applied=_raised(self.applied.steps(), log),
            last=_last_entries(log),
            durable=nothing if is_inferred else self.durable.steps(),
            log=log,
            is_inferred=is_inferred,
            configs=tuple(self.configs),
            clock_offset_us=self.clock.steps(),
        )


def _raised(steps: Steps, log: LogHistory) -> Steps:
    """A commit or apply index, raised by the snapshots of leaders, which no other record of it shows."""
    snapshots = [change for change in log if change.phase == "snapshot"]
    if all(steps.at(change.t_us) >= change.last for change in snapshots):
        return steps
    raised = _StepsDraft()
    for t_us, is_step, value in sorted(
        [
            *((change.t_us, False, change.last) for change in snapshots),
            *zip(steps.times, repeat(True), steps.values, strict=False),
        ]
    ):
        if is_step or value > raised.newest:
            raised.put(t_us, value)
    return raised.steps()


def _last_entries(log: LogHistory) -> Steps:
    state = LogState()
    last = _StepsDraft()
    for change in log:
        state.change(change)
        last.put(change.t_us, state.last_index)
    return last.steps()
