"""`in_words`: what happened in a run, in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from qcore.analysis.course.course_types import Course, OperationCourse
from qcore.analysis.course.voting.short_texts import counted, moment_text, nodes_text, reason_text
from qcore.analysis.explanations.explain_operation import operation_text
from qcore.view.history_lanes import judged_history
from qcore.view.run_summary import (
    FAILED,
    Verdict,
    checked,
    expectation_note,
    failure_notes,
    faults,
    who_led,
)
from qcore.view.view_page import explained

#: How many failed operations are listed.
_MOST_FAILED: Final = 100
#: A time or a duration in a sentence.
_MOMENT: Final = re.compile(r"[\d.,]+ (µs|ms|s|min|h)\b")


def in_words(course: Course, verdicts: Sequence[Verdict] = ()) -> str:
    """A run in words: who led, the faults, the elections, what failed, and what was checked.

    Args:
        course: the course of the run.
        verdicts: how the expectations of the scenario were judged, if that is known.
    """
    return "\n".join(_lines(course, verdicts)) + "\n"


def _lines(course: Course, verdicts: Sequence[Verdict]) -> Iterator[str]:
    tables = course.tables
    seed = f", seed {tables.seed}" if course.is_simulated else ""
    events = f"{len(course.records)} events"
    yield f"{tables.name or 'A run'}{seed}: {events}, {_s(course, course.end_us)}"
    for gap in tables.gaps:
        who = f"Records of {nodes_text(gap.nodes)}" if gap.nodes else "Records"
        until = f"to {_s(course, gap.end_us)}" if gap.end_us > gap.start_us else "on"
        note = gap.note.removeprefix("records are missing here: ")
        yield f"{who} from {_s(course, gap.start_us)} {until} are missing: {note}"
    yield "\nWho led"
    for row in who_led(course):
        term = f", term {row.term}" if row.node else ""
        yield f"  {_s(course, row.start_us)} to {_until(course, row.end_us)}: {row.text}{term}"
    windows = faults(course)
    if windows:
        yield "\nFaults"
        for number, fault in enumerate(windows, 1):
            yield f"  {number}. {_s(course, fault.start_us)} to {_until(course, fault.end_us)}: {fault.label}"
    yield "\nElections" if course.elections else "\nNo election"
    for election in course.elections:
        title, sentences = explained(course, election)
        yield f"  {title}"
        yield from (f"     {sentence}" for sentence in sentences)
    yield from _failures(course)
    yield from _judgement(course)
    yield from _checks(course, verdicts)


def _failures(course: Course) -> Iterator[str]:
    failed = [row for row in course.operations if row.outcome in FAILED]
    yield f"\nOperations: {len(course.operations)}, of which {len(failed)} failed"
    yield from (f"  {note}" for note in failure_notes(course))
    groups: dict[tuple[str, ...], list[OperationCourse]] = {}
    for row in failed[:_MOST_FAILED]:
        likeness = (row.outcome, *(_MOMENT.sub("", each) for each in explained(course, row)[1]))
        groups.setdefault(likeness, []).append(row)
    for first, *others in groups.values():
        yield f"  {_failure(course, first)}"
        yield from (f"     {sentence}" for sentence in explained(course, first)[1])
        if others:
            yield f"     {counted(len(others), 'more operation')} failed in the same way:"
            yield from (f"       {_failure(course, row)}" for row in others)
    if len(failed) > _MOST_FAILED:
        yield f"  and {len(failed) - _MOST_FAILED} more"


def _failure(course: Course, row: OperationCourse) -> str:
    why = reason_text(row.note)
    note = f" ({why})" if why else ""
    who = f"client {row.client}" if course.is_simulated else f"at node {row.client}"
    return f"{_s(course, row.invoke_us)}: {who}, {operation_text(row)}: {row.outcome}{note}"


def _judgement(course: Course) -> Iterator[str]:
    history = judged_history(course)
    yield "\nIs it linearizable?"
    if history.absent:
        yield f"  not judged: {history.absent}"
    for row in history.keys:
        yield f"  key {row['key']}: {row['result']}"
        if row["explanation"]:
            yield from (f"     {line}" for line in str(row["explanation"]).splitlines())


def _checks(course: Course, verdicts: Sequence[Verdict]) -> Iterator[str]:
    yield "\nWhat was checked"
    found = checked(course)
    yield from (f"  {text}" for texts in found.values() for text in texts)
    note = expectation_note(course, verdicts)
    yield from [f"  {note}"] if note else []
    for verdict in verdicts:
        mark = "held" if verdict.ok else "did NOT hold"
        yield f"     {verdict.name}: expected {verdict.expected}, seen {verdict.seen}: {mark}"
    for violation in course.tables.violations:
        yield f"  violation at {_s(course, violation.t_us)}: {violation.check}: {violation.note}"


def _until(course: Course, t_us: int) -> str:
    return "the end of the trace" if t_us >= course.end_us else _s(course, t_us)


def _s(course: Course, t_us: int) -> str:
    """A time since the begin of the cluster, as in the explanations."""
    return moment_text(t_us, course.begin_us)
