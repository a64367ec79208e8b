"""When nodes heard from a leader: the arrivals of its entries, heartbeats and snapshots."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from qcore.analysis.course.course_types import MESSAGE_OUTCOMES, Messages

_LEADER_MESSAGES: Final = frozenset({"AppendEntries", "InstallSnapshot"})
_RECEIVED: Final = MESSAGE_OUTCOMES.index("received")
#: How many messages `last_contact` reads at most.
_MOST_READ: Final = 200_000
_LOST: Final = MESSAGE_OUTCOMES.index("lost")


@dataclass(slots=True, frozen=True)
class Contact:
    """A message of a leader that a node received."""

    sent_us: int
    received_us: int


@dataclass(slots=True, frozen=True)
class Silence:
    """What a leader sent to a node in a stretch of time, of which nothing arrived.

    Attributes:
        sent, lost: how many messages it sent, and how many of them were lost.
        why: why the last one was lost.
    """

    sent: int
    lost: int
    why: str


def last_contact(messages: Messages, leader: int, node: int, t_us: int) -> Contact | None:
    """As `LeaderContacts.last`, for a single question: it reads back from the time, but not for ever."""
    last = bisect_right(messages.sent_us, t_us) - 1
    found: Contact | None = None
    for number in range(last, max(last - _MOST_READ, -1), -1):
        if found is not None and messages.sent_us[number] < found.sent_us - messages.longest_us:
            break
        if (
            messages.source[number] == leader
            and messages.target[number] == node
            and messages.outcome[number] == _RECEIVED
            and messages.name[number] in _LEADER_MESSAGES
            and messages.end_us[number] < t_us
            and (found is None or messages.end_us[number] > found.received_us)
        ):
            found = Contact(messages.sent_us[number], messages.end_us[number])
    return found


class LeaderContacts:
    """The messages of leaders to each node.

    Args:
        messages: the messages of a course.
    """

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._arrivals: dict[tuple[int, int], tuple[array[int], array[int]]] | None = None

    def last(self, leader: int, node: int, t_us: int) -> Contact | None:
        """The last message of the leader that the node had received before a time."""
        received, sent = self._of_link(leader, node)
        place = bisect_left(received, t_us)
        return Contact(sent[place - 1], received[place - 1]) if place else None

    def reached(self, leader: int, nodes: Iterable[int], start_us: int, end_us: int) -> int:
        """How many of the nodes received a message of the leader between two times. The leader counts, too."""
        return sum(node == leader or self._has(leader, node, start_us, end_us) for node in nodes)

    def silence(self, leader: int, node: int, start_us: int, end_us: int) -> Silence:
        """What the leader sent to the node between two times."""
        messages = self._messages
        sent = lost = 0
        why = ""
        for number in range(
            bisect_right(messages.sent_us, start_us), bisect_left(messages.sent_us, end_us)
        ):
            if (
                messages.source[number] == leader
                and messages.target[number] == node
                and messages.name[number] in _LEADER_MESSAGES
            ):
                sent += 1
                if messages.outcome[number] == _LOST:
                    lost += 1
                    why = messages.why[number]
        return Silence(sent, lost, why)

    def _has(self, leader: int, node: int, start_us: int, end_us: int) -> bool:
        received, _ = self._of_link(leader, node)
        return bisect_right(received, end_us) > bisect_left(received, start_us)

    def _of_link(self, leader: int, node: int) -> tuple[array[int], array[int]]:
        if self._arrivals is None:
            self._arrivals = self._read()
        return self._arrivals.get((leader, node)) or (array("q"), array("q"))

    def _read(self) -> dict[tuple[int, int], tuple[array[int], array[int]]]:
        found: dict[tuple[int, int], list[tuple[int, int]]] = {}
        columns = (
            self._messages.name,
            self._messages.outcome,
            self._messages.source,
            self._messages.target,
            self._messages.end_us,
            self._messages.sent_us,
        )
        for name, outcome, source, target, end_us, sent_us in zip(*columns, strict=True):
            if name in _LEADER_MESSAGES and outcome == _RECEIVED:
                found.setdefault((source, target), []).append((end_us, sent_us))
        arrivals: dict[tuple[int, int], tuple[array[int], array[int]]] = {}
        for link, pairs in found.items():
            pairs.sort()
            arrivals[link] = (array("q", [p[0] for p in pairs]), array("q", [p[1] for p in pairs]))
        return arrivals
