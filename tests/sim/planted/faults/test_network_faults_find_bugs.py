"""Every kind of network fault finds a planted bug that no run without the fault shows."""

from __future__ import annotations

import pytest

from qcore.sim import RunResult, parse_scenario, run_scenario
from qcore.sim.scenario.actions.message_actions import Drop, Hold, Release
from qcore.sim.scenario.actions.network_actions import HEALABLE, SHAPES, LinkChange, Partition
from qcore.sim.scenario.specs.network_spec import QualitySpec
from tests.sim.planted.faults.network_cases import CASES, PlantedBug
from tests.sim.support.scenario_texts import failures

#: Some bugs break a promise when it is made: these checks find them in any run, and `safe` with them.
WITHOUT_A_FAULT = {"quorum", "durability", "safe"}


def run_case(case: PlantedBug, *, with_fault: bool, with_bug: bool, seed: int) -> RunResult:
    safeguards = ""
    if with_bug and isinstance(case.bug, str):
        safeguards = f"safeguards: {{{case.bug}: false}}"
    text = case.text(with_fault=with_fault).replace("SAFEGUARDS", safeguards)
    return run_scenario(parse_scenario(text.replace(", }", "}"), "planted.yaml"), seed)


def found(result: RunResult) -> set[str]:
    """The violations, and the names of the expectations that failed."""
    return {violation.check for violation in result.violations} | {
        expectation.name for expectation in result.failed()
    }


def test_every_kind_of_network_fault_has_a_planted_bug() -> None:
    read = [
        parse_scenario(case.text(with_fault=True).replace(", SAFEGUARDS", "")) for case in CASES
    ]
    actions = [action for each in read for item in each.timeline for action in item.actions]
    expected = {kind.model_fields["kind"].default for kind in (*HEALABLE, Drop, Hold, Release)}
    assert expected - {action.kind for action in actions} == set()
    settings = [each.network for each in read] + [a for a in actions if isinstance(a, LinkChange)]
    changed = {name for spec in settings for name in spec.model_fields_set}
    assert changed >= {*QualitySpec.model_fields} - {"reorder_extra_ms"} | {"regions"}
    shapes = {name for a in actions if isinstance(a, Partition) for name in a.model_fields_set}
    assert shapes >= {"groups", *SHAPES}
    assert any(item.flap for each in read for item in each.timeline)


@pytest.mark.parametrize("case", CASES, ids=[case.kind for case in CASES])
def test_a_planted_bug_shows_only_with_its_fault(
    case: PlantedBug, monkeypatch: pytest.MonkeyPatch
) -> None:
    correct = run_case(case, with_fault=True, with_bug=False, seed=case.seed)
    assert correct.ok, failures(correct)
    if not isinstance(case.bug, str):
        case.bug(monkeypatch)
    without_fault = run_case(case, with_fault=False, with_bug=True, seed=case.seed)
    assert found(without_fault) <= WITHOUT_A_FAULT, failures(without_fault)
    assert case.caught_by not in found(without_fault)
    assert case.caught_by in found(run_case(case, with_fault=True, with_bug=True, seed=case.seed))


@pytest.mark.long
@pytest.mark.parametrize("case", CASES, ids=[case.kind for case in CASES])
def test_a_fault_finds_its_bug_with_most_seeds(
    case: PlantedBug, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = range(1, 21)
    for seed in seeds:
        correct = run_case(case, with_fault=True, with_bug=False, seed=seed)
        assert correct.ok, (seed, failures(correct))
    if not isinstance(case.bug, str):
        case.bug(monkeypatch)
    caught = 0
    for seed in seeds:
        without_fault = run_case(case, with_fault=False, with_bug=True, seed=seed)
        assert found(without_fault) <= WITHOUT_A_FAULT, (seed, failures(without_fault))
        caught += bool(found(run_case(case, with_fault=True, with_bug=True, seed=seed)))
    assert caught >= len(seeds) // 2, caught
