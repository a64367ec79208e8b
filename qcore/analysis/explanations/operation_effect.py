"""Whether an operation had an effect, as far as a trace shows it. The client may not have known."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from qcore.analysis.course.course_types import Course, MessageCourse, OperationCourse
from qcore.analysis.course.node_tracks import log_at

#: `done`: it took effect; `none`: it did not and will not; `unclear`: the trace does not show it.
EffectKind = Literal["done", "none", "unclear"]


@dataclass(slots=True, frozen=True)
class Effect:
    """The effect of an operation, and why that is known or not."""

    kind: EffectKind
    why: str


def effect_of(course: Course, operation: OperationCourse) -> Effect:
    """The effect of an operation of a course. An operation that was refused never has one."""
    if operation.outcome == "refused":
        return Effect("none", "it was refused")
    if operation.outcome == "ok":
        return Effect("done", "it succeeded")
    if operation.op == "read":
        return Effect("none", "it is a read")
    if operation.committed_us is not None:
        return Effect("done", "its entry was committed")
    if operation.is_inferred:
        return Effect("unclear", "the trace has no details of requests")
    if not operation.took:
        return Effect("none", "no node took it")
    if operation.term:
        return _of_entry(course, operation)
    is_only = len(operation.took) == 1
    if is_only and lost_forward(course, operation) is not None:
        return Effect("none", "it reached no leader")
    if operation.index:
        return Effect("unclear", "the trace does not show whether its entry was committed")
    return Effect("unclear", "the trace shows no entry of it")


def _of_entry(course: Course, operation: OperationCourse) -> Effect:
    """The effect of an operation whose leader never knew that its entry was committed."""
    index = operation.index
    for node, track in course.tracks.items():
        when = track.commit.first_at_least(index)
        term = None if when is None else _term_at(course, node, index, when)
        if term == operation.term:
            return Effect("done", f"node {node} committed its entry later")
        if term is not None and len(operation.took) == 1:
            return Effect("none", f"an entry of term {term} replaced its entry")
    return Effect("unclear", "its entry was not committed before the trace ends")


def _term_at(course: Course, node: int, index: int, t_us: int) -> int | None:
    return log_at(course, node, t_us).term_of(index)


def lost_forward(course: Course, operation: OperationCourse) -> MessageCourse | None:
    """The message with the forwarded request, if it was lost."""
    if operation.forwarded_us is None:
        return None
    node, _ = chosen_attempt(operation)
    sent_us = operation.forwarded_us
    place = next(_forwards(course, node, operation.leader, sent_us, sent_us), None)
    if place is None:
        return None
    message = course.messages[place]
    return message if message.outcome == "lost" else None


def unsent_forward(
    course: Course, node: int, leader: int, start_us: int, end_us: int
) -> MessageCourse | None:
    """A request that a node could not send to the leader between two times, because it had no connection."""
    for place in _forwards(course, node, leader, start_us, end_us):
        if course.messages.send_event[place] < 0:
            return course.messages[place]
    return None


def _forwards(
    course: Course, node: int, leader: int | None, start_us: int, end_us: int
) -> Iterator[int]:
    """The places of the requests that a node forwarded to a leader between two times, both included."""
    messages = course.messages
    for place in range(bisect_left(messages.sent_us, start_us), len(messages)):
        if messages.sent_us[place] > end_us:
            return
        link = (messages.name[place], messages.source[place], messages.target[place])
        if link == ("Forward", node, leader):
            yield place


def chosen_attempt(operation: OperationCourse) -> tuple[int, int]:
    """The attempt whose way the operation shows: its node, and when that took the request."""
    before = operation.forwarded_us if operation.is_forwarded else operation.replied_us
    fitting = [took for took in operation.took if before is None or took[1] <= before]
    return (fitting or list(operation.took))[-1]
