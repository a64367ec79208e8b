"""The causal past and future of an event: what could have influenced it, and what it could influence (Lamport 1978)."""

from __future__ import annotations

from dataclasses import dataclass

from qcore.analysis.course.course_types import Course
from qcore.analysis.course.message_pairs import RECEIVED


@dataclass(slots=True, frozen=True)
class Cone:
    """The causal past and future of an event. A node or message that is in neither is independent of it.

    Attributes:
        past: node -> the last of its events that precedes the event.
        future: node -> the first of its events that follows the event.
        past_messages, future_messages: the numbers of the messages that connect them.
    """

    past: dict[int, int]
    future: dict[int, int]
    past_messages: frozenset[int]
    future_messages: frozenset[int]


def cone(course: Course, event: int) -> Cone:
    """The causal past and future of an event.

    An event precedes the later events of its node. The sending of a message precedes its receipt. The loss of a message
    follows its sending, and precedes nothing. An event without a node, such as most faults, is independent of all.

    Args:
        course: the course.
        event: the number of a record.

    Raises:
        IndexError: the course has no such event.
    """
    record = course.records[event]
    messages = course.messages
    past: dict[int, int] = {}
    future: dict[int, int] = {}
    before: set[int] = set()
    after: set[int] = set()
    if record.kind == "drop":
        for number, end in enumerate(messages.end_event):
            if end == event and messages.send_event[number] >= 0:
                past[messages.source[number]] = messages.send_event[number]
                before.add(number)
    elif record.node > 0:
        past[record.node] = future[record.node] = event
    arrived = [number for number, outcome in enumerate(messages.outcome) if outcome == RECEIVED]
    sent, ended = messages.send_event, messages.end_event
    # A message that arrives before it was sent, by clocks that differ, connects nothing.
    for number in sorted(
        (n for n in arrived if 0 <= sent[n] < ended[n] <= event),
        key=ended.__getitem__,
        reverse=True,
    ):
        if ended[number] <= past.get(messages.target[number], -1):
            source = messages.source[number]
            past[source] = max(past.get(source, -1), sent[number])
            before.add(number)
    for number in sorted((n for n in arrived if event <= sent[n] < ended[n]), key=sent.__getitem__):
        if sent[number] >= future.get(messages.source[number], len(course.records)):
            target = messages.target[number]
            future[target] = min(future.get(target, ended[number]), ended[number])
            after.add(number)
    return Cone(past, future, frozenset(before), frozenset(after))
