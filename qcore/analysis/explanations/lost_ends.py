"""What the trace of a real node does not show of its end, because it was killed: others show some of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from qcore.analysis.course.course_types import Course
from qcore.analysis.course.log_shapes import shape_of
from qcore.analysis.course.voting.short_texts import duration_text, joined, nodes_text
from qcore.analysis.spans import PAUSE, SILENT, STOPPED

#: What it means if a trace shows no stop of its node.
KILLED: Final = "it was killed, or its machine failed"
_DOWN: Final[dict[str, str]] = {
    "crash": "it crashed",
    PAUSE: "it was paused",
    STOPPED: "it was stopped",
    SILENT: KILLED,
}


@dataclass(slots=True, frozen=True)
class LostEnd:
    """The end of a node whose process ended without a record.

    Attributes:
        recorded_us: its last record.
        end_us: its last message, as received by another node; its last record if there is no later message.
        entries: the entries of its current term that others received from it and that its trace does not show.
        holders: the nodes that received all of them.
        committed_by: the node that knew first that the last of them was committed; None if no node did.
    """

    node: int
    recorded_us: int
    end_us: int
    entries: range
    holders: tuple[int, ...]
    committed_by: int | None


def lost_ends(course: Course) -> Iterator[LostEnd]:
    """The ends that are missing in the traces of a course, in the order of time."""
    spans = [span for span in course.tables.role_spans if span.why == SILENT]
    for span in sorted(spans, key=lambda span: span.start_us):
        node, end_us = span.node, span.start_us
        recorded_us = next(
            (
                gap.start_us
                for gap in course.tables.gaps
                if gap.nodes == (node,) and gap.end_us == end_us
            ),
            end_us,
        )
        entries, holders = _entries(course, node, end_us)
        yield LostEnd(
            node, recorded_us, end_us, entries, holders, _committed_by(course, entries, holders)
        )


def lost_end_of(course: Course, node: int, end_us: int) -> LostEnd | None:
    """The lost end of a node that ended at a time; None if its trace shows its end."""
    return next(
        (end for end in lost_ends(course) if (end.node, end.end_us) == (node, end_us)), None
    )


def lost_end_sentences(end: LostEnd) -> Iterator[str]:
    """What is missing of a trace, in sentences."""
    if end.recorded_us == end.end_us:
        return
    missing = duration_text(end.end_us - end.recorded_us)
    text = f"The records of the last {missing} of node {end.node} are missing"
    if not end.entries:
        yield f"{text}; its messages of this time reached other nodes."
        return
    number = len(end.entries)
    if number < 3:
        which = f"{'entry' if number == 1 else 'entries'} {joined(end.entries)}"
    else:
        which = f"entries {end.entries[0]:,} to {end.entries[-1]:,}"
    text = f"{text}, but {which} of this time reached {nodes_text(end.holders)}"
    if end.committed_by is not None:
        text = (
            f"{text}, and node {end.committed_by} committed {'it' if number == 1 else 'them'} later"
        )
    yield f"{text}."


def _entries(course: Course, node: int, end_us: int) -> tuple[range, tuple[int, ...]]:
    """The entries that only others show, and who has them."""
    role = next((span for span in course.tracks[node].roles if span.end_us == end_us), None)
    if role is None or role.role != "leader":
        return range(0), ()
    last = shape_of(course.tracks[node].log, end_us).last_index
    longest = {
        other: max(
            (
                change.last
                for change in track.log
                if change.phase == "append" and change.term == role.term
            ),
            default=0,
        )
        for other, track in course.tracks.items()
        if other != node
    }
    most = max(longest.values(), default=0)
    return range(last + 1, max(most, last) + 1), tuple(
        other for other, index in longest.items() if index == most > last
    )


def _committed_by(course: Course, entries: range, holders: tuple[int, ...]) -> int | None:
    if not entries:
        return None
    first: tuple[int, int] | None = None
    for holder in holders:
        when = course.tracks[holder].commit.first_at_least(entries[-1])
        if when is not None and (first is None or when < first[0]):
            first = (when, holder)
    return None if first is None else first[1]


def down_text(why: str) -> str:
    """Why a node is down, in a sentence."""
    return _DOWN.get(why, why)
