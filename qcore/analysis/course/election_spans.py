"""The elections of a course."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from qcore.analysis.course.course_types import Election, Messages, NodeTrack
from qcore.analysis.rows import Rows
from qcore.analysis.tables import TraceTables
from qcore.trace import TraceRecord

_VOTE_MESSAGES: Final = frozenset(
    {"PreVote", "PreVoteResponse", "RequestVote", "RequestVoteResponse"}
)


def elections(
    records: Sequence[TraceRecord],
    tracks: Mapping[int, NodeTrack],
    messages: Messages,
    tables: TraceTables,
) -> Rows[Election]:
    """The elections of a course, in the order of their begin: from the first candidate to the next leader."""
    rows: list[Election] = []
    start: int | None = None
    leader: int | None = None
    term = 0
    for span in sorted(tables.role_spans, key=lambda span: span.start_us):
        if span.role in ("candidate", "pre_candidate"):
            start = span.start_us if start is None else start
        elif span.role == "leader" and span.term > term:
            begin = span.start_us if start is None else start
            rows.append(_election(len(rows) + 1, leader, term, begin, span.start_us, messages))
            rows[-1] = _won(rows[-1], span.node, span.term, tracks)
            leader, term, start = span.node, span.term, None
    if start is not None:
        rows.append(_election(len(rows) + 1, leader, term, start, tables.end_us, messages))
    return Rows(Election, rows)


def _election(
    number: int,
    leader: int | None,
    term: int,
    start_us: int,
    end_us: int,
    messages: Messages,
) -> Election:
    sent = sum(
        messages.name[place] in _VOTE_MESSAGES and start_us <= messages.sent_us[place]
        for place in messages.between(start_us, end_us)
    )
    return Election(
        number=number,
        cause="start" if leader is None else "other",
        cause_us=start_us,
        cause_note="",
        old_leader=leader,
        old_term=term,
        start_us=start_us,
        end_us=end_us,
        ready_us=None,
        outcome="open",
        winner=None,
        term=term + 1,
        rounds=(),
        messages=sent,
        is_censored=True,
        votes={},
    )


def _won(election: Election, winner: int, term: int, tracks: Mapping[int, NodeTrack]) -> Election:
    votes = {
        node: vote.candidate
        for node, track in tracks.items()
        for vote in track.votes
        if vote.term == term
    }
    return Election(
        number=election.number,
        cause=election.cause,
        cause_us=election.cause_us,
        cause_note=election.cause_note,
        old_leader=election.old_leader,
        old_term=election.old_term,
        start_us=election.start_us,
        end_us=election.end_us,
        ready_us=None,
        outcome="elected",
        winner=winner,
        term=term,
        rounds=(),
        messages=election.messages,
        is_censored=False,
        votes=votes,
    )
