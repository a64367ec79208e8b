"""What the gateway needs of the cluster: requests of the machine `kv`, sent by a client in the name of one user."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from qcore.errors import QcoreError
from qcore.gateway.etcd_errors import Code, etcd_error
from qcore.kv import KeyValue, KeyWatch
from qcore.kv.key_values import ChangeKind, Json, data_json
from qcore.machines.kv.texts import end_of_prefix
from qcore.transport.perform_options import Stale

if TYPE_CHECKING:
    from qcore.client import Client

logger = logging.getLogger("qcore.gateway")

#: A serializable read may be this old. It is served without a leader.
SERIALIZABLE: Final = Stale(24 * 3600 * 1000)
#: How long a watch may be without a node before it says why, seconds.
WATCH_PATIENCE_S: Final = 5.0
#: The range end that means that there is none.
NO_END: Final = b"\0"


class Outage:
    """Writes one line to the log when the cluster stops answering, and one when it answers again."""

    def __init__(self) -> None:
        self._since: float | None = None

    def note(self, error: QcoreError | None) -> None:
        """Note how a request ended; None for an answer."""
        if error is not None and etcd_error(error, has_token=False).code is not Code.UNAVAILABLE:
            error = None  # the cluster has answered
        if error is not None and self._since is None:
            self._since = time.monotonic()
            logger.warning("the cluster does not answer: %s", error)
        elif error is None and self._since is not None:
            logger.info("the cluster answers again, after %.1f s", time.monotonic() - self._since)
            self._since = None


class Machine:
    """The machine `kv` of the cluster, used by one user.

    Args:
        client: of the user.
        outage: hears how requests end.
        has_token: whether the user gave a token; otherwise the client is that of the gateway.
        max_command_bytes: of the nodes.

    Attributes:
        client, has_token: see above.
    """

    def __init__(
        self, client: Client, outage: Outage, *, has_token: bool, max_command_bytes: int
    ) -> None:
        self.client = client
        self.has_token = has_token
        self._outage = outage
        self._keys = KeyValue(client, max_command_bytes=max_command_bytes)

    async def write(self, request: Mapping[str, object]) -> Json:
        """The result of a command.

        Raises:
            QcoreError: as `KeyValue`.
        """
        return await self._noted(self._keys.request(request))

    async def read(self, request: Mapping[str, object], *, serializable: bool = False) -> Json:
        """The result of a query.

        Raises:
            QcoreError: as `KeyValue`.
        """
        consistency = SERIALIZABLE if serializable else None
        return await self._noted(self._keys.request(request, read=True, consistency=consistency))

    async def _noted(self, request: Awaitable[Json]) -> Json:
        try:
            answer = await request
        except QcoreError as error:
            self._outage.note(error)
            raise
        self._outage.note(None)
        return answer

    async def revision(self) -> int:
        """The newest revision."""
        return int((await self.read({"op": "status"}))["revision"])

    def watch(
        self,
        key: bytes,
        end: bytes,
        from_revision: int,
        *,
        kinds: Sequence[ChangeKind],
        previous: bool,
    ) -> KeyWatch:
        """A watch of a range from a revision on.

        Args:
            key, end: see `range_fields`.
            from_revision: the first revision whose changes it receives.
            kinds, previous: see `KeyValue.watch`.

        It raises `TransportError` if no node accepts it for `WATCH_PATIENCE_S`, and may be read on.
        """
        named = range_fields(key, end)
        topic: dict[str, object] = {**named, "types": list(kinds)}
        if previous:
            topic["prev"] = True
        watch = self.client.watch(
            topic=json.dumps(topic), after=(from_revision, -1), timeout_s=WATCH_PATIENCE_S
        )
        return KeyWatch(watch)


def range_fields(key: bytes, end: bytes) -> dict[str, object]:
    """The fields that name the keys of an etcd range to the machine.

    Args:
        key: the first key.
        end: the first key behind the range; empty for one key, `NO_END` for no end.
    """
    if not end:
        return {"key": data_json(key)}
    if end == NO_END:
        return {"key": data_json(key), "end": None}
    if key.endswith(b"/") and end == end_of_prefix(key):
        return {"prefix": data_json(key)}  # a watch of a directory costs other writes nothing
    return {"key": data_json(key), "end": data_json(end)}
