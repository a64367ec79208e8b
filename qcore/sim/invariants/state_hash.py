"""Equal state hashes at equal indexes: servers that applied the same log have the same state.

Source: Schneider, "Implementing Fault-Tolerant Services Using the State Machine Approach" (1990),
section 2: the machine is deterministic. State-machine safety compares the applied entries; this check compares the
states that they produced.
"""

from __future__ import annotations

from qcore.sim.invariants.node_view import Report

CHECK = "state_hash"


class StateHash:
    """Compares each digest with the first one reported for its index."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._digests: dict[int, tuple[str, int]] = {}  # index -> (digest, first server)

    def on_state_hash(self, node: int, index: int, digest: str) -> bool:
        """Return whether the digest equals the first one for the index."""
        first, owner = self._digests.setdefault(index, (digest, node))
        if first != digest:
            self._report(
                CHECK,
                node,
                f"after index {index} node {node} has the state {digest[:16]}, node {owner} had "
                f"{first[:16]}",
            )
        return first == digest
