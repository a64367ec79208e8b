"""Elections as a flat table: one number or text for each column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from qcore.analysis.course.course_types import Course
from qcore.analysis.rows import Rows


@dataclass(slots=True, frozen=True)
class ElectionRow:
    """One election.

    Attributes:
        SHOWN: the columns that a notebook shows.
        rounds, failed_rounds: how many rounds there were, and how many of them had no majority.
        candidates: how many nodes campaigned.
        votes: how many nodes voted in the last term.
        timeout_us: from the cause to the first timeout, or to the request to take over.
        duration_us: from there to the end of the election. If it `is_censored`, it took longer.
        total_us: from the cause to the winner's first commit, or to the end of the election.
    """

    SHOWN: ClassVar = (
        *("number", "cause", "outcome", "old_leader", "winner", "term", "start_us"),
        *("duration_us", "total_us", "rounds", "votes", "messages", "is_censored"),
    )

    number: int
    cause: str
    cause_note: str
    outcome: str
    old_leader: int | None
    old_term: int
    winner: int | None
    term: int
    cause_us: int
    start_us: int
    end_us: int
    ready_us: int | None
    timeout_us: int
    duration_us: int
    total_us: int
    rounds: int
    failed_rounds: int
    candidates: int
    votes: int
    messages: int
    is_censored: bool


def election_table(course: Course) -> Rows[ElectionRow]:
    """The elections of a course, without their rounds."""
    rows: list[ElectionRow] = []
    for election in course.elections:
        cause_us = min(election.cause_us, election.start_us)
        end_us = election.end_us if election.ready_us is None else election.ready_us
        rows.append(
            ElectionRow(
                number=election.number,
                cause=election.cause,
                cause_note=election.cause_note,
                outcome=election.outcome,
                old_leader=election.old_leader,
                old_term=election.old_term,
                winner=election.winner,
                term=election.term,
                cause_us=cause_us,
                start_us=election.start_us,
                end_us=election.end_us,
                ready_us=election.ready_us,
                timeout_us=election.start_us - cause_us,
                duration_us=election.duration_us,
                total_us=end_us - cause_us,
                rounds=len(election.rounds),
                failed_rounds=sum(round_.result != "won" for round_ in election.rounds),
                candidates=len({round_.candidate for round_ in election.rounds}),
                votes=len(election.votes),
                messages=election.messages,
                is_censored=election.is_censored,
            )
        )
    return Rows(ElectionRow, rows)
