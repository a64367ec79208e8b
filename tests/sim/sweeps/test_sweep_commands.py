"""`qcore sim sweep` and `qcore sim swarm`: output formats, exit codes, the commands that they print, Ctrl-C."""

from __future__ import annotations

import csv
import io
import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qcore.cli.main import run_arguments
from qcore.cli.sim.scenarios import app
from qcore.errors import ConfigError
from tests.cli.test_sim import FAILING, write

#: Fails with three nodes, one of which is down at the end, and passes with one.
QUICK = """
parameters: {until: 1200}
until_ms: "${until}"
timeline: [{at_ms: 500, crash: 1}]
may_not_act: true
expect: {converges: true}
"""


def test_a_sweep_prints_one_object_as_json(tmp_path: Path) -> None:
    path = write(tmp_path, QUICK, "fails.yaml")
    out = tmp_path / "out"
    words = [
        "sweep",
        path,
        "--seeds",
        "3..4",
        "--vary",
        "network.loss=0,0.1",
        "--set",
        "until=1300",
    ]
    done = CliRunner().invoke(app, [*words, "--jobs", "1", "--artifacts", str(out), "-o", "json"])
    assert done.exit_code == 1, done.output
    answer = json.loads(done.stdout)
    assert (answer["ok"], answer["runs"], answer["failed"]) == (False, 4, 4)
    assert [row["values"] for row in answer["rows"]] == [
        {"network.loss": 0},
        {"network.loss": 0.1},
    ]
    group = answer["failures"][1]
    assert group["cause"] == "converges"
    assert group["seeds"] == [3, 4]
    assert len(group["artifacts"]) == 2
    assert shlex.split(group["command"])[:3] == ["qcore", "sim", "shrink"]
    again = CliRunner().invoke(app, ["run", group["artifacts"][0], "-o", "json"])
    assert again.exit_code == 1
    assert json.loads(again.stdout)["seed"] == 3


@pytest.mark.long
def test_a_sweep_prints_its_rows_as_csv(tmp_path: Path) -> None:
    path = write(tmp_path, FAILING, "fails.yaml")
    words = ["sweep", path, "--seeds", "1..1", "--vary", "cluster.nodes=3", "--keep", "0"]
    done = CliRunner().invoke(app, [*words, "--jobs", "1", "-o", "csv"])
    (row,) = csv.DictReader(io.StringIO(done.stdout))
    assert (row["scenario"], row["cluster.nodes"], row["runs"]) == ("fails", "3", "1")
    assert row["causes"] == "converges 1"


def test_a_sweep_without_failures_exits_with_0(tmp_path: Path) -> None:
    path = write(tmp_path, "until_ms: 900\n")
    done = CliRunner().invoke(app, ["sweep", path, "--seeds", "1..3", "--jobs", "1"])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("SCENARIO  RUNS  FAILURES  SEEDS/S  CAUSES\nquick     3     0 ")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--seeds", "5"], "write the first and the last seed, such as 1..200"),
        (["--seeds", "5..4"], "the last seed is below the first"),
        (["--vary", "cluster.nodes"], "write KEY=VALUE,VALUE"),
        (["--vary", "cluster.nodes="], "give at least one value"),
        (["--vary", "cluster.nodes=3", "--vary", "cluster.nodes=5"], "given twice"),
        (["--vary", "cluster.nodes=none"], "cluster.nodes=none"),
        (["--vary", "nothing=1"], "no parameter is called nothing"),
        (["--vary", "timeline=[{at_ms: 1, crash: 9}]"], "node 9 is not in the cluster"),
    ],
)
def test_wrong_options_of_a_sweep_are_explained(
    tmp_path: Path, options: list[str], problem: str
) -> None:
    done = CliRunner().invoke(app, ["sweep", write(tmp_path, "until_ms: 900\n"), *options])
    assert isinstance(done.exception, ConfigError)
    assert problem in str(done.exception)


def test_a_swarm_needs_an_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_arguments(app, ["swarm"]) == 2
    assert "a swarm needs a time or a number of runs" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.process
def test_ctrl_c_ends_a_sweep_with_its_table(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "qcore", "sim", "sweep", "unsynced_vote"]
    process = subprocess.Popen(
        [*command, "--seeds", "1..1000000", "--jobs", "1"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    first = process.stderr.readline()
    assert "of 1000000 runs" in first
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "unsynced_vote" in out
    assert "interrupted" in out
    assert "Traceback" not in err
