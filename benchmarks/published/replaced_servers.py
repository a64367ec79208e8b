"""Servers replaced under load: how far the throughput falls, and for how long.

Published (Omni-Paxos, with a log of millions of entries): implementations of Raft lost 90 % of their throughput for
55 s when one server was replaced; with a majority replaced they were down for 40 s and took 120 s to recover.
"""

from __future__ import annotations

from itertools import pairwise

from qcore.sim import World, parse_scenario

#: When the new servers start, ms.
_BEGIN_MS = 20_000
_UNTIL_MS = 40_000


def measure(new: int) -> None:
    """Replace `new` of five servers, the leader among them, and print the throughput before, meanwhile and after."""
    joining = list(range(6, 6 + new))
    voters = [*range(1 + new, 6), *joining]
    learners = "\n".join(
        f"          - {{at_ms: {_BEGIN_MS}, add_learner: {{node: {node}, timeout_ms: 15000, outcome: ok}}}}"
        for node in joining
    )
    world = World(
        parse_scenario(
            f"""
        name: replaced_{new}
        cluster: {{nodes: 5, snapshot_entries: 2000, keep_entries: 200}}
        network: {{latency_ms: {{uniform: [0.1, 0.5]}}, bandwidth_bytes_per_s: 12500000}}
        workload:
          {{clients: 8, mode: closed, think_ms: 20, read_fraction: 0, cas_fraction: 0, keys: 2000, value_bytes: 4000}}
        timeline:
          - {{at_ms: 1000, transfer: {{to: 1, outcome: [ok, TransferFailed]}}}}
          - {{at_ms: {_BEGIN_MS}, join: {joining}}}
{learners}
          - {{at_ms: {_BEGIN_MS + 3000}, change_members: {{voters: {voters}, timeout_ms: 15000, outcome: ok}}}}
        until_ms: {_UNTIL_MS}
        """
        ),
        seed=1,
    )
    world.run()
    result = world.result()
    assert not result.violations, result.violations
    times = sorted(op.return_us / 1000 for op in world.history if op.outcome == "ok")
    leaders = [event.node for event in world.services.monitor.record.leaders]
    outcomes = [op.outcome for op in world.admin_actions.ops]

    def rate(low: float, high: float) -> float:
        return 1000 * sum(low <= time < high for time in times) / (high - low)

    windows = [rate(at, at + 100) for at in range(_BEGIN_MS, _UNTIL_MS - 1000, 100)]
    gap = max(later - one for one, later in pairwise(times) if one > _BEGIN_MS)
    before = rate(_BEGIN_MS - 10_000, _BEGIN_MS)
    print(
        f"  {new} of 5 replaced (nodes 1 to {new}; leaders {leaders}): {before:.0f} writes/s before, "
        f"{rate(_BEGIN_MS, _BEGIN_MS + 3000):.0f} while the new servers catch up, "
        f"{rate(_BEGIN_MS + 3000, _BEGIN_MS + 4000):.0f} in the second of the change, "
        f"{rate(_UNTIL_MS - 10_000, _UNTIL_MS - 1000):.0f} after; worst 100 ms {min(windows):.0f} writes/s; "
        f"longest pause {gap:.0f} ms; requests {outcomes}"
    )


def print_table() -> None:
    """Print both cases."""
    print(
        "\nservers replaced under load; published: 90 % of the throughput lost for 55 s with one server replaced, down "
        "for 40 s and 120 s to recover with a majority replaced"
    )
    for new in (1, 3):
        measure(new)
