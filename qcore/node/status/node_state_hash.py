"""`StateHash`: the digest of this node's state, for the metrics object and for the comparison with other members."""

from __future__ import annotations

from collections.abc import Callable

from qcore.errors import StateMachineFailed
from qcore.machines.interface import StateMachine
from qcore.node.observability.metrics import NodeMetrics
from qcore.replica.apply.state_digests import replicated_digest
from qcore.replica.machine_results import digest_of
from qcore.replica.replica import Replica


class StateHash:
    """Digests the state machine's state.

    Args:
        replica: read for its apply index, and for whether it is restoring from a snapshot.
        machine: the replica's state machine.
        metrics: the number of entries applied shows whether the state has changed.
        has_failed: whether the node has failed. After that its state machine is not used.
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
        digest_of(
            machine
        )  # now, because the first refresh would otherwise digest the whole restored state

    def refresh(self) -> None:
        """Digest recent changes. If it is called often, each call is short, and no reader stalls the event loop."""
        if self._metrics.entries_applied != self._hashed_entries and self.current():
            self._hashed_entries = self._metrics.entries_applied

    def current(self) -> str:
        """The digest of the current state.

        Empty while the replica restores from a snapshot: until it ends, the state belongs to no index, and the state
        machine must not be queried (see `SupportsGradualRestore`). Also empty once the node has failed.
        """
        if self._replica.restoring or self._has_failed():
            return ""
        try:
            return replicated_digest(self._machine, self._replica.access)
        except StateMachineFailed as error:
            self._on_failure(error)
            return ""
