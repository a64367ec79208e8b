"""Runs a `CoreCluster` for some time with instant delivery: deadlines expire one after the other."""

from __future__ import annotations

from dataclasses import dataclass

from tests.driver.cores import CoreCluster


@dataclass(slots=True)
class RunSummary:
    """What happened while time passed.

    Attributes:
        changes: how often a server became leader.
        committed: how far the commit index of any server moved.
        highest_term: the highest term at the end.
    """

    changes: int
    committed: int
    highest_term: int


def run_for(cluster: CoreCluster, milliseconds: int, *, propose_every_ms: int = 20) -> RunSummary:
    """Run all clocks together for this long, while a client proposes to every leader."""
    now = max(node.now for node in cluster.drivers.values())
    end = now + milliseconds * 1000
    next_proposal = now + propose_every_ms * 1000
    known_leaders = {(n, cluster.core(n).term) for n in cluster.leaders()}
    before = max(node.up.commit_index for node in cluster.alive())
    changes = 0
    while now < end:
        due = min(node.up.next_deadline() for node in cluster.alive())
        now = max(now, min(due, next_proposal, end))
        for node in cluster.drivers.values():
            node.now = now
        if now >= next_proposal:
            next_proposal += propose_every_ms * 1000
            for leader in cluster.leaders():
                cluster.propose(leader, "c")
        for node in cluster.alive():
            if node.up.next_deadline() <= now:
                cluster.timeout(node.node_id)
        cluster.settle()
        leaders = {(n, cluster.core(n).term) for n in cluster.leaders()}
        changes += len(leaders - known_leaders)
        known_leaders |= leaders
    return RunSummary(
        changes,
        max(node.up.commit_index for node in cluster.alive()) - before,
        max(node.up.term for node in cluster.alive()),
    )
