"""`ConnectionWatches`: the watches of one connection, and the end of those that the client reads too slowly."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from qcore.errors import QcoreError, WatchOverflow, to_wire
from qcore.transport.server.server import ServerConnection


@dataclass(slots=True)
class ClientWatch:
    """One watch.

    Attributes:
        token: names it for the client.
        config: what it watches, as JSON.
        owner: the watches of its connection.
        head, tail: the parts of its notifications that do not depend on the change.
        begun: whether the client has its token.
    """

    token: str
    config: str
    owner: ConnectionWatches
    head: bytes
    tail: bytes
    begun: bool = False


class ConnectionWatches:
    """The watches of one connection by watch id.

    Args:
        connection: gets the notifications.
    """

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection
        self.by_id: dict[int, ClientWatch] = {}
        self._ids: dict[str, int] = {}
        #: The errors of watches that have ended, which wait until the client has read what precedes them.
        self._errors: list[bytes] = []

    def add(self, watch_id: int, watch: ClientWatch) -> None:
        """Add a watch. A connection with watches is not closed as idle."""
        self.by_id[watch_id] = watch
        self._ids[watch.token] = watch_id
        self.connection.watches += 1

    def remove(self, watch_id: int) -> None:
        """Remove a watch."""
        del self._ids[self.by_id.pop(watch_id).token]
        self.connection.watches -= 1

    def find(self, token: str) -> int | None:
        """The id of the begun watch with this token, or None."""
        watch_id = self._ids.get(token)
        return watch_id if watch_id is not None and self.by_id[watch_id].begun else None

    def report_end(self, watch: ClientWatch, error: QcoreError) -> None:
        """Report to the client that a watch has ended, behind everything that it has been sent."""
        text, detail = to_wire(error)
        content = {"id": watch.token, "error": text, "detail": {**detail, "token": watch.token}}
        waits = bool(self._errors)
        self._errors.append(json.dumps({"Error": content}).encode())
        if not waits:
            self._send_errors()

    def _send_errors(self) -> None:
        """Send the waiting errors as far as there is room. Their number is bounded by that of the watches."""
        sent = 0
        for envelope in self._errors:
            if not self.connection.push(envelope, last=True):
                break
            sent += 1
        del self._errors[:sent]
        if self._errors and self.connection.is_open:
            self.connection.when_room(self._send_errors)

    @property
    def unreported(self) -> int:
        """The number of ended watches whose error the client has not been sent."""
        return len(self._errors)


def overflow(first_index: Callable[[], int]) -> WatchOverflow:
    """The error of a watch that is cut off."""
    return WatchOverflow(
        "the watch was ended, because this connection reads its notifications too slowly "
        "(max_watch_queue_bytes, max_clients_bytes): register again with `after`, the position of the last "
        "notification received",
        first_index(),
    )
