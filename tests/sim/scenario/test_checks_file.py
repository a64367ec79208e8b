"""A scenario names a file of checks, which must exist and must be a program."""

from __future__ import annotations

from pathlib import Path

import pytest

from qcore.errors import ConfigError
from qcore.sim import Scenario, load_scenario, parse_scenario, run_scenario
from qcore.sim.workload.custom_machine import load_checks


def test_the_file_of_checks_is_beside_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def check(history):\n    return True\n")
    (tmp_path / "s.yaml").write_text("checks: mine.py\n")
    scenario = load_scenario(tmp_path / "s.yaml")
    module = load_checks(scenario)
    assert module is not None
    assert module.check([])
    assert load_checks(scenario.with_(until_ms=500)) is not None, "a changed copy has them, too"
    assert load_checks(Scenario()) is None
    assert load_checks(Scenario(checks="json")) is not None


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("checks: mine.py", r"^s.yaml:1:1: checks: there is no file mine.py$"),
        ("checks: a b", r"^s.yaml:1:1: checks: 'a b' is no file of Python; write file.py"),
    ],
)
def test_a_file_of_checks_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, error: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=error):
        parse_scenario(f"{text}\n", "s.yaml")


def test_a_file_of_checks_that_fails_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("import no_such_module\n")
    with pytest.raises(
        ConfigError, match=r"^checks mine.py: importing it raised ModuleNotFoundError: No module"
    ):
        load_checks(Scenario(checks="mine.py"))
    with pytest.raises(ConfigError, match=r"^checks: there is no module no_such_module$"):
        load_checks(Scenario(checks="no_such_module"))


CHECKS = """
from qcore.sim.oracles import sometimes

def invariant(state):
    return len("".join(state.snapshot())) < 60 or "too large"

def check(history):
    return [f"{one.client} read" for one in history if one.kind == "read"][:1]

@sometimes
def is_blank(state):
    return "k0" not in "".join(state.snapshot())
"""


def test_checks_judge_runs_of_a_machine_of_qcore(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CHECKS)
    text = "until_ms: 2000\nworkload: {rate_per_s: 100}\n"
    assert run_scenario(parse_scenario(text, str(tmp_path / "s.yaml"))).ok
    checked = run_scenario(parse_scenario(f"checks: mine.py\n{text}", str(tmp_path / "s.yaml")))
    assert {violation.check for violation in checked.violations} == {"invariant", "check"}
    assert [one.ok for one in checked.expectations if one.name == "sometimes: is_blank"] == [True]
