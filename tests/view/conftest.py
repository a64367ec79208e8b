"""One run with every kind of trouble, shared by the tests of its page."""

from __future__ import annotations

import io

import pytest

from qcore.analysis.course.course_types import Course
from qcore.analysis.course.read_course import read_course
from qcore.sim.run import run_scenario
from qcore.sim.scenario.model import Scenario
from qcore.trace import CompactTrace

#: A crash, a pause, a partition, duplicated and lost messages, and snapshots in 3 s.
TROUBLE = """
name: trouble
summary: Everything that a page shows.
cluster: {nodes: 3, election_timeout_ms: [150, 300], heartbeat_ms: 50, snapshot_entries: 40}
network: {latency_ms: {uniform: [1, 8]}, loss: 0.02, duplicate: 0.1, reorder: 0.05}
workload: {clients: 3, rate_per_s: 40, reads: 0.5}
timeline:
  - {at_ms: 900, crash: leader}
  - {at_ms: 1300, restart: all}
  - {at_ms: 1600, pause: leader}
  - {at_ms: 2000, resume: all}
  - {at_ms: 2200, partition: [[leader], [rest]]}
  - {at_ms: 2600, heal: all}
until_ms: 3000
"""


@pytest.fixture(scope="session")
def trace_bytes() -> bytes:
    """The trace of a run with trouble, in the compact format."""
    stream = io.BytesIO()
    run_scenario(Scenario.from_yaml(TROUBLE), 1, trace=stream)
    return stream.getvalue()


@pytest.fixture(scope="session")
def course(trace_bytes: bytes) -> Course:
    """The course of the same run."""
    return read_course(CompactTrace(trace_bytes))
