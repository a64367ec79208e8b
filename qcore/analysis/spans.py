"""Stretches of time: who played which role, which fault acted, when nobody could lead.

All times are microseconds since the trace's first record.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from qcore.trace import TraceRecord

#: The roles of a trace, and `down` for a server that does not run.
ROLES = ("leader", "candidate", "pre_candidate", "follower", "learner", "down")

#: The `why` of a process that is frozen and will go on where it was.
PAUSE = "pause"

#: The `why` of a process that was asked to stop and did.
STOPPED = "stopped"

#: The `why` of a process that stopped without a word.
SILENT = "silent"

#: Servers talk several times a second: every heartbeat, and every attempt at an election.
_SILENCE_US = 1_000_000
#: Records about a node that it does not write itself.
_KINDS_FROM_OTHERS = ("drop", "op", "fault", "violation", "run")

DirectedLink = tuple[int, int]

_LINK_SETTINGS = (
    "latency_ms ",
    "loss ",
    "duplicate ",
    "reorder ",
    "reorder_extra_ms ",
    "bandwidth",
)


@dataclass(slots=True, frozen=True)
class RoleSpan:
    """A server kept role, term and known leader from `start_us` to `end_us`.

    `why` says, for the role `down`, what stopped it.
    """

    node: int
    start_us: int
    end_us: int
    role: str
    term: int
    leader: int | None
    why: str = ""


@dataclass(slots=True, frozen=True)
class Leadership:
    """A server led a term from `start_us` to `end_us`, as far as it knew itself."""

    node: int
    term: int
    start_us: int
    end_us: int


@dataclass(slots=True, frozen=True)
class Span:
    """A stretch of time."""

    start_us: int
    end_us: int

    @property
    def length_us(self) -> int:
        return self.end_us - self.start_us


@dataclass(slots=True, frozen=True)
class FaultWindow:
    """A fault was in force from `start_us` to `end_us`.

    Attributes:
        nodes: the servers it concerns.
        links: the directed links it concerns.
        note: what the trace says about it.
        acts: how often it was seen to act.
    """

    fault: str
    start_us: int
    end_us: int
    nodes: tuple[int, ...]
    links: tuple[DirectedLink, ...]
    note: str
    acts: int

    def covers(self, t_us: int) -> bool:
        return self.start_us <= t_us < self.end_us

    @property
    def cuts(self) -> bool:
        """Whether it cuts links, in contrast to faults that make links worse or strike servers.

        The trace tells them apart by the note: a change of links lists the settings that it changes.
        """
        return bool(self.links) and not self.note.startswith(_LINK_SETTINGS)

    @property
    def label(self) -> str:
        """A few words for a plot, for example `partition 1,2 | 3,4,5` or `disk_stall node 4`."""
        what = self.fault.partition("] ")[2] or self.fault
        if self.links and not self.cuts:
            return self.note if what in ("links", "network") else f"{what} {self.note}"
        if "|" in self.note:
            return f"{what} {self.note}"
        if not self.nodes:
            return what
        named = ",".join(map(str, self.nodes))
        return f"{what} node{'s' if len(self.nodes) > 1 else ''} {named}"


def role_spans(records: Iterable[TraceRecord], origin_us: int, end_us: int) -> list[RoleSpan]:
    """What each server was when, sorted by node and time; stretches of no length are left out.

    A real process that is killed cannot write that it stops. One that starts again without having stopped, or
    from which the trace hears nothing for the last second though it took part before, counts as down
    (`why` is `silent`) from its last record on. A simulated process never stops without a record: one that says
    nothing, for example because it was removed from the cluster, still runs.
    """
    open_spans: dict[int, RoleSpan] = {}
    before_pause: dict[int, RoleSpan] = {}
    spans: list[RoleSpan] = []

    def change(node: int, t_us: int, role: str, term: int, leader: int | None, why: str) -> None:
        before = open_spans.get(node)
        if before is not None and before.start_us < t_us:
            spans.append(
                RoleSpan(
                    node, before.start_us, t_us, before.role, before.term, before.leader, before.why
                )
            )
        open_spans[node] = RoleSpan(node, t_us, end_us, role, term, leader, why)

    last_seen: dict[int, int] = {}
    talks: set[int] = set()

    def fall_silent(node: int) -> None:
        if node in open_spans and open_spans[node].role != "down":
            change(node, last_seen[node], "down", open_spans[node].term, None, SILENT)

    may_be_killed = True
    for record in records:
        t_us, fields = record.t_us - origin_us, record.fields
        if record.kind == "run" and len(fields["nodes"]) > 1:  # a real node writes of itself only
            may_be_killed = False
        if record.kind == "up" and record.node not in before_pause:
            fall_silent(record.node)
        if record.kind not in _KINDS_FROM_OTHERS:
            last_seen[record.node] = t_us
        if record.kind == "send":
            talks.add(record.node)
        if record.kind == "role":
            change(record.node, t_us, fields["role"], fields["term"], fields["leader"], "")
        elif record.kind == "up":
            # A process that was only paused goes on as what it was, without saying so.
            was = before_pause.pop(record.node, None)
            if was is None:
                change(record.node, t_us, "follower", fields["term"], None, "")
            else:
                change(record.node, t_us, was.role, was.term, was.leader, "")
        elif record.kind == "down":
            present = open_spans.get(record.node)
            before_pause.pop(record.node, None)
            if present is not None and fields["why"] == PAUSE:
                before_pause[record.node] = present
            term = present.term if present is not None else 0
            change(record.node, t_us, "down", term, None, fields["why"])
    for node in sorted(talks) if may_be_killed else ():
        if last_seen[node] < end_us - _SILENCE_US:
            fall_silent(node)
    spans += [span for span in open_spans.values() if span.start_us < span.end_us]
    return sorted(spans, key=lambda span: (span.node, span.start_us))


def leaderships(spans: Iterable[RoleSpan]) -> list[Leadership]:
    """Who led which term when, in time; spans of one leadership are joined."""
    found: list[Leadership] = []
    for span in spans:
        if span.role != "leader":
            continue
        last = found[-1] if found else None
        if last is not None and (last.node, last.term, last.end_us) == (
            span.node,
            span.term,
            span.start_us,
        ):
            found[-1] = Leadership(span.node, span.term, last.start_us, span.end_us)
        else:
            found.append(Leadership(span.node, span.term, span.start_us, span.end_us))
    return sorted(found, key=lambda leadership: (leadership.start_us, leadership.node))


@dataclass(slots=True)
class _OpenFault:
    start_us: int
    nodes: tuple[int, ...]
    links: tuple[DirectedLink, ...]
    note: str
    acts: int = 0
    ended_at: int | None = None


def fault_windows(records: Iterable[TraceRecord], origin_us: int, end_us: int) -> list[FaultWindow]:
    """Faults from their beginning to their end; one without an end lasts as long as the trace."""
    faults: dict[str, list[_OpenFault]] = {}
    for record in records:
        if record.kind != "fault":
            continue
        t_us, fields = record.t_us - origin_us, record.fields
        history = faults.setdefault(fields["fault"], [])
        if fields["phase"] == "begin":
            links = tuple((int(a), int(b)) for a, b in fields["links"])
            history.append(_OpenFault(t_us, tuple(fields["nodes"]), links, fields["note"]))
            continue
        present = _matching_fault(
            [f for f in history if f.ended_at is None], tuple(fields["nodes"])
        )
        if fields["phase"] == "act":
            if present is not None:
                present.acts += 1
        elif present is not None:
            present.ended_at = t_us
    windows = [
        FaultWindow(
            name,
            fault.start_us,
            end_us if fault.ended_at is None else fault.ended_at,
            fault.nodes,
            fault.links,
            fault.note,
            fault.acts,
        )
        for name, history in faults.items()
        for fault in history
    ]
    return sorted(windows, key=lambda window: (window.start_us, window.end_us, window.fault))


def _matching_fault(candidates: list[_OpenFault], nodes: tuple[int, ...]) -> _OpenFault | None:
    """The open fault that a later record about `nodes` belongs to: same nodes, or some of them, or any."""
    for candidate in candidates:
        if candidate.nodes == nodes:
            return candidate
    for candidate in candidates:
        if set(candidate.nodes).intersection(nodes):
            return candidate
    return candidates[0] if candidates else None


@dataclass(slots=True)
class _Moment:
    """Who is what between two changes."""

    roles: dict[int, RoleSpan] = field(default_factory=dict)
    cut: set[DirectedLink] = field(default_factory=set)


def leaderless_spans(
    spans: Sequence[RoleSpan],
    cuts: Sequence[FaultWindow],
    voters: Sequence[int],
    end_us: int,
) -> list[Span]:
    """When no server led that could reach a majority of running voters both ways.

    A leader that is cut off from the majority does not count, although it still thinks that it leads:
    nothing can be committed through it.
    """
    times = {0, end_us}
    for span in spans:
        times.update((span.start_us, span.end_us))
    for window in cuts:
        times.update((window.start_us, window.end_us))
    boundaries = sorted(t for t in times if 0 <= t <= end_us)
    by_node: dict[int, list[RoleSpan]] = {}
    for span in spans:
        by_node.setdefault(span.node, []).append(span)
    positions = dict.fromkeys(by_node, 0)
    found: list[Span] = []
    for start, end in itertools.pairwise(boundaries):
        moment = _Moment()
        for node, own in by_node.items():
            position = positions[node]
            while position < len(own) and own[position].end_us <= start:
                position += 1
            positions[node] = position
            if position < len(own) and own[position].start_us <= start:
                moment.roles[node] = own[position]
        for window in cuts:
            if window.covers(start):
                moment.cut.update(window.links)
        if _has_leader(moment, voters):
            continue
        if found and found[-1].end_us == start:
            found[-1] = Span(found[-1].start_us, end)
        else:
            found.append(Span(start, end))
    return found


def _has_leader(moment: _Moment, voters: Sequence[int]) -> bool:
    running = {node for node, span in moment.roles.items() if span.role != "down"}
    for node, span in moment.roles.items():
        if span.role != "leader":
            continue
        reached = sum(
            voter == node
            or (
                voter in running
                and (node, voter) not in moment.cut
                and (voter, node) not in moment.cut
            )
            for voter in voters
        )
        if 2 * reached > len(voters):
            return True
    return False


def at_moment(spans: Iterable[RoleSpan], t_us: int) -> Mapping[int, RoleSpan]:
    """The span of each server that covers `t_us`; the end of the trace belongs to the last one."""
    found: dict[int, RoleSpan] = {}
    for span in spans:
        if span.start_us <= t_us <= span.end_us:
            found[span.node] = span
    return found
