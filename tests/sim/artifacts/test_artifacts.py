"""Artifacts: a failing run that is saved gives the same run when it is loaded, also in another directory."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qcore.cli.sim.scenarios import app
from qcore.errors import ConfigError
from qcore.sim import RunResult, load_scenario, run_scenario
from qcore.sim.artifacts import Artifact, Cause, cause_of, load_artifact, save_artifact
from qcore.sim.artifacts.artifact import traced_run
from qcore.trace import CompactTrace, open_trace
from tests.checkout import EXAMPLES
from tests.sim.support.scenario_texts import scenario

#: The seed draws its faults, and it has a parameter and a part in another file. It asks for nodes that differ.
FAILING = """
name: fails
parameters: {clients: 2}
include: base.yaml
workload: {clients: "${clients}", rate_per_s: 40}
timeline: [{at_ms: {uniform: [500, 900]}, crash: {random: 1, of: all}}]
until_ms: 1500
may_not_act: true
expect: {converges: false}
"""
BASE = "cluster: {nodes: 3}\nswarm: {from_ms: 100, quiet_ms: 400, probability: 0.2}\n"
#: The clients of the machine end the run: the third request raises an error.
RAISING = """
asked = []
def requests(rng):
    asked.append(1)
    if len(asked) % 3 == 0:
        raise KeyError("seat")
    return "write", "book ada"
"""


def save_failing(directory: Path, seed: int = 3) -> tuple[Artifact, RunResult]:
    (directory / "base.yaml").write_text(BASE)
    (directory / "given.yaml").write_text(FAILING)
    loaded = load_scenario(directory / "given.yaml", parameters={"clients": 3})
    result = run_scenario(loaded, seed)
    return save_artifact(directory / "artifact", loaded, seed, result), result


def test_a_saved_run_gives_the_same_trace_elsewhere(tmp_path: Path) -> None:
    artifact, result = save_failing(tmp_path)
    moved = tmp_path / "elsewhere" / "moved"
    shutil.copytree(artifact.directory, moved)
    (tmp_path / "base.yaml").unlink()
    loaded = load_artifact(moved)
    assert loaded.scenario.swarm is None, "the drawn scenario"
    again = run_scenario(loaded.scenario, loaded.seed)
    assert again.trace_sha256 == result.trace_sha256 == loaded.trace_sha256
    assert cause_of(again) == loaded.cause == cause_of(result)
    assert loaded.trace is not None
    with open_trace(loaded.trace) as trace:
        assert isinstance(trace, CompactTrace)
        assert trace.compute_sha256() == result.trace_sha256


def test_the_failure_file_says_what_failed(tmp_path: Path) -> None:
    artifact, _ = save_failing(tmp_path)
    failure = json.loads((artifact.directory / "failure.json").read_text())
    assert failure["seed"] == 3
    assert failure["cause"]["key"] == "converges"
    assert "expected nodes differ" in failure["cause"]["text"]
    assert [each["name"] for each in failure["failed"]] == ["converges"]
    assert failure["replay"] == f"qcore sim replay {artifact.directory}"
    assert load_artifact(artifact.directory / "trace.qtrace") == artifact


def test_the_command_of_an_artifact_runs_it_with_its_seed(tmp_path: Path) -> None:
    artifact, result = save_failing(tmp_path)
    done = CliRunner().invoke(app, ["run", str(artifact.directory), "-o", "json"])
    assert done.exit_code == 1, done.output
    assert json.loads(done.stdout)["trace_sha256"] == result.trace_sha256
    other = CliRunner().invoke(app, ["run", str(artifact.directory), "--seed", "4", "-o", "json"])
    assert json.loads(other.stdout)["seed"] == 4


def test_the_first_violation_is_the_cause(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "seats", tmp_path / "seats")
    loaded = load_scenario(tmp_path / "seats/seats.yaml", parameters={"machine": "Overbooked"})
    artifact = save_artifact(tmp_path / "artifact", loaded, 1, run_scenario(loaded, 1))
    assert artifact.cause.key == "invariant"
    shutil.rmtree(tmp_path / "seats")
    again = run_scenario(load_artifact(artifact.directory).scenario, 1)
    assert again.trace_sha256 == artifact.trace_sha256, "the machine was copied"


def test_the_cause_names_the_answer_that_does_not_fit() -> None:
    parameters = {"machine": "Unfair"}
    result = run_scenario(load_scenario(EXAMPLES / "seats/seats.yaml", parameters=parameters), 1)
    cause = cause_of(result)
    assert cause is not None
    assert cause.text == (
        "the model does not allow this answer: client 3, read 'alan': answered 'waits' through node 3 (874.996 to "
        "895.991 ms, after index 37); the model answers 'seat'"
    )


def test_a_violation_that_the_scenario_wants_is_no_cause() -> None:
    result = run_scenario("figure_8", 1)
    assert result.violations
    assert cause_of(result) is None
    strict = load_scenario("figure_8").with_({"expect.max_term_growth": 1})
    cause = cause_of(run_scenario(strict, 1))
    assert cause is not None
    assert cause.key == "max_term_growth"


def test_a_check_that_cannot_judge_is_another_cause() -> None:
    """Else a shrunk run could lose the violation, and keep the cause: it asks nothing, so nothing can be judged."""
    path = EXAMPLES / "seats/seats.yaml"
    wrong = load_scenario(path, parameters={"machine": "Overbooked"})
    idle = wrong.with_({"until_ms": 60, "timeline": [], "expect.may_do_nothing": True})
    causes = [cause_of(run_scenario(each, 1)) for each in (wrong, idle)]
    assert [cause.key for cause in causes if cause] == ["invariant", "undecided:invariant"]


def test_files_of_one_name_and_modules_beside_them_are_copied(tmp_path: Path) -> None:
    for name, text in {
        "a/same.py": "from shop_helper import draw as requests\nfrom seats import Seats\n",
        "a/shop_helper.py": "def draw(rng):\n    return ('write', 'book ada')\n",
        "a/seats.py": (EXAMPLES / "seats/seats.py").read_text(),
        "b/same.py": "def check(history):\n    return f'{len(history)} requests'\n",
        "given.yaml": "cluster: {machine: 'a/same.py:Seats'}\nchecks: b/same.py\nuntil_ms: 1500\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    loaded = load_scenario(tmp_path / "given.yaml")
    cause = Cause("check", "for the test")
    artifact = save_artifact(tmp_path / "artifact", loaded, 1, cause, trace=b"")
    assert artifact.scenario.cluster.machine == "same.py:Seats"
    assert artifact.scenario.checks == "same_2.py"
    names = {path.name for path in artifact.directory.glob("*.py")}
    assert names == {"same.py", "same_2.py", "seats.py", "shop_helper.py"}
    assert (artifact.directory / "same_2.py").read_text().startswith("def check")
    assert artifact.trace is None


def test_a_run_that_raises_becomes_an_artifact(tmp_path: Path) -> None:
    machine = (EXAMPLES / "seats/seats.py").read_text() + RAISING
    (tmp_path / "mine.py").write_text(machine)
    (tmp_path / "given.yaml").write_text("cluster: {machine: 'mine.py:Seats'}\nuntil_ms: 1500\n")
    loaded = load_scenario(tmp_path / "given.yaml")
    _, cause = traced_run(loaded, 1)
    assert isinstance(cause, Cause)
    assert cause.key == "error:ConfigError"
    assert "requests raised KeyError: 'seat'" in cause.text
    artifact = save_artifact(tmp_path / "artifact", loaded, 1, cause)
    assert traced_run(artifact.scenario, artifact.seed)[1] == cause
    assert artifact.trace is not None, "it holds what happened before the error"


def test_a_passing_run_is_no_artifact(tmp_path: Path) -> None:
    loaded = scenario(until_ms=1500)
    with pytest.raises(ConfigError, match="passed"):
        save_artifact(tmp_path / "artifact", loaded, 1, run_scenario(loaded, 1))
    assert not (tmp_path / "artifact").exists()


def test_an_artifact_replaces_only_an_artifact(tmp_path: Path) -> None:
    artifact, result = save_failing(tmp_path)
    stray = artifact.directory / "notes.txt"
    stray.write_text("mine")
    save_artifact(artifact.directory, artifact.scenario, 3, result)
    assert not stray.exists()
    with pytest.raises(ConfigError, match="is no artifact"):
        save_artifact(tmp_path, artifact.scenario, 3, result)
    assert (tmp_path / "given.yaml").exists()


def test_a_run_that_depends_on_more_than_its_seed_is_refused(tmp_path: Path) -> None:
    artifact, result = save_failing(tmp_path)
    with pytest.raises(ConfigError, match="depends on more than its seed"):
        save_artifact(tmp_path / "other", artifact.scenario, 4, result)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "is no artifact: cannot read"),
        ("{", "is damaged: JSONDecodeError"),
        ("[]", "is damaged: TypeError"),
        ('{"format": 1}', "is damaged: KeyError: 'seed'"),
        (
            '{"format": 9, "seed": 1, "trace_sha256": "", "cause": {"key": "", "text": ""}}',
            "reads 1",
        ),
        (
            '{"format": 1, "seed": "1", "trace_sha256": "", "cause": {"key": "", "text": ""}}',
            "type",
        ),
    ],
)
def test_what_is_no_artifact_is_refused(tmp_path: Path, text: str | None, problem: str) -> None:
    if text is not None:
        (tmp_path / "failure.json").write_text(text)
    with pytest.raises(ConfigError, match=problem):
        load_artifact(tmp_path)
