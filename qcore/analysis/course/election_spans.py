"""The elections of a course: from the first timeout after a leader was lost until a node leads."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from qcore.analysis.course.course_records import events_of
from qcore.analysis.course.course_types import Election, Messages, NodeTrack
from qcore.analysis.course.voting.election_causes import ElectionCauses, FoundCause
from qcore.analysis.course.voting.leader_contacts import LeaderContacts
from qcore.analysis.course.voting.vote_answers import VoteAnswers
from qcore.analysis.course.voting.vote_rounds import VOTE_MESSAGES, PlacedRound, vote_rounds
from qcore.analysis.rows import Rows
from qcore.analysis.tables import TraceTables
from qcore.trace import TraceRecord

_CAMPAIGN_ACTION: Final = " campaign"


@dataclass(slots=True)
class _Draft:
    """An election while it is read. `leader` and `term` are those before it."""

    leader: int | None
    term: int
    rounds: list[PlacedRound] = field(default_factory=list)
    end_us: int = -1
    outcome: Literal["elected", "abandoned", "open"] = "open"
    winner: int | None = None
    new_term: int = 0

    @property
    def start_us(self) -> int:
        return self.rounds[0].round.start_us

    def abandon(self, t_us: int) -> None:
        self.end_us, self.outcome = t_us, "abandoned"


def elections(
    records: Sequence[TraceRecord],
    tracks: Mapping[int, NodeTrack],
    messages: Messages,
    tables: TraceTables,
) -> Rows[Election]:
    """The elections of a course, in the order of their begin.

    An election begins with the first candidate or pre-candidate. It is abandoned if none is left while the old leader
    leads on. Candidates that are cut off from such a leader have a separate election, which ends when the leader
    is lost.
    """
    contacts = LeaderContacts(messages)
    answers = VoteAnswers(records, tracks, messages, contacts)
    rounds = vote_rounds(records, tracks, messages, answers, tables.origin_us, tables.end_us)
    drafts = _Grouping(records, rounds, tables).drafts
    drafts = _joined(drafts, contacts, tables)
    actions = [
        (record.t_us - tables.origin_us, node)
        for _, record in events_of(records, {"fault"})
        if record.fields["fault"].endswith(_CAMPAIGN_ACTION)
        for node in record.fields["nodes"]
    ]
    causes = ElectionCauses(tracks, messages, tables, contacts, actions)
    vote_times = [
        sent_us
        for sent_us, name, event in zip(
            messages.sent_us, messages.name, messages.send_event, strict=True
        )
        if name in VOTE_MESSAGES and event >= 0
    ]
    rows: list[Election] = []
    for number, draft in enumerate(drafts, 1):
        end_us = tables.end_us if draft.outcome == "open" else draft.end_us
        sent = bisect_right(vote_times, end_us) - bisect_left(vote_times, draft.start_us)
        cause = causes.find(draft.rounds[0], draft.leader, draft.start_us)
        rows.append(_election(number, draft, cause, end_us, sent, tracks))
    return Rows(Election, rows)


class _Grouping:
    """Groups rounds to elections."""

    def __init__(
        self, records: Sequence[TraceRecord], rounds: Sequence[PlacedRound], tables: TraceTables
    ) -> None:
        self.drafts: list[_Draft] = []
        self._leader: int | None = None
        self._term = 0
        self._open: _Draft | None = None
        self._end_us = tables.end_us
        self._leaderless = tables.leaderless
        self._starts = [span.start_us for span in tables.leaderless]
        events: list[tuple[int, int, TraceRecord | PlacedRound]] = [
            (event, 1, record)
            for event, record in events_of(records, {"role"})
            if record.values[0] == "leader"
        ]
        events += [(placed.event, 0, placed) for placed in rounds]
        for _, _, what in sorted(events, key=lambda event: event[:2]):
            if isinstance(what, PlacedRound):
                self._round(what)
            else:
                self._leads(what.t_us - tables.origin_us, what.node, what.values[1])
        self._end(tables.end_us)

    def _round(self, placed: PlacedRound) -> None:
        draft = self._open
        if draft is None or self._has_ended(draft, placed):
            draft = self._open = _Draft(self._leader, self._term)
            self.drafts.append(draft)
        draft.rounds.append(placed)

    def _has_ended(self, draft: _Draft, placed: PlacedRound) -> bool:
        """Whether an election ended before this round."""
        if _continues(draft, placed):
            return False
        start_us = placed.round.start_us
        if self._end_quiet(draft, start_us):
            return True
        lost_us = self._lost_us(draft.start_us, start_us)
        if lost_us is None or draft.rounds[0].is_transfer:
            return False
        draft.abandon(lost_us)  # these candidates were cut off from the leader, which is lost now
        return True

    def _leads(self, t_us: int, node: int, term: int) -> None:
        # Two leaders in one term are a violation, which must not be hidden.
        if term < self._term or (term, node) == (self._term, self._leader):
            return
        if self._open is not None:
            draft = self._open
            draft.end_us, draft.outcome, draft.winner, draft.new_term = t_us, "elected", node, term
        self._leader, self._term, self._open = node, term, None

    def _end(self, t_us: int) -> None:
        if self._open is not None:
            self._end_quiet(self._open, t_us)

    def _end_quiet(self, draft: _Draft, until_us: int) -> bool:
        """Abandon an election if its last candidate stopped to campaign, and the leader led on."""
        newest = {placed.round.candidate: placed for placed in draft.rounds}
        if not all(placed.is_last for placed in newest.values()):
            return False
        quiet_us = max(placed.round.end_us for placed in newest.values())
        if quiet_us > until_us or self._leader is None or self._is_leaderless(quiet_us):
            return False
        draft.abandon(quiet_us)
        return True

    def _is_leaderless(self, t_us: int) -> bool:
        place = bisect_right(self._starts, t_us)
        end_us = self._leaderless[place - 1].end_us if place else -1
        return end_us > t_us or (end_us == t_us == self._end_us)

    def _lost_us(self, since_us: int, until_us: int) -> int | None:
        """When the cluster lost its leader between two times, if it had one at the first; None if it did not."""
        if self._leader is None or self._is_leaderless(since_us):
            return None
        place = bisect_right(self._starts, until_us)
        lost_us = self._starts[place - 1] if place else -1
        return (
            lost_us
            if lost_us > since_us and self._leaderless[place - 1].end_us > until_us
            else None
        )


def _continues(draft: _Draft, placed: PlacedRound) -> bool:
    """Whether a candidate asks for votes because it has won the pre-votes."""
    after = placed.round
    return any(
        (before.candidate, before.end_us, before.result) == (after.candidate, after.start_us, "won")
        for before in (earlier.round for earlier in draft.rounds)
    )


def _joined(
    drafts: Sequence[_Draft], contacts: LeaderContacts, tables: TraceTables
) -> list[_Draft]:
    """Join an abandoned election with the next one if the leader reached no majority between them.

    The trace of a real node does not show that a link was cut.
    """
    found: list[_Draft] = []
    for draft in drafts:
        before = found[-1] if found else None
        if (
            before is not None
            and before.outcome == "abandoned"
            and before.leader is not None
            and before.term == draft.term
            and 2 * contacts.reached(before.leader, tables.voters, before.start_us, draft.start_us)
            <= len(tables.voters)
            and all(placed.is_last for placed in before.rounds[-1:])
        ):
            before.rounds += draft.rounds
            before.end_us, before.outcome = draft.end_us, draft.outcome
            before.winner, before.new_term = draft.winner, draft.new_term
        else:
            found.append(draft)
    return found


def _election(
    number: int,
    draft: _Draft,
    cause: FoundCause,
    end_us: int,
    sent: int,
    tracks: Mapping[int, NodeTrack],
) -> Election:
    rounds = tuple(placed.round for placed in draft.rounds)
    term = draft.new_term or max(round_.term for round_ in rounds)
    votes = {
        node: vote.candidate
        for node, track in sorted(tracks.items())
        for vote in track.votes
        if vote.term == term and any(round_.kind == "vote" for round_ in rounds)
    }
    return Election(
        number=number,
        cause=cause.cause,
        cause_us=cause.t_us,
        cause_note=cause.note,
        old_leader=draft.leader,
        old_term=draft.term,
        start_us=draft.start_us,
        end_us=end_us,
        ready_us=_ready_us(draft, tracks),
        outcome=draft.outcome,
        winner=draft.winner,
        term=term,
        rounds=rounds,
        messages=sent,
        is_censored=draft.outcome == "open",
        votes=votes,
    )


def _ready_us(draft: _Draft, tracks: Mapping[int, NodeTrack]) -> int | None:
    """The first commit of the winner while it led its term."""
    if draft.winner is None:
        return None
    track = tracks[draft.winner]
    place = bisect_left(track.commit.times, draft.end_us)
    if place == len(track.commit.times):
        return None
    ready_us = track.commit.times[place]
    led = [
        span.end_us for span in track.roles if (span.role, span.term) == ("leader", draft.new_term)
    ]
    return ready_us if led and ready_us <= max(led) else None
