"""Runs one candidate of a shrink, and reports only what the shrink needs to know."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from qcore.errors import ConfigError
from qcore.sim.artifacts.failure_cause import cause_of, cause_of_error
from qcore.sim.oracles.user_oracles import Oracles
from qcore.sim.scenario.model import Scenario
from qcore.sim.shrinking.candidate_values import Values, scenario_of
from qcore.sim.shrinking.run_size import RunSize, count_settings, count_steps
from qcore.sim.simulation import World
from qcore.sim.workload.custom_machine import CustomMachine
from qcore.trace import TraceWriter, pause_collection

if TYPE_CHECKING:
    from qcore.client.programs.program_context import ClientProgram

#: How long a run goes on before it is looked at, in simulated milliseconds.
_LOOK_MS: Final = 100.0
#: The type of an error, and where it was raised.
_RAISED: Final = re.compile(r"raised \w+|\S+\.py:\d+ in \w+")
_NUMBER: Final = re.compile(r"\d+(\.\d+)?")


@dataclass(slots=True, frozen=True)
class Trial:
    """A candidate: the values of a scenario, and a seed."""

    values: Values
    seed: int


@dataclass(slots=True, frozen=True)
class GivenCode:
    """What a caller gives in Python beside the scenario; see `run_scenario`."""

    machine: CustomMachine | None = None
    program: ClientProgram | None = None
    oracles: Oracles | None = None

    @property
    def is_empty(self) -> bool:
        return self.machine is None and self.program is None and self.oracles is None


@dataclass(slots=True, frozen=True)
class Conditions:
    """What all trials of one shrink share.

    Attributes:
        source: the file beside which the user's files are.
        most_messages: a run that sends more is stopped, and is no smaller run.
        given: what the caller gave in Python.
        to_the_end: whether a run goes on after its first violation.
    """

    source: str = ""
    most_messages: int = 10**9
    given: GivenCode = GivenCode()
    to_the_end: bool = False


@dataclass(slots=True, frozen=True)
class Outcome:
    """What became of a trial.

    Attributes:
        is_valid: whether the values are those of a scenario; nothing ran otherwise.
        key: the key of the cause, see `qcore.sim.artifacts.Cause`; empty if the run passed, or was stopped.
        text: the text of the cause.
        failed_us: the time of the first violation, in simulated microseconds; None without one.
        size: how large the run was; up to the violation that stopped it, if one did.
        failed: the expectations that do not hold, of a run to the end.
    """

    is_valid: bool
    key: str = ""
    text: str = ""
    failed_us: int | None = None
    size: RunSize | None = None
    failed: tuple[str, ...] = ()

    @property
    def program_failure(self) -> str:
        """What a client program did wrong: its error and the line, without numbers. Empty for any other cause.

        One check covers all that a program can do wrong, so its name alone is no cause.
        """
        if self.key != "client_program":
            return ""
        raised = _RAISED.findall(self.text)
        return " ".join(raised) if raised else _NUMBER.sub("#", self.text.split("\n")[0])

    @property
    def is_violation(self) -> bool:
        """Whether the cause is a violation or an error, not an expectation that does not hold."""
        return self.failed_us is not None or self.key.startswith("error:")


INVALID: Final = Outcome(is_valid=False)


def run_trial(trial: Trial, conditions: Conditions) -> Outcome:
    """Run a trial until its first violation, or to its end."""
    try:
        scenario = scenario_of(trial.values, conditions.source)
    except (ValidationError, ConfigError):
        return INVALID
    try:
        with pause_collection():  # as `run_scenario` does
            return _run(scenario, trial, conditions)
    except Exception as error:  # noqa: BLE001 - user code may raise anything, and that may be the failure
        cause = cause_of_error(error)
        return Outcome(is_valid=True, key=cause.key, text=cause.text)


def _run(scenario: Scenario, trial: Trial, conditions: Conditions) -> Outcome:
    given = conditions.given
    writer = TraceWriter(hashed=False)
    is_decided = scenario.expect.must_be_safe and not conditions.to_the_end
    world = World(scenario, trial.seed, writer, given.machine, given.oracles, given.program)
    try:
        while not world.is_over:
            world.run_until(min(world.now_ms + _LOOK_MS, scenario.until_ms))
            if is_decided and world.services.violations:
                first = world.services.violations[0]
                size = _size_of(world, trial.values)
                return Outcome(True, first.check, first.note, first.t_us, size)
            if world.network.sent > conditions.most_messages:
                return Outcome(is_valid=True)
        result = world.result()
        cause = cause_of(result)
        size = _size_of(world, trial.values)
        if cause is None:
            return Outcome(is_valid=True, size=size)
        violations = world.services.violations
        failed_us, text = None, cause.text
        if violations and violations[0].check == cause.key:
            failed_us, text = violations[0].t_us, violations[0].note
        failed = tuple(expectation.name for expectation in result.failed())
        return Outcome(True, cause.key, text, failed_us, size, failed)
    finally:
        if world.programs is not None:
            world.programs.finish()  # a run that is stopped has clients in the middle of their work
        world.close()


def _size_of(world: World, values: Values) -> RunSize:
    scenario = world.scenario
    return RunSize(
        nodes=len(scenario.all_nodes),
        steps=count_steps(values),
        clients=scenario.workload.clients + scenario.workload.watchers.count,
        operations=len(world.history),
        messages=world.network.sent,
        until_ms=scenario.until_ms,
        settings=count_settings(values),
    )
