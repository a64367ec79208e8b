"""How a simulated node reacts to the errors of its disk, by the rules of real nodes (`qcore.core.log.disk_errors`)."""

from __future__ import annotations

from collections.abc import Callable

from qcore.core.entry import DurableState
from qcore.errors import DiskFull, StorageError
from qcore.replica.events import Reply
from qcore.replica.messages import RequestKind
from qcore.replica.requests.disk_space import no_space_left, writes_to_log
from qcore.sim.world.node.disk import SimDisk
from qcore.sim.world.services import Services


class DiskReactions:
    """The reactions of one node, over all its lives. None of them is a violation: the disk is broken, not the node.

    Args:
        node: the node.
        services: the shared parts of the run.
        disk: the node's disk.
        is_frozen: whether the process is frozen, so that it notices nothing.
        stop: stops the process, with the reason.

    Attributes:
        stops: how often the node stopped because a write or sync failed.
        starts_refused: how often it refused to start, because its disk was damaged or could not be read.
    """

    def __init__(
        self,
        node: int,
        services: Services,
        disk: SimDisk,
        is_frozen: Callable[[], bool],
        stop: Callable[[str], None],
    ) -> None:
        self._node = node
        self._engine = services.engine
        self._trace = services.trace
        self._disk = disk
        self._is_frozen = is_frozen
        self._stop = stop
        self._full: DiskFull | None = None
        self._unnoticed: StorageError | None = None
        self.stops = self.starts_refused = 0
        disk.on_error = self._on_error
        disk.on_full = self._on_full

    def load(self) -> DurableState | None:
        """What the process finds when it starts; None if it refuses to start, so that it stays down."""
        try:
            return self._disk.load()
        except StorageError as error:
            self.starts_refused += 1
            why = f"refuses to start: {error.code}: {error}"
            self._trace.down(self._engine.now, self._node, why)
            return None

    def rejection(self, request_id: int, kind: RequestKind) -> Reply | None:
        """The reply to a request that the node rejects because its disk is full, or None."""
        if self._full is None or not writes_to_log(kind):
            return None
        return Reply(request_id, None, 0, self._full)

    def process_continues(self) -> None:
        """A frozen process continues, and notices what happened meanwhile."""
        if self._unnoticed is not None:
            self._on_error(self._unnoticed)

    def process_died(self) -> None:
        """The next process knows nothing of the errors."""
        self._full = self._unnoticed = None

    def _on_error(self, error: StorageError) -> None:
        if self._is_frozen():
            self._unnoticed = error
        else:
            self.stops += 1
            self._stop(f"disk: {error.code}: {error}")

    def _on_full(self, why: DiskFull | None) -> None:
        self._full = None if why is None else no_space_left(f"node {self._node}", why)
