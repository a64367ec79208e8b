"""With a safeguard off, the checkers must find a violation; with it on, the same runs are clean."""

from __future__ import annotations

import pytest

from qcore.sim import RunResult, parse_scenario, run_scenario

#: Crashes, power losses and partitions, frequent enough to expose every missing safeguard.
STORM = """
name: storm
cluster:
  nodes: 5
  pre_vote: false
  check_quorum: false
  disk: {{latency_ms: {{uniform: [1, 20]}}}}
  safeguards: {{{safeguards}}}
network: {{latency_ms: {{exponential: 8, min_ms: 1}}, loss: 0.1}}
workload: {{clients: 4, rate_per_s: 80, read_fraction: 0.3, keys: 3}}
timeline:
  - {{at_ms: 700, power_loss: {{random: 3}}, for_ms: 60, every_ms: 450, times: 16}}
  - {{at_ms: 900, partition: [[random, random_1], [rest]], for_ms: 350, every_ms: 600, times: 12}}
  - {{at_ms: 1100, crash: leader, for_ms: 250, every_ms: 700, times: 10}}
until_ms: 9500
expect: {{safe: true}}
"""


def storm(safeguards: str, seed: int) -> RunResult:
    return run_scenario(parse_scenario(STORM.format(safeguards=safeguards)), seed)


@pytest.mark.parametrize("seeds", [2, pytest.param(8, marks=pytest.mark.long)])
def test_the_storm_is_survived_with_all_safeguards_on(seeds: int) -> None:
    for seed in range(1, seeds + 1):
        result = storm("", seed)
        assert result.ok, (seed, result.violations[:3], result.failed())


@pytest.mark.parametrize(
    ("safeguard", "first_seed"),  # the first seeds catch the third one less often
    [("log_freshness_check", 1), ("one_vote_per_term", 1), ("append_durable_before_ack", 5)],
)
def test_the_storm_catches_a_missing_safeguard(safeguard: str, first_seed: int) -> None:
    for seed in range(first_seed, first_seed + 24):
        if storm(f"{safeguard}: false", seed).violations:
            return
    pytest.fail(f"24 seeds without {safeguard}, and no violation was caught")
