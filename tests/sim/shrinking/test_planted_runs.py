"""Runs that find planted faults shrink to a handful of steps, with the same cause."""

from __future__ import annotations

import pytest

from qcore.sim import cause_of, run_scenario
from tests.sim.shrinking.planted_runs import PLANTED, PlantedRun


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.kind)
def test_a_planted_fault_needs_few_steps(
    planted: PlantedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted.bug(monkeypatch)
    seed, first = planted.first_failing(range(1, 13))
    found = planted.shrunk(seed)
    assert found.after.steps <= planted.steps, found.text
    assert found.after.steps <= found.before.steps
    assert found.after.until_ms < found.before.until_ms
    assert found.after.messages < found.before.messages
    again = run_scenario(found.scenario, found.seed, **planted.code)
    cause = cause_of(again)
    assert cause is not None
    assert cause.key == found.cause.key
    known = {violation.check for violation in first.violations}
    assert cause.key in known | {expectation.name for expectation in first.failed()}
