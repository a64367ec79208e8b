"""Builds, runs and reports small scenarios for tests."""

from __future__ import annotations

from qcore.sim import RunResult, Scenario, parse_scenario, run_scenario

#: The example of the design document, unchanged.
DESIGN_EXAMPLE = """
name: leader_isolated
summary: The leader loses every link; the others elect a new one, the old one steps down.
cluster: {nodes: 5, election_timeout_ms: [150, 300], heartbeat_ms: 50}
network: {latency_ms: {uniform: [1, 5]}, loss: 0.0}
workload: {clients: 3, rate_per_s: 50}
timeline:
  - {at_ms: 2000, partition: [[leader], [rest]]}
  - {at_ms: 6000, heal: all}
until_ms: 10000
expect:
  safe: true
  new_leader_within_ms: 1000
  old_leader_steps_down_within_ms: 600
  writes_succeed_after_heal: true
"""


def scenario(
    timeline: str = "[]",
    expect: str = "{safe: true}",
    *,
    cluster: str = "{nodes: 3}",
    network: str = "{latency_ms: [1, 5]}",
    workload: str = "{clients: 2, rate_per_s: 40}",
    until_ms: int = 3000,
) -> Scenario:
    """A small scenario from YAML fragments."""
    return parse_scenario(
        f"name: test\ncluster: {cluster}\nnetwork: {network}\nworkload: {workload}\n"
        f"timeline: {timeline}\nuntil_ms: {until_ms}\nexpect: {expect}\n",
        "test.yaml",
    )


def seen(result: RunResult) -> dict[str, str]:
    """What each expectation saw, by its name."""
    return {expectation.name: expectation.seen for expectation in result.expectations}


def failures(result: RunResult) -> list[str]:
    """The failed expectations as texts, for assertion messages."""
    return [f"{e.name}: expected {e.expected}, seen {e.seen}" for e in result.failed()]


def run(
    timeline: str = "[]", expect: str = "{safe: true}", seed: int = 1, **parts: str
) -> RunResult:
    """Run a small scenario."""
    until_ms = int(parts.pop("until_ms", "3000"))
    return run_scenario(scenario(timeline, expect, until_ms=until_ms, **parts), seed)
