"""`NodeQuotas`: all quotas of one node, those of its replica included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qcore.errors import QuotaExceeded
from qcore.node.config import NodeConfig
from qcore.node.quotas.free_disk import FreeDisk
from qcore.node.quotas.request_rates import RequestRates
from qcore.replica.messages import RequestKind
from qcore.replica.requests.storage_quotas import QuotaUse, StorageQuotas
from qcore.transport.server.server import MessageHandler, ServerConnection
from qcore.transport.wire import error_envelope


class NodeQuotas:
    """The quotas of one node.

    Args:
        config: the settings.
        storage: the quotas of the replica.
        now_us: the time on a monotonic clock, µs.
    """

    def __init__(
        self,
        config: NodeConfig,
        storage: StorageQuotas,
        now_us: Callable[[], int],
    ) -> None:
        self._storage = storage
        self._rates = RequestRates(config, now_us)
        self._disk = FreeDisk(config.data_dir, config.min_free_disk_bytes)
        #: Call it every second or so.
        self.check_disk = self._disk.check
        self.forget = self._rates.forget

    def limited(self, handlers: dict[type, MessageHandler]) -> dict[type, MessageHandler]:
        """The handlers of clients' messages, behind the rates."""
        if not self._rates.active:
            return handlers
        return {cls: self._limited(handle) for cls, handle in handlers.items()}

    def _limited(self, handle: MessageHandler) -> MessageHandler:
        rates = self._rates

        def limited(connection: ServerConnection, message: Any) -> None:
            rejection = None if connection.peer is not None else rates.rejection(connection)
            if rejection is None:
                handle(connection, message)
            else:
                connection.send(error_envelope(message.id, rejection))

        return limited

    def write_rejection(self, kind: RequestKind, payload: str) -> QuotaExceeded | None:
        """The rejection of a write while the disk of this node has too little space, unless it makes room."""
        if not self._disk.is_low or not self._storage.may_grow(kind, payload):
            return None
        return self._disk.error()

    def uses(self) -> list[QuotaUse]:
        """The use of each quota."""
        disk = self._disk
        of_disk = QuotaUse("disk", disk.least, disk.free, disk.refused, disk.is_low)
        return [*self._storage.uses(), of_disk, *self._rates.uses()]
