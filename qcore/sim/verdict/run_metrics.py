"""Computes the metrics of a finished run (`RunResult.metrics`), for humans and for comparisons between runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from qcore.errors import TooStale
from qcore.percentiles import percentile_of_counts
from qcore.sim.linearizability import LinearizabilityVerdict
from qcore.sim.verdict.availability import availability_of, messages_per_operation
from qcore.sim.verdict.determinism import determinism_metrics
from qcore.sim.verdict.result import Json
from qcore.sim.workload.operations import ClientOperation
from qcore.sim.workload.workload import SessionWorkload
from qcore.sim.world.simulated_cluster import SimulatedCluster


def measure(world: SimulatedCluster, verdict: LinearizabilityVerdict) -> dict[str, Json]:
    """All metrics of a finished run. Times in milliseconds of simulated time."""
    record = world.services.monitor.record
    now = world.engine.now
    later = [interval for interval in record.leaderless if not interval.first]
    network = world.network
    return {
        "simulated_ms": now / 1000,
        "nodes": len(world.nodes),
        "elections": len(record.elections),
        "leader_changes": max(0, len(record.leaders) - 1),
        "highest_term": record.highest_term,
        "first_leader_ms": record.leaders[0].time / 1000 if record.leaders else None,
        "time_without_leader_ms": sum(interval.length(now) for interval in later) / 1000,
        "longest_without_leader_ms": max((i.length(now) for i in later), default=0) / 1000,
        "committed_index": world.services.monitor.highest_commit,
        "truncated_entries": record.truncated,
        "operations": {
            kind: _operations(op for op in world.history if op.kind == kind)
            for kind in ("write", "read", "cas")
        },
        "messages": {
            "sent": network.sent,
            "delivered": network.delivered,
            "dropped": network.dropped,
            "duplicated": network.duplicated,
        },
        "messages_per_operation": messages_per_operation(world),
        "availability": _availability(world),
        "disk_syncs": sum(node.disk.syncs for node in world.nodes.values()),
        "unsynced_writes_lost": sum(node.disk.writes_lost for node in world.nodes.values()),
        "unsynced_writes_survived": sum(node.disk.writes_survived for node in world.nodes.values()),
        "stopped_by_disk": sum(node.disk_reactions.stops for node in world.nodes.values()),
        "starts_refused": sum(node.disk_reactions.starts_refused for node in world.nodes.values()),
        "disks_wiped": sum(node.disk.wipes for node in world.nodes.values()),
        "sessions": _sessions(world),
        **_watches(world),
        **({"programs": world.programs.metrics()} if world.programs is not None else {}),
        **determinism_metrics(world),
        "reads_by_kind": _reads_by_kind(world),
        "snapshots_installed": sum(node.snapshots_installed for node in world.nodes.values()),
        "repeated_requests": sum(op.attempt - 1 for op in world.history if op.may_have_applied),
        "administration": [
            {"name": op.name, "outcome": op.outcome, "attempts": op.attempts, "detail": op.detail}
            for op in world.admin_actions.ops
        ],
        "faults": {fault.name: fault.acted for fault in world.ledger},
        "idle_fault_kinds": [*world.ledger.idle_kinds()],
        "linearizability": {
            "level": world.scenario.expect.level,
            "result": verdict.result,
            "operations": verdict.operations,
            "steps": verdict.steps,
        },
    }


def _availability(world: SimulatedCluster) -> Json:
    found = availability_of(world)
    return {
        "requests": found.requests,
        "time": found.time,
        "unavailable_windows_ms": [[start / 1000, end / 1000] for start, end in found.windows],
    }


def _sessions(world: SimulatedCluster) -> Json:
    loads = [load for load in world.workloads if isinstance(load, SessionWorkload)]
    return {
        "opened": sum(load.opened for load in loads),
        "expired": sum(load.expired for load in loads),
    }


def _watches(world: SimulatedCluster) -> dict[str, Json]:
    """What the watchers did; nothing without watchers."""
    checker = world.services.watches
    if checker is None:
        return {}
    logs = checker.logs
    return {
        "watches": {
            "watchers": len(logs),
            "notices": sum(log.notices for log in logs),
            "begun": sum(log.begun for log in logs),
            "resumed": sum(log.resumed for log in logs),
            "compacted": sum(len(log.gaps) for log in logs),
        }
    }


def _reads_by_kind(world: SimulatedCluster) -> Json:
    """The outcomes of the reads of each kind that occurred. `too_stale` counts reads that ended with `TooStale`."""
    counts: dict[str, Counter[str]] = {}
    for op in world.history:
        if op.kind == "read":
            of_kind = counts.setdefault(op.request, Counter())
            of_kind[op.outcome or "unknown"] += 1
            of_kind["too_stale"] += op.note == TooStale.__name__
    names = ("ok", "refused", "too_stale", "unknown")
    return {kind: {name: counts[kind][name] for name in names} for kind in sorted(counts)}


def _operations(ops: Iterable[ClientOperation]) -> Json:
    outcomes: Counter[str] = Counter()
    #: How often each latency occurred: exact, and bounded by the number of different latencies.
    latencies: Counter[int] = Counter()
    for op in ops:
        outcomes[op.outcome or "unknown"] += 1
        if op.outcome == "ok":
            latencies[op.return_us - op.invoke_us] += 1
    return {
        "ok": outcomes["ok"],
        "refused": outcomes["refused"],
        "unknown": outcomes["unknown"],
        "p50_ms": percentile_of_counts(latencies, 50) / 1000 if latencies else None,
        "p99_ms": percentile_of_counts(latencies, 99) / 1000 if latencies else None,
        "max_ms": max(latencies) / 1000 if latencies else None,
    }
