"""Any scenario that can be made is written as a file that reads as the same scenario; any other is explained."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import example, given

from qcore.errors import ConfigError
from qcore.sim import Scenario, parse_scenario
from tests.sim.support.scenario_values import CHANGES

#: Words of pydantic and Python that mean nothing to the writer of a scenario.
JARGON = re.compile(
    "Input should|Extra inputs|Field required|Tuple|Dictionary|valid (string|integer|number)"
)


def made_with(changes: dict[str, Any]) -> Scenario | ConfigError:
    """The scenario with these changes, or why there is none."""
    try:
        return Scenario().with_(changes)
    except ConfigError as error:
        return error


@given(CHANGES)
@example({"summary": "${x} and $${x} and \u2028\x7f\U0001f600"})
@example({"timeline": [{"at_ms": 100, "heal": {"nodes": "all"}}]})
@example({"random_faults": {"faults": [{"loss": {"draw": [0.0, 1.0]}, "every_ms": 5}]}})
def test_a_written_scenario_reads_as_the_same_one(changes: dict[str, Any]) -> None:
    made = made_with(changes)
    if isinstance(made, ConfigError):
        assert not JARGON.search(str(made))
        return
    assert parse_scenario(made.to_yaml(), "other_name.yaml") == made
    again = Scenario().with_(made.to_dict())
    assert again == made
    assert again.to_yaml() == made.to_yaml()
