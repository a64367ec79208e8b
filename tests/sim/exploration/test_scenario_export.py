"""Counterexamples as scenarios: the whole simulator breaks the same property."""

from __future__ import annotations

import pytest

from qcore.errors import ConfigError
from qcore.sim import parse_scenario, run_scenario
from qcore.sim.exploration import explore
from qcore.sim.exploration.fault_bounds import FAULT_BOUNDS
from qcore.sim.exploration.scenario_export import scenario_text

pytestmark = pytest.mark.pure_only("the explorer copies cores")


def violations_of(safeguard: str) -> list[str]:
    found = explore(FAULT_BOUNDS[safeguard], without=[safeguard]).counterexample
    assert found is not None
    result = run_scenario(parse_scenario(scenario_text(found)), seed=1)
    assert result.ok, [one for one in result.expectations if not one.ok]
    return [violation.check for violation in result.violations]


@pytest.mark.parametrize(
    ("safeguard", "check"),
    [
        ("log_freshness_check", "leader_completeness"),
        ("one_vote_per_term", "election_safety"),
    ],
)
def test_the_simulator_catches_an_exported_fault(safeguard: str, check: str) -> None:
    assert check in violations_of(safeguard)


@pytest.mark.long
def test_the_simulator_catches_the_exported_figure_8() -> None:
    assert "leader_completeness" in violations_of("commit_own_term_only")


def test_a_step_that_no_timeline_can_aim_at_is_an_error() -> None:
    found = explore(
        FAULT_BOUNDS["vote_durable_before_reply"], without=["vote_durable_before_reply"]
    ).counterexample
    assert found is not None
    with pytest.raises(ConfigError, match="--sync instant"):
        scenario_text(found)
