"""`in_words`: what happened in a run, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from qcore.analysis.course.course_types import Course
from qcore.analysis.course.voting.short_texts import reason_text
from qcore.view.history_lanes import judged_history
from qcore.view.view_page import explained

#: How many failed operations are listed.
_MOST_FAILED: Final = 100
_FAILED: Final = ("refused", "unknown")


def in_words(course: Course) -> str:
    """A run in words: who led, the faults, the elections, what failed, and the judged history."""
    return "\n".join(_lines(course)) + "\n"


def _lines(course: Course) -> Iterator[str]:
    tables = course.tables
    seed = f", seed {tables.seed}" if course.is_simulated else ""
    events = f"{len(course.records)} events"
    yield f"{tables.name or 'A run'}{seed}: {events}, {_s(course, course.end_us)}"
    yield "\nWho led"
    for row in tables.leaderships:
        yield f"  {_s(course, row.start_us)} to {_s(course, row.end_us)}: node {row.node}, term {row.term}"
    for gap in tables.leaderless:
        yield f"  {_s(course, gap.start_us)} to {_s(course, gap.end_us)}: no leader that reaches a majority"
    if tables.faults:
        yield "\nFaults"
        for number, fault in enumerate(tables.faults, 1):
            yield f"  {number}. {_s(course, fault.start_us)} to {_s(course, fault.end_us)}: {fault.label}"
    yield "\nElections" if course.elections else "\nNo election"
    for election in course.elections:
        title, sentences = explained(course, election)
        yield f"  {title}"
        yield from (f"     {sentence}" for sentence in sentences)
    yield from _failures(course)
    yield from _judgement(course)


def _failures(course: Course) -> Iterator[str]:
    failed = [row for row in course.operations if row.outcome in _FAILED]
    yield f"\nOperations: {len(course.operations)}, of which {len(failed)} failed"
    for row in failed[:_MOST_FAILED]:
        what = f"{row.op} {row.key}".strip()
        why = reason_text(row.note)
        note = f" ({why})" if why else ""
        yield f"  {_s(course, row.invoke_us)}: client {row.client}, {what}: {row.outcome}{note}"
        yield from (f"     {sentence}" for sentence in explained(course, row)[1])
    if len(failed) > _MOST_FAILED:
        yield f"  and {len(failed) - _MOST_FAILED} more"


def _judgement(course: Course) -> Iterator[str]:
    history = judged_history(course)
    yield "\nIs it linearizable?"
    if history.absent:
        yield f"  not judged: {history.absent}"
    for row in history.keys:
        yield f"  key {row['key']}: {row['result']}"
        if row["explanation"]:
            yield from (f"     {line}" for line in str(row["explanation"]).splitlines())
    for violation in course.tables.violations:
        yield f"  violation at {_s(course, violation.t_us)}: {violation.check}: {violation.note}"


def _s(course: Course, t_us: int) -> str:
    """A time since the begin of the cluster, as in the explanations."""
    return f"{(t_us - course.begin_us) / 1e6:.3f} s"
