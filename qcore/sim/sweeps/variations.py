"""The variations of a sweep: the scenarios with each combination of the varied values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import cast

from qcore.errors import ConfigError
from qcore.sim.scenario.load import as_scenario, load_scenario
from qcore.sim.scenario.model import Scenario
from qcore.sim.verdict.result import Json
from qcore.yaml_reader import SequenceNode, parse_yaml, to_python

#: The most maps and lists within each other in a varied value.
_MAX_DEPTH = 32


@dataclass(slots=True, frozen=True)
class Variation:
    """A scenario with one combination of the varied values.

    Attributes:
        scenario: the changed scenario.
        given: what the user gave: the name or path of the scenario; empty for a `Scenario`.
        parameters: the values given for its parameters.
        values: the varied values, by path.
    """

    scenario: Scenario
    given: str
    parameters: Mapping[str, str | bool | int | float | None]
    values: Mapping[str, Json]


def variations(
    scenarios: Sequence[Scenario | Path | str],
    vary: Mapping[str, Sequence[Json]],
    parameters: Mapping[str, str | bool | int | float | None],
) -> Iterator[Variation]:
    """Each scenario with each combination of the values.

    Args:
        scenarios: scenarios, their paths, or names of shipped ones.
        vary: path of a key, such as `cluster.nodes`, or name of a parameter -> its values.
        parameters: values for the `parameters` of each scenario.

    Raises:
        ConfigError: a scenario is unusable, a path does not exist, or a value does not fit.
    """
    for name, listed in vary.items():
        given: object = listed
        if not isinstance(given, list | tuple | range) or not given:
            raise ConfigError(f"vary: {name}: give a list of values, not {given!r:.100}")
    for scenario in scenarios:
        for combination in product(*vary.values()):
            values = dict(zip(vary, combination, strict=True))
            yield _variation(scenario, values, parameters)


def _variation(
    given: Scenario | Path | str,
    values: Mapping[str, Json],
    parameters: Mapping[str, str | bool | int | float | None],
) -> Variation:
    inserted = dict(parameters)
    changes: dict[str, Json] = {}
    for name, value in values.items():
        if "." in name or name in Scenario.model_fields:
            changes[name] = value
        elif isinstance(value, list | dict):
            raise ConfigError(f"vary: {name}: a parameter is a number, a text, true or false")
        else:
            inserted[name] = value
    if isinstance(given, Scenario):
        if inserted:
            names = ", ".join(inserted)
            raise ConfigError(
                f"vary: {names}: a Scenario has no parameters left; give paths such as cluster.nodes"
            )
        scenario, name = as_scenario(given), ""
    else:
        scenario, name = load_scenario(given, parameters=inserted), str(given)
    if changes:
        try:
            scenario = scenario.with_(changes)
        except ConfigError as error:
            shown = ", ".join(f"{path}={value}" for path, value in changes.items())
            raise ConfigError(f"vary: {shown}: {error}") from None
    return Variation(scenario, name, parameters, values)


def read_variation(text: str) -> tuple[str, list[Json]]:
    """Read a variation as the command line takes it: `path=value,value`, with values as in a scenario file.

    Raises:
        ConfigError: it has another form.
    """
    name, equals, values = text.partition("=")
    if not equals or not name:
        raise ConfigError(f"--vary {text!r}: write KEY=VALUE,VALUE, for example cluster.nodes=3,5")
    node = parse_yaml(f"[{values}]", f"--vary {name}", max_depth=_MAX_DEPTH, number_keys=True)
    if not isinstance(node, SequenceNode) or not node.items:
        raise ConfigError(f"--vary {text!r}: give at least one value")
    return name, cast(list[Json], to_python(node))
