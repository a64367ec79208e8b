"""`shrink` and `qcore sim shrink`: the smallest run fails for the same cause, is saved, and needs no other file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qcore.cli.exits import ExitCode
from qcore.errors import ConfigError
from qcore.sim import (
    ShrinkResult,
    cause_of,
    load_artifact,
    load_scenario,
    parse_scenario,
    run_scenario,
    save_artifact,
    shrink,
)
from tests.process.support.commands import run_here
from tests.sim.planted.answers.faulty_machines import LostUpdate
from tests.sim.support.counter_store import draw_request

#: A user's machine that forgets what it was given, with a timeline that has nothing to do with it.
STORE = """
from tests.sim.planted.answers.faulty_machines import LostUpdate
from tests.sim.support.counter_store import CounterModel, draw_request

class Store(LostUpdate):
    pass

Model = CounterModel
requests = draw_request
"""
SCENARIO = """
name: store
cluster: {nodes: 3, machine: "store.py:Store", check_determinism: false}
workload: {clients: 2, rate_per_s: 60}
timeline:
  - {at_ms: 500, crash: leader, for_ms: 200}
  - {at_ms: 800, every_ms: 300, times: 3, isolate: random, for_ms: 100}
until_ms: 2000
"""


def test_the_command_prints_and_saves_the_smallest_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run_here("sim", "shrink", "unsynced_vote", "--seed", "3", "--budget-runs", "150")
    assert done.code == ExitCode.DONE
    assert "before   3 nodes, 5 steps" in done.stderr
    artifact = load_artifact("unsynced_vote-seed3-shrunk")
    assert f"replay   {artifact.replay}" in done.stderr
    assert done.stderr.count("removed  the time after") <= 1
    assert done.stdout.startswith(f"# It fails with seed {artifact.seed}.\n")
    assert "election_safety: node 3 voted for 1 and for 2" in done.stdout
    printed = parse_scenario(done.stdout)
    assert printed.to_dict() == artifact.scenario.to_dict()
    assert len(printed.timeline) <= 5
    assert printed.until_ms < 500
    again = run_scenario(printed, artifact.seed)
    assert again.trace_sha256 == artifact.trace_sha256
    assert [expectation.name for expectation in again.failed()] == ["safe"]
    cause = cause_of(again)
    assert cause is not None
    assert cause.key == artifact.cause.key == "election_safety"


def test_a_run_that_passes_has_nothing_to_shrink() -> None:
    done = run_here("sim", "shrink", "unsynced_vote_guarded")
    assert done.code == ExitCode.USAGE
    assert "passes, so there is no failure to keep" in done.stderr
    assert "qcore sim sweep" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget_runs": 0}, "budget_runs"),
        ({"seconds": 0}, "seconds"),
        ({"jobs": 0}, "jobs"),
        ({"jobs": 2, "machine": LostUpdate, "requests": draw_request}, "use jobs=1"),
    ],
)
def test_wrong_limits_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        shrink("unsynced_vote", **arguments)  # type: ignore[arg-type]  # the values have many types


def test_the_budget_gives_the_smallest_run_until_then() -> None:
    found = shrink("unsynced_vote", budget_runs=4)
    assert found.runs <= 6
    assert not found.is_minimal
    assert found.after.until_ms < found.before.until_ms
    assert found.cause.key == "election_safety"


def of_store(folder: Path, budget_runs: int = 3000, jobs: int = 1) -> ShrinkResult:
    """The smallest run of the user's machine, from its artifact."""
    (folder / "store.py").write_text(STORE)
    (folder / "store.yaml").write_text(SCENARIO)
    scenario = load_scenario(folder / "store.yaml")
    first = save_artifact(folder / "first", scenario, 2, run_scenario(scenario, 2))
    return shrink(first, directory=folder / "small", budget_runs=budget_runs, jobs=jobs)


@pytest.mark.long
def test_an_artifact_with_the_files_of_a_user_is_shrunk(tmp_path: Path) -> None:
    found = of_store(tmp_path)
    assert found.artifact is not None
    assert (tmp_path / "small" / "store.py").is_file()
    assert found.after.steps == 0
    assert found.after.nodes == 1
    assert found.after.operations <= 60
    saved = load_artifact(tmp_path / "small")
    cause = cause_of(run_scenario(saved.scenario, saved.seed))
    assert cause is not None
    assert cause.key == found.cause.key
    assert json.loads((tmp_path / "small" / "failure.json").read_text())["seed"] == found.seed


@pytest.mark.long
def test_the_same_run_is_found_with_several_processes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one = of_store(tmp_path / "one", budget_runs=150)
    two = of_store(tmp_path / "two", budget_runs=150, jobs=2)
    assert (one.text, one.seed, one.runs, one.removed) == (
        two.text,
        two.seed,
        two.runs,
        two.removed,
    )


@pytest.mark.long
def test_an_expectation_that_fails_keeps_its_repairs() -> None:
    """A cluster that must be live again after its repair: the repair is no step that may go."""
    scenario = parse_scenario(
        "name: slow\nrandom_faults:\n  until_ms: 1500\n  quiet_ms: 1000\n"
        "  faults: [{every_ms: 400, crash: random, for_ms: 100}]\n"
        "cluster: {election_timeout_ms: [1200, 1500], pre_vote: false}\nuntil_ms: 3000\n"
        "expect: {live_within_ms: 300}\n"
    )
    found = shrink(scenario, 1, budget_runs=150)
    assert found.cause.key == "live_within_ms"
    assert "repair" in found.text
