"""What a page and a text say of a whole run: who led, why operations failed, and what was checked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from qcore.analysis.course.course_records import events_of
from qcore.analysis.course.course_types import Course, OperationCourse
from qcore.analysis.course.trace_checks import NOT_CHECKED, trace_checks
from qcore.analysis.course.voting.short_texts import moment_text
from qcore.analysis.explanations.lost_ends import KILLED, lost_end_sentences, lost_ends
from qcore.analysis.spans import SILENT, STOPPED, FaultWindow, Span, reigns

_EXPECTS: Final = re.compile(r"^expect:", re.MULTILINE)
#: The outcomes of operations that failed.
FAILED: Final = ("refused", "unknown")
#: How a real node ended -> the name of this fault.
_ENDS: Final = {
    SILENT: "node {} killed, or its machine failed",
    STOPPED: "node {} stopped",
    "crash": "node {} crashed",
}


class Verdict(NamedTuple):
    """How one expectation of a scenario was judged, for example by `qcore sim run`."""

    name: str
    ok: bool
    expected: str
    seen: str


@dataclass(slots=True, frozen=True)
class Led:
    """Who led from one time to another.

    Attributes:
        node: the leader; 0 if no node led.
        has_majority: whether the leader could reach a majority of the voters.
        is_censored: whether it lasted until the end of the trace.
    """

    start_us: int
    end_us: int
    node: int
    term: int
    has_majority: bool
    is_censored: bool

    @property
    def text(self) -> str:
        """Who led, in words."""
        if not self.node:
            return "no leader"
        return f"node {self.node}{'' if self.has_majority else ', without a majority'}"


def who_led(course: Course) -> list[Led]:
    """Who led when, from the begin of the cluster on. Only two leaders of one time overlap."""
    tables, begin_us, end_us = course.tables, course.begin_us, course.end_us
    cuts = [window for window in tables.faults if window.cuts]
    rows = [
        Led(
            each.start_us,
            each.end_us,
            each.node,
            each.term,
            each.has_majority,
            each.end_us >= end_us,
        )
        for each in reigns(tables.role_spans, cuts, tables.voters, end_us)
    ]
    rows += [
        Led(gap.start_us, gap.end_us, 0, 0, False, gap.end_us >= end_us)
        for span in tables.leaderless
        for gap in _without(span, rows)
    ]
    begun = [
        replace(row, start_us=max(row.start_us, begin_us)) for row in rows if row.end_us > begin_us
    ]
    return sorted(begun, key=lambda row: (row.start_us, row.node))


def _without(span: Span, rows: Sequence[Led]) -> Iterator[Span]:
    """The parts of a time in which no node believed that it led."""
    start_us = span.start_us
    for row in sorted(rows, key=lambda row: row.start_us):
        if row.start_us >= span.end_us or row.end_us <= start_us:
            continue
        if row.start_us > start_us:
            yield Span(start_us, row.start_us)
        start_us = max(start_us, row.end_us)
    if start_us < span.end_us:
        yield Span(start_us, span.end_us)


def faults(course: Course) -> list[FaultWindow]:
    """The faults that a trace names and, of real nodes, the times in which one was down after it had ended."""
    named = course.tables.faults
    if course.is_simulated:
        return list(named)
    ends = [window for _, window in node_ends(course)]
    return sorted([*named, *ends], key=lambda window: window.start_us)


def node_ends(course: Course) -> list[tuple[int, FaultWindow]]:
    """The events at which real nodes ended, each with the time until this node started again."""
    ends: list[tuple[int, FaultWindow]] = []
    open_ends: dict[int, int] = {}  # node -> the place of its last end
    for event, record in events_of(course.records, {"down", "up"}):
        t_us = record.t_us - course.origin_us
        place = open_ends.pop(record.node, None)
        if place is not None and record.kind == "up":
            number, window = ends[place]
            ends[place] = number, replace(window, end_us=t_us)
        if record.kind == "down" and (name := _ENDS.get(str(record.fields["why"]))):
            open_ends[record.node] = len(ends)
            window = FaultWindow(name.format(record.node), t_us, course.end_us, (), (), "", 0)
            ends.append((event, window))
    return ends


def failure_notes(course: Course) -> list[str]:
    """Sentences about the operations that failed: which of them while no leader had a majority, and what is missing."""
    failed = [row for row in course.operations if row.outcome in FAILED and row.end_us is not None]
    found: list[str] = []
    for span in course.tables.leaderless:
        within = [row for row in failed if span.start_us <= row.invoke_us < span.end_us]
        if within:
            last = (
                "the end of the trace"
                if span.end_us >= course.end_us
                else moment_text(span.end_us, course.begin_us)
            )
            found.append(
                f"{_share(within, failed)} asked for while no leader had a majority, from "
                f"{moment_text(span.start_us, course.begin_us)} to {last}."
            )
    for end in lost_ends(course):
        found.append(
            f"Operations at node {end.node} may be missing: {KILLED}, before its trace had "
            f"its last records (those after {moment_text(end.recorded_us, course.begin_us)})."
        )
        found += lost_end_sentences(end)
    return found


def _share(rows: Sequence[OperationCourse], failed: Sequence[OperationCourse]) -> str:
    """The begin of a sentence about some of the operations that failed: `All 12 of them were`."""
    number = len(rows)
    if number == len(failed):
        return "It was" if number == 1 else f"All {number:,} of them were"
    return f"{number:,} of them {'was' if number == 1 else 'were'}"


def checked(course: Course) -> dict[str, list[str]]:
    """What was checked in a run, in sentences.

    Returns:
        `done` and `missing`: what was checked and what was not; `failures`: what is wrong.
    """
    checks = trace_checks(course)
    if not checks:
        violations = len(course.tables.violations)
        found = f"{violations} failed" if violations else "no check failed"
        how_far = "as far as the trace shows" if course.tables.gaps else "throughout the run"
        done = [f"The simulator checked safety {how_far}: {found}."]
        return {"done": done, "missing": [], "failures": []}
    return {
        "done": [f"{check.text}." for check in checks if not check.failures],
        "missing": [f"Not checked: {each}." for each in NOT_CHECKED],
        "failures": [failure for check in checks for failure in check.failures],
    }


def expectation_note(course: Course, verdicts: Sequence[Verdict]) -> str:
    """What is known of the scenario's expectations, in a sentence; empty if it has none."""
    if verdicts:
        failed = sum(not verdict.ok for verdict in verdicts)
        if failed:
            return f"{failed} of {len(verdicts)} expectations of the scenario did not hold."
        return f"All {len(verdicts)} expectations of the scenario held."
    if course.origin is None or not _EXPECTS.search(course.origin.scenario):
        return ""
    return "The trace does not hold whether the scenario's expectations held: qcore sim run judges them."
