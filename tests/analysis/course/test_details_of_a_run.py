"""The details of simulated runs show logs, requests and clocks as they were; without details, logs are inferred."""

from __future__ import annotations

from random import Random

import pytest

from qcore.analysis.course.course_types import Course, LogShape
from qcore.analysis.course.log_shapes import shape_of
from qcore.analysis.course.node_tracks import log_at, node_at
from qcore.analysis.course.read_course import read_course
from qcore.core.entry import DurableState
from qcore.core.log.durable_state import last_index
from qcore.sim import World, parse_scenario
from qcore.trace import CompactTrace, TraceRecord, TraceWriter

_TROUBLE = """
name: detailed
cluster:
  nodes: 3
  election_timeout_ms: [150, 300]
  heartbeat_ms: 50
  disk: {latency_ms: {uniform: [1, 15]}}
  clocks: {2: {drift_ppm: 20000, offset_ms: 300}}
  SNAPSHOTS
network: {latency_ms: {uniform: [1, 8]}}
workload: {clients: 3, rate_per_s: 80, keys: 3}
timeline:
  - {at_ms: 500, crash: leader, for_ms: 200}
  - {at_ms: 800, partition: [[leader], [rest]], for_ms: 200}
  - {at_ms: 800, clock_jump: {nodes: 3, by_ms: 40}}
until_ms: 1300
"""
_SETTINGS = {
    "replica": ("", "snapshot_entries: 30\n  keep_entries: 10"),
    "node": ("fidelity: node", "snapshot_entries: 1000"),
}


@pytest.fixture(scope="module", params=["replica", "node"])
def world(request: pytest.FixtureRequest) -> World:
    """The finished world of a run, which keeps its trace."""
    fidelity, snapshots = _SETTINGS[request.param]
    text = fidelity + _TROUBLE.replace("SNAPSHOTS", snapshots)
    world = World(parse_scenario(text), 5, TraceWriter(keep=True))
    world.run()
    world.close()
    return world


@pytest.fixture(scope="module")
def trace(world: World) -> CompactTrace:
    return world.services.trace.trace()


@pytest.fixture(scope="module")
def course(trace: CompactTrace) -> Course:
    return read_course(trace)


def _shape_of(state: DurableState) -> LogShape:
    meta = None if state.snapshot is None else state.snapshot.meta
    runs: list[tuple[int, int, int]] = []
    for entry in state.entries:
        if runs and runs[-1][2] == entry.term:
            runs[-1] = (runs[-1][0], entry.index, entry.term)
        else:
            runs.append((entry.index, entry.index, entry.term))
    if meta is None:
        return LogShape(0, 0, tuple(runs))
    return LogShape(meta.last_included_index, meta.last_included_term, tuple(runs))


def test_the_logs_at_the_end_are_those_of_the_nodes(world: World, course: Course) -> None:
    assert course.has_details
    for node, simulated in world.nodes.items():
        assert simulated.replica is not None
        core, now = simulated.replica.core.status(), node_at(course, node, course.end_us)
        assert (now.last, now.commit, now.term) == (
            core.last_log_index,
            core.commit_index,
            core.term,
        )
        assert now.applied == simulated.replica.applied_index
        assert now.durable == last_index(simulated.disk.durable)
        if now.durable == now.last:
            assert now.log == _shape_of(simulated.disk.durable)


def test_without_details_the_same_logs_are_inferred(trace: CompactTrace, course: Course) -> None:
    inferred = read_course(trace.records())
    assert not inferred.has_details
    assert all(track.is_inferred for track in inferred.tracks.values())
    assert not any(track.is_inferred for track in course.tracks.values())
    rng = Random(1)
    different = 0
    for _ in range(300):
        node, t_us = rng.choice(course.nodes), rng.randrange(course.end_us)
        known, found = log_at(course, node, t_us), log_at(inferred, node, t_us)
        different += known.last_index != found.last_index
        for index in range(known.snapshot_index + 1, min(known.last_index, found.last_index) + 1):
            assert known.term_of(index) == found.term_of(index)
    assert different <= 6  # a leader's entries are seen only when it sends them


def _requests(trace: CompactTrace, phase: str) -> list[TraceRecord]:
    return [record for record in trace.records({"request"}) if record.fields["phase"] == phase]


def test_writes_are_followed_to_their_entries(trace: CompactTrace, course: Course) -> None:
    ends = {
        (record.fields["client"], record.fields["op_id"]): record.fields
        for record in _requests(trace, "end")
        if record.fields["index"]
    }
    taken = {
        (record.fields["client"], record.fields["op_id"]) for record in _requests(trace, "take")
    }
    answers = {record.fields["request"]: record.fields for record in _requests(trace, "answer")}
    written = [
        each for each in course.tables.operations if each.op != "read" and each.outcome == "ok"
    ]
    assert len(written) > 20
    assert len({ends[each.client, each.op_id]["index"] for each in written}) == len(written)
    for each in written:
        end = ends[each.client, each.op_id]
        terms = {
            shape_of(track.log, course.end_us).term_of(end["index"])
            for track in course.tracks.values()
        }
        assert end["term"] in terms or terms == {None}  # None: a snapshot replaced it
        assert (each.client, each.op_id) in taken
    joined = 0
    for record in _requests(trace, "forward"):
        forward = record.fields
        end = ends.get((forward["client"], forward["op_id"]), {})
        answer = answers.get(forward["request"], {})
        if end and answer:
            assert end["index"] == answer["index"]
            joined += 1
    assert joined > 5


def test_messages_of_forwards_are_those_of_the_course(trace: CompactTrace, course: Course) -> None:
    sent = {record.fields["id"]: record.fields["message"] for record in trace.records({"send"})}
    for phase, name in (("forward", "Forward"), ("answer", "ForwardResponse")):
        found = {sent[record.fields["message"]] for record in _requests(trace, phase)}
        assert found == {name}


def test_clocks_drift_and_jump(course: Course) -> None:
    drifting = course.tracks[2].clock_offset_us
    assert drifting.at(0) == 300_000
    assert drifting.at(1_250_000) == pytest.approx(300_000 + 1_250_000 * 0.02, abs=2_100)
    assert course.tracks[3].clock_offset_us.at(799_999) == 0
    assert course.tracks[3].clock_offset_us.at(800_001) == 40_000
