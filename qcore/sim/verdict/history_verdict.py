"""Judges the history of a finished run: the registers, the user's oracles, and the level that the scenario asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from qcore.machines.interface import StateMachine
from qcore.sim.linearizability import LinearizabilityVerdict, Operation, check_history
from qcore.sim.oracles.end_of_run import (
    FinishedRun,
    OracleRow,
    ask_oracles,
    check_registers,
)
from qcore.sim.oracles.model.consistency_check import ConsistencyVerdict
from qcore.sim.verdict.collections.judge_collections import judge_collections
from qcore.sim.verdict.service_at_end import members_at_end
from qcore.sim.world.node.node_machine import HashedMachine
from qcore.sim.world.simulated_cluster import SimulatedCluster


@dataclass(slots=True, frozen=True)
class HistoryVerdict:
    """What was found about the history.

    Attributes:
        verdict: the verdict on the requests, by the values of registers or by the user's model.
        rows: one for each oracle.
    """

    verdict: LinearizabilityVerdict
    rows: tuple[OracleRow, ...]


def judge_by_oracles(world: SimulatedCluster) -> HistoryVerdict:
    """Judge the history of a finished run, and report its violations."""
    level = world.scenario.expect.level
    services = world.services
    entries = services.histories.entries
    finished = FinishedRun(world.history, entries, _machines(world), services.report)
    findings = ask_oracles(finished, world.oracles, world.state_oracles, world.model, level)
    rows = [*findings.rows, *judge_collections(world)]
    if world.has_custom_machine:
        return HistoryVerdict(_as_verdict(findings.consistency), tuple(rows))
    if level == "linearizable":
        return HistoryVerdict(_check_linearizability(world), tuple(rows))
    registers = FinishedRun([*world.register_history], entries, {}, services.report)
    judged = check_registers(registers, level)
    rows.append(
        OracleRow(
            "consistency",
            judged.result == "ok" and not judged.wrong_answer and judged.operations > 0,
            f"registers are {level}",
            judged.explanation if judged.result == "unknown" else judged.seen,
            judged.check is not None,
        )
    )
    return HistoryVerdict(_as_verdict(judged), tuple(rows))


def _machines(world: SimulatedCluster) -> dict[int, StateMachine]:
    """The machine of each running member."""
    machines: dict[int, StateMachine] = {}
    for node in members_at_end(world):
        replica = world.nodes[node].replica
        if replica is not None:
            machine = replica.machine
            machines[node] = machine.inner if isinstance(machine, HashedMachine) else machine
    return machines


def _as_verdict(judged: ConsistencyVerdict | None) -> LinearizabilityVerdict:
    if judged is None:
        return LinearizabilityVerdict("ok")
    return LinearizabilityVerdict(
        judged.result,
        explanation=judged.explanation,
        steps=judged.steps,
        operations=judged.operations,
    )


class _RegisterOperations(Iterable[Operation]):
    """The operations on registers for the checker: made again in each iteration, because a long run has many."""

    def __init__(self, world: SimulatedCluster) -> None:
        self._world = world

    def __iter__(self) -> Iterator[Operation]:
        for op in self._world.register_history:
            operation = op.as_operation()
            if operation is not None:
                yield operation


def _check_linearizability(world: SimulatedCluster) -> LinearizabilityVerdict:
    verdict = check_history(_RegisterOperations(world))
    if verdict.result == "violation":
        world.services.report("linearizability", 0, verdict.explanation)
    return verdict
