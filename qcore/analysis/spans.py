"""Stretches of time in a trace: roles, leaderships, faults, and time without a leader.

All times are microseconds since the trace's first record.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from qcore.analysis.explanations.fault_words import fault_label
from qcore.trace import TraceRecord

#: The roles of a trace, and `down` for a server that does not run.

#: The `why` of a process that is frozen and will continue.
PAUSE = "pause"

#: The `why` of a process that stopped on request.
STOPPED = "stopped"

#: The `why` of a process that stopped without a record.
SILENT = "silent"

#: A server that writes nothing for this long has stopped. Heartbeats and elections cause several records a second.
_SILENCE_US = 1_000_000
#: Kinds of records about a node that the node itself does not write.
KINDS_FROM_OTHERS = ("drop", "op", "fault", "violation", "run")

DirectedLink = tuple[int, int]

_LINK_SETTINGS = (
    "latency_ms ",
    "loss ",
    "duplicate ",
    "reorder ",
    "reorder_extra_ms ",
    "bandwidth",
    "corrupt ",
    "queue_length ",
)


@dataclass(slots=True, frozen=True)
class RoleSpan:
    """A server kept its role, term and known leader from `start_us` to `end_us`.

    For the role `down`, `why` names the reason.
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
    """A server believed that it led a term from `start_us` to `end_us`."""

    node: int
    term: int
    start_us: int
    end_us: int


@dataclass(slots=True, frozen=True)
class Reign:
    """A server believed that it led a term, and could reach a majority of the voters all the time, or never."""

    node: int
    term: int
    start_us: int
    end_us: int
    has_majority: bool


@dataclass(slots=True, frozen=True)
class Span:
    """A stretch of time. It is censored if the trace ends before it does: then it is only known to be longer."""

    start_us: int
    end_us: int
    is_censored: bool = False

    @property
    def length_us(self) -> int:
        return self.end_us - self.start_us


@dataclass(slots=True, frozen=True)
class FaultWindow:
    """A fault was active from `start_us` to `end_us`.

    Attributes:
        fault: its name.
        nodes: the servers that it affects.
        links: the directed links that it affects.
        note: its note in the trace.
        acts: how many records show that it acted.
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
        """Whether the fault cuts links. Other faults make links worse or affect servers.

        Only the note distinguishes a cut from a change of links, which lists the settings that it changes.
        """
        return bool(self.links) and not self.note.startswith(_LINK_SETTINGS)

    @property
    def label(self) -> str:
        """A short text for a plot, in words: see `fault_label`."""
        changes_links = bool(self.links) and not self.cuts
        return fault_label(self.fault, self.note, self.nodes, changes_links=changes_links)


def role_spans(records: Iterable[TraceRecord], origin_us: int, end_us: int) -> list[RoleSpan]:
    """The roles of each server over time, sorted by node and time, without empty stretches.

    A real process that is killed cannot record that it stops, and its last records are lost with it. It counts as down
    from its last record on, or from the last message that another node received from it, if that is later. `why` is
    `silent` then. There are two such cases: it starts again without a stop, or it sent messages before and there is
    no sign of it in the last second of the trace. A simulated process never stops without a record. If it writes
    nothing, for example because it was removed from the cluster, it still runs.
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
    senders: set[int] = set()

    def fall_silent(node: int) -> None:
        if node in open_spans and open_spans[node].role != "down":
            change(node, last_seen[node], "down", open_spans[node].term, None, SILENT)

    may_be_killed = True
    for record in records:
        t_us, fields = record.t_us - origin_us, record.fields
        if record.kind == "run" and len(fields["nodes"]) > 1:  # a real node names only itself
            may_be_killed = False
        if record.kind == "up" and record.node not in before_pause:
            fall_silent(record.node)
        if record.kind not in KINDS_FROM_OTHERS:
            last_seen[record.node] = t_us
        if record.kind == "send":
            senders.add(record.node)
        elif record.kind == "recv":
            sender = fields["from"]
            last_seen[sender] = max(last_seen.get(sender, t_us), t_us)
        if record.kind == "role":
            change(record.node, t_us, fields["role"], fields["term"], fields["leader"], "")
        elif record.kind == "up":
            # A paused process continues in its old role without another record.
            was = before_pause.pop(record.node, None)
            if was is None:
                change(record.node, t_us, "follower", fields["term"], None, "")
            else:
                change(record.node, t_us, was.role, was.term, was.leader, "")
        elif record.kind == "down":
            current = open_spans.get(record.node)
            before_pause.pop(record.node, None)
            if current is not None and fields["why"] == PAUSE:
                before_pause[record.node] = current
            term = current.term if current is not None else 0
            change(record.node, t_us, "down", term, None, fields["why"])
    for node in sorted(senders) if may_be_killed else ():
        if last_seen[node] < end_us - _SILENCE_US:
            fall_silent(node)
    spans += [span for span in open_spans.values() if span.start_us < span.end_us]
    return sorted(spans, key=lambda span: (span.node, span.start_us))


def leaderships(spans: Iterable[RoleSpan]) -> list[Leadership]:
    """The leaderships in the order of time. Spans of one leadership are joined."""
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
    """The faults with their start and end. A fault without an end lasts until the end of the trace."""
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
        open_fault = _matching_fault(
            [f for f in history if f.ended_at is None], tuple(fields["nodes"])
        )
        if fields["phase"] == "act":
            if open_fault is not None:
                open_fault.acts += 1
        elif open_fault is not None:
            open_fault.ended_at = t_us
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
    """The open fault to which a later record about `nodes` belongs: one with the same nodes, else a common node, else
    the first."""
    for candidate in candidates:
        if candidate.nodes == nodes:
            return candidate
    for candidate in candidates:
        if set(candidate.nodes).intersection(nodes):
            return candidate
    return candidates[0] if candidates else None


@dataclass(slots=True)
class _Moment:
    """The roles and the cut links between two changes."""

    roles: dict[int, RoleSpan] = field(default_factory=dict)
    cut: set[DirectedLink] = field(default_factory=set)


def leaderless_spans(
    spans: Sequence[RoleSpan],
    cuts: Sequence[FaultWindow],
    voters: Sequence[int],
    end_us: int,
) -> list[Span]:
    """The stretches without a leader that could exchange messages with a majority of the voters.

    A leader that is cut off from the majority does not count, even though it still believes that it leads, because it
    cannot commit anything.
    """
    found: list[Span] = []
    for start, end, moment in _moments(spans, cuts, end_us):
        if _leaders(moment, voters):
            continue
        begin = found.pop().start_us if found and found[-1].end_us == start else start
        found.append(Span(begin, end, is_censored=end == end_us))
    return found


def reigns(
    spans: Sequence[RoleSpan],
    cuts: Sequence[FaultWindow],
    voters: Sequence[int],
    end_us: int,
) -> list[Reign]:
    """Who led when, and whether a majority of the voters was in reach, in the order of time."""
    open_reigns: dict[int, Reign] = {}
    found: list[Reign] = []
    for start, end, moment in _moments(spans, cuts, end_us):
        able = _leaders(moment, voters)
        now: dict[int, Reign] = {}
        for node, span in moment.roles.items():
            if span.role != "leader":
                continue
            before = open_reigns.pop(node, None)
            if before is not None and (before.term, before.has_majority) == (
                span.term,
                node in able,
            ):
                now[node] = replace(before, end_us=end)
            else:
                found += [before] if before is not None else []
                now[node] = Reign(node, span.term, start, end, node in able)
        found += open_reigns.values()
        open_reigns = now
    found += open_reigns.values()
    return sorted(found, key=lambda reign: (reign.start_us, reign.node))


def _moments(
    spans: Sequence[RoleSpan], cuts: Sequence[FaultWindow], end_us: int
) -> Iterator[tuple[int, int, _Moment]]:
    """The times between changes of roles and cut links, with what is true then."""
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
    for start, end in itertools.pairwise(boundaries):
        moment = _Moment()
        for node, roles in by_node.items():
            position = positions[node]
            while position < len(roles) and roles[position].end_us <= start:
                position += 1
            positions[node] = position
            if position < len(roles) and roles[position].start_us <= start:
                moment.roles[node] = roles[position]
        for window in cuts:
            if window.covers(start):
                moment.cut.update(window.links)
        yield start, end, moment


def _leaders(moment: _Moment, voters: Sequence[int]) -> set[int]:
    """The leaders that could exchange messages with a majority of the voters."""
    able: set[int] = set()
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
            able.add(node)
    return able


def at_moment(spans: Iterable[RoleSpan], t_us: int) -> Mapping[int, RoleSpan]:
    """The span of each server that covers `t_us`, ends included; at a boundary, the later span."""
    found: dict[int, RoleSpan] = {}
    for span in spans:
        if span.start_us <= t_us <= span.end_us:
            found[span.node] = span
    return found
