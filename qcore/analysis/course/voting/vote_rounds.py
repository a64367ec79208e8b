"""The rounds of elections: which candidate asked which voters for votes or pre-votes, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from qcore.analysis.course.course_records import events_of
from qcore.analysis.course.course_types import (
    MESSAGE_OUTCOMES,
    Messages,
    NodeTrack,
    Round,
    VoteCast,
)
from qcore.analysis.course.voting.vote_answers import VoteAnswers
from qcore.analysis.spans import PAUSE
from qcore.trace import TraceRecord

Kind = Literal["pre_vote", "vote"]
Result = Literal["won", "split", "lost", "superseded", "open"]

#: Every message of an election.
VOTE_MESSAGES: Final = frozenset(
    {"PreVote", "PreVoteResponse", "RequestVote", "RequestVoteResponse"}
)
_REQUESTS: Final[Mapping[str, Kind]] = {"PreVote": "pre_vote", "RequestVote": "vote"}
_LOST: Final = MESSAGE_OUTCOMES.index("lost")
#: A node sends all requests of a round in one step.
_LONGEST_STEP_US: Final = 100_000


@dataclass(slots=True)
class _Draft:
    """A round while it is read.

    Attributes:
        event: the record with which it begins.
        requests: the numbers of its messages, by voter.
        ended_by: what ended it: a role, `timeout`, `down` or `rejected`; empty while it lasts.
        new_term: the term of the candidate after that.
    """

    event: int
    kind: Kind
    term: int
    candidate: int
    start_us: int
    is_transfer: bool = False
    requests: dict[int, int] = field(default_factory=dict)
    first_sent_us: int = -1
    end_us: int = -1
    ended_by: str = ""
    new_term: int = 0
    new_leader: int | None = None

    def end(self, t_us: int, by: str, term: int = 0, leader: int | None = None) -> None:
        if not self.ended_by:
            self.end_us, self.ended_by, self.new_term, self.new_leader = t_us, by, term, leader


@dataclass(slots=True, frozen=True)
class PlacedRound:
    """A round, and what the course shows besides.

    Attributes:
        event: the number of the record with which it begins.
        is_transfer: whether the leader asked the candidate to take over.
        is_last: whether its candidate stopped to campaign at its end.
    """

    event: int
    round: Round
    is_transfer: bool
    is_last: bool


def vote_rounds(
    records: Sequence[TraceRecord],
    tracks: Mapping[int, NodeTrack],
    messages: Messages,
    answers: VoteAnswers,
    origin_us: int,
    end_us: int,
) -> list[PlacedRound]:
    """The rounds of a course, in the order of their begin.

    Args:
        records, tracks, messages: the parts of a course.
        answers: the answers to its requests for votes.
        origin_us, end_us: the times at which it begins and ends; the latter counts from the former.
    """
    reader = _Reader(messages, origin_us)
    events: list[tuple[int, int, TraceRecord | None]] = [
        (event, -1, record) for event, record in events_of(records, {"role", "down"})
    ]
    events += [
        (_sending(messages, number), number, None)
        for number, name in enumerate(messages.name)
        if name in _REQUESTS or (name == "TimeoutNowResponse" and messages.send_event[number] >= 0)
    ]
    events += [
        (messages.end_event[number], number, None)
        for number, name in enumerate(messages.name)
        if name == "TimeoutNow" and messages.outcome[number] == 0
    ]
    events.sort(key=lambda event: event[:2])
    for event, number, record in events:
        if record is not None:
            reader.record(event, record)
        else:
            reader.message(event, number)
    rounds: list[PlacedRound] = []
    terms = _Terms(_votes(tracks), reader.winners)
    for draft in reader.drafts:
        asked = tuple(
            answers.ask(draft.kind, draft.term, voter, number)
            for voter, number in sorted(draft.requests.items())
        )
        result = _result(draft, terms, answers.rejections(asked, draft.end_us))
        ended_us = draft.end_us if draft.ended_by else end_us
        rounds.append(
            PlacedRound(
                draft.event,
                Round(
                    draft.kind,
                    draft.term,
                    draft.candidate,
                    draft.start_us,
                    ended_us,
                    asked,
                    result,
                    "" if result == "won" else _why_ended(draft),
                ),
                draft.is_transfer,
                draft.ended_by not in ("", "timeout", "pre_candidate", "candidate"),
            )
        )
    return rounds


def _sending(messages: Messages, number: int) -> int:
    """The event of sending; of a message that could not be sent, that of its loss."""
    event = messages.send_event[number]
    return event if event >= 0 else messages.end_event[number]


class _Reader:
    """Reads records and messages, in the order of events."""

    def __init__(self, messages: Messages, origin_us: int) -> None:
        self._messages = messages
        self._origin_us = origin_us
        self._newest: dict[int, _Draft] = {}
        self._asked_to_lead: set[int] = set()
        self.drafts: list[_Draft] = []
        self.winners: dict[int, int] = {}

    def record(self, event: int, record: TraceRecord) -> None:
        t_us, kind, node, values = record
        now = t_us - self._origin_us
        draft = self._newest.get(node)
        if kind == "down":
            if draft is not None and values[0] != PAUSE:
                draft.end(now, "down")
            return
        role, term, leader = values
        takes_over = draft is not None and draft.is_transfer and draft.kind == "pre_vote"
        if draft is not None and not (takes_over and role == "follower" and leader is not None):
            draft.end(now, role, term, leader)
        if role == "pre_candidate":
            self._begin(event, "pre_vote", term, node, now)
        elif role == "candidate":
            self._begin(event, "vote", term, node, now)
            self._asked_to_lead.discard(node)
        elif role == "leader" or leader is not None:
            self._asked_to_lead.discard(node)
        if role == "leader":
            self.winners[term] = node

    def message(self, event: int, number: int) -> None:
        messages = self._messages
        name = messages.name[number]
        node = messages.source[number]
        if name == "TimeoutNow":
            self._asked_to_lead.add(messages.target[number])
            return
        draft = self._newest.get(node)
        if name == "TimeoutNowResponse":
            if messages.note[number] != "accepted":
                self._asked_to_lead.discard(node)
                if draft is not None and draft.is_transfer and draft.kind == "pre_vote":
                    draft.end(messages.sent_us[number], "rejected")
            return
        is_arrival = messages.send_event[number] < 0 and messages.outcome[number] != _LOST
        if messages.note[number] == "duplicate" or is_arrival:
            return
        kind, now, term = _REQUESTS[name], messages.sent_us[number], messages.term[number]
        if messages.send_event[number] < 0:
            if draft is None or draft.kind != kind:
                return
            term = draft.term  # the record of a loss does not show it
        if draft is None or not self._continues(draft, kind, term, messages.target[number], now):
            if draft is not None:
                draft.end(now, "timeout")
            draft = self._begin(event, kind, term, node, now)
        if draft.first_sent_us < 0:
            draft.first_sent_us = now
        draft.requests[messages.target[number]] = number

    def _begin(self, event: int, kind: Kind, term: int, node: int, now: int) -> _Draft:
        is_transfer = node in self._asked_to_lead
        draft = _Draft(event, kind, term, node, now, is_transfer)
        self._newest[node] = draft
        self.drafts.append(draft)
        return draft

    def _continues(self, draft: _Draft, kind: Kind, term: int, target: int, now: int) -> bool:
        if (draft.kind, draft.term) != (kind, term) or target in draft.requests:
            return False
        return draft.first_sent_us < 0 or now - draft.first_sent_us <= _LONGEST_STEP_US


@dataclass(slots=True, frozen=True)
class _Terms:
    """Term -> the votes that were cast in it; and term -> its leader."""

    votes: Mapping[int, list[VoteCast]]
    winners: Mapping[int, int]

    def candidates(self, term: int, start_us: int, end_us: int) -> int:
        """How many candidates got votes in a term between two times. A candidate votes for itself."""
        return len({v.candidate for v in self.votes.get(term, ()) if start_us <= v.t_us <= end_us})


def _votes(tracks: Mapping[int, NodeTrack]) -> dict[int, list[VoteCast]]:
    found: dict[int, list[VoteCast]] = {}
    for track in tracks.values():
        for vote in track.votes:
            found.setdefault(vote.term, []).append(vote)
    return found


def _result(draft: _Draft, terms: _Terms, rejections: int) -> Result:
    ended_by = draft.ended_by
    if not ended_by:
        return "open"
    if ended_by == "leader" or (draft.kind == "pre_vote" and ended_by == "candidate"):
        return "won"
    yielded = ended_by in ("follower", "learner")
    if draft.kind == "vote":
        if terms.winners.get(draft.term, draft.candidate) != draft.candidate:
            return "lost"
        # A candidate of this term that campaigned long before did not split the votes.
        since_us = 2 * draft.start_us - draft.end_us
        if terms.candidates(draft.term, since_us, draft.end_us) > 1:
            return "split"
        return "superseded" if yielded and draft.new_term > draft.term else "lost"
    if yielded and (draft.new_leader is not None or draft.new_term > draft.term):
        return "superseded"
    voters = len(draft.requests) + 1
    return "lost" if not yielded or 2 * (voters - rejections) <= voters else "superseded"


def _why_ended(draft: _Draft) -> str:
    """What ended a round that was not won."""
    match draft.ended_by:
        case "":
            return ""
        case "down":
            return f"node {draft.candidate} went down"
        case "rejected":
            return f"node {draft.candidate} rejected the transfer"
        case "follower" | "learner" | "leader":
            if draft.new_leader is not None:
                return f"node {draft.candidate} heard from leader {draft.new_leader}"
            if draft.new_term > draft.term:
                return f"node {draft.candidate} learned of term {draft.new_term}"
            return f"node {draft.candidate} stopped asking"
        case _:
            return f"node {draft.candidate}'s next election timeout passed"
