"""`qcore sim`: stdout, stderr and exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qcore.cli.main import main
from qcore.cli.sim.scenarios import app
from tests.sim.support.scenario_texts import DESIGN_EXAMPLE

QUICK = "cluster: {nodes: 3}\nuntil_ms: 1500\n"
FAILING = QUICK + "timeline: [{at_ms: 500, crash: 1}]\nexpect: {converges: true}\n"


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


def write(tmp_path: Path, text: str, name: str = "quick.yaml") -> str:
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def test_json_output_is_one_object_with_the_documented_keys(
    runner: CliRunner, tmp_path: Path
) -> None:
    done = runner.invoke(app, ["run", write(tmp_path, DESIGN_EXAMPLE), "--seed", "7", "-o", "json"])
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["scenario"] == "leader_isolated"
    assert answer["seed"] == 7
    assert answer["ok"] is True
    assert len(answer["trace_sha256"]) == 64
    assert answer["violations"] == []
    for expectation in answer["expectations"]:
        assert set(expectation) == {"name", "ok", "expected", "seen"}
    assert {"safe", "new_leader_within_ms", "every_fault_acted"} <= {
        expectation["name"] for expectation in answer["expectations"]
    }
    assert answer["metrics"]["messages"]["sent"] > 100
    assert done.stderr == ""


def test_a_failure_exits_with_1_and_prints_the_replay_command(
    runner: CliRunner, tmp_path: Path
) -> None:
    path = write(tmp_path, FAILING, "fails.yaml")
    done = runner.invoke(app, ["run", path, "--seed", "3"])
    assert done.exit_code == 1
    assert "FAIL" in done.stdout
    command = f"qcore sim run {path} --seed 3"
    assert command in done.stdout
    assert command in done.stderr
    as_json = runner.invoke(app, ["run", path, "--seed", "3", "-o", "json"])
    assert as_json.exit_code == 1
    answer = json.loads(as_json.stdout)
    assert answer["ok"] is False
    assert answer["replay"] == command
    assert command in as_json.stderr


def test_the_table_is_plain_text_in_a_pipe(runner: CliRunner, tmp_path: Path) -> None:
    done = runner.invoke(app, ["run", write(tmp_path, QUICK)])
    assert done.exit_code == 0
    assert done.stdout.startswith("PASS  quick  seed 1")
    assert "\x1b" not in done.stdout


def test_flags_have_environment_variables(runner: CliRunner, tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    done = runner.invoke(
        app,
        ["run", write(tmp_path, QUICK)],
        env={"QCORE_SEED": "9", "QCORE_OUTPUT": "json", "QCORE_TRACE": str(trace)},
    )
    assert done.exit_code == 0
    assert json.loads(done.stdout)["seed"] == 9
    assert trace.read_text().startswith('{"t_us":0,"kind":"run"')
    assert str(trace) in done.stderr


def qcore(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "qcore", "sim", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )


def test_bad_usage_exits_with_2_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = write(tmp_path, "cluster: {nodez: 3}\n", "bad.yaml")
    for arguments, says in (
        (["run", bad], "bad.yaml:1:11: cluster.nodez: unknown key"),
        (["run", str(tmp_path / "none.yaml")], "cannot read the scenario"),
        (["run", "no_such_name"], "there is no scenario 'no_such_name'"),
        (["run", write(tmp_path, QUICK), "--trace", str(tmp_path)], "cannot write the trace"),
        (["run", write(tmp_path, QUICK), "--seed", "x"], "--seed"),
        (["run"], "FILE"),
        (["list", "--dir", str(tmp_path / "none")], "is not a directory"),
    ):
        monkeypatch.setattr(sys, "argv", ["qcore", "sim", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert ended.value.code == 2, (arguments, printed.err)
        assert printed.out == ""
        assert says in printed.err
        assert "Traceback" not in printed.err


def test_names_and_the_list_work_from_any_directory(tmp_path: Path) -> None:
    done = qcore("run", "unsynced_vote", "-o", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert next(violation["check"] for violation in answer["violations"]) == "election_safety"
    listed = qcore("list", "-o", "json", cwd=tmp_path)
    names = {row["name"] for row in json.loads(listed.stdout)}
    assert {"leader_isolated", "figure_8"} <= names
    assert "leader_isolated" in qcore("list", cwd=tmp_path).stdout
