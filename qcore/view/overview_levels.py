"""What a page knows about a run without decoding its events: roles, faults, elections, counts over time, and marks."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Final

from qcore.analysis.course.course_records import events_of
from qcore.analysis.course.course_types import (
    MESSAGE_OUTCOMES,
    Course,
    Election,
    OperationCourse,
    Round,
)
from qcore.analysis.explanations.fault_words import fault_words
from qcore.analysis.explanations.operation_effect import effect_of
from qcore.view.chunk_codec import TextTable
from qcore.view.keyframes import Extent
from qcore.view.run_summary import FAILED, faults, node_ends, who_led

#: How many stretches of time the counts have: a power of two, so that a page can add pairs for a coarser picture.
FEWEST_BINS: Final = 64
MOST_BINS: Final = 8192
#: How many events a stretch has at least, on average.
_EVENTS_OF_A_BIN: Final = 4
#: How many steps of the commit index of a node are kept.
_MOST_STEPS: Final = 2048
_LOST: Final = MESSAGE_OUTCOMES.index("lost")
#: The outcomes of operations that are counted over time.
_OUTCOMES: Final = ("ok", "refused", "unknown")
_KINDS: Final = ("writes", "reads")


def spans(course: Course, roles: TextTable) -> dict[str, object]:
    """The roles of all nodes over time."""
    rows = course.tables.role_spans
    return {
        "node": [span.node for span in rows],
        "start": [span.start_us for span in rows],
        "length": [span.end_us - span.start_us for span in rows],
        "role": roles.numbers(span.role for span in rows),
        "term": [span.term for span in rows],
        "leader": [span.leader for span in rows],
        "why": [span.why for span in rows],
    }


def leadership(course: Course) -> dict[str, object]:
    """Who led when, and when no node could."""
    led, leaderless = course.tables.leaderships, course.tables.leaderless
    rows = who_led(course)
    return {
        "led": {
            "who": [row.text for row in rows],
            "node": [row.node for row in rows],
            "term": [row.term for row in rows],
            "majority": [row.has_majority for row in rows],
            "start": [row.start_us for row in rows],
            "length": [row.end_us - row.start_us for row in rows],
            "censored": [row.is_censored for row in rows],
        },
        "leaderships": {
            "node": [row.node for row in led],
            "term": [row.term for row in led],
            "start": [row.start_us for row in led],
            "length": [row.end_us - row.start_us for row in led],
        },
        "leaderless": {
            "start": [span.start_us for span in leaderless],
            "length": [span.length_us for span in leaderless],
            "censored": [span.end_us >= course.end_us for span in leaderless],
        },
    }


def disturbances(course: Course, extent: Extent) -> dict[str, object]:
    """Faults, gaps in the trace, violations, and the offsets of clocks."""
    tables = course.tables
    places = _places(course, {"violation"})
    return {
        "faults": [
            {
                "name": window.fault,
                "label": window.label,
                "start": window.start_us,
                "end": window.end_us,
                "nodes": window.nodes,
                "links": window.links,
                "cuts": window.cuts,
                "note": window.note,
                "acts": window.acts,
                "is_end": not course.is_simulated and window not in tables.faults,
            }
            for window in faults(course)
        ],
        "notes": {
            note: words
            for _, record in events_of(course.records, {"fault"})
            if (words := fault_words(note := str(record.fields["note"]))) != note
        },
        "gaps": [
            {"start": gap.start_us, "end": gap.end_us, "nodes": gap.nodes, "note": gap.note}
            for gap in tables.gaps
        ],
        "violations": [
            {
                "t": row.t_us,
                "node": row.node,
                "check": row.check,
                "note": row.note,
                "event": extent.number(event),
            }
            for row, (event, _) in zip(tables.violations, places, strict=True)
        ],
        "offsets": [
            {"a": row.a, "b": row.b, "offset": row.offset_us, "error": row.error_us}
            for row in course.offsets
        ],
    }


def election_row(election: Election, title: str, sentences: Sequence[str]) -> dict[str, object]:
    """An election, with its explanation."""
    return {
        "number": election.number,
        "start": election.start_us,
        "end": election.end_us,
        "length": election.whole_us,
        "cause": election.cause,
        "cause_us": election.cause_us,
        "cause_note": election.cause_note,
        "old_leader": election.old_leader,
        "old_term": election.old_term,
        "winner": election.winner,
        "term": election.term,
        "ready_us": election.ready_us,
        "outcome": election.outcome,
        "messages": election.messages,
        "censored": election.is_censored,
        "votes": {str(node): candidate for node, candidate in election.votes.items()},
        "title": title,
        "sentences": list(sentences),
        "rounds": [
            {**asdict(each), "like": like}
            for each, like in zip(election.rounds, _alike(election.rounds), strict=True)
        ],
    }


def _alike(rounds: Sequence[Round]) -> list[int]:
    """Of each round, the number of the first round that went in the same way: perhaps itself."""
    first: dict[tuple[object, ...], int] = {}
    return [
        first.setdefault(
            (
                each.kind,
                each.term,
                each.candidate,
                each.result,
                each.why,
                tuple((ask.voter, ask.answer, ask.why) for ask in each.asked),
            ),
            number,
        )
        for number, each in enumerate(rounds)
    ]


def bins(course: Course, extent: Extent, message_of: Sequence[int]) -> dict[str, object]:
    """What happened in each of many equal stretches of time: messages sent and lost by their senders, and outcomes.

    Args:
        course: the course.
        extent: the part of it that the page shows.
        message_of: see `messages_by_event`. A message that was duplicated was sent once.
    """
    count = FEWEST_BINS
    while count < MOST_BINS and count * _EVENTS_OF_A_BIN < extent.events:
        count *= 2
    width = max(1, -(-(extent.end_us - extent.start_us + 1) // count))
    grid = _Grid(extent.start_us, width, count)
    messages = course.messages
    sent = {node: [0] * count for node in course.nodes}
    lost = {node: [0] * count for node in course.nodes}
    rows = zip(messages.sent_us, messages.source, messages.send_event, strict=True)
    grid.count_by_node(
        sent,
        (
            (t_us, node)
            for number, (t_us, node, event) in enumerate(rows)
            if event >= 0 and message_of[event] == number
        ),
    )
    ends = zip(messages.end_us, messages.source, messages.outcome, strict=True)
    grid.count_by_node(lost, ((t_us, node) for t_us, node, outcome in ends if outcome == _LOST))
    outcomes = {outcome: [0] * count for outcome in _OUTCOMES}
    latency = [0] * count
    for operation in course.operations:
        number = -1 if operation.end_us is None else grid.number(operation.end_us)
        if number >= 0 and operation.outcome in outcomes:
            outcomes[operation.outcome][number] += 1
            latency[number] = max(latency[number], operation.latency_us or 0)
    return {
        "start_us": extent.start_us,
        "width_us": width,
        "count": count,
        "sent": sent,
        "lost": lost,
        **outcomes,
        "latency_max_us": latency,
    }


class _Grid:
    """Equal stretches of time."""

    def __init__(self, start_us: int, width_us: int, count: int) -> None:
        self._start_us = start_us
        self._width_us = width_us
        self._count = count

    def number(self, t_us: int) -> int:
        """The number of the stretch at a time; -1 if it is in none."""
        number = (t_us - self._start_us) // self._width_us
        return number if 0 <= number < self._count else -1

    def count_by_node(
        self, counts: Mapping[int, list[int]], moments: Iterable[tuple[int, int]]
    ) -> None:
        """Count (time, node) in the stretches of each node."""
        start, width, most = self._start_us, self._width_us, self._count
        for t_us, node in moments:
            number = (t_us - start) // width
            if 0 <= number < most and node in counts:
                counts[node][number] += 1


def commits(course: Course, extent: Extent) -> dict[str, dict[str, list[int]]]:
    """The commit index of each node over time: the last one of each of many stretches."""
    width = max(1, (extent.end_us - extent.start_us) // _MOST_STEPS + 1)
    found: dict[str, dict[str, list[int]]] = {}
    for node, track in course.tracks.items():
        thinned: dict[int, tuple[int, int]] = {}
        for t_us, index in zip(track.commit.times, track.commit.values, strict=True):
            thinned[max(t_us - extent.start_us, -1) // width] = (t_us, index)
        found[str(node)] = {
            "t": [t_us for t_us, _ in thinned.values()],
            "v": [index for _, index in thinned.values()],
        }
    return found


def operation_columns(
    course: Course,
    places: Mapping[tuple[int, int], tuple[int, int]],
    judged: frozenset[int],
    numbers: Sequence[int],
) -> dict[str, object]:
    """Operations as columns.

    Args:
        course: the course.
        places: client and number of an operation -> the events with which it begins and ends, on the page.
        judged: the numbers of those in the history that was checked.
        numbers: the numbers of the operations that become rows.
    """
    chosen = [course.operations[number] for number in numbers]
    events = [places.get((row.client, row.op_id), (-1, -1)) for row in chosen]
    return {
        "client": [row.client for row in chosen],
        "op_id": [row.op_id for row in chosen],
        "op": [row.op for row in chosen],
        "key": [row.key for row in chosen],
        "value": [row.value for row in chosen],
        "expected": [row.expected for row in chosen],
        "output": [row.output for row in chosen],
        "outcome": [row.outcome for row in chosen],
        "note": [row.note for row in chosen],
        "effect": [effect_of(course, row).kind if row.outcome in FAILED else "" for row in chosen],
        "invoke": [row.invoke_us for row in chosen],
        "end": [row.end_us for row in chosen],
        "node": [row.took[-1][0] if row.took else None for row in chosen],
        "leader": [row.leader for row in chosen],
        "term": [row.term for row in chosen],
        "index": [row.index for row in chosen],
        "is_forwarded": [row.is_forwarded for row in chosen],
        "forwarded": [row.forwarded_us for row in chosen],
        "arrived": [row.arrived_us for row in chosen],
        "appended": [row.appended_us for row in chosen],
        "durable": [row.durable_us for row in chosen],
        "quorum": [row.quorum_us for row in chosen],
        "committed": [row.committed_us for row in chosen],
        "applied": [row.applied_us for row in chosen],
        "replied": [row.replied_us for row in chosen],
        "place": [first for first, _ in events],
        "end_event": [last for _, last in events],
        "judged": [number in judged for number in numbers],
    }


def operation_totals(operations: Iterable[OperationCourse]) -> dict[str, int]:
    """How many operations there are, failed, and had no outcome when the trace ended."""
    kinds = Counter(("reads" if row.op == "read" else "writes", row.outcome) for row in operations)
    return {
        "writes": sum(count for (kind, _), count in kinds.items() if kind == "writes"),
        **{f"failed_{kind}": sum(kinds[kind, each] for each in FAILED) for kind in _KINDS},
        **{f"open_{kind}": kinds[kind, "open"] for kind in _KINDS},
    }


def operation_places(course: Course, extent: Extent) -> dict[tuple[int, int], tuple[int, int]]:
    """Client and number of each operation -> the events with which it begins and ends, on the page; -1: not there."""
    found: dict[tuple[int, int], tuple[int, int]] = {}
    for event, record in events_of(course.records, {"op"}):
        phase, client, op_id = record.values[:3]
        name = (int(client), int(op_id))
        if phase == "invoke":
            found[name] = (extent.number(event), -1)
        elif name in found:
            found[name] = (found[name][0], extent.number(event))
    return found


def marks(
    course: Course, extent: Extent, places: Mapping[tuple[int, int], tuple[int, int]]
) -> dict[str, list[tuple[int, int]]]:
    """The events to which a reader jumps, with their times: elections, faults, violations, failed operations."""
    failed = [
        (places[row.client, row.op_id][1], row.end_us)
        for row in course.operations
        if row.outcome in FAILED and row.end_us is not None
    ]
    found = {
        "elections": _at_times(course, [row.start_us for row in course.elections]),
        "faults": _fault_places(course),
        "violations": _places(course, {"violation"}),
    }
    numbered = {
        name: [(extent.number(event), t_us) for event, t_us in events]
        for name, events in found.items()
    }
    numbered["failed"] = failed
    return {
        name: sorted((event, t_us) for event, t_us in events if event >= 0)
        for name, events in numbered.items()
    }


def _fault_places(course: Course) -> list[tuple[int, int]]:
    ends = [] if course.is_simulated else node_ends(course)
    places = [(event, window.start_us) for event, window in ends]
    return sorted(_places(course, {"fault"}) + places)


def _places(course: Course, kinds: set[str]) -> list[tuple[int, int]]:
    return [
        (event, record.t_us - course.origin_us)
        for event, record in events_of(course.records, kinds)
    ]


def _at_times(course: Course, times: Iterable[int]) -> list[tuple[int, int]]:
    """The first event at each of these times or after it."""
    records, origin = course.records, course.origin_us
    events = [
        (bisect_left(records, t_us, key=lambda record: record.t_us - origin), t_us)
        for t_us in times
    ]
    return [(event, t_us) for event, t_us in events if event < len(records)]
