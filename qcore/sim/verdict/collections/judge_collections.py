"""Judges a finished run whose clients add to sets or lists."""

from __future__ import annotations

import json

from qcore.sim.oracles.end_of_run import OracleRow
from qcore.sim.verdict.collections.append_order import check_list
from qcore.sim.verdict.collections.element_history import Addition, CollectionRead
from qcore.sim.verdict.collections.set_elements import check_set
from qcore.sim.verdict.service_at_end import most_advanced_node
from qcore.sim.workload.operations import ClientOperation
from qcore.sim.world.simulated_cluster import SimulatedCluster

_NAMES = {"set": "set_elements", "append": "append_order"}
_WANTED = {
    "set": "no acknowledged element is missing, none appears from nowhere, none vanishes",
    "append": "all reads are prefixes of one order, which has every acknowledged element",
}
_QUERIES = {"set": "get_set", "append": "get_list"}
_SHOWN_PROBLEMS = 5


def judge_collections(world: SimulatedCluster) -> list[OracleRow]:
    """Check each collection, and report the first violations. Empty if the clients use no collections."""
    kind = world.scenario.workload.kind
    if kind not in _NAMES:
        return []
    check = check_set if kind == "set" else check_list
    keys = dict.fromkeys(op.key for op in world.history)
    problems: list[str] = []
    added = judged = 0
    for key in keys:
        ops = [op for op in world.history if op.key == key and op.is_raw]
        additions = [_addition(op) for op in ops if op.kind == "write" and op.outcome != "refused"]
        reads = [_read(op) for op in ops if op.kind == "read" and op.outcome == "ok"]
        reads += _final_state(world, kind, key)
        added += sum(addition.return_us is not None for addition in additions)
        judged += len(reads)
        problems += (f"{key}: {problem}" for problem in check(additions, reads))
    name = _NAMES[kind]
    if problems:
        texts = problems[:_SHOWN_PROBLEMS]
        if len(problems) > len(texts):
            texts.append(f"and {len(problems) - len(texts)} more")
        world.services.report(name, 0, "\n".join(texts))
        return [OracleRow(name, False, _WANTED[kind], f"found {len(problems)} problems", True)]
    ok = bool(judged) or bool(world.scenario.expect.may_do_nothing)
    seen = f"{added} acknowledged elements, {judged} reads of {len(keys)} collections"
    return [OracleRow(name, ok, _WANTED[kind], seen)]


def _addition(op: ClientOperation) -> Addition:
    return Addition(
        json.loads(op.payload)["element"],
        op.invoke_us,
        op.return_us if op.outcome == "ok" else None,
        f"op {op.op_id} of client {op.client}",
    )


def _read(op: ClientOperation) -> CollectionRead:
    return CollectionRead(
        tuple(json.loads(str(op.output))["elements"]),
        op.invoke_us,
        op.return_us,
        f"the {op.request.replace('_', ' ')} op {op.op_id} of client {op.client} [{op.invoke_us} us .. {op.return_us} "
        f"us], answered by node {op.served_by},",
        op.request == "stale_read",
    )


def _final_state(world: SimulatedCluster, kind: str, key: str) -> list[CollectionRead]:
    """The state at the end of a running node that has applied everything that was committed; empty without one."""
    best = most_advanced_node(world)
    if best is None or best.replica is None:
        return []
    if best.replica.applied_index < world.services.monitor.highest_commit:
        return []
    answer = best.replica.machine.query(json.dumps({"op": _QUERIES[kind], "key": key}))
    end = world.engine.now + 1
    elements = tuple(json.loads(answer)["elements"])
    return [CollectionRead(elements, end, end, f"the final state of node {best.node_id}")]
