"""Checks the stale reads of a simulated run with the checker in `qcore.sim.verdict.staleness`."""

from __future__ import annotations

from qcore.sim.verdict.staleness import (
    RegisterWrite,
    StalenessViolation,
    StaleRead,
    check_staleness,
)
from qcore.sim.workload.operations import ClientOperation
from qcore.sim.world.simulated_cluster import SimulatedCluster


def check_stale_reads(world: SimulatedCluster) -> list[StalenessViolation]:
    """Judge every stale read of a finished run, and report the first violation on each register.

    Once one read of a register is too old, many others are, so more reports would add nothing.
    """
    reads = [
        _read(world, op)
        for op in world.register_history
        if op.request == "stale_read" and op.outcome == "ok"
    ]
    if not reads:
        return []
    found = check_staleness(
        reads, (write for op in world.register_history for write in _writes(op))
    )
    reported: dict[str, int] = {}
    for too_old in found:
        key = too_old.read.key
        if key not in reported:
            reported[key] = too_old.read.served_by
            world.services.report("stale_read", too_old.read.served_by, too_old.describe())
    return found


def _read(world: SimulatedCluster, op: ClientOperation) -> StaleRead:
    """A read for the checker. The clock of the node that answers measures the bound, so a slow clock extends it."""
    clock = world.nodes[op.served_by].clock
    bound_us = clock.max_true_duration(op.max_staleness_ms * 1000)
    label = f"the stale read op {op.op_id} of client {op.client}, answered by node {op.served_by},"
    return StaleRead(op.key, op.output, op.served_us, bound_us, op.return_us, label, op.served_by)


def _writes(op: ClientOperation) -> list[RegisterWrite]:
    if op.kind == "read" or op.outcome == "refused" or op.output is False:
        return []  # certainly without effect
    acknowledged = op.return_us if op.outcome == "ok" else None
    label = f"op {op.op_id} of client {op.client}"
    return [RegisterWrite(op.key, op.value, op.invoke_us, acknowledged, op.index, label)]
