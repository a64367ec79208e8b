"""Scenarios as Python values: given by name, path or object, copied, and printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qcore.errors import ConfigError
from qcore.sim import World, load_scenario, run_scenario
from qcore.sim.scenario.distributions import uniform
from qcore.sim.scenario.timeline import Item
from qcore.trace import TraceWriter
from tests.checkout import SCENARIOS
from tests.sim.support.scenario_texts import scenario

NAME = "crash_at_the_end"
FILE = SCENARIOS / f"{NAME}.yaml"


def test_name_path_and_scenario_give_the_same_run() -> None:
    loaded = load_scenario(FILE)
    assert load_scenario(NAME).timeline == load_scenario(Path(NAME)).timeline == loaded.timeline
    runs = [run_scenario(given, 3).trace_sha256 for given in (NAME, str(FILE), FILE, loaded)]
    assert len(set(runs)) == 1
    assert World(NAME, 3, TraceWriter()).scenario.name == NAME


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (
            "leader_isolatd",
            "there is no scenario 'leader_isolatd' .*did you mean leader_isolated or",
        ),
        ("xyzzy", "`qcore sim list` shows all"),
        ("x" * 5000, "there is no scenario"),
        ("a/" + "x" * 5000, "cannot read the scenario a/x"),
        ("a\0.yaml", "cannot read the scenario"),
        ("none.yaml", "cannot read the scenario none.yaml: No such file or directory$"),
        ("no_folder/figure_8.yaml", "No such file or directory; write figure_8 for the scenario"),
        ("cluster: {nodes: 3}\nuntil_ms: 1000\n", "the text of a scenario.* parse_scenario"),
        (7, "not as int"),
        ({"cluster": {}}, "not as dict"),
    ],
)
def test_an_invalid_scenario_argument_is_rejected(given: Any, error: str) -> None:
    """Any: some arguments have the wrong type on purpose."""
    for take in (load_scenario, run_scenario, lambda one: World(one, 1, TraceWriter())):
        with pytest.raises(ConfigError, match=error):
            take(given)


def test_a_copy_is_checked_like_a_new_scenario() -> None:
    spec = scenario("[{at_ms: 100, cut: {from: 1, to: 2}}]")
    assert spec.model_copy() == spec
    assert spec.model_copy(update={"until_ms": 500.0}).until_ms == 500
    # The copy leaves out the same values, and keeps fields that have another name in YAML.
    item = spec.timeline[0].model_copy(update={"for_ms": 10.0})
    assert (item.actions, item.for_ms) == (spec.timeline[0].actions, 10)
    assert spec.model_copy(update={"timeline": [{"at_ms": 100, "crash": 1}]}).timeline == (
        Item.model_validate({"at_ms": 100, "crash": 1}),
    )
    deep = spec.model_copy(update={"until_ms": 500.0}, deep=True)
    assert deep.cluster == spec.cluster
    assert deep.cluster is not spec.cluster


def copied(part: Any, **update: object) -> object:
    """Copy a part of a scenario. Any: parts have many types."""
    return part.model_copy(update=update)


def test_an_invalid_copy_is_rejected() -> None:
    spec = scenario("[{at_ms: 100, crash: 1}]")
    with pytest.raises(ConfigError, match="Scenario has no untill_ms: did you mean until_ms"):
        copied(spec, untill_ms=500.0)
    with pytest.raises(ConfigError, match=r"ClusterSpec has no xyzzy: there are .*, nodes, "):
        copied(spec.cluster, xyzzy=1)
    with pytest.raises(ConfigError, match="Scenario: until_ms: write a number, not"):
        copied(spec, until_ms="soon")
    with pytest.raises(ConfigError, match="at_ms 100 is not before the end"):
        copied(spec, until_ms=50.0)
    with pytest.raises(ConfigError, match="needs the machine register"):
        copied(
            spec,
            cluster=copied(spec.cluster, machine="entity"),
            workload=copied(spec.workload, sessions=True),
        )
    with pytest.raises(ConfigError, match=r"upper end .* is below the lower 5"):
        copied(uniform(5, 9), second=1.0)
    with pytest.raises(ConfigError, match="Item: actions: write a list, not"):
        copied(spec.timeline[0], actions="crash")


def test_the_results_of_a_run_have_a_short_repr() -> None:
    spec = load_scenario("chaos_mixture")
    assert (
        repr(spec)
        == str(spec)
        == "Scenario('chaos_mixture', 5 nodes, 9 timeline items, until 12000 ms)"
    )
    assert repr(scenario().cluster) == "ClusterSpec(nodes=(1, 2, 3))"
    good = run_scenario(scenario(until_ms=500), 1)
    assert repr(good) == "RunResult('test', seed 1, passed)"
    bad = run_scenario(scenario("[]", "{max_elections: 0}", until_ms=500), 1)
    assert repr(bad) == (
        "RunResult('test', seed 1, failed: max_elections; replay with: qcore sim run test.yaml --seed 1)"
    )
    world = World("crash_at_the_end", 1, TraceWriter())
    world.run()
    for part in (
        world.logs.log_of(1),
        world.nodes[1].state_history.history,
        world.services.monitor.record,
    ):
        assert len(repr(part)) < 500, type(part)
