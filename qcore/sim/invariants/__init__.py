"""The safety properties of Raft, checked during a run. Each has its own file, which cites the source.

    invariants = Invariants(report)             # report(check, node, note)
    invariants.on_start(node, durable_state)    # before the first step of each life
    for effect in replica.step(...):
        invariants.on_effect(node, effect, now)
    invariants.on_stop(node)

The checks see the effects in the order in which the replica returned them, at the moment of the step. Therefore they
judge what a server believes, not only what its disk holds. Each check costs amortised constant time per effect.

| check | property |
|---|---|
| election_safety | at most one leader in a term; one vote per server and term, even across restarts |
| leader_append_only | a leader never overwrites or removes entries of its log |
| log_matching | same index and term mean the same entry and the same prefix |
| leader_completeness | a new leader has every entry committed in earlier terms |
| state_machine_safety | servers apply the same entry at an index, in order, and only committed entries |
| durability | a message leaves only once the disk of its sender holds what it promises |
| quorum | a leader has the votes of a quorum, and commits what a quorum acknowledged |
| commit_monotonic | the commit index never goes back within a life, nor beyond the log; committed entries stay |
| state_hash | equal index, equal state; only the first difference is reported |
| session_hash | equal index, equal session table; only the first difference is reported |
"""

from __future__ import annotations

from qcore.sim.invariants.invariants import CHECKS, Invariants
from qcore.sim.invariants.node_view import Report

__all__ = ["CHECKS", "Invariants", "Report"]
