"""One run with every kind of trouble, shared by the tests of its page."""

from __future__ import annotations

import io

import pytest

from qcore.analysis.course.course_types import Course
from qcore.analysis.course.read_course import read_course
from qcore.sim.run import run_scenario
from qcore.sim.scenario.load import parse_scenario
from qcore.trace import CompactTrace

#: A crash, a pause, a partition, duplicated and lost messages, and snapshots in 3 s.
TROUBLE = """
name: trouble
summary: Everything that a page shows.
cluster:
  nodes: 3
  election_timeout_ms: [150, 300]
  heartbeat_ms: 50
  snapshot_entries: 30
  keep_entries: 10
  disk: {latency_ms: {uniform: [1, 15]}}
  clocks: {2: {drift_ppm: 20000, offset_ms: 300}}
network: {latency_ms: {uniform: [1, 8]}, loss: 0.02, duplicate: 0.1, reorder: 0.05}
workload: {clients: 3, rate_per_s: 120, keys: 3, cas_fraction: 0.0, read_kind: [read, read, stale_read]}
timeline:
  - {at_ms: 900, crash: leader, for_ms: 400}
  - {at_ms: 1600, pause: leader, for_ms: 400}
  - {at_ms: 2200, partition: [[leader], [rest]], for_ms: 400}
until_ms: 3000
"""


@pytest.fixture(scope="session")
def trace_bytes() -> bytes:
    """The trace of a run with trouble, in the compact format."""
    stream = io.BytesIO()
    run_scenario(parse_scenario(TROUBLE), 1, trace=stream)
    return stream.getvalue()


@pytest.fixture(scope="session")
def course(trace_bytes: bytes) -> Course:
    """The course of the same run."""
    return read_course(CompactTrace(trace_bytes))
