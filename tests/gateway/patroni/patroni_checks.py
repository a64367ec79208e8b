"""Judges the records of a Patroni drill. Each check is a pure function and returns what is wrong, as text.

How "never two primaries" is shown: every instance is asked all the time whether it is a primary, and if it says so, a
row is written to it directly, whatever Patroni says. Each row holds the timeline on which it was written. PostgreSQL
begins a new timeline at each promotion. Two primaries that accept writes at the same time would be one timeline with
rows of two instances, or a row of an older timeline that was sent after a row of a newer one had been acknowledged.
"""

from __future__ import annotations

import bisect
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tests.gateway.patroni.patroni_records import (
    DrillFault,
    Member,
    Outcome,
    PatroniRecords,
    RowId,
    Write,
)

#: The client that follows Patroni's REST API. The others write to one instance each.
WRITER: Final = "writer"
#: After these another instance must be primary.
FAILOVERS: Final = (
    "kill_primary",
    "kill_primary_and_store_leader",
    "pause_primary",
    "pause_patroni",
)
#: These last shorter than Patroni's lease, so the primary stays.
BRIEF: Final = ("kill_store_leader", "pause_store_leader", "kill_gateway")
#: These stop Patroni, but leave its PostgreSQL in memory. It goes on as a primary until Patroni goes on.
PAUSES: Final = ("pause_primary", "pause_patroni")
#: How many examples a text names.
_SHOWN: Final = 5


def acknowledged(records: PatroniRecords) -> list[Write]:
    """The acknowledged writes."""
    return [write for write in records.writes if write.outcome is Outcome.ACKNOWLEDGED]


def lost_rows(records: PatroniRecords) -> Iterator[str]:
    """Every acknowledged row is on every instance at the end."""
    wanted = {write.row for write in acknowledged(records)}
    for instance, rows in sorted(records.rows.items()):
        if missing := wanted - rows:
            yield f"{instance} lacks {len(missing)} acknowledged rows: {_named(missing)}"


def wrong_rows(records: PatroniRecords) -> Iterator[str]:
    """All instances hold the same rows at the end, and none that was never sent or was refused."""
    possible = {write.row for write in records.writes if write.outcome is not Outcome.REFUSED}
    together = frozenset[RowId]().union(*records.rows.values())
    for instance, rows in sorted(records.rows.items()):
        if strange := rows - possible:
            yield f"{instance} holds {len(strange)} rows that no client wrote: {_named(strange)}"
        if missing := together - rows:
            yield f"{instance} lacks {len(missing)} rows of other instances: {_named(missing)}"


def split_writes(records: PatroniRecords) -> Iterator[str]:
    """No two instances accept writes at the same time: by their timelines, see above."""
    writers: dict[int, set[str]] = defaultdict(set)
    writes: list[tuple[int, Write]] = []
    for write in acknowledged(records):
        if write.timeline is None:
            yield f"{write.row} was acknowledged without a timeline"
            continue
        writers[write.timeline].add(write.instance)
        writes.append((write.timeline, write))
    for timeline, instances in sorted(writers.items()):
        if len(instances) > 1:
            yield f"timeline {timeline} has rows of {', '.join(sorted(instances))}"
    writes.sort(key=lambda each: each[1].ended_s)
    ends = [write.ended_s for _, write in writes]
    newest: list[int] = []  # the newest timeline among the writes until here
    for timeline, _ in writes:
        newest.append(max(timeline, newest[-1] if newest else 0))
    for timeline, write in writes:
        before = bisect.bisect_left(ends, write.began_s)
        if before and newest[before - 1] > timeline:
            yield (
                f"{write.instance} accepted {write.row} on timeline {timeline}, sent at {write.began_s:.3f}"
                f" after a row of timeline {newest[before - 1]} had been acknowledged"
            )


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two instances were not in recovery at the same time, for certain from `began_s` to `ended_s`."""

    first: str
    second: str
    began_s: float
    ended_s: float


def overlaps(records: PatroniRecords) -> list[Overlap]:
    """When two instances were not in recovery at the same time, whether or not they accepted writes."""
    spans = _primary_spans(records)
    found = [
        Overlap(one[0], other[0], max(one[1], other[1]), min(one[2], other[2]))
        for number, one in enumerate(spans)
        for other in spans[number + 1 :]
        if one[0] != other[0] and max(one[1], other[1]) < min(one[2], other[2])
    ]
    return sorted(found, key=lambda overlap: overlap.began_s)


def two_primaries(records: PatroniRecords) -> Iterator[str]:
    """No two instances are out of recovery at the same time, unless one of them was paused with its Patroni.

    Patroni cannot demote a primary while it is stopped itself; a watchdog would reset the computer. Such a primary
    must be in recovery again when the fault is over.
    """
    pauses = [fault for fault in records.faults if fault.kind in PAUSES]
    for overlap in overlaps(records):
        excused = any(
            fault.target in (overlap.first, overlap.second)
            and fault.began_s <= overlap.began_s
            and overlap.ended_s <= fault.healed_s
            for fault in pauses
        )
        if not excused:
            yield (
                f"{overlap.first} and {overlap.second} were both primary"
                f" from {overlap.began_s:.3f} to {overlap.ended_s:.3f}"
            )


def missing_failovers(records: PatroniRecords) -> Iterator[str]:
    """A primary that was struck is replaced, the newest timeline grows, and rows follow on it."""
    for fault in records.faults:
        if fault.kind not in FAILOVERS:
            continue
        if fault.primary_after == fault.primary_before:
            yield f"{fault.kind} of {fault.target}: {fault.primary_after} is primary still"
        writes = acknowledged(records)
        before = {each.timeline or 0 for each in writes if each.ended_s <= fault.began_s}
        during = {
            each.timeline or 0 for each in writes if fault.began_s < each.began_s <= fault.healed_s
        }
        if not during or max(during) <= max(before, default=0):
            yield f"{fault.kind} of {fault.target}: no row on a new timeline while it was mended"


def needless_failovers(records: PatroniRecords) -> Iterator[str]:
    """A brief fault of the store leaves the primary in its place: its lease lives on."""
    for fault in records.faults:
        if fault.kind in BRIEF and fault.primary_after != fault.primary_before:
            yield f"{fault.kind} of {fault.target}: {fault.primary_after} followed {fault.primary_before}"


def missing_progress(records: PatroniRecords) -> Iterator[str]:
    """The writer wrote a row before the first fault, and after each one before the next one."""
    rows = [write for write in acknowledged(records) if write.row.source == WRITER]
    edges = [(fault.healed_s, f"{fault.kind} of {fault.target}") for fault in records.faults]
    begins = [*(fault.began_s for fault in records.faults), float("inf")]
    for (after_s, what), end_s in zip([(0.0, "the start"), *edges], begins, strict=True):
        if not any(after_s <= write.began_s and write.ended_s <= end_s for write in rows):
            yield f"no row was acknowledged between {what} and what followed"


def unhealthy_end(records: PatroniRecords) -> Iterator[str]:
    """The cluster is healthy at the end."""
    yield from ill_members(records.members, len(records.rows))


def ill_members(members: Sequence[Member], size: int, *, synchronous: bool = True) -> list[str]:
    """What is wrong: one leads, one is a synchronous standby, and all others stream on the leader's timeline."""
    roles = sorted(member.role for member in members)
    wrong: list[str] = []
    standbys = (
        ["sync_standby", *["replica"] * (size - 2)] if synchronous else ["replica"] * (size - 1)
    )
    if roles != sorted(["leader", *standbys]):
        wrong.append(f"the roles are {roles}")
    if len({member.timeline for member in members}) > 1:
        wrong.append(f"the members are on several timelines: {members}")
    states = {"leader": "running"}
    return wrong + [
        f"{member.name} is {member.state} as {member.role}"
        for member in members
        if member.state != states.get(member.role, "streaming")
    ]


CHECKS: Final[Sequence[Callable[[PatroniRecords], Iterator[str]]]] = (
    lost_rows,
    wrong_rows,
    split_writes,
    two_primaries,
    missing_failovers,
    needless_failovers,
    missing_progress,
    unhealthy_end,
)


def violations(records: PatroniRecords) -> list[str]:
    """All that the checks find."""
    return [f"{check.__name__}: {text}" for check in CHECKS for text in check(records)]


def failover_times(records: PatroniRecords) -> list[tuple[DrillFault, float]]:
    """For each fault, the longest time in which the writer got no acknowledgement, seconds."""
    ends = sorted(write.ended_s for write in acknowledged(records) if write.row.source == WRITER)
    times: list[tuple[DrillFault, float]] = []
    for fault in records.faults:
        within = [at for at in ends if fault.began_s < at < fault.healed_s]
        edges = [fault.began_s, *within, fault.healed_s]
        gaps = [later - earlier for earlier, later in itertools.pairwise(edges)]
        times.append((fault, max(gaps)))
    return times


def _primary_spans(records: PatroniRecords) -> list[tuple[str, float, float]]:
    """(instance, from, to): the instance was certainly primary, with the same server process.

    A server process that is primary stays so until it ends, so it is primary between two sights, too.
    """
    seen: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for sight in records.sights:
        if sight.is_primary:
            seen[sight.instance, sight.start].append((sight.began_s, sight.ended_s))
    spans: list[tuple[str, float, float]] = []
    for (instance, _), times in seen.items():
        first_s, last_s = min(end for _, end in times), max(begin for begin, _ in times)
        if first_s < last_s:
            spans.append((instance, first_s, last_s))
    return spans


def _named(rows: set[RowId] | frozenset[RowId]) -> str:
    named = sorted(f"{row.source}/{row.number}" for row in rows)
    more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
    return ", ".join(named[:_SHOWN]) + more
