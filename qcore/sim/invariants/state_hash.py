"""Equal state hashes at equal indexes: replicas that applied the same log have the same state.

Source: Schneider, "Implementing Fault-Tolerant Services Using the State Machine Approach" (1990),
section 2: the machine is deterministic. State-machine safety speaks of the entries; this speaks of
what the state machine made of them.
"""

from __future__ import annotations

from qcore.sim.invariants.view import Report

CHECK = "state_hash"


class StateHash:
    """Compares each digest with the first that was given for its index."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._digests: dict[int, tuple[str, int]] = {}  # index -> (digest, first server)

    def on_state_hash(self, node: int, index: int, digest: str) -> bool:
        """Returns whether it is the digest that is known for the index."""
        first, owner = self._digests.setdefault(index, (digest, node))
        if first != digest:
            self._report(
                CHECK,
                node,
                f"after index {index} node {node} has the state {digest[:16]}, node {owner} had "
                f"{first[:16]}",
            )
        return first == digest
