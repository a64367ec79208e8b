"""What the check of determinism does in unusual circumstances, and what the verdict says of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from textwrap import dedent
from typing import Literal

import pytest

from qcore.machines.interface import StateMachine
from qcore.sim import RunResult, run_scenario
from qcore.sim.determinism.other_process.second_process import POOL
from tests.checkout import CHECKOUT
from tests.sim.planted.machines.honest_machines import LargeInChunks
from tests.sim.planted.machines.nondeterministic_machines import (
    ClockInResult,
    HonestMachine,
    ModuleCounter,
)
from tests.sim.support.scenario_texts import failures, scenario, seen


def set_or_get(rng: Random) -> tuple[Literal["write", "read"], str]:
    if rng.random() < 0.3:
        return "read", rng.choice("abc")
    return "write", json.dumps({"key": rng.choice("abc"), "value": rng.randrange(5)})


def determinism(result: RunResult) -> dict[str, object]:
    found = result.metrics["determinism"]
    assert isinstance(found, dict)
    return dict(found)


def local_class() -> Callable[[], StateMachine]:
    class LocalMachine(HonestMachine):
        pass

    return LocalMachine


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: HonestMachine(), "<lambda> has no name in a module"),  # a lambda
        (local_class(), "LocalMachine is defined inside a function"),
    ],
)
def test_the_verdict_says_why_there_was_no_second_process(
    make: Callable[[], StateMachine], reason: str
) -> None:
    result = run_scenario(scenario(), 1, machine=make, requests=set_or_get)
    assert result.ok, failures(result)
    assert reason in seen(result)["machine_is_deterministic"]
    assert determinism(result)["second_process"] is False
    assert reason in str(determinism(result)["why_no_second_process"])


@pytest.mark.parametrize(
    ("machine", "cause"),
    [
        (ClockInResult, "the clock (time.time at nondeterministic_machines.py:"),
        (ModuleCounter, "the commands changed the module variable _numbers"),
    ],
)
def test_without_a_second_process_causes_are_found_here(
    machine: type[StateMachine], cause: str
) -> None:
    result = run_scenario(scenario(), 1, machine=lambda: machine(), requests=set_or_get)
    (note,) = [each.note for each in result.violations if each.check == "determinism"]
    assert cause in note


def test_the_check_can_be_switched_off() -> None:
    spec = scenario(cluster="{nodes: 3, check_determinism: false}")
    result = run_scenario(spec, 1, machine=ClockInResult, requests=set_or_get)
    assert result.ok, failures(result)
    assert determinism(result) == {"checked": False}
    assert "machine_is_deterministic" not in seen(result)


def test_a_run_without_commands_says_that_nothing_was_compared() -> None:
    spec = scenario(expect="{may_do_nothing: true}", workload="{clients: 0}", until_ms=500)
    result = run_scenario(spec, 1, machine=ClockInResult, requests=set_or_get)
    assert result.ok
    assert "nothing was applied" in seen(result)["machine_is_deterministic"]


def test_restores_of_the_run_are_counted_and_named() -> None:
    spec = scenario(
        "[{at_ms: 900, crash: follower_1, for_ms: 700}]",
        cluster="{nodes: 3, snapshot_entries: 10, keep_entries: 2}",
        workload="{clients: 3, rate_per_s: 80}",
    )
    result = run_scenario(spec, 1, machine=HonestMachine, requests=set_or_get)
    assert result.ok, failures(result)
    in_run = determinism(result)["restores_in_run"]
    assert in_run
    assert f"{in_run} restores in the run" in seen(result)["machine_is_deterministic"]


def test_the_trace_is_that_of_a_run_without_the_check() -> None:
    on, off = (
        run_scenario(
            scenario(cluster=f"{{nodes: 3, check_determinism: {value}}}"),
            1,
            machine=LargeInChunks,
            requests=set_or_get,
        )
        for value in ("true", "false")
    )
    assert on.trace_sha256 == off.trace_sha256


SCRIPT = """
import json
from qcore.sim import parse_scenario, run_scenario
from tests.sim.planted.machines.honest_machines import HonestMachine


class OfScript(HonestMachine):
    def result(self, key, value, context):
        return ",".join({key, key + "!"})


def requests(rng):
    return "write", json.dumps({"key": rng.choice("abc"), "value": 1})


def run():
    result = run_scenario(parse_scenario("name: x\\nuntil_ms: 1500"), machine=OfScript, requests=requests)
    print([v.note for v in result.violations], [e.seen for e in result.expectations])
"""


def run_script(path: Path, text: str) -> str:
    path.write_text(text)
    environ = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, check=True, env=environ
    )
    return done.stdout


def test_a_class_of_a_script_is_loaded_by_path(tmp_path: Path) -> None:
    out = run_script(tmp_path / "my_run.py", SCRIPT + '\n\nif __name__ == "__main__":\n    run()\n')
    assert "iteration over a set at my_run.py:9" in out


def test_a_script_without_guard_runs_once_and_says_so(tmp_path: Path) -> None:
    out = run_script(tmp_path / "my_run.py", SCRIPT + "\n\nrun()\n")
    assert out.count("commands on") == 1
    assert 'put what it runs under `if __name__ == "__main__":`' in out


def test_a_machine_that_needs_its_environment_is_not_blamed(tmp_path: Path) -> None:
    (tmp_path / "needs.py").write_text(
        dedent(
            f"""
            import os
            from pathlib import Path
            from tests.sim.planted.machines.honest_machines import HonestMachine
            NAME = os.environ["PYTEST_CURRENT_TEST"][:4]
            assert Path.cwd() == Path({str(Path.cwd())!r})

            class NeedsEnvironment(HonestMachine):
                pass
            """
        )
    )
    spec = scenario(
        cluster=f"{{nodes: 3, machine: '{tmp_path}/needs.py:NeedsEnvironment'}}",
        workload="""{requests: [{write: '{"key": "a", "value": 1}'}]}""",
    )
    result = run_scenario(spec, 1)
    assert result.ok, failures(result)
    assert determinism(result)["second_process"] is True
    assert "in the environment of this process, because" in seen(result)["machine_is_deterministic"]


def test_an_edited_file_is_another_machine(tmp_path: Path) -> None:
    """The second process of the run before is not used for it."""
    spec = scenario(
        cluster=f"{{nodes: 3, machine: '{tmp_path}/edited.py:Edited'}}",
        workload="""{requests: [{write: '{"key": "a", "value": 1}'}]}""",
    )
    for answer in ("one", "another"):
        (tmp_path / "edited.py").write_text(
            "from tests.sim.planted.machines.honest_machines import HonestMachine\n"
            "class Edited(HonestMachine):\n"
            f"    def result(self, *_): return {answer!r}\n"
        )
        result = run_scenario(spec, 1)
        assert result.ok, (failures(result), result.violations)
        assert determinism(result)["second_process"] is True


def test_a_second_process_that_ended_is_replaced() -> None:
    spec = scenario()
    assert run_scenario(spec, 1, machine=HonestMachine, requests=set_or_get).ok
    for process in POOL.idle:
        process.kill()
    result = run_scenario(spec, 1, machine=HonestMachine, requests=set_or_get)
    assert result.ok, failures(result)
