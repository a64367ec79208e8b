"""`@qcore.scenario` and `simulate`, in a real run of pytest."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import qcore
from qcore.errors import ConfigError
from qcore.sim.artifacts import load_artifact
from qcore.testing.pytest_plugin import _file_name
from tests.process.support.commands import run_here

MINE = """
name: mine
cluster: {nodes: 3}
workload: {clients: 1, rate_per_s: 30}
until_ms: 800
expect: {safe: true}
"""
#: No seed elects a leader within a millisecond.
SLOW = (
    MINE.replace("mine", "slow")
    .replace("safe: true", "new_leader_within_ms: 1")
    .replace("until_ms", "timeline: [{at_ms: 300, crash: leader}]\nuntil_ms")
)
CONFTEST = 'pytest_plugins = ["qcore.testing.pytest_plugin"]\n'
TESTS = """
import pytest
import qcore

seen = []


@qcore.scenario("mine.yaml", seeds=2, jobs=1)
def test_every_run_passes(tmp_path):
    seen.append(tmp_path)


@qcore.scenario("mine.yaml", seeds=range(4, 7), jobs=1, vary={"workload.clients": [1, 2]})
def test_each_run_is_checked(run):
    seen.append(run.seed)


def test_both_were_called():
    assert len(seen) == 1 + 6
    assert seen[1:] == [4, 5, 6, 4, 5, 6]


@qcore.scenario("mine.yaml", seeds=3, jobs=1)
def test_one_run_is_not_wanted(run, tmp_path):
    assert run.seed != 2, "seed 2"


@qcore.scenario("mine.yaml", seeds=[8], jobs=1)
def test_one_run_is_refused(run):
    pytest.fail("not wanted")


@qcore.scenario("slow.yaml", seeds=[7], jobs=1)
def test_a_run_fails():
    raise NotImplementedError("it is not called")


class TestSimulate:
    def test_passes(self, simulate):
        assert simulate("mine.yaml", seed=3).seed == 3

    @pytest.mark.parametrize("seed", [5])
    def test_fails(self, simulate, seed):
        simulate("slow.yaml", seed=seed)


def test_a_machine_of_the_test(simulate):
    from qcore.machines import RegisterMachine

    simulate("slow.yaml", machine=RegisterMachine, requests=lambda rng: ("read", "{}"))
"""


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The directory in which pytest ran, and what it printed."""
    path = tmp_path_factory.mktemp("plugin")
    files = {"mine.yaml": MINE, "slow.yaml": SLOW, "conftest.py": CONFTEST, "test_mine.py": TESTS}
    for name, text in files.items():
        (path / name).write_text(text)
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--qcore-artifacts", "kept"]
    done = subprocess.run(
        [sys.executable, *words, "test_mine.py"],
        cwd=path,
        capture_output=True,
        text=True,
        check=False,
    )
    return path, done.stdout + done.stderr


def test_passing_scenarios_pass(output: tuple[Path, str]) -> None:
    assert "5 failed, 4 passed" in output[1]


def test_a_failure_shows_values_and_what_to_type(output: tuple[Path, str]) -> None:
    path, text = output
    # Where the environment has CI, pytest's summary repeats each message in full.
    reports = text.partition("short test summary info")[0]
    expectation = r"FAIL +new_leader_within_ms: expected at most 1 ms; seen [\d.]+ ms"
    assert len(re.findall(expectation, reports)) == 3
    commands = sorted(set(re.findall(r"replay +qcore sim replay (\S+)", text)))
    assert len(commands) == 4
    for directory in commands:
        kept = path / directory
        assert {"failure.json", "run.png", "scenario.yaml", "trace.qtrace"} == {
            file.name for file in kept.iterdir()
        }
        assert (kept / "run.png").read_bytes().startswith(b"\x89PNG")
    ended = run_here("sim", "replay", str(path / commands[0]))
    assert ended.code == 0


def test_a_check_of_the_test_is_reported_with_its_run(output: tuple[Path, str]) -> None:
    path, text = output
    assert "1 of 3 runs failed" in text
    assert "scenario mine, seed 2: test:AssertionError: seed 2" in text
    (kept,) = (path / "kept").glob("*not_wanted*/*")
    assert load_artifact(kept).seed == 2


def test_a_run_that_needs_the_test_says_so(output: tuple[Path, str]) -> None:
    path, text = output
    assert "replay     run the test again" in text
    (kept,) = (path / "kept").glob("*a_machine_of_the_test*/*")
    assert {"run.png", "trace.qtrace"} == {file.name for file in kept.iterdir()}


def test_a_scenario_needs_seeds() -> None:
    for seeds in (0, range(3, 3)):
        with pytest.raises(ConfigError, match="at least one seed"):
            qcore.scenario("chaos", seeds=seeds)


async def _async_test() -> None:
    """Nothing would await it."""


def _generator_test() -> Iterator[None]:
    yield


@pytest.mark.parametrize("function", [_async_test, _generator_test])
def test_a_function_that_would_not_run_is_refused(function: Callable[..., object]) -> None:
    with pytest.raises(ConfigError, match=function.__name__):
        qcore.scenario("mine.yaml")(function)


@pytest.mark.parametrize("seeds", ["200", True, 2.5, [1, "2"], [True]])
def test_seeds_are_integers(seeds: Any) -> None:
    with pytest.raises(ConfigError, match="seeds is"):
        qcore.scenario("mine.yaml", seeds=seeds)


def test_the_decorator_needs_a_scenario() -> None:
    bare: Any = qcore.scenario
    with pytest.raises(ConfigError, match="needs a scenario"):
        bare(test_a_scenario_needs_seeds)


def test_tests_of_one_name_keep_their_runs_apart() -> None:
    ids = [
        "test_a.py::test",
        "one/test_a.py::test",
        "two/test_a.py::test",
        "test_a.py::test[x/y]",
        "test_a.py::test[x-y]",
        f"test_a.py::test[{'x' * 300}]",
    ]
    names = [_file_name(each) for each in ids]
    assert names[0] == "test_a.py--test"
    assert len(set(names)) == len(ids)
    assert all("/" not in name and len(name) < 100 for name in names)


def test_pytest_fail_keeps_the_run(output: tuple[Path, str]) -> None:
    assert "scenario mine, seed 8: test:Failed: not wanted" in output[1]
