"""The digest of this node's state: for the metrics object, and for the comparison with other members."""

from __future__ import annotations

from collections.abc import Callable

from qcore.errors import StateMachineFailed
from qcore.machines.interface import StateMachine
from qcore.node.observability.metrics import NodeMetrics
from qcore.replica.apply.machine_results import digest_of
from qcore.replica.replica import Replica


class StateHash:
    """Digests the state machine's state.

    Args:
        replica: its applied index and whether it is restoring.
        machine: the replica's state machine.
        metrics: the number of entries applied shows whether the state has changed.
        has_failed: whether the node has failed. Its state machine is not used any more then.
        on_failure: called if the state machine raises.
    """

    def __init__(
        self,
        replica: Replica,
        machine: StateMachine,
        metrics: NodeMetrics,
        has_failed: Callable[[], bool],
        on_failure: Callable[[StateMachineFailed], None],
    ) -> None:
        self._replica = replica
        self._machine = machine
        self._metrics = metrics
        self._has_failed = has_failed
        self._on_failure = on_failure
        self._hashed_entries = -1
        digest_of(machine)  # else the first refresh would digest the whole restored state in one go

    def refresh(self) -> None:
        """Digest recent changes. Done often and in small parts, so that the next reader does not stall the loop."""
        if self._metrics.entries_applied != self._hashed_entries and self.current():
            self._hashed_entries = self._metrics.entries_applied

    def current(self) -> str:
        """The digest of the current state.

        Empty while the replica restores from a snapshot: the state belongs to no index then, and the state machine
        must not be asked (see `SupportsGradualRestore`). Empty, too, once the node has failed.
        """
        if self._replica.restoring or self._has_failed():
            return ""
        try:
            return digest_of(self._machine)
        except StateMachineFailed as error:
            self._on_failure(error)
            return ""

    def by_index(self) -> dict[int, str]:
        """Digest by index: of the indexes that all members record, and of the current state if it is known."""
        digests = dict(self._replica.digests.kept)
        digest = self.current()
        if digest:
            digests[self._replica.applied_index] = digest
        return digests
