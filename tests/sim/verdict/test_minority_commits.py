"""`commits_in_minority`: the logs that hold an entry at its first commit decide, not the nodes that the leader reaches.

The naive check of qcore 0.1.0 counts entries that a node appended and committed while cuts or pauses separated it from
a quorum.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from qcore.core import quorum
from qcore.core.entry import Membership
from qcore.sim import World, load_scenario
from qcore.sim.scenario.model import Scenario
from qcore.sim.verdict.monitor import Monitor
from qcore.trace import TraceWriter
from tests.checkout import SCENARIOS
from tests.sim.support.scenario_texts import scenario


class NaiveCheck:
    """The check of qcore 0.1.0, which runs alongside the monitor."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._ends: dict[int, int] = {}
        evaluate, committed = Monitor._evaluate, Monitor.committed

        def evaluating(monitor: Monitor, now: int) -> None:
            before = {node: facts.connected for node, facts in monitor.facts.items()}
            evaluate(monitor, now)
            for node, facts in monitor.facts.items():
                if facts.connected:
                    self._ends.pop(node, None)
                elif before[node] or node not in self._ends:
                    self._ends[node] = facts.last_index

        def committing(monitor: Monitor, now: int, node: int, commit: int) -> None:
            end = self._ends.get(node)
            if commit > monitor.highest_commit and end is not None and commit > end:
                self.count += commit - max(end, monitor.highest_commit)
            committed(monitor, now, node, commit)

        monkeypatch.setattr(Monitor, "_evaluate", evaluating)
        monkeypatch.setattr(Monitor, "committed", committing)


def counted(spec: Scenario, seed: int = 1) -> int:
    world = World(spec, seed, TraceWriter())
    world.run()
    return world.services.monitor.record.minority_commits


@pytest.mark.parametrize("name", ["late_acknowledgement", "resumed_follower"])
def test_an_entry_held_by_a_quorum_is_no_minority_commit(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    naive = NaiveCheck(monkeypatch)
    for seed in range(1, 6):
        assert counted(load_scenario(SCENARIOS / f"{name}.yaml"), seed) == 0
        assert naive.count == seed, "the naive check counts one in each run"


def test_a_commit_not_stored_by_a_quorum_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def highest_of_all(_membership: Membership, values: Mapping[int, int]) -> int:
        return max(values.values(), default=0)

    spec = scenario(workload="{clients: 2, rate_per_s: 40, read_fraction: 0}")
    assert counted(spec) == 0
    naive = NaiveCheck(monkeypatch)
    monkeypatch.setattr(quorum, "quorum_value", highest_of_all)
    assert counted(spec) > 20
    assert naive.count == 0


def test_joint_configurations_need_both_majorities(monkeypatch: pytest.MonkeyPatch) -> None:
    """A core that ignores the outgoing voters commits entries that only the incoming voters hold."""
    timeline = """
      - {at_ms: 500, join: [4, 5]}
      - {at_ms: 600, add_learner: 4}
      - {at_ms: 700, add_learner: 5}
      - {at_ms: 1000, cut: {from: 1, to: [2, 3]}}
      - {at_ms: 1001, change_members: [1, 4, 5]}
    """
    spec = scenario(timeline, cluster="{nodes: 3, priorities: {2: 0, 3: 0}}")
    assert counted(spec) == 0
    agreed = quorum.quorum_value

    def incoming(membership: Membership, values: dict[int, int]) -> int:
        return agreed(Membership(membership.voters), values)

    monkeypatch.setattr(quorum, "quorum_value", incoming)
    assert counted(spec) > 0


def test_a_wiped_disk_does_not_count_toward_the_quorum() -> None:
    """A follower acknowledges and loses its disk while the response is in transit."""
    spec = scenario(
        "[{at_ms: 900, crash: 3}, {at_ms: 1000, write: 1}]",
        cluster="{nodes: 3, priorities: {2: 0, 3: 0}}",
        network="{latency_ms: 20}",
        workload="{clients: 0}",
    )
    assert counted(spec) == 0
    world = World(spec, 1, TraceWriter())

    def wipe() -> None:
        world.nodes[2].crash()
        world.nodes[2].disk.wipe()

    world.engine.at(1_045_000, wipe)
    world.run()
    assert world.services.monitor.record.minority_commits == 1
