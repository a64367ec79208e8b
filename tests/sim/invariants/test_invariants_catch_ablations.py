"""The invariants catch violations in whole simulated clusters with one safeguard off.

Each setup makes a violation likely, not certain, so the test tries seeds until one shows it. With the safeguard on,
the same seeds must be clean, or the setup would prove nothing.
"""

from __future__ import annotations

import pytest

from qcore.sim import Scenario, parse_scenario, run_scenario

SEEDS = range(1, 21)

#: Every election is contested, because all timeouts are nearly equal and there is no pre-vote.
CONTESTED = """
cluster: {nodes: 5, election_timeout_ms: [150, 152], pre_vote: false}
network: {latency_ms: {uniform: [1, 5]}}
workload: {clients: 3, rate_per_s: 100}
timeline:
  - {at_ms: 600, partition: [[leader], [rest]]}
  - {at_ms: 1000, heal: all}
until_ms: 2000
"""

#: A follower misses some writes. The leader crashes as soon as the follower is back.
STALE_CANDIDATE = """
cluster: {nodes: 3, election_timeout_ms: [150, 300]}
network: {latency_ms: {uniform: [1, 5]}}
workload: {clients: 3, rate_per_s: 100}
timeline:
  - {at_ms: 500, isolate: {random: 1, of: followers}}
  - {at_ms: 1000, heal: all}
  - {at_ms: 1000, crash: leader}
until_ms: 2000
"""

#: All machines lose power under load, with disks that are slow to sync.
POWER_LOSS = """
cluster: {nodes: 3, disk: {latency_ms: {uniform: [5, 30]}}}
network: {latency_ms: {uniform: [1, 3]}}
workload: {clients: 5, rate_per_s: 300}
timeline:
  - {at_ms: 1000, power_loss: all}
  - {at_ms: 1200, start: all}
until_ms: 2500
"""


def scenario(text: str, *, without: str | None = None) -> Scenario:
    parsed = parse_scenario("name: ablation\n" + text)
    safeguards = {} if without is None else {without: False}
    cluster = parsed.cluster.model_copy(update={"safeguards": safeguards})
    return parsed.model_copy(update={"cluster": cluster})


def checks(scenario: Scenario, seed: int) -> set[str]:
    return {violation.check for violation in run_scenario(scenario, seed).violations}


@pytest.mark.parametrize(
    ("safeguard", "text", "expected"),
    [
        ("one_vote_per_term", CONTESTED, {"election_safety"}),
        ("log_freshness_check", STALE_CANDIDATE, {"leader_completeness"}),
        (
            "append_durable_before_ack",
            POWER_LOSS,
            {"leader_completeness", "state_machine_safety", "acknowledged_write_lost"},
        ),
    ],
)
def test_a_run_breaks_only_without_the_safeguard(
    safeguard: str, text: str, expected: set[str]
) -> None:
    broken = scenario(text, without=safeguard)
    whole = scenario(text)
    for seed in SEEDS:
        assert checks(whole, seed) == set()
        if expected & checks(broken, seed):
            return
    pytest.fail(f"{len(SEEDS)} runs without {safeguard} showed none of {sorted(expected)}")
