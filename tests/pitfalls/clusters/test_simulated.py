"""Faults of whole simulated clusters: a leader that cannot commit, and a computer that freezes with its network."""

from __future__ import annotations

from qcore.sim import RunResult, load_scenario, parse_scenario, run_scenario
from tests.checkout import SCENARIOS

#: The leader's computer freezes together with its network. When it continues, it first answers the waiting requests.
FROZEN = """
name: frozen
cluster: {{nodes: 3, safeguards: {{{safeguards}}}}}
workload: {{clients: 3, rate_per_s: 120, keys: 2, cas_fraction: 0.0, timeout_ms: 900}}
timeline:
  - {{at_ms: 1000, do: [{{isolate: leader}}, {{pause: leader}}], for_ms: 700}}
until_ms: 4000
expect: {{safe: true}}
"""


def checks(result: RunResult) -> set[str]:
    return {violation.check for violation in result.violations}


def test_stale_reads_are_rejected_while_leader_cannot_commit() -> None:
    """The earlier leader may have acknowledged writes beyond the commit indexes of all remaining nodes."""
    result = run_scenario(SCENARIOS / "stale_read_bounded.yaml", 3)
    assert result.ok
    kinds = result.metrics["reads_by_kind"]
    assert isinstance(kinds, dict)
    counts = kinds["stale_read"]
    assert isinstance(counts, dict)
    assert counts["too_stale"]


def test_without_freshness_check_stale_reads_exceed_their_bound() -> None:
    result = run_scenario(SCENARIOS / "stale_read_unbounded.yaml", 3)
    assert checks(result) == {"stale_read"}
    assert "misses 2" in result.violations[0].note


def test_the_two_scenarios_differ_in_the_safeguard_only() -> None:
    off, on = (
        load_scenario(SCENARIOS / f"stale_read_{name}.yaml") for name in ("unbounded", "bounded")
    )
    assert (off.timeline, off.network, off.workload) == (on.timeline, on.network, on.workload)
    assert off.cluster.model_copy(update={"safeguards": {}}) == on.cluster


def test_frozen_leader_answers_no_old_values() -> None:
    for seed in range(1, 4):
        assert run_scenario(parse_scenario(FROZEN.format(safeguards="")), seed).ok


def test_without_read_quorum_frozen_leader_answers_old_values() -> None:
    spec = parse_scenario(FROZEN.format(safeguards="read_confirmation: false"))
    assert any(checks(run_scenario(spec, seed)) == {"linearizability"} for seed in range(1, 7))
