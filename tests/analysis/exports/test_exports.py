"""Files for other programs: each event of ShiViz has a vector clock, each flow of Perfetto has both ends."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest

from qcore.analysis.course.course_types import Course
from qcore.analysis.course.read_course import read_course
from qcore.analysis.exports.perfetto_trace import perfetto
from qcore.analysis.exports.shiviz_log import PARSER, shiviz
from qcore.trace import TraceWriter
from tests.analysis.synthetic import MS, small_trace


@pytest.fixture(scope="module")
def course() -> Course:
    """Three nodes, and one more message that node 3 receives before it was sent, by clocks that differ."""
    trace = TraceWriter(keep=True)
    trace.recv(995 * MS, 3, 2, "2-9", "AppendEntries")
    trace.send(996 * MS, 2, 3, "2-9", "AppendEntries", 2, 'entries "1"\nand a line')
    trace.send(997 * MS, 2, 1, "2-10", "AppendEntries", 2, "")
    trace.violation(1000 * MS, 2, "linearizability", "key 'x'")
    return read_course([*small_trace()[:-1], *trace.lines()])


def events_of(log: str) -> list[tuple[str, dict[str, int], str]]:
    """The events as ShiViz reads them: host, clock, text."""
    parser, delimiter, rest = log.split("\n", 2)
    assert (parser, delimiter) == (PARSER, "")
    pattern = re.compile(parser.replace("(?<", "(?P<"))
    found = list(pattern.finditer(rest))
    assert sum(match.end() - match.start() + 1 for match in found) == len(rest)  # nothing is left
    return [(m["host"], json.loads(m["clock"]), m["event"]) for m in found]


def test_clocks_of_shiviz_grow_by_one_and_know_what_was_sent(course: Course) -> None:
    own: Counter[str] = Counter()
    events = events_of(shiviz(course))
    seen: dict[str, dict[str, int]] = {}
    for host, clock, _ in events:
        own[host] += 1
        assert clock[host] == own[host]
        assert all(count <= own[other] for other, count in clock.items())
        before = seen.get(host, {})
        assert all(clock.get(other, 0) >= count for other, count in before.items())
        seen[host] = clock
    sent = next(clock for _, clock, text in events if "sends RequestVote to 2" in text)
    received = next(clock for _, clock, text in events if "receives RequestVote" in text)
    assert received["node1"] == sent["node1"]
    assert set(own) == {"node1", "node2", "node3"}


def test_shiviz_has_every_kind_of_event_on_one_line(course: Course) -> None:
    texts = [text for _, _, text in events_of(shiviz(course))]
    for part in (
        "starts, term 0",
        "stops: crash",
        "leader, term 2",
        "votes for 1 in term 1",
        "commits through 5",
        "fault begins: timeline[1] crash 0 unsynced writes lost",
    ):
        assert any(part in text for text in texts), part
    (escaped,) = [text for text in texts if "2-9" in text or "and a line" in text]
    assert "\n" not in escaped


def load(course: Course) -> list[dict[str, Any]]:
    """The events of the trace for Perfetto, with the fields that its format demands."""
    document = json.loads(perfetto(course))
    assert document["displayTimeUnit"] == "ms"
    events: list[dict[str, Any]] = document["traceEvents"]
    for event in events:
        assert {"ph", "pid"} <= event.keys()
        assert event["ph"] == "M" or isinstance(event["ts"], int)
        assert event["ph"] != "X" or event["dur"] >= 0
    return events


def test_flows_and_stretches_of_perfetto_have_both_ends(course: Course) -> None:
    events = load(course)
    for begin, end in (("s", "f"), ("b", "e")):
        starts = {e["id"]: e["ts"] for e in events if e["ph"] == begin}
        ends = {e["id"]: e["ts"] for e in events if e["ph"] == end}
        assert starts.keys() == ends.keys()
        assert starts
        assert all(starts[key] <= ends[key] for key in starts)
    places = {(e["pid"], e["tid"], e["ts"]) for e in events if e["ph"] == "X"}
    flows = [e for e in events if e["ph"] in "sf"]
    assert all((e["pid"], e["tid"], e["ts"]) in places for e in flows)
    assert (
        len(flows) == 2
    )  # the message that arrives before it was sent has none, nor has a lost one


def test_slices_of_one_track_do_not_overlap(course: Course) -> None:
    ends: dict[tuple[int, int], int] = {}
    roles = [e for e in load(course) if e["ph"] == "X" and e["tid"] == 1]
    for event in sorted(roles, key=lambda e: (e["pid"], e["ts"])):
        track = event["pid"], event["tid"]
        assert event["ts"] >= ends.get(track, 0)
        ends[track] = event["ts"] + event["dur"]
    assert {pid for pid, _ in ends} == set(course.nodes)


def test_perfetto_shows_clients_faults_and_what_failed(course: Course) -> None:
    names = {event.get("name") for event in load(course)}
    assert {
        "client 1: write x, ok",
        "client 1: write x, unknown",
        "client 2: read x, open",
        "partition 1 | 2,3",
        "no leader",
        "violation: linearizability",
        "down: crash",
        "RequestVote lost: lost",
        "commits behind",
    } <= names
