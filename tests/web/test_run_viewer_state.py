"""The state that the page computes at a moment is that of the course, for every run with its own kind of trouble."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, Final

import pytest

from qcore.analysis.course.course_types import Course
from qcore.analysis.course.node_tracks import node_at
from qcore.analysis.course.read_course import read_course
from qcore.sim.run import run_scenario
from qcore.sim.scenario.load import parse_scenario
from qcore.trace import CompactTrace, parse_trace
from qcore.view import save_page, view_page
from tests.view.conftest import TROUBLE
from tests.web.browser import CHROMIUM, Browser

pytestmark = [
    pytest.mark.long,  # a browser needs some seconds
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the path"),
]

#: A blank disk, a follower that is too far behind for the log and needs a snapshot, and clocks that drift and jump.
BLANK: Final = """
name: blank
summary: Blank disks, snapshots of the leader, and clocks that a fault changes.
cluster:
  nodes: 3
  election_timeout_ms: [150, 300]
  heartbeat_ms: 50
  snapshot_entries: 20
  keep_entries: 5
  disk: {latency_ms: {uniform: [1, 9]}}
  clocks: {1: {drift_ppm: 50000, offset_ms: 20}}
network: {latency_ms: {uniform: [1, 8]}, duplicate: 0.1}
workload: {clients: 3, rate_per_s: 150, keys: 3}
timeline:
  - {at_ms: 700, crash: 3, for_ms: 700}
  - {at_ms: 1000, clock: {nodes: 2, drift_ppm: 90000}, for_ms: 900}
  - {at_ms: 1200, clock_jump: {nodes: 1, by_ms: 250}, for_ms: 500}
  - {at_ms: 1900, wipe: 2, for_ms: 200}
until_ms: 3000
"""
#: The nodes at the given moments, and the messages on their way: all in one call, because each takes a while.
STATES: Final = """(async () => {
  const { run } = qcore.view, found = [];
  for (const t of TIMES) {
    await run.payload.chunk(run.payload.chunkAt(t));
    const event = run.lastEvent(t), state = run.moment(event, t);
    const nodes = [...state.nodes].map(([id, n]) => [
      id, n.up ? n.role : "down", n.term, n.up ? n.leader : null, n.voted ?? null, n.commit, n.applied, n.last,
      n.durable ?? null, [...n.snap], n.log.map((r) => [...r]), n.clock]);
    const flights = [...state.flights.values()].filter((f) => f.sent <= t && f.end > t)
      .map((f) => [f.sent, f.source, f.target, f.name]);
    found.push([nodes, flights]);
  }
  return found;
})()"""


def course_of(scenario: str, *, with_details: bool) -> Course:
    stream = io.BytesIO()
    run_scenario(parse_scenario(scenario), 1, trace=stream)
    trace = CompactTrace(stream.getvalue())
    return read_course(trace if with_details else list(trace.records()))


def expected(course: Course, t_us: int) -> tuple[list[list[object]], list[tuple[object, ...]]]:
    nodes: list[list[object]] = []
    for node in course.nodes:
        moment = node_at(course, node, t_us)
        shape = moment.log
        nodes.append(
            [
                *(node, moment.role, moment.term, moment.leader, moment.voted_for),
                *(moment.commit, moment.applied, moment.last, moment.durable),
                [shape.snapshot_index, shape.snapshot_term],
                [list(run) for run in shape.runs],
                course.tracks[node].clock_offset_us.at(t_us),
            ]
        )
    messages = course.messages
    flights = [
        (messages.sent_us[n], messages.source[n], messages.target[n], messages.name[n])
        for n in messages.between(t_us, t_us)
        if messages.sent_us[n] <= t_us < messages.end_us[n]
    ]
    return nodes, sorted(flights)


def check_states(browser: Browser, course: Course, page: Path, step: int) -> None:
    browser.errors.clear()
    browser.open("about:blank")
    browser.open(save_page(course, page).as_uri())
    browser.wait("document.documentElement?.dataset.ready === 'yes'", 60)
    times = sorted({record.t_us - course.origin_us for record in course.records[::step]})
    times = [t_us for t_us in times if course.begin_us <= t_us < course.end_us]
    times = [each for t_us in times for each in (t_us, t_us + 7)]
    assert len(times) > 300
    found: list[Any] = browser.run(STATES.replace("TIMES", json.dumps(times)))
    for t_us, (nodes, flights) in zip(times, found, strict=True):
        wanted_nodes, wanted_flights = expected(course, t_us)
        for shown, wanted in zip(nodes, wanted_nodes, strict=True):
            assert shown == wanted, f"at {t_us} us"
        assert sorted(map(tuple, flights)) == wanted_flights, f"at {t_us} us"
    assert browser.errors == []


@pytest.mark.parametrize("with_details", [True, False])
@pytest.mark.parametrize("scenario", [TROUBLE, BLANK], ids=["trouble", "blank"])
def test_the_state_of_a_simulated_run(
    browser: Browser,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scenario: str,
    with_details: bool,
) -> None:
    course = course_of(scenario, with_details=with_details)
    if scenario == BLANK and with_details:
        changes = [(c.phase, c.first) for track in course.tracks.values() for c in track.log]
        assert ("cut", 1) in changes  # the blank disk
        assert any(len(set(track.clock_offset_us.values)) > 5 for track in course.tracks.values())
    monkeypatch.setattr(view_page, "CHUNK_EVENTS", 128)
    check_states(browser, course, tmp_path / "run.html", 9)


def test_the_state_of_real_nodes_of_which_one_was_killed(browser: Browser, tmp_path: Path) -> None:
    """Its trace ends without a record of that."""
    stream = io.BytesIO()
    run_scenario(parse_scenario(TROUBLE), 1, trace=stream)
    run = {"t_us": 0, "kind": "run", "node": 0, "schema": 1, "seed": 0}
    lines = [json.dumps(run | {"name": f"node {node}", "nodes": [node]}) for node in (1, 2, 3)]
    for record in CompactTrace(stream.getvalue()).records():
        is_of_killed = 2 in (record.node, record.fields.get("from")) and record.t_us > 800_000
        if record.kind in ("run", "fault") or is_of_killed:
            continue
        line = {"t_us": record.t_us, "kind": record.kind, "node": record.node} | record.fields
        lines.append(json.dumps(line))
    course = read_course(list(parse_trace(lines)))
    assert not course.is_simulated
    assert course.tracks[2].roles[-1].why == "silent"
    check_states(browser, course, tmp_path / "run.html", 9)
