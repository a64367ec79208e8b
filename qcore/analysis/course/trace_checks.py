"""The safety checks that the traces of real nodes allow. A simulated run is checked while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from qcore.analysis.course.course_records import events_of
from qcore.analysis.course.course_types import Course
from qcore.analysis.course.voting.short_texts import counted, moment_text, nodes_text

#: What no trace of a real node shows.
NOT_CHECKED: Final = (
    "the contents of the log entries and the answers to clients: a real node's trace does not hold them",
)
_MOST_FAILURES: Final = 5


@dataclass(slots=True, frozen=True)
class TraceCheck:
    """One check.

    Attributes:
        text: what was checked, and on how much.
        failures: what is wrong, with times; empty if the check passed.
    """

    text: str
    failures: tuple[str, ...]


def trace_checks(course: Course) -> list[TraceCheck]:
    """Check the traces of real nodes: leaders, votes and applied entries. Empty for a simulated run."""
    if course.is_simulated:
        return []
    return [_leaders(course), _votes(course), _applied(course)]


def _leaders(course: Course) -> TraceCheck:
    led: dict[int, dict[int, int]] = {}
    for row in course.tables.leaderships:
        led.setdefault(row.term, {}).setdefault(row.node, row.start_us)
    failures = [
        f"{nodes_text(nodes)} both led term {term} ({_at(course, max(nodes.values()))})"
        for term, nodes in sorted(led.items())
        if len(nodes) > 1
    ]
    return _check(f"No term had two leaders ({counted(len(led), 'term')} with a leader)", failures)


def _votes(course: Course) -> TraceCheck:
    votes: dict[tuple[int, int], dict[int, int]] = {}
    for row in course.tables.votes:
        votes.setdefault((row.node, row.term), {}).setdefault(row.candidate, row.t_us)
    failures = [
        f"node {node} voted for {nodes_text(candidates)} in term {term} ({_at(course, max(candidates.values()))})"
        for (node, term), candidates in sorted(votes.items())
        if len(candidates) > 1
    ]
    return _check(f"No node voted twice in a term ({counted(len(votes), 'vote')})", failures)


def _applied(course: Course) -> TraceCheck:
    first: dict[int, tuple[int, int]] = {}
    failures: list[str] = []
    for _, record in events_of(course.records, {"apply"}):
        index, term = record.values[0], record.values[1]
        node, known = first.setdefault(index, (record.node, term))
        if known != term:
            when = _at(course, record.t_us - course.origin_us)
            failures.append(
                f"node {record.node} applied entry {index:,} of term {term}, node {node} that of term {known} ({when})"
            )
    entries = counted(len(first), "entry", "entries")
    return _check(f"All nodes applied entries of the same terms ({entries})", failures)


def _check(text: str, failures: Sequence[str]) -> TraceCheck:
    return TraceCheck(text, tuple(failures[:_MOST_FAILURES]))


def _at(course: Course, t_us: int) -> str:
    return moment_text(t_us, course.begin_us)
