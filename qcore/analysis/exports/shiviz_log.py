"""Writes a run as a log for ShiViz, which draws the events of distributed systems by their vector clocks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from qcore.analysis.course.course_types import Course
from qcore.display import escape_unprintable
from qcore.trace import TraceRecord

#: How ShiViz reads the lines: each event has two of them.
PARSER: Final = r"(?<host>\S+) (?<clock>{.*})\n(?<event>.*)"


def shiviz(course: Course) -> str:
    """A run as a log for ShiViz.

    The first line is the expression with which ShiViz reads it; the second is empty, because there is one run. Then
    each event has a line with its node and its vector clock, and a line with its text. Changes of role, votes,
    messages, commits, crashes and the faults of a node are events. A message that is lost has only its sending.

    Args:
        course: the course of the run. Leave out details that ShiViz cannot draw well by a shorter trace: it shows some
            thousands of events.
    """
    clocks: dict[int, dict[int, int]] = {node: {} for node in course.nodes}
    sent: dict[int, dict[int, int]] = {}  # the number of the event of a sending -> its clock
    sendings = {
        end: send
        for send, end, outcome in zip(
            course.messages.send_event,
            course.messages.end_event,
            course.messages.outcome,
            strict=True,
        )
        if outcome == 0 and 0 <= send < end
    }
    lines = [PARSER, ""]
    for number, record in enumerate(course.records):
        text = _text(record)
        if text is None:
            continue
        for node in _nodes_of(record):
            if node not in clocks:
                continue
            clock = clocks[node]
            for other, count in sent.get(sendings.get(number, -1), {}).items():
                clock[other] = max(clock.get(other, 0), count)
            clock[node] = clock.get(node, 0) + 1
            if record.kind == "send":
                sent[number] = dict(clock)
            named = {f"node{other}": clock[other] for other in sorted(clock)}
            when = f"{(record.t_us - course.origin_us) / 1_000_000:.6f} s"
            lines += [f"node{node} {json.dumps(named)}", escape_unprintable(f"{when} {text}")]
    return "\n".join(lines) + "\n"


def _nodes_of(record: TraceRecord) -> Sequence[int]:
    return record.fields["nodes"] if record.kind == "fault" else [record.node]


def _text(record: TraceRecord) -> str | None:
    """What an event says; None for a record that is no event of a node."""
    fields: Mapping[str, Any] = record.fields  # as the trace has them
    match record.kind:
        case "up":
            return f"starts, term {fields['term']}"
        case "down":
            return f"stops: {fields['why']}"
        case "role":
            return f"{fields['role']}, term {fields['term']}"
        case "vote":
            return f"votes for {fields['candidate']} in term {fields['term']}"
        case "send":
            note = f" ({fields['note']})" if fields["note"] else ""
            return f"sends {fields['message']} to {fields['to']}{note}"
        case "recv":
            return f"receives {fields['message']} from {fields['from']}"
        case "commit":
            return f"commits through {fields['index']}"
        case "fault" if fields["phase"] != "act":
            return f"fault {fields['phase']}s: {fields['fault']} {fields['note']}".rstrip()
    return None
