"""Judges the end of a run: whether all members run and are equal, and whether the cluster serves after the last repair.

What hangs is named: the nodes without a leader, the requests without an answer, the members that lag behind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from qcore.errors import StateMachineFailed
from qcore.replica.sessions.session_table import SESSION_TICK
from qcore.sim.scenario.values import microseconds
from qcore.sim.verdict.result import Expectation
from qcore.sim.workload.operations import ClientOperation
from qcore.sim.world.simulated_cluster import SimulatedCluster
from qcore.sim.world.simulated_node import SimulatedNode


def most_advanced_node(world: SimulatedCluster) -> SimulatedNode | None:
    """The running node with the highest apply index; None if no node runs."""
    running = [node for node in world.nodes.values() if node.replica is not None]
    if not running:
        return None
    return max(running, key=lambda node: node.replica.applied_index if node.replica else 0)


def members_at_end(world: SimulatedCluster) -> tuple[int, ...]:
    """The members in the configuration of the most advanced node; the first members if no node runs."""
    best = most_advanced_node(world)
    if best is None or best.replica is None:
        return world.scenario.cluster.nodes
    return best.replica.core.membership.members()


def member_states(world: SimulatedCluster) -> tuple[bool, str]:
    """Whether all members run and have equal states, and their states as a text.

    A tick may change the state: it ends the leases of keys that are over. So states are compared where the same ticks
    are applied.
    """
    states: dict[str, list[int]] = {}
    failures: dict[int, str] = {}
    indexes: dict[int, None] = {}
    state_at: dict[int, str] = {}
    differ = False
    for node in members_at_end(world):
        replica = world.nodes[node].replica
        if replica is None:
            states.setdefault("down", []).append(node)
        else:
            index = _index_without_ticks(world, replica.applied_index)
            try:
                state = f"state {replica.machine.state_hash()[:8]}"
            except StateMachineFailed as failed:
                state = failures.setdefault(node, str(failed))
            indexes[index] = None
            differ |= state_at.setdefault(replica.applied_index, state) != state
            states.setdefault(f"index {index}, {state}", []).append(node)
    equal = len(indexes) == 1 and "down" not in states and not failures and not differ
    seen = "; ".join(f"{state} on {', '.join(map(str, nodes))}" for state, nodes in states.items())
    return equal, seen


def _index_without_ticks(world: SimulatedCluster, index: int) -> int:
    """The index of the last entry up to `index` that is not a tick.

    A leader appends ticks by itself, at any time, so the last ones may not have reached every node when a run ends.
    """
    best = most_advanced_node(world)
    entries = (
        best.replica.core.log_entries() if best is not None and best.replica is not None else []
    )
    for entry in reversed(entries):
        if entry.index == index and entry.data == SESSION_TICK:
            index -= 1
    return index


def judge_liveness(world: SimulatedCluster, since_us: int, limit_ms: float) -> Expectation:
    """Judge `live_within_ms`.

    Args:
        world: the finished run.
        since_us: the time of the last repair.
        limit_ms: the time that the cluster may take from then on.
    """
    hanging = [
        *_without_leader(world, since_us, limit_ms),
        *_without_answer(world.history, since_us, limit_ms, world.engine.now),
        *_unequal(world),
    ]
    served = sum(op.invoke_us >= since_us and op.outcome == "ok" for op in world.history)
    seen = "; ".join(hanging) or (
        f"a leader, {served} operations acknowledged after {since_us / 1000:g} ms, equal members"
    )
    expected = (
        f"a leader and answers within {limit_ms:g} ms of the last repair, equal members at the end"
    )
    return Expectation("live_within_ms", not hanging, expected, seen)


def _without_leader(world: SimulatedCluster, since_us: int, limit_ms: float) -> list[str]:
    """What hangs if no leader has reached a quorum in time, or none does at the end."""
    monitor = world.services.monitor
    now = world.engine.now
    deadline = since_us + microseconds(limit_ms)
    late = [
        interval
        for interval in monitor.record.leaderless
        if interval.start <= deadline and (interval.end is None or interval.end > deadline)
    ]
    led_at_end = any(facts.leads and facts.connected for facts in monitor.facts.values())
    if led_at_end and not late:
        return []
    if led_at_end:
        end = late[-1].end
        return [f"no leader until {(now if end is None else end) / 1000:g} ms"]
    roles = ", ".join(
        f"node {node} is {_role(world, node)}"
        for node, facts in monitor.facts.items()
        if facts.joined
    )
    return [f"no node leads with a quorum: {roles}"]


def _role(world: SimulatedCluster, node: int) -> str:
    facts = world.services.monitor.facts[node]
    if not facts.up:
        return "down"
    return f"{'a paused ' if facts.paused else 'a '}{facts.role} in term {facts.term}"


def _without_answer(
    history: Iterable[ClientOperation], since_us: int, limit_ms: float, now: int
) -> list[str]:
    """The kinds of operations of which none that began after the repair was acknowledged in time."""
    hanging: list[str] = []
    deadline = since_us + microseconds(limit_ms)
    asked: dict[str, Counter[str]] = {}
    served: set[str] = set()
    for op in history:
        if since_us <= op.invoke_us < min(deadline, now):
            asked.setdefault(op.kind, Counter())[op.note or op.outcome or "no answer"] += 1
            if op.outcome == "ok" and op.return_us <= deadline:
                served.add(op.kind)
    for kind, outcomes in asked.items():
        if kind not in served:
            why = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common(3))
            hanging.append(
                f"no {kind} of {outcomes.total()} begun after {since_us / 1000:g} ms was acknowledged ({why})"
            )
    return hanging


def _unequal(world: SimulatedCluster) -> list[str]:
    """The members that are down, or that lag behind the most advanced one."""
    equal, _ = member_states(world)
    if equal:
        return []
    best = most_advanced_node(world)
    if best is None or best.replica is None:
        return ["no node runs"]
    highest = best.replica.applied_index
    hanging: list[str] = []
    for node in members_at_end(world):
        replica = world.nodes[node].replica
        if replica is None:
            hanging.append(f"node {node} is down")
        elif replica.applied_index < highest:
            hanging.append(
                f"node {node} has applied {replica.applied_index} of {highest} entries and is "
                f"{_role(world, node)}"
            )
    return hanging or [f"the states differ: {member_states(world)[1]}"]
