"""Watches the state machines of a run, and judges whether a user-defined one is deterministic."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from qcore.errors import ConfigError
from qcore.machines.interface import StateMachine
from qcore.replica.access.access_table import AccessTable
from qcore.replica.sessions.session_table import SessionTable
from qcore.replica.snapshot_builder import restore_all, restore_snapshot
from qcore.sim.determinism.copies import Copy
from qcore.sim.determinism.determinism_check import CHECK, DeterminismCheck, DeterminismReport
from qcore.sim.determinism.differing_nodes import DifferingNodes
from qcore.sim.determinism.machine_recorder import MachineRecorder
from qcore.sim.determinism.other_process.second_process import WORKER_VARIABLE
from qcore.sim.verdict.result import Expectation, Json
from qcore.sim.world.node.node_machine import HashedMachine
from qcore.sim.world.simulated_cluster import SimulatedCluster

#: The violation of a result or answer that no client can receive.
CONTRACT: Final = "machine_contract"


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


class ObservedMachines:
    """Observes the machines of a run from its start.

    A difference between nodes is explained when it appears, and a user-defined machine is checked at the end.

    Args:
        world: the run, which has not begun.
    """

    def __init__(self, world: SimulatedCluster) -> None:
        self._world = world
        machine, make = world.user_machine, world.machine_factory()
        checked = machine is not None and world.scenario.cluster.check_determinism
        recorder = MachineRecorder(records_queries=checked)
        world.services.machine_observers.append(recorder)
        differing = DifferingNodes(make, recorder, _Nodes(world))
        world.services.invariants.state_hash.explain = lambda differ: differing.explain(
            differ.index,
            differ.last_equal,
            (differ.node, differ.digest),
            (differ.other, differ.other_digest),
            differ.restores,
        )
        services = world.services
        services.invariants.session_hash.explain = services.histories.sessions.explain
        self._recorder = recorder
        self._check: DeterminismCheck | None = None
        if machine is not None and checked:
            rng = world.streams.get("determinism/restores")
            self._check = DeterminismCheck(make, machine.reference, rng, recorder)

    def finish(self) -> None:
        """Check a user-defined machine, at the end of the run, and report what was found."""
        world = self._world
        if self._check is not None:
            try:
                world.determinism = self._check.finish()
            finally:
                self.close()
        if world.user_machine is not None and self._recorder.invalid is not None:
            world.services.report(CONTRACT, *self._recorder.invalid)
        if world.determinism is not None and world.determinism.note:
            world.services.report(CHECK, 0, world.determinism.note)

    def close(self) -> None:
        """End the second process, if there is one."""
        if self._check is not None:
            self._check.close()
            self._check = None


class _Nodes:
    """See `LiveStates`."""

    def __init__(self, world: SimulatedCluster) -> None:
        self._world = world

    def snapshot(self, node: int) -> str | None:
        replica = self._world.nodes[node].replica
        # A machine that is giving a snapshot need not be able to begin another one.
        if replica is None or replica.busy:
            return None
        machine = replica.machine
        assert isinstance(machine, HashedMachine), "simulated nodes run nothing else"
        inner = machine.inner  # the wrapper would report the snapshot
        return Copy(lambda: inner).snapshot()

    def restored(self, node: int) -> tuple[int, StateMachine] | None:
        snapshot = self._world.nodes[node].disk.durable.snapshot
        if snapshot is None:
            return None
        try:
            machine = self._world.machine_factory()()
            restore_all(restore_snapshot(snapshot.data, machine, SessionTable(), AccessTable()))
        except Exception:  # noqa: BLE001  # user code may raise anything, and the report goes on without it
            return None
        return snapshot.meta.last_included_index, machine


def judge_determinism(world: SimulatedCluster) -> Iterator[Expectation]:
    """Expect that all copies agree. What was done is always part of the verdict, also that there was no restore."""
    report = world.determinism
    if report is not None:
        ok = not report.note or not world.scenario.expect.must_be_safe
        seen = f"they differ: {report.summary()}" if report.note else report.summary()
        yield Expectation("machine_is_deterministic", ok, "all copies of the machine agree", seen)


def determinism_metrics(world: SimulatedCluster) -> dict[str, Json]:
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
