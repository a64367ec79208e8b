"""What a user gives by mistake, and code of a user that ends the process: a clear error, and no run that passed."""

from __future__ import annotations

from pathlib import Path

import pytest

from qcore.errors import ConfigError
from qcore.sim import Scenario, World, load_scenario, parse_scenario, run_scenario

MACHINE = """
import sys
from qcore.machines import RegisterMachine

def requests(rng):
    return ("write", '{"op": "set", "key": "a", "value": "1"}')

class Machine(RegisterMachine):
    pass
"""
#: Where the code of a user may end the process.
EXITS = {
    "import": "sys.exit(0)",
    "invariant": "def invariant(state): sys.exit(0)",
    "check": "def check(history): sys.exit(0)",
    "apply": "Machine.apply = lambda self, command, context: sys.exit(0)",
    "requests": "def requests(rng): sys.exit(0)",
    "model": "class Model:\n    def __init__(self): sys.exit(0)",
}


@pytest.mark.parametrize("place", EXITS)
def test_an_exit_of_user_code_does_not_pass(tmp_path: Path, place: str) -> None:
    (tmp_path / "mine.py").write_text(MACHINE + EXITS[place] + "\n")
    (tmp_path / "s.yaml").write_text("cluster: {machine: 'mine.py:Machine'}\nuntil_ms: 1500\n")
    with pytest.raises(ConfigError, match="SystemExit"):
        run_scenario(tmp_path / "s.yaml")


def test_an_exit_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MACHINE + EXITS["invariant"] + "\n")
    (tmp_path / "s.yaml").write_text("cluster: {machine: 'mine.py:Machine'}\nuntil_ms: 1500\n")
    line = len(MACHINE.splitlines()) + 1
    with pytest.raises(
        ConfigError, match=f"^mine.py:{line} in invariant: SystemExit ended the run"
    ):
        World(tmp_path / "s.yaml").run()


def test_a_machine_that_is_missing_has_its_key_named(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("cluster: {machine: 'mine.py:Machine'}\n")
    with pytest.raises(ConfigError, match=r"s\.yaml: cluster\.machine: there is no file"):
        run_scenario(tmp_path / "s.yaml")
    (tmp_path / "s.yaml").write_text("workload: {program: 'mine.py:client'}\n")
    with pytest.raises(ConfigError, match=r"s\.yaml: workload\.program: there is no file"):
        run_scenario(tmp_path / "s.yaml")


def test_a_trace_does_not_overwrite_its_scenario(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("until_ms: 1000\n")
    (tmp_path / "link").symlink_to(path)
    for trace in (path, tmp_path / "link"):
        with pytest.raises(ConfigError, match="the trace would overwrite the scenario"):
            run_scenario(path, trace=trace)
    assert path.read_text() == "until_ms: 1000\n"
    assert load_scenario(path).until_ms == 1000


@pytest.mark.parametrize("seed", ["x", 1.5, True])
def test_a_seed_that_is_no_integer_is_refused(seed: int) -> None:
    with pytest.raises(ConfigError, match="a seed is an integer"):
        Scenario().drawn(seed)


def test_values_of_a_wrong_type_are_refused() -> None:
    with pytest.raises(
        ConfigError, match="a trace is written to a path, a stream or a TraceWriter"
    ):
        run_scenario(Scenario(), trace=5)  # type: ignore[arg-type]  # the error of a wrong type is tested
    with pytest.raises(ConfigError, match="the text of a scenario is a str, not int"):
        parse_scenario(5)  # type: ignore[arg-type]  # as above
