"""Finds the messages of a trace: which record of receipt or loss belongs to which record of sending."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

from qcore.analysis.course.course_records import events_of
from qcore.analysis.course.course_types import MESSAGE_OUTCOMES, Messages
from qcore.analysis.spans import RoleSpan
from qcore.trace import TraceRecord

RECEIVED: Final = MESSAGE_OUTCOMES.index("received")
LOST: Final = MESSAGE_OUTCOMES.index("lost")
IN_FLIGHT: Final = MESSAGE_OUTCOMES.index("in_flight")
#: The note of the second and later arrivals of one message.
DUPLICATE_NOTE: Final = "duplicate"
#: Why the end of a message is unknown if no trace of its receiver was read.
NO_TRACE: Final = "the trace of the receiver is missing"
#: Why a message of a real node is lost if its receiver has no record of it, but of later ones.
NO_RECEIPT: Final = "the receiver has no record of it"
#: Why a message of a real node is lost if its receiver went down and never received it.
RECEIVER_DOWN: Final = "node is down"

_MESSAGE_KINDS: Final = frozenset({"send", "recv", "drop"})

#: The id of a message, its sender and its receiver. Several responses of real nodes may share an id.
_Key = tuple[str, int, int]


def pair_messages(
    records: Sequence[TraceRecord],
    origin_us: int,
    end_us: int,
    *,
    is_simulated: bool = True,
    spans: Iterable[RoleSpan] = (),
) -> Messages:
    """Find the messages in the records of a course.

    A message that arrives twice is two messages. A record of an arrival or loss without a record of sending gives a
    message of no length.

    Args:
        records: the records, in the order of time.
        origin_us: the time that counts as 0.
        end_us: the end of the course, from the origin on.
        is_simulated: whether one clock wrote all times. If not, a message may arrive before it was sent, and a link
            delivers in order: what was not received when a later message was, is lost.
        spans: the roles of the nodes. A message that a real node had not received when it went down is lost.
    """
    pairs = _Pairs(end_us, is_simulated=is_simulated)
    for event, (t_us, kind, node, values) in events_of(records, _MESSAGE_KINDS):
        when = t_us - origin_us
        if kind == "send":
            to, name, message, term, note = values
            pairs.sent(event, when, (name, node, to), message, term, note)
        elif kind == "recv":
            source, name, message = values
            pairs.ended(event, when, (name, source, node), message, RECEIVED, "")
        else:
            source, name, message, note = values
            pairs.ended(event, when, (name, source, node), message, LOST, note)
    if not is_simulated:
        pairs.lose_passed()
        pairs.lose_at_dead(spans)
    return pairs.messages()


class _Pairs:
    """The messages that were found until now."""

    def __init__(self, end_us: int, *, is_simulated: bool) -> None:
        self._end_us = end_us
        self._is_simulated = is_simulated
        self._sent_us = array("q")
        self._ended_us = array("q")
        self._source = array("q")
        self._target = array("q")
        self._term = array("q")
        self._outcome = bytearray()
        self._name: list[str] = []
        self._note: list[str] = []
        self._why: list[str] = []
        self._send_event = array("q")
        self._end_event = array("q")
        self._newest: dict[_Key, int] = {}
        self._flying: dict[_Key, int | deque[int]] = {}  # almost always one message
        self._early: dict[_Key, deque[int]] = {}  # received before they were sent
        self._texts: dict[str, str] = {}

    def sent(self, event: int, when: int, key: _Key, name: str, term: int, note: str) -> None:
        early = self._early.get(key)
        if early:
            self._fill_in(early.popleft(), event, when, term, note)
            return
        number = self._add(key, when, self._end_us, name, term, note, IN_FLIGHT, "", event, -1)
        self._newest[key] = number
        flying = self._flying.get(key)
        if flying is None:
            self._flying[key] = number
        elif isinstance(flying, int):
            self._flying[key] = deque((flying, number))
        else:
            flying.append(number)

    def ended(self, event: int, when: int, key: _Key, name: str, outcome: int, why: str) -> None:
        flying = self._flying.pop(key, None)
        if flying is not None:
            if isinstance(flying, int):
                number = flying
            else:
                number = flying.popleft()
                if flying:
                    self._flying[key] = flying
            self._outcome[number] = outcome
            self._ended_us[number] = when
            self._why[number] = self._text(why)
            self._end_event[number] = event
            return
        original = self._newest.get(key) if self._is_simulated and key[0] else None
        if original is not None:
            sent_us, term = self._sent_us[original], self._term[original]
            sending = self._send_event[original]
            self._add(key, sent_us, when, name, term, DUPLICATE_NOTE, outcome, why, sending, event)
            return
        number = self._add(key, when, when, name, 0, "", outcome, why, -1, event)
        if outcome == RECEIVED and not self._is_simulated:
            self._early.setdefault(key, deque()).append(number)

    def lose_passed(self) -> None:
        """Lose the messages of real nodes that a later message on their link overtook."""
        passed: dict[tuple[int, int], int] = {}
        for number in range(len(self._sent_us) - 1, -1, -1):
            link = (self._source[number], self._target[number])
            if self._outcome[number] == RECEIVED:
                passed[link] = self._ended_us[number]
            elif self._outcome[number] == IN_FLIGHT and link in passed:
                self._outcome[number] = LOST
                self._ended_us[number] = max(self._sent_us[number], passed[link])
                self._why[number] = NO_RECEIPT
        heard = {self._target[n] for n in range(len(self._target)) if not self._outcome[n]}
        for number, outcome in enumerate(self._outcome):
            if outcome == IN_FLIGHT and self._target[number] not in heard:
                self._ended_us[number] = self._sent_us[number]
                self._why[number] = NO_TRACE

    def lose_at_dead(self, spans: Iterable[RoleSpan]) -> None:
        """Lose the messages of real nodes whose receiver went down: a simulated one has a record of each loss."""
        downs: dict[int, list[RoleSpan]] = {}
        for span in spans:
            if span.role == "down":
                downs.setdefault(span.node, []).append(span)
        for number, outcome in enumerate(self._outcome):
            if outcome != IN_FLIGHT:
                continue
            sent_us = self._sent_us[number]
            down = next(
                (d for d in downs.get(self._target[number], ()) if d.end_us > sent_us), None
            )
            if down is not None:
                self._outcome[number] = LOST
                self._ended_us[number] = max(sent_us, down.start_us)
                self._why[number] = RECEIVER_DOWN

    def messages(self) -> Messages:
        """All messages, sorted by the time of sending."""
        sent = self._sent_us
        order: Iterable[int] = range(len(sent))
        if any(later < earlier for earlier, later in pairwise(sent)):
            order = sorted(order, key=sent.__getitem__)
        longest = max(
            (end - start for start, end in zip(sent, self._ended_us, strict=True)), default=0
        )
        return Messages(
            _sorted(sent, order),
            _sorted(self._ended_us, order),
            _sorted(self._source, order),
            _sorted(self._target, order),
            _sorted(self._term, order),
            bytearray(map(self._outcome.__getitem__, order)),
            list(map(self._name.__getitem__, order)),
            list(map(self._note.__getitem__, order)),
            list(map(self._why.__getitem__, order)),
            _sorted(self._send_event, order),
            _sorted(self._end_event, order),
            max(longest, 0),
        )

    def _add(
        self,
        key: _Key,
        sent_us: int,
        ended_us: int,
        name: str,
        term: int,
        note: str,
        outcome: int,
        why: str,
        send_event: int,
        end_event: int,
    ) -> int:
        self._sent_us.append(sent_us)
        self._ended_us.append(ended_us)
        self._source.append(key[1])
        self._target.append(key[2])
        self._term.append(term)
        self._outcome.append(outcome)
        self._name.append(self._text(name))
        self._note.append(self._text(note))
        self._why.append(self._text(why))
        self._send_event.append(send_event)
        self._end_event.append(end_event)
        return len(self._sent_us) - 1

    def _fill_in(self, number: int, event: int, when: int, term: int, note: str) -> None:
        """Fill in what only the record of sending says."""
        self._sent_us[number] = when
        self._term[number] = term
        self._note[number] = self._text(note)
        self._send_event[number] = event

    def _text(self, text: str) -> str:
        return self._texts.setdefault(text, text)


def _sorted(column: array[int], order: Iterable[int]) -> array[int]:
    return array("q", map(column.__getitem__, order))
