"""Equal state hashes at equal indexes: servers that applied the same log have the same state and the same sessions.

Source: Schneider, "Implementing Fault-Tolerant Services Using the State Machine Approach" (1990),
section 2: the machine is deterministic. State-machine safety compares the applied entries; this check compares the
states that they produced. The state machine and the session table are compared apart: a difference has another cause.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qcore.compiled_build import register_copies
from qcore.sim.invariants.node_view import Report
from qcore.sim.records.digest_table import DigestTable
from qcore.sim.records.packed_numbers import PackedNumbers

CHECK = "state_hash"
SESSION_CHECK = "session_hash"


@dataclass(frozen=True)
class StatesDiffer:
    """Two servers have different states after the same index.

    Attributes:
        index: the index.
        node, digest: the server that was compared, and its digest.
        other, other_digest: the first server at this index.
        last_equal: the highest index below at which both had the same digest; 0 if there is none.
        restores: (server, index) of the snapshots that the two restored in between.
        what: what has the digest.
    """

    index: int
    node: int
    digest: str
    other: int
    other_digest: str
    last_equal: int
    restores: tuple[tuple[int, int], ...]
    what: str = "state"

    def text(self) -> str:
        """The facts in one sentence."""
        equal = (
            f"after index {self.last_equal} they were equal"
            if self.last_equal
            else "they were never equal before"
        )
        restores = ", ".join(
            f"node {node} restored that of index {at}" for node, at in self.restores
        )
        same = "; one of the two is what its snapshot restores" if self.node == self.other else ""
        return (
            f"after index {self.index} node {self.node} has the {self.what} {_short(self.digest)}, "
            f"node {self.other} had {_short(self.other_digest)}; {equal}; "
            f"snapshots in between: {restores or 'none was restored'}{same}"
        )


def _short(digest: str) -> str:
    return digest[:16] or "(empty)"


class StateHash:
    """Compares each digest with the first one reported for its index. Reports the first difference of a run only.

    Args:
        report: see `Invariants`.
        check: the name of the check.
        what: what has the digest.

    Attributes:
        explain: returns more about a difference, to append to the report; set by the driver, if it can.
    """

    def __init__(self, report: Report, check: str = CHECK, what: str = "state") -> None:
        self.explain: Callable[[StatesDiffer], str] = lambda _: ""
        self._report = report
        self._check = check
        self._what = what
        self._is_reported = False
        self._digests = DigestTable()
        #: For each server, the indexes with a digest, until the first difference. Up to then all digests of an index
        #: are equal, so the indexes say everything. A long run reports very many.
        self._by_server: dict[int, PackedNumbers] = {}
        self._restores: dict[
            int, list[int]
        ] = {}  # server -> indexes of the snapshots that it restored

    def on_state_hash(self, node: int, index: int, digest: str) -> bool:
        """Return whether the digest equals the first one for the index."""
        first, owner = self._digests.first(index, digest, node)
        if not self._is_reported:
            if first == digest:
                self._indexes_of(node).append(index)
            else:
                self._is_reported = True
                differ = self._describe(node, index, digest, owner, first)
                self._by_server.clear()  # only the first difference is reported
                self._report(self._check, node, differ.text() + self.explain(differ))
        return first == digest

    def pack(self, through: int) -> None:
        """Keep the digests of indexes up to `through` in less memory."""
        self._digests.pack(through)

    def on_restored(self, node: int, index: int) -> None:
        """The server restored the snapshot of an index, or started from it."""
        self._restores.setdefault(node, []).append(index)

    def _indexes_of(self, server: int) -> PackedNumbers:
        known = self._by_server.get(server)
        if known is None:
            known = self._by_server[server] = PackedNumbers()
        return known

    def _describe(self, node: int, index: int, digest: str, owner: int, first: str) -> StatesDiffer:
        shared = frozenset(self._by_server[owner])
        equal = (at for at in self._by_server.get(node, ()) if at < index and at in shared)
        last_equal = max(equal, default=0)
        restores = tuple(
            (server, at)
            for server in dict.fromkeys((node, owner))
            for at in self._restores.get(server, ())
            if last_equal <= at <= index
        )
        return StatesDiffer(index, node, digest, owner, first, last_equal, restores, self._what)


register_copies(globals())
