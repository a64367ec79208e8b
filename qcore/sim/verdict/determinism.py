"""The part of a verdict that says whether the user-defined state machine of a run is deterministic."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from qcore.errors import ConfigError
from qcore.sim.determinism.determinism_check import CHECK, DeterminismCheck, DeterminismReport
from qcore.sim.determinism.other_process.second_process import WORKER_VARIABLE
from qcore.sim.verdict.result import Expectation, Json
from qcore.sim.world.world import World


def forbid_runs_in_second_process() -> None:
    """A script that runs a simulation while it is imported would run it again in the second process.

    Raises:
        ConfigError: this is a second process.
    """
    if WORKER_VARIABLE in os.environ:
        raise ConfigError(
            "the file runs a simulation while it is imported; put what it runs under "
            '`if __name__ == "__main__":`, then copies of its machine can run in a second process'
        )


@contextmanager
def checked_determinism(world: World) -> Iterator[None]:
    """Observe the machines of a run within the block, and check them at its end. Nothing for built-in machines."""
    machine = world.user_machine
    if machine is None or not world.scenario.cluster.check_determinism:
        yield
        return
    rng = world.streams.get("determinism/restores")
    check = DeterminismCheck(machine.make, machine.reference, rng)
    world.services.machine_observers.append(check.recorder)
    try:
        yield
        report = world.determinism = check.finish()
    finally:
        check.close()
    if report.note:
        world.services.report(CHECK, 0, report.note)


def judge_determinism(world: World) -> Iterator[Expectation]:
    """Expect that all copies agree. What was done is always part of the verdict, also that there was no restore."""
    report = world.determinism
    if report is not None:
        ok = not report.note or not world.scenario.expect.must_be_safe
        seen = f"they differ: {report.summary()}" if report.note else report.summary()
        yield Expectation("machine_is_deterministic", ok, "all copies of the machine agree", seen)


def determinism_metrics(world: World) -> dict[str, Json]:
    """What the check did; nothing for built-in machines."""
    if world.user_machine is None:
        return {}
    report = world.determinism
    if report is None:
        return {"determinism": {"checked": False}}
    return {"determinism": _metrics(report)}


def _metrics(report: DeterminismReport) -> Json:
    return {
        "checked": True,
        "commands": report.commands,
        "queries": report.queries,
        "copies": report.copies,
        "restores": report.restores,
        "restores_in_run": report.restores_in_run,
        "second_process": not report.no_second_process,
        "why_no_second_process": report.no_second_process,
    }
