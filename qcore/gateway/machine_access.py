"""What the gateway needs of the cluster: requests of the machine `kv`, sent by a client in the name of one user."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from qcore.kv import KeyValue, KeyWatch
from qcore.kv.key_values import ChangeKind, Json, data_json
from qcore.machines.kv.texts import end_of_prefix
from qcore.transport.perform_options import Stale

if TYPE_CHECKING:
    from qcore.client import Client

#: A serializable read may be this old. It is served without a leader.
SERIALIZABLE: Final = Stale(24 * 3600 * 1000)
#: The range end that means that there is none.
NO_END: Final = b"\0"


class Machine:
    """The machine `kv` of the cluster, used by one user.

    Args:
        client: of the user.
        has_token: whether the user gave a token; otherwise the client is the gateway's own.

    Attributes:
        client, has_token: see above.
        keys: sends the requests.
    """

    def __init__(self, client: Client, *, has_token: bool) -> None:
        self.client = client
        self.has_token = has_token
        self.keys = KeyValue(client)

    async def write(self, request: Mapping[str, object]) -> Json:
        """The result of a command.

        Raises:
            QcoreError: as `KeyValue`.
        """
        return await self.keys.request(request)

    async def read(self, request: Mapping[str, object], *, serializable: bool = False) -> Json:
        """The result of a query.

        Raises:
            QcoreError: as `KeyValue`.
        """
        return await self.keys.request(
            request, read=True, consistency=SERIALIZABLE if serializable else None
        )

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
        """
        named = range_fields(key, end)
        topic: dict[str, object] = {**named, "types": list(kinds)}
        if previous:
            topic["prev"] = True
        watch = self.client.watch(topic=json.dumps(topic), after=(from_revision, -1))
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
