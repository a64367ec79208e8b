"""Writes a run as a trace for Perfetto and other viewers of the Chrome trace format (JSON)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from qcore.analysis.course.course_types import Course

#: The tracks of a node.
ROLES, MESSAGES, DISK = 1, 2, 3
#: The processes that are no node. Nodes have their ids.
CLIENTS: Final = 2_000_000_001
CLUSTER: Final = 2_000_000_002

_Event = dict[str, Any]  # one event, as the format names its fields


def perfetto(course: Course) -> str:
    """A run as JSON in the Chrome trace format, which Perfetto opens.

    Each node is a process with a track of roles, one of messages and one of its disk. Messages are flows between the
    nodes; a lost one ends with an instant. Commit index and lag are counters. Clients, faults and stretches without a
    leader have tracks of their own. Times are microseconds since the trace's first record.

    Args:
        course: the course of the run.
    """
    events = [
        *_names(course),
        *_roles(course),
        *_messages(course),
        *_counters(course),
        *_disks(course),
        *_operations(course),
        *_cluster(course),
    ]
    return json.dumps(
        {
            "displayTimeUnit": "ms",
            "otherData": {"name": course.tables.name, "seed": course.tables.seed},
            "traceEvents": events,
        },
        separators=(",", ":"),
    )


def _names(course: Course) -> Iterator[_Event]:
    def name(what: str, pid: int, tid: int, text: str) -> _Event:
        return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": text}}

    for node in course.nodes:
        yield name("process_name", node, 0, f"node {node}")
        for track, text in ((ROLES, "role"), (MESSAGES, "messages"), (DISK, "disk")):
            yield name("thread_name", node, track, text)
    yield name("process_name", CLIENTS, 0, "clients")
    for client in course.clients:
        yield name("thread_name", CLIENTS, client, f"client {client}")
    yield name("process_name", CLUSTER, 0, "cluster")


def _slice(pid: int, tid: int, name: str, start_us: int, length_us: int, **args: Any) -> _Event:
    return {
        "ph": "X",
        "pid": pid,
        "tid": tid,
        "name": name,
        "ts": start_us,
        "dur": length_us,
        "args": args,
    }


def _instant(pid: int, tid: int, name: str, t_us: int, **args: Any) -> _Event:
    return {"ph": "i", "s": "t", "pid": pid, "tid": tid, "name": name, "ts": t_us, "args": args}


def _pair(
    category: str, key: str, pid: int, name: str, start_us: int, end_us: int, **args: Any
) -> Iterator[_Event]:
    """An event that may overlap others of its track."""
    common = {"cat": category, "id": key, "pid": pid, "tid": 0, "name": name}
    yield {"ph": "b", "ts": start_us, "args": args, **common}
    yield {"ph": "e", "ts": end_us, "args": {}, **common}


def _roles(course: Course) -> Iterator[_Event]:
    for node in course.nodes:
        track = course.tracks[node]
        for span in track.roles:
            name = f"down: {span.why}" if span.role == "down" else f"{span.role}, term {span.term}"
            length_us = span.end_us - span.start_us
            yield _slice(node, ROLES, name, span.start_us, length_us, leader=span.leader)
        for vote in track.votes:
            yield _instant(node, ROLES, f"votes for {vote.candidate}", vote.t_us, term=vote.term)


def _messages(course: Course) -> Iterator[_Event]:
    """A slice at each end of a message, and a flow between them. Flows begin and end in slices."""
    for number, message in enumerate(course.messages):
        args = {"term": message.term, "note": message.note, "to": message.target}
        yield _slice(message.source, MESSAGES, f"send {message.name}", message.sent_us, 1, **args)
        if message.outcome == "lost":
            why = f"lost: {message.why}" if message.why else "lost"
            at_us = max(message.sent_us, message.end_us)
            yield _instant(message.source, MESSAGES, f"{message.name} {why}", at_us)
        if message.outcome != "received" or message.end_us < message.sent_us:
            continue  # clocks that differ may place the receipt first; a flow cannot go back
        received = f"receive {message.name}"
        yield _slice(message.target, MESSAGES, received, message.end_us, 1, sender=message.source)
        flow = {"cat": "message", "id": number, "name": message.name, "tid": MESSAGES}
        yield {"ph": "s", "pid": message.source, "ts": message.sent_us, **flow}
        yield {"ph": "f", "bp": "e", "pid": message.target, "ts": message.end_us, **flow}


def _counters(course: Course) -> Iterator[_Event]:
    def counter(node: int, name: str, t_us: int, value: int) -> _Event:
        return {"ph": "C", "pid": node, "name": name, "ts": t_us, "args": {"entries": value}}

    changes = sorted(
        (t_us, node, index)
        for node in course.nodes
        for t_us, index in zip(
            course.tracks[node].commit.times, course.tracks[node].commit.values, strict=True
        )
    )
    highest = 0
    commits = dict.fromkeys(course.nodes, 0)
    for t_us, node, index in changes:
        commits[node] = index
        highest = max(highest, index)
        yield counter(node, "commit index", t_us, index)
        yield counter(node, "commits behind", t_us, highest - index)


def _disks(course: Course) -> Iterator[_Event]:
    """From each append to its durability, if the trace has the details."""
    for node in course.nodes:
        track = course.tracks[node]
        if not track.durable.times:
            continue
        for number, change in enumerate(track.log):
            if change.phase != "append":
                continue
            durable_us = track.durable.first_at_least(change.last, change.t_us)
            if durable_us is not None:
                name = f"entries {change.first} to {change.last}"
                key = f"disk {node} {number}"
                yield from _pair("disk", key, node, name, change.t_us, durable_us)


def _operations(course: Course) -> Iterator[_Event]:
    for row in course.tables.operations:
        end_us = course.end_us if row.end_us is None else row.end_us
        yield from _pair(
            "operation",
            f"operation {row.client} {row.op_id}",
            CLIENTS,
            f"client {row.client}: {row.op} {row.key}, {row.outcome}",
            row.invoke_us,
            end_us,
            value=row.value,
            output=row.output,
            note=row.note,
            node=row.node,
        )


def _cluster(course: Course) -> Iterator[_Event]:
    for number, fault in enumerate(course.tables.faults):
        key = f"fault {number}"
        yield from _pair("fault", key, CLUSTER, fault.label, fault.start_us, fault.end_us)
    for number, span in enumerate(course.tables.leaderless):
        name = "no leader, not finished" if span.is_censored else "no leader"
        yield from _pair(
            "leader", f"leaderless {number}", CLUSTER, name, span.start_us, span.end_us
        )
    for row in course.tables.violations:
        yield _instant(CLUSTER, 0, f"violation: {row.check}", row.t_us, note=row.note)
