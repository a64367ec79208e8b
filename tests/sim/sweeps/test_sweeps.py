"""Sweeps: what fails is grouped and saved, and nothing that a run does ends the sweep."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from qcore.errors import ConfigError
from qcore.sim import Scenario, SweepProgress, SweepResult, load_artifact, run_scenario, sweep
from qcore.sim.artifacts.artifact import traced_run
from qcore.sim.sweeps.executors.local_executor import LocalExecutor
from qcore.sim.sweeps.executors.run_jobs import Executor
from qcore.sim.verdict.result import Json
from tests.sim.sweeps.planted_machines import MACHINE, planted

FINE = ["fine"] * 60


def causes(result: SweepResult) -> dict[str, int]:
    return {group.cause.key: group.count for group in result.failures}


def facts(result: SweepResult) -> tuple[list[object], list[dict[str, Json]]]:
    """What does not depend on time."""
    rows: list[object] = [
        (row.values, row.runs, row.failures, dict(row.causes)) for row in result.rows
    ]
    return rows, [group.to_json() for group in result.failures]


def test_failures_are_grouped_by_cause_and_saved(tmp_path: Path, workers: Executor) -> None:
    file = planted(tmp_path, [*FINE, "wrong a", "wrong b"])
    result = sweep(file, range(1, 31), executor=workers, artifacts=tmp_path / "out", keep=2)
    assert not result.ok
    assert result.runs == 30
    (group,) = result.failures
    assert group.cause.key == "check"
    assert 2 < group.count < 30
    assert len(group.artifacts) == 2
    assert group.seeds == sorted(group.seeds)
    for seed, path in zip(group.seeds, group.artifacts, strict=False):
        artifact = load_artifact(path)
        assert artifact.seed == seed
        assert artifact.trace is not None
        again = traced_run(artifact.scenario, seed)[1]
        assert getattr(again, "trace_sha256", "") == artifact.trace_sha256 != ""
    assert group.command == f"qcore sim shrink {group.artifacts[0]}"
    assert group.command in result.table()
    assert group.command in result._repr_html_()


@pytest.mark.parametrize(
    ("end", "problem"),
    [("die", "exit code 7"), pytest.param("kill", "SIGKILL", marks=pytest.mark.long)],
)
def test_a_run_that_ends_its_process_is_one_failure(
    tmp_path: Path, workers: Executor, end: str, problem: str
) -> None:
    file = planted(tmp_path, [*FINE, end])
    result = sweep(file, range(7, 13), executor=workers, artifacts=tmp_path / "out", keep=1)
    assert result.runs == 6
    assert set(causes(result)) == {"error:ProcessDied"}
    (group,) = result.failures
    assert 0 < group.count < 6, "the other seeds were run"
    assert problem in group.cause.text
    artifact = load_artifact(group.artifacts[0])
    assert artifact.cause == group.cause
    assert artifact.trace is None
    seed = artifact.seed
    again = artifact.directory / "scenario.yaml"
    assert group.command == f"qcore sim sweep {again} --seeds {seed}..{seed}"


def test_a_run_that_hangs_is_a_failure_with_its_place(tmp_path: Path) -> None:
    file = planted(tmp_path, ["hang"])
    result = sweep(file, [1], jobs=1, timeout_s=1.5, artifacts=None)
    assert causes(result) == {"error:Timeout": 1}
    assert "in planted.py:" in result.failures[0].cause.text
    assert result.failures[0].command == f"qcore sim run {file} --seed 1"


@pytest.mark.long
def test_a_file_that_ends_its_process_fails_every_seed(tmp_path: Path, workers: Executor) -> None:
    file = planted(tmp_path, FINE)
    (tmp_path / "planted.py").write_text(MACHINE.replace("import os\n", "import os\nos._exit(3)\n"))
    result = sweep(file, [1], executor=workers, artifacts=None)
    assert causes(result) == {"error:ProcessDied": 1}


@pytest.mark.long
def test_the_result_does_not_depend_on_the_workers(
    tmp_path: Path, workers: Executor, worker: Executor
) -> None:
    file = planted(tmp_path, ["fine"] * 9 + ["wrong a"])
    vary = {"workload.rate_per_s": [10, 40]}
    one, two = (
        sweep(file, range(10), executor=each, vary=vary, artifacts=tmp_path / "out")
        for each in (worker, workers)
    )
    assert facts(one) == facts(two)
    assert len(one.failures) == 2, "a group for each rate"


def test_until_failure_ends_with_the_lowest_failing_seed(
    tmp_path: Path, workers: Executor, worker: Executor
) -> None:
    file = planted(tmp_path, [*FINE, "wrong a"])
    results = [
        sweep(file, range(1000), executor=each, artifacts=tmp_path / "out", until_failure=True)
        for each in (worker, workers)
    ]
    assert facts(results[0]) == facts(results[1])
    assert results[0].runs == results[0].failures[0].seeds[0] + 1 < 1000
    assert results[0].failures[0].count == 1


def test_sources_with_files_of_the_same_names_stay_apart(tmp_path: Path, worker: Executor) -> None:
    files = [planted(tmp_path / name, [kind] * 2) for name, kind in (("a", "x"), ("b", "wrong"))]
    result = sweep([*files, files[0]], range(3), executor=worker, artifacts=None)
    assert [row.failures for row in result.rows] == [0, 3, 0]


def test_a_run_that_cannot_be_repeated_is_noted(tmp_path: Path, worker: Executor) -> None:
    file = planted(tmp_path, ["wrong"])
    drawn = "rng.choice(KINDS) + os.urandom(4).hex()"
    (tmp_path / "planted.py").write_text(MACHINE.replace("rng.choice(KINDS)", drawn))
    result = sweep(file, [1], executor=worker, artifacts=tmp_path / "out")
    assert "depends on more than its seed" in result.failures[0].note
    assert "note" in result.table()


def test_an_interrupted_sweep_returns_what_it_found(tmp_path: Path, worker: Executor) -> None:
    def interrupt(progress: SweepProgress) -> None:
        if progress.done and not progress.is_over:
            signal.raise_signal(signal.SIGINT)

    file = planted(tmp_path, FINE)
    result = sweep(file, range(100_000), executor=worker, artifacts=None, progress=interrupt)
    assert result.interrupted
    assert 0 < result.runs < 100_000
    assert "interrupted" in result.table()
    again = sweep(file, range(3), executor=worker, artifacts=None)
    assert again.runs == 3, "the executor works again"
    assert not again.interrupted


def test_progress_counts_to_the_end(tmp_path: Path, worker: Executor) -> None:
    seen: list[SweepProgress] = []
    file = planted(tmp_path, ["wrong"])
    sweep(file, range(8), executor=worker, artifacts=None, progress=seen.append)
    assert seen[-1].is_over
    assert (seen[-1].done, seen[-1].total, seen[-1].failures) == (8, 8, 8)
    assert str(seen[-1]).startswith("8 of 8 runs, 8 failed, ")


def test_a_worker_that_cannot_start_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ConfigError, match="a worker process cannot start"):
        sweep(Scenario(), [1], jobs=1, artifacts=None)


def test_an_artifact_that_cannot_be_saved_is_noted(tmp_path: Path, worker: Executor) -> None:
    file = planted(tmp_path, ["wrong"])
    (tmp_path / "out").mkdir(mode=0o500)
    probe = sweep(file, [1], executor=worker, artifacts=tmp_path / "probe")
    (path,) = probe.failures[0].artifacts
    (tmp_path / "out").chmod(0o700)
    (tmp_path / "out" / path.name).mkdir()
    (tmp_path / "out" / path.name / "mine.txt").write_text("mine")
    result = sweep(file, [1], executor=worker, artifacts=tmp_path / "out")
    assert "is no artifact" in result.failures[0].note
    assert (tmp_path / "out" / path.name / "mine.txt").exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"seeds": []}, "at least one scenario and one seed"),
        ({"seeds": ["1"]}, "a seed is an integer"),
        ({"jobs": 0}, "is not at least 1"),
        ({"timeout_s": 0}, "no time for a run"),
        ({"executor": "thread"}, "there is no executor 'thread'"),
        ({"executor": "dask"}, "needs the address of a scheduler"),
        ({"scheduler": "tcp://127.0.0.1:1"}, "goes with the executor dask"),
        ({"artifacts": __file__}, "is no directory"),
        ({"vary": {"cluster.nodes": "35"}}, "give a list of values"),
        ({"vary": {"cluster.nods": [3]}}, "cluster.nods=3: cluster: ClusterSpec has no nods"),
        ({"vary": {"loss": [0.1]}}, "a Scenario has no parameters left"),
    ],
)
def test_unusable_options_are_refused(options: dict[str, object], problem: str) -> None:
    given: dict[str, object] = {"seeds": [1], "jobs": 1, **options}
    with pytest.raises(ConfigError, match=problem):
        sweep(Scenario(), **given)  # type: ignore[arg-type]  # the wrong ones are the point


def test_a_sweep_runs_what_run_scenario_runs(workers: LocalExecutor, tmp_path: Path) -> None:
    vary: dict[str, list[Json]] = {"cluster.nodes": [3, 5], "network.loss": [0.0, 0.1]}
    given = Scenario().with_(until_ms=800, expect={"converges": False})
    result = sweep(given, [5], executor=workers, vary=vary, artifacts=tmp_path / "out")
    assert [row.values for row in result.rows] == [
        {"cluster.nodes": nodes, "network.loss": loss} for nodes in (3, 5) for loss in (0.0, 0.1)
    ]
    assert result.failures
    for group in result.failures:
        scenario = given.with_(group.values)
        artifact = load_artifact(group.artifacts[0])
        assert artifact.trace_sha256 == run_scenario(scenario, 5).trace_sha256


def test_what_is_no_list_is_named() -> None:
    with pytest.raises(ConfigError, match="seeds: give several, such as range"):
        sweep("chaos", 3)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ConfigError, match="scenario: give one scenario"):
        sweep(3, [1])  # type: ignore[arg-type]  # on purpose
