"""`qcore sim schema`: the schema for editors accepts every valid scenario, names every key, and finds wrong values."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from qcore.cli.main import app
from qcore.errors import ConfigError
from qcore.sim import Scenario
from qcore.sim.scenario.actions.registry import ACTIONS
from qcore.sim.scenario.catalogue import scenario_files
from qcore.yaml_reader import parse_yaml, to_python
from tests.checkout import SCENARIOS
from tests.sim.support.scenario_values import CHANGES

SCHEMA: dict[str, Any] = json.loads(CliRunner().invoke(app, ["sim", "schema"]).output)
VALIDATOR = Draft202012Validator(SCHEMA)


def problems(value: object) -> list[str]:
    """What the schema finds. JSON has only texts as keys."""
    return [error.message for error in VALIDATOR.iter_errors(json.loads(json.dumps(value)))]


def test_the_schema_itself_is_valid_and_has_every_key() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    fields = {name for name, field in Scenario.model_fields.items() if not field.exclude}
    assert {*SCHEMA["properties"]} == fields | {"include", "parameters"}
    assert {*ACTIONS} < {*SCHEMA["$defs"]["Item"]["anyOf"][0]["properties"]}


def test_the_schema_accepts_every_shipped_scenario() -> None:
    for path in scenario_files(SCENARIOS):
        raw = to_python(parse_yaml(path.read_text(encoding="utf-8"), path.name, number_keys=True))
        assert not problems(raw), path.name


@given(CHANGES)
def test_the_schema_accepts_every_valid_scenario(changes: dict[str, Any]) -> None:
    try:
        Scenario().with_(changes)
    except ConfigError:
        assume(False)
    assert not problems(changes)


@pytest.mark.parametrize(
    "wrong",
    [
        {"until_ms": -1},
        {"cluster": {"heartbeat_ms": "often"}},
        {"network": {"clients": {"loss": 2}}},
        {"timeline": [{"times": 0}]},
        {"workload": {"mode": "ajar"}},
    ],
)
def test_the_schema_finds_a_wrong_value(wrong: dict[str, object]) -> None:
    assert problems(wrong)


def test_the_schema_accepts_a_parameter_for_any_value() -> None:
    assert not problems({"until_ms": "${end}", "cluster": {"heartbeat_ms": "${beat}"}})
