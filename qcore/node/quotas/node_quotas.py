"""`NodeQuotas`: all quotas of one node, those of its replica included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from qcore.errors import QuotaExceeded
from qcore.node.config import NodeConfig
from qcore.node.observability.logs import NodeLog
from qcore.node.quotas.free_disk import FreeDisk
from qcore.node.quotas.request_rates import RequestRates
from qcore.replica.events import DiskSpaceChanged, ReplicaEvent
from qcore.replica.messages import RequestKind
from qcore.replica.replica import Replica
from qcore.replica.requests.disk_space import writes_to_log
from qcore.replica.requests.storage_quotas import QuotaUse
from qcore.runtime.interface import Runtime
from qcore.storage.log_size import Footprint
from qcore.transport.server.server import MessageHandler, ServerConnection
from qcore.transport.wire import error_envelope

#: What an entry of the log takes besides its command.
_ENTRY_BYTES: Final = 64


class NodeQuotas:
    """The quotas of one node.

    Args:
        config: the settings.
        replica: has the quotas of what is stored.
        add_event: gives the replica an event.
        log: gets a line when a quota is used up, and when it has room again.
        footprint: what is on disk.
        runtime: has the clock.
    """

    def __init__(
        self,
        config: NodeConfig,
        replica: Replica,
        add_event: Callable[[ReplicaEvent], None],
        log: NodeLog,
        footprint: Callable[[], Footprint],
        runtime: Runtime,
    ) -> None:
        self._replica = replica
        self._storage = replica.quotas
        self._add_event = add_event
        self._log = log
        self._footprint = footprint
        self._fits_snapshot = True
        self._reported: list[str] = []
        self._rates = RequestRates(config, runtime.monotonic_us)
        self._disk = FreeDisk(config.data_dir, config.min_free_disk_bytes)
        self.forget = self._rates.forget

    def limited(
        self, handlers: dict[type, MessageHandler], user_of: Callable[[ServerConnection], str]
    ) -> dict[type, MessageHandler]:
        """The handlers of clients' messages, behind the rates.

        Args:
            handlers: by the class of the message.
            user_of: the user whose rights a connection has now; empty for none.
        """
        if not self._rates.active:
            return handlers
        return {cls: self._limited(handle, user_of) for cls, handle in handlers.items()}

    def _limited(
        self, handle: MessageHandler, user_of: Callable[[ServerConnection], str]
    ) -> MessageHandler:
        rates = self._rates

        def limited(connection: ServerConnection, message: Any) -> None:
            rejection = None
            if connection.peer is None:
                rejection = rates.rejection(connection, user_of(connection))
            if rejection is None:
                handle(connection, message)
            else:
                connection.send(error_envelope(message.id, rejection))

        return limited

    def write_rejection(self, kind: RequestKind, payload: str) -> QuotaExceeded | None:
        """The rejection of a write while the disk of this node has too little space, unless it makes room.

        What makes room passes while half of the space that must stay free is left, and so do requests about sessions.
        Changes of users pass a little longer, so that an administrator can stop who fills the disk.
        """
        if not self._disk.is_low or not writes_to_log(kind):
            return None
        adds = self._storage.may_grow(kind, payload)
        kept = 4 if kind == "access" else 2
        if not adds and self._disk.takes(len(payload) + _ENTRY_BYTES, kept=kept):
            return None
        return self._disk.error(adds=adds)

    def check(self) -> None:
        """Look at the disk, and report what has changed. Call it every second or so."""
        disk = self._disk
        was_low = disk.is_low
        disk.check()
        size = self._storage.snapshot_bytes
        live = self._footprint().log_bytes + self._storage.stored_snapshot_bytes
        fitted, self._fits_snapshot = self._fits_snapshot, disk.fits_snapshot(size, live)
        if disk.is_low is not was_low or self._fits_snapshot is not fitted:
            self._add_event(DiskSpaceChanged(disk.is_low, self._fits_snapshot))
        if fitted and not self._fits_snapshot:
            text = "the disk has no space for one more snapshot: none is taken until it has"
            self._log.warning(text, snapshot_bytes=size, free_bytes=disk.free)
        elif self._fits_snapshot and not fitted:
            self._log.info("the disk has space for a snapshot again")
        leads = self._replica.core.role == "leader"
        reached = [use for use in self.uses() if use.reached and (leads or use.name == "disk")]
        for use in reached:
            if use.name not in self._reported:
                text = "a quota is used up: what may add is rejected"
                self._log.warning(text, quota=use.name, use=use.use, limit=use.limit)
        names = [use.name for use in reached]
        for name in self._reported:
            if name not in names:
                self._log.info("a quota has room again, or another node leads", quota=name)
        self._reported = names

    def uses(self) -> list[QuotaUse]:
        """The use of each quota."""
        disk = self._disk
        of_disk = QuotaUse("disk", disk.least, disk.free, disk.refused, disk.is_low)
        return [*self._storage.uses(), of_disk, *self._rates.uses()]
