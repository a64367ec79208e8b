"""Swarms: each seed draws a scenario; a planted fault is found, saved and found again in its artifact."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.errors import ConfigError
from qcore.sim import Scenario, load_artifact, parse_scenario, run_scenario, swarm
from qcore.sim.artifacts import cause_of
from qcore.sim.scenario.generated.random_scenario import random_scenario
from qcore.sim.sweeps.executors.run_jobs import Executor
from tests.sim.sweeps.planted_machines import planted

#: A node may give two votes in one term.
UNSAFE = "cluster: {safeguards: {one_vote_per_term: false}}\n"


@given(st.integers(-(2**70), 2**70))
@settings(max_examples=25, deadline=None)
def test_every_seed_draws_a_valid_scenario(seed: int) -> None:
    scenario = random_scenario(Scenario(), seed)
    assert scenario == random_scenario(Scenario(), seed)
    drawn = scenario.drawn(seed)
    assert drawn.timeline, "at least one kind of fault"
    assert parse_scenario(drawn.to_yaml()) == drawn


def test_seeds_draw_different_clusters_and_loads() -> None:
    scenarios = [random_scenario(Scenario(), seed) for seed in range(60)]
    sizes = Counter(len(scenario.cluster.nodes) for scenario in scenarios)
    assert {3, 5} < set(sizes)
    assert {scenario.workload.kind for scenario in scenarios} == {"registers", "set", "append"}
    for load in ("sessions", "watchers"):
        assert any(load in scenario.workload.model_fields_set for scenario in scenarios)
    assert any(scenario.cluster.machine == "entity" for scenario in scenarios)


def test_whole_nodes_are_also_used_through_the_client_library() -> None:
    whole = Scenario().with_(fidelity="node")
    programs = [random_scenario(whole, seed).workload.program for seed in range(40)]
    assert None in programs
    assert any(programs)
    assert not any(random_scenario(Scenario(), seed).workload.program for seed in range(40))


def test_members_change_only_where_no_node_loses_its_disk() -> None:
    """A node that lost its disk is a stranger: it must not become a voter again under its old id."""
    shrinks = 0
    for seed in range(60):
        swarm_spec = random_scenario(Scenario(), seed).swarm
        assert swarm_spec is not None
        if "shrink" in swarm_spec.allowed:
            shrinks += 1
            assert not {"wipe", "bit_rot"} & {*swarm_spec.allowed}
    assert 0 < shrinks < 60


def test_a_base_with_a_timeline_keeps_its_members() -> None:
    base = parse_scenario("timeline: [{at_ms: 900, crash: leader, for_ms: 100}]\n")
    for seed in range(20):
        swarm_spec = random_scenario(base, seed).swarm
        assert swarm_spec is not None
        assert "shrink" not in swarm_spec.allowed


def test_what_the_base_sets_stays() -> None:
    base = parse_scenario(
        "name: mine\ncluster: {nodes: 7, safeguards: {commit_own_term_only: false}}\n"
        "workload: {clients: 9, sessions: true}\nuntil_ms: 9000\nexpect: {converges: false}\n"
    )
    for seed in range(20):
        drawn = random_scenario(base, seed)
        assert (drawn.name, len(drawn.cluster.nodes), drawn.until_ms) == ("mine", 7, 9000)
        assert drawn.cluster.safeguards == {"commit_own_term_only": False}
        assert drawn.workload.clients == 9
        assert drawn.workload.sessions
        assert drawn.expect.converges is False
        assert drawn.swarm is not None


def test_a_swarm_saves_a_failing_run_of_a_machine(tmp_path: Path, workers: Executor) -> None:
    text = "cluster: {machine: 'planted.py:Machine', check_determinism: false}\n"
    base = planted(
        tmp_path, ["fine", "wrong"], f"{text}until_ms: 2500\nswarm: {{quiet_ms: 1000}}\n"
    )
    result = swarm(runs=4, base=base, executor=workers, artifacts=tmp_path / "out", keep=1)
    assert result.runs == 4
    group = next(group for group in result.failures if group.cause.key == "check")
    artifact = load_artifact(group.artifacts[0])
    again = run_scenario(artifact.scenario, artifact.seed)
    assert again.trace_sha256 == artifact.trace_sha256
    assert cause_of(again) == artifact.cause


def test_a_swarm_ends_when_its_time_is_up(tmp_path: Path, workers: Executor) -> None:
    base = planted(tmp_path, ["fine"], "cluster: {machine: 'planted.py:Machine'}\nuntil_ms: 900\n")
    base.write_text(
        base.read_text() + "random_faults: {quiet_ms: 300, faults: [{rate_per_s: 1, crash: 1}]}\n"
    )
    result = swarm(seconds=0.2, base=base, executor=workers, artifacts=None)
    assert result.runs >= 1
    assert not result.interrupted


@pytest.mark.parametrize(
    ("end", "problem"),
    [
        ({"minutes": float("nan")}, "above 0"),
        ({"minutes": -1}, "above 0"),
        ({"runs": -1}, "not at least 1"),
        ({"runs": 1, "timeout_s": float("nan")}, "no time for a run"),
    ],
)
def test_a_senseless_end_of_a_swarm_is_refused(end: dict[str, float], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        swarm(**end)  # type: ignore[arg-type]  # the values have many types


def test_a_swarm_of_unusable_options_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs a time or a number of runs"):
        swarm()
    with pytest.raises(ConfigError, match="a seed is an integer"):
        swarm(runs=1, first_seed=1.5)  # type: ignore[arg-type]  # the point


@pytest.mark.long
def test_a_healthy_cluster_passes_a_swarm(tmp_path: Path) -> None:
    result = swarm(runs=150, first_seed=1000, artifacts=tmp_path / "out")
    assert result.ok, result.table()


@pytest.mark.long
def test_a_swarm_finds_a_planted_fault(tmp_path: Path) -> None:
    base = tmp_path / "unsafe.yaml"
    base.write_text(UNSAFE)
    result = swarm(runs=60, base=base, until_failure=True, artifacts=tmp_path / "out")
    (group,) = result.failures
    assert group.cause.key == "election_safety"
    artifact = load_artifact(group.artifacts[0])
    assert cause_of(run_scenario(artifact.scenario, artifact.seed)) == artifact.cause
