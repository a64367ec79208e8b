"""The answers to requests for votes and pre-votes, and why a candidate got none."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

from qcore.analysis.course.course_records import events_of
from qcore.analysis.course.course_types import MESSAGE_OUTCOMES, Answer, Ask, Messages, NodeTrack
from qcore.analysis.course.log_shapes import shape_of
from qcore.analysis.course.voting.leader_contacts import LeaderContacts
from qcore.analysis.course.voting.short_texts import duration_text
from qcore.analysis.spans import PAUSE, RoleSpan
from qcore.trace import TraceRecord

#: Why a request of a real node could not be sent.
NO_CONNECTION: Final = "there was no connection to it, or its queue was full"
#: Why a vote was rejected if the trace does not show it.
UNKNOWN_REASON: Final = "the trace does not show the reason"

_RESPONSES: Final = {"PreVoteResponse": "PreVote", "RequestVoteResponse": "RequestVote"}
_REQUESTS: Final = frozenset(_RESPONSES.values())
_RECEIVED: Final = MESSAGE_OUTCOMES.index("received")
_LOST: Final = MESSAGE_OUTCOMES.index("lost")
#: What a trace notes of a message that was lost, and what a sentence says.
_LOSSES: Final = {
    "cut": "the link was cut",
    "lost": "lost on the way",
    "node is down": "the node was down",
    "no connection or a full queue": "no connection or a full queue",
}


class VoteAnswers:
    """The responses of a course to requests for votes and pre-votes.

    Args:
        records, tracks, messages: the parts of a course.
        contacts: when nodes heard from leaders.
    """

    def __init__(
        self,
        records: Sequence[TraceRecord],
        tracks: Mapping[int, NodeTrack],
        messages: Messages,
        contacts: LeaderContacts,
    ) -> None:
        self._tracks = tracks
        self._messages = messages
        self._contacts = contacts
        self._responses = _pair(records, messages)

    def ask(self, kind: Literal["pre_vote", "vote"], term: int, voter: int, request: int) -> Ask:
        """What became of one request for a vote.

        Args:
            kind, term: those of the round.
            voter: the node that was asked.
            request: the number of the message.
        """
        messages = self._messages
        sent_us = messages.sent_us[request]
        if messages.outcome[request] != _RECEIVED:
            why = self._not_received(request, voter)
            return Ask(voter, sent_us, None, None, "none", why)
        received_us = messages.end_us[request]
        response = self._responses.get(request)
        if response is None:
            return Ask(
                voter, sent_us, received_us, None, "none", self._not_answered(voter, received_us)
            )
        if messages.outcome[response] != _RECEIVED:
            why = "the response is in flight at the end of the trace"
            if messages.outcome[response] == _LOST:
                why = f"the response was lost ({loss_text(messages.why[response])})"
            return Ask(voter, sent_us, received_us, None, "none", why)
        granted = messages.note[response] == "granted"
        answer: Answer = "granted" if granted else "rejected"
        why = "" if granted else self._reason(kind, term, voter, request, response)
        return Ask(voter, sent_us, received_us, messages.end_us[response], answer, why)

    @staticmethod
    def rejections(asked: Iterable[Ask], until_us: int) -> int:
        """How many rejections the candidate had received at a time."""
        return sum(
            ask.answer == "rejected" and ask.answered_us is not None and ask.answered_us <= until_us
            for ask in asked
        )

    def _not_received(self, request: int, voter: int) -> str:
        messages = self._messages
        if messages.outcome[request] == _LOST:
            if messages.why[request] == "node is down":
                return "it was down"
            if messages.send_event[request] < 0:
                before = role_before(self._tracks.get(voter), messages.sent_us[request] + 1)
                is_down = before is not None and before.role == "down" and before.why != PAUSE
                return "it was down" if is_down else NO_CONNECTION
            return f"the request was lost ({loss_text(messages.why[request])})"
        if messages.why[request]:
            return messages.why[request]
        before = role_before(self._tracks.get(voter), messages.sent_us[request] + 1)
        if before is not None and before.role == "down":
            return "it was paused" if before.why == PAUSE else "it was down"
        return "the request is in flight at the end of the trace"

    def _not_answered(self, voter: int, received_us: int) -> str:
        track = self._tracks.get(voter)
        if track is not None:
            for span in track.roles:
                if span.start_us >= received_us and span.role == "down":
                    return "it went down before it responded"
        return "it did not respond until the trace ended"

    def _reason(
        self, kind: Literal["pre_vote", "vote"], term: int, voter: int, request: int, response: int
    ) -> str:
        """Why a voter rejected, from its state just before it received the request."""
        messages = self._messages
        t_us = messages.end_us[request]
        candidate = messages.source[request]
        track = self._tracks.get(voter)
        before = role_before(track, t_us)
        response_term = messages.term[response]
        if response_term > term:
            return f"it was already in term {response_term}"
        if track is None or before is None:
            return UNKNOWN_REASON
        if kind == "vote" and response_term == term:
            voted = [v.candidate for v in track.votes if v.term == term and v.t_us <= t_us]
            if voted and voted[-1] == voter:
                return "it was a candidate in this term itself"
            if voted and voted[-1] != candidate:
                return f"it had voted for node {voted[-1]} in this term"
            if before.term == term and before.leader is not None:
                return f"node {before.leader} already led this term"
        leader_reason, is_sure = self._leader_reason(
            before, voter, candidate, t_us, messages.sent_us[request]
        )
        if is_sure or (kind == "vote" and response_term < term and leader_reason):
            return leader_reason
        reasons = [leader_reason, _log_reason(track, messages, request)]
        if not any(reasons) and (
            not track.is_inferred or (kind == "vote" and response_term < term)
        ):
            # Nothing else makes a voter reject that knows no leader (see `qcore.core.leadership.election`).
            return "its promise to a leader's lease was still active"
        return " and ".join(filter(None, reasons)) or UNKNOWN_REASON

    def _leader_reason(
        self, before: RoleSpan, voter: int, candidate: int, t_us: int, asked_us: int
    ) -> tuple[str, bool]:
        """Which leader the voter knew, and whether this was enough to reject.

        It is enough within the shortest election timeout after the leader's last message. The trace does not show this
        timeout. But it is shorter than the time for which the candidate had waited when it asked.
        """
        if before.role == "leader":
            return f"it led term {before.term} itself", True
        if before.leader is None:
            return "", False
        contact = self._contacts.last(before.leader, voter, t_us)
        if contact is None:
            return f"it knew leader {before.leader}", False
        ago_us = t_us - contact.received_us
        waited = self._contacts.last(before.leader, candidate, asked_us)
        is_sure = waited is None or waited.received_us < contact.received_us
        ago = f"{duration_text(ago_us)} earlier"
        if is_sure:
            return f"it had heard from leader {before.leader} only {ago}", True
        return f"the last message of leader {before.leader} had reached it {ago}", False


def loss_text(why: str) -> str:
    """Why a message was lost, for a sentence."""
    return _LOSSES.get(why, why.partition(":")[0])


def role_before(track: NodeTrack | None, t_us: int) -> RoleSpan | None:
    """The role of a node just before a time; None before its first one."""
    if track is None:
        return None
    place = bisect_left(track.roles, t_us, key=lambda span: span.start_us)
    if not place:
        place = bisect_right(track.roles, t_us, key=lambda span: span.start_us)
    return track.roles[place - 1] if place else None


def _log_reason(track: NodeTrack, messages: Messages, request: int) -> str:
    index, _, term = messages.note[request].removeprefix("last ").partition(".")
    log = shape_of(track.log, messages.end_us[request])
    if not (index.isdecimal() and term.isdecimal()):
        return ""
    if (log.last_term, log.last_index) <= (int(term), int(index)):
        return ""
    return (
        f"its log was more up to date (entry {log.last_index:,} of term {log.last_term}; the candidate's ended with "
        f"entry {int(index):,} of term {term})"
    )


def _pair(records: Sequence[TraceRecord], messages: Messages) -> dict[int, int]:
    """Request -> response, by their numbers. A voter answers the requests of one candidate in order.

    A process that dies answers none of those that it has received.
    """
    events: list[
        tuple[int, int, int]
    ] = []  # event, kind of event, number of the message or the node
    for number, name in enumerate(messages.name):
        if name in _REQUESTS:
            if messages.outcome[number] == _RECEIVED:
                events.append((messages.end_event[number], 0, number))
        elif name in _RESPONSES and messages.send_event[number] >= 0:
            events.append((messages.send_event[number], 1, number))
    events += [
        (event, 2, record.node)
        for event, record in events_of(records, {"down"})
        if record.fields["why"] != PAUSE
    ]
    waiting: dict[tuple[int, int, str], deque[int]] = {}
    found: dict[int, int] = {}
    for _, kind, number in sorted(events):
        if kind == 2:
            for key in [key for key in waiting if key[0] == number]:
                del waiting[key]
            continue
        source, target = messages.source[number], messages.target[number]
        if kind == 0:
            waiting.setdefault((target, source, messages.name[number]), deque()).append(number)
        elif messages.note[number] != "duplicate":
            requests = waiting.get((source, target, _RESPONSES[messages.name[number]]))
            if requests:
                found[requests.popleft()] = number
    return found
