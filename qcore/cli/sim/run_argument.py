"""The argument and options with which commands name a run: an artifact, or a scenario with its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from qcore.errors import ConfigError

if TYPE_CHECKING:
    from qcore.sim.artifacts import Artifact
    from qcore.sim.scenario.model import Scenario

ParametersOption: TypeAlias = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A value for one of the scenario's `parameters`. May be given several times.",
    ),
]

RunSeedOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--seed",
        envvar="QCORE_SEED",
        help="Decides every random choice of the run. Default: 1, or the seed of the artifact.",
    ),
]


def read_run(run: str, parameters: Sequence[str]) -> Artifact | Scenario:
    """The artifact or scenario that a command was given.

    Args:
        run: the directory of an artifact, a scenario file, or the name of a shipped scenario.
        parameters: values of `--set`.

    Raises:
        ConfigError: there is none, it is invalid, or an artifact comes with parameters.
    """
    from qcore.sim.artifacts import is_artifact, load_artifact
    from qcore.sim.scenario.load import load_scenario, read_parameters

    if not is_artifact(run):
        return load_scenario(run, parameters=read_parameters(parameters))
    if parameters:
        raise ConfigError(f"--set: the scenario of the artifact {run} has no parameters")
    return load_artifact(run)
