"""The simulator reproduces published figures: the time to elect a leader in a wide area network.

Ongaro's dissertation, chapter 9 (AvailSim): 5 servers, one-way latency 30 to 40 ms, election timeouts
300 to 600 ms, all timers start at time 0, no disk and no CPU cost, equal logs.
"""

from __future__ import annotations

import pytest

from qcore.sim import parse_scenario, run_scenario

#: Failed servers -> mean, p50, p90, p99 in milliseconds.
PUBLISHED = {0: (430.0, 410.0, 489.0, 834.0), 1: (468.7, 423.0, 563.0, 1007.0)}


def first_leader_ms(failed: int, trials: int, until_ms: int) -> list[float]:
    """The sorted times to the first leader, over runs of length `until_ms`."""
    timeline = "[]" if not failed else "[{at_ms: 0, crash: 1}]"
    scenario = parse_scenario(
        f"""
        cluster:
          nodes: 5
          election_timeout_ms: [300, 600]
          heartbeat_ms: 100
          pre_vote: false
          check_quorum: false
          disk: {{latency_ms: 0}}
        network: {{latency_ms: {{uniform: [30, 40]}}}}
        workload: {{clients: 0}}
        timeline: {timeline}
        until_ms: {until_ms}
        """
    )
    times = []
    for seed in range(trials):
        first = run_scenario(scenario, seed).metrics["first_leader_ms"]
        assert isinstance(first, float)
        times.append(first)
    return sorted(times)


@pytest.mark.parametrize("failed", [0, 1])
def test_a_few_trials_match_the_mean_and_median(failed: int) -> None:
    """Here the whole simulator; `tests/sim/elections` has many trials of the core alone."""
    times = first_leader_ms(failed, 80, 2000)
    mean, median, _, _ = PUBLISHED[failed]
    assert sum(times) / len(times) == pytest.approx(mean, rel=0.06)
    assert times[len(times) // 2] == pytest.approx(median, rel=0.06)


@pytest.mark.long
@pytest.mark.parametrize("failed", [0, 1])
def test_ten_thousand_trials_match_all_published_figures(failed: int) -> None:
    times = first_leader_ms(failed, 10_000, 4000)
    mean, median, p90, p99 = PUBLISHED[failed]
    assert sum(times) / len(times) == pytest.approx(mean, rel=0.02)
    assert times[len(times) // 2] == pytest.approx(median, rel=0.02)
    assert times[len(times) * 90 // 100] == pytest.approx(p90, rel=0.03)
    assert times[len(times) * 99 // 100] == pytest.approx(p99, rel=0.05)
