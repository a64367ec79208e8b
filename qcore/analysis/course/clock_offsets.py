"""Estimates how far the clocks of real nodes differ, from messages in both directions, and aligns their records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from heapq import heappop, heappush
from itertools import combinations
from operator import attrgetter

from qcore.analysis.course.course_types import ClockOffset, Messages
from qcore.analysis.course.message_pairs import RECEIVED
from qcore.analysis.rows import Rows
from qcore.trace import TraceRecord


def clock_offsets(messages: Messages, nodes: Iterable[int]) -> Rows[ClockOffset]:
    """How far the clocks of each two nodes differ.

    The fastest message of each direction took at least no time. So the true offset is within `error_us` of the
    estimate, which assumes that both took the same time (as in NTP, RFC 5905).

    Args:
        messages: the messages of a course.
        nodes: its nodes. Two nodes without messages in both directions give no row.
    """
    fastest: dict[tuple[int, int], int] = {}
    counts: dict[tuple[int, int], int] = {}
    for number, source in enumerate(messages.source):
        if messages.outcome[number] != RECEIVED or messages.send_event[number] < 0:
            continue
        link = (source, messages.target[number])
        flight = messages.end_us[number] - messages.sent_us[number]
        fastest[link] = min(flight, fastest.get(link, flight))
        counts[link] = counts.get(link, 0) + 1
    rows: list[ClockOffset] = []
    for a, b in combinations(sorted(nodes), 2):
        if (a, b) in fastest and (b, a) in fastest:
            there, back = fastest[a, b], fastest[b, a]
            samples = counts[a, b] + counts[b, a]
            # Negative if the clocks moved against each other during the trace.
            error = abs(there + back) // 2
            rows.append(ClockOffset(a, b, (there - back) // 2, error, samples))
    return Rows(ClockOffset, rows)


def corrections(offsets: Sequence[ClockOffset], nodes: Iterable[int]) -> dict[int, int]:
    """What to add to the times of each node, so that they are those of the node with the best links.

    A node without links to it keeps its times.
    """
    ways: dict[int, list[tuple[int, int, int]]] = {node: [] for node in nodes}
    for row in offsets:
        ways[row.a].append((row.b, row.offset_us, row.error_us))
        ways[row.b].append((row.a, -row.offset_us, row.error_us))
    if not ways:
        return {}
    best = min(
        ways, key=lambda node: (-len(ways[node]), sum(error for _, _, error in ways[node]), node)
    )
    found: dict[int, int] = {}
    queue = [(0, best, 0)]  # error, node, its clock minus that of the best node
    while queue:
        error, node, ahead = heappop(queue)
        if node in found:
            continue
        found[node] = -ahead
        for other, offset, more in ways[node]:
            if other not in found:
                heappush(queue, (error + more, other, ahead + offset))
    return {node: found.get(node, 0) for node in ways}


def aligned(
    records_by_node: Mapping[int, Sequence[TraceRecord]], offsets: Sequence[ClockOffset]
) -> list[TraceRecord]:
    """The records of real nodes in one order, with the times of one clock.

    Args:
        records_by_node: the records that each node wrote.
        offsets: how far their clocks differ.
    """
    shifts = corrections(offsets, records_by_node)
    records: list[TraceRecord] = []
    for node, written in records_by_node.items():
        shift = shifts[node]
        records += (
            (TraceRecord(r.t_us + shift, r.kind, r.node, r.fields) for r in written)
            if shift
            else written
        )
    return sorted(records, key=attrgetter("t_us"))
