"""`SnapshotRequestHandler`: executes `SaveSnapshot`, which takes and pins a snapshot, and `ReadSnapshot` (backups).

A pinned snapshot stays readable after a newer one has replaced it. Pins are few, because each may keep a whole state in
memory. An unused pin is released after a while.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from qcore.core.entry import Snapshot
from qcore.core.raft import RaftCore
from qcore.errors import Overloaded, QcoreError, Refused, SnapshotGone
from qcore.node.runtime.submit_event import MAX_TIMEOUT_MS, GetPermission, MakeEvent
from qcore.replica.events import Reply, RequestSnapshot
from qcore.transport.server.server import MessageHandler, ServerConnection
from qcore.transport.wire import (
    Ok,
    ReadSnapshot,
    ReadSnapshotResponse,
    SaveSnapshot,
    SaveSnapshotResponse,
    SnapshotChunk,
    SnapshotInfo,
    failure,
)

#: The timeout of a `SaveSnapshot` that names none.
DEFAULT_TIMEOUT_MS: Final = 60_000
#: The most snapshots that are kept for readers; beyond it requests are rejected as `Overloaded`.
MAX_PINS: Final = 4
#: A snapshot that was not read for this long is released.
IDLE_S: Final = 60.0
#: Characters in one response. JSON may encode one as six bytes, and the response must fit into a frame.
READ_CHARS: Final = 128 * 1024
#: Characters that are digested in one turn of the event loop: about a millisecond's work.
DIGEST_CHARS: Final = 256 * 1024
#: The retry hint if all pins are in use: readers need at least about this long.
_RETRY_AFTER_MS: Final = 1000


@dataclass(slots=True)
class _Pin:
    """A snapshot kept for readers.

    Attributes:
        readers: how many requests for it succeeded and have not read its end.
        used_at: when it was last requested or read, by the loop's clock.
        size, sha256: of the text as UTF-8; `sha256` is empty until the whole text is digested.
        waiting: callbacks for the requests that wait for the digest.
    """

    snapshot: Snapshot
    used_at: float
    readers: int = 0
    size: int = 0
    sha256: str = ""
    waiting: list[Callable[[SnapshotInfo], None]] = field(default_factory=list)

    def info(self) -> SnapshotInfo:
        meta = self.snapshot.meta
        return SnapshotInfo(
            meta.last_included_index,
            meta.last_included_term,
            meta.last_included_time_us,
            meta.membership,
            len(self.snapshot.data),
            self.size,
            self.sha256,
            meta.last_included_clock_us,
            meta.version,
        )


class SnapshotRequestHandler:
    """Executes `SaveSnapshot` and `ReadSnapshot`. Create it inside the event loop.

    Args:
        core: holds the newest snapshot.
        confirm_ms: how long a quorum may take to confirm that the state is current.
        get_permission: see `GetPermission`.
        idle_s: see `IDLE_S`.

    Attributes:
        handlers: the handlers of these requests, by class; see `ServerHandler`.
    """

    def __init__(
        self,
        core: RaftCore,
        confirm_ms: int,
        get_permission: GetPermission,
        *,
        idle_s: float = IDLE_S,
    ) -> None:
        self._core = core
        self._confirm_ms = confirm_ms
        self._get_permission = get_permission
        self._idle_s = idle_s
        self._loop = asyncio.get_running_loop()
        self._pins: dict[int, _Pin] = {}  # by last included index
        self._sweeping = False
        self.handlers: dict[type, MessageHandler] = {
            SaveSnapshot: self._take,
            ReadSnapshot: self._read,
        }

    # -- taking ----------------------------------------------------------------------------------

    def _take(self, connection: ServerConnection, message: SaveSnapshot) -> None:
        permission = self._get_permission(connection, message)
        rejection = (
            permission.reject_all or permission.reject_writes or self._overloaded(connection)
        )

        def answer(outcome: SnapshotInfo | QcoreError) -> None:
            if isinstance(outcome, QcoreError):
                connection.send(SaveSnapshotResponse(message.id, *failure(outcome)))
            else:
                connection.send(SaveSnapshotResponse(message.id, Ok(outcome)))

        if rejection is not None:
            answer(rejection)
            return
        timeout_ms = min(message.timeout_ms or DEFAULT_TIMEOUT_MS, MAX_TIMEOUT_MS)
        event: MakeEvent = partial(
            RequestSnapshot, timeout_ms=timeout_ms, confirm_ms=self._confirm_ms, stale=message.stale
        )
        permission.submit_event(event, lambda reply: self._taken(connection, reply, answer))

    def _taken(
        self,
        connection: ServerConnection,
        reply: Reply,
        answer: Callable[[SnapshotInfo | QcoreError], None],
    ) -> None:
        """Handle the outcome of a `SaveSnapshot`. After a success the core holds that snapshot, or a newer one."""
        snapshot = self._core.snapshot
        if reply.error is not None:
            answer(reply.error)
            return
        assert snapshot is not None, "a successful request leaves a snapshot"
        index = snapshot.meta.last_included_index
        pin = self._pins.get(index)
        if pin is None:
            overloaded = self._overloaded(connection)
            if overloaded is not None:
                answer(overloaded)
                return
            pin = self._pin(snapshot)
        pin.readers += 1
        pin.used_at = self._loop.time()
        if pin.sha256:
            answer(pin.info())
        else:
            pin.waiting.append(answer)

    def _overloaded(self, connection: ServerConnection) -> Overloaded | None:
        limit = MAX_PINS + (1 if connection.admin else 0)  # one more is reserved for operators
        if len(self._pins) < limit or any(pin.readers == 0 for pin in self._pins.values()):
            return None
        return Overloaded(
            f"{len(self._pins)} copies of the state are being read here: retry in {_RETRY_AFTER_MS} ms, or ask "
            "another node",
            _RETRY_AFTER_MS,
        )

    def _pin(self, snapshot: Snapshot) -> _Pin:
        """Keep the snapshot; if all pins are in use, release one that was read to its end."""
        finished = [index for index, pin in self._pins.items() if pin.readers == 0]
        if len(self._pins) >= MAX_PINS and finished:
            del self._pins[min(finished)]
        pin = _Pin(snapshot, self._loop.time())
        self._pins[snapshot.meta.last_included_index] = pin
        self._digest(pin, hashlib.sha256(), 0)
        if not self._sweeping:
            self._sweeping = True
            self._loop.call_later(self._idle_s / 2, self._sweep)
        return pin

    def _digest(self, pin: _Pin, digest: hashlib._Hash, offset: int) -> None:
        """Digest a part of the text; the next part follows in another turn of the event loop."""
        data = pin.snapshot.data
        part = data[offset : offset + DIGEST_CHARS].encode()
        digest.update(part)
        pin.size += len(part)
        offset += DIGEST_CHARS
        pin.used_at = self._loop.time()
        if offset < len(data):
            self._loop.call_soon(self._digest, pin, digest, offset)
            return
        pin.sha256 = digest.hexdigest()
        # Later: the caller that created the pin has not added its callback yet.
        self._loop.call_soon(self._digested, pin)

    def _digested(self, pin: _Pin) -> None:
        waiting, pin.waiting = pin.waiting, []
        for answer in waiting:
            answer(pin.info())

    # -- reading ---------------------------------------------------------------------------------

    def _read(self, connection: ServerConnection, message: ReadSnapshot) -> None:
        index, offset = message.last_included_index, message.offset
        if self._core.contained:
            self._pins.clear()  # no client may read the state of a diverged node
        pin = self._pins.get(index)
        if pin is None:
            error: QcoreError = SnapshotGone(
                f"this node holds no snapshot through entry {index} for reading (it holds one for "
                f"{self._idle_s:g} s after its last use, and none across a restart): take it again"
            )
            connection.send(ReadSnapshotResponse(message.id, *failure(error)))
            return
        data = pin.snapshot.data
        if offset > len(data):
            error = Refused(
                f"offset {offset} is beyond the snapshot's end at {len(data)} characters"
            )
            connection.send(ReadSnapshotResponse(message.id, *failure(error)))
            return
        pin.used_at = self._loop.time()
        end = min(offset + READ_CHARS, len(data))
        chunk = SnapshotChunk(offset, data[offset:end])
        connection.send(ReadSnapshotResponse(message.id, Ok(chunk)))
        if end == len(data):
            pin.readers = max(0, pin.readers - 1)

    def _sweep(self) -> None:
        """Release the pins that were unused for `idle_s`."""
        oldest = self._loop.time() - self._idle_s
        self._pins = {index: pin for index, pin in self._pins.items() if pin.used_at > oldest}
        if self._pins:
            self._loop.call_later(self._idle_s / 2, self._sweep)
        else:
            self._sweeping = False
