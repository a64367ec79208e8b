"""`SyncKeyValue`: `KeyValue` for programs without asyncio.

with SyncClient(["127.0.0.1:8080"]) as client:
    kv = SyncKeyValue(client)
    kv.put("config/colour", "blue")
    print(kv.get("config/colour").text)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.client.synchronous.sync_facade import (
    RunsCoroutines,
    SyncFacade,
    SyncIterator,
    sync_iterator,
    sync_method,
    sync_object,
)
from qcore.kv.key_watches import KeyWatch
from qcore.kv.kv_client import DEFAULT_COMMAND_BYTES, KeyValue

if TYPE_CHECKING:
    from qcore.client.synchronous.sync_client import SyncClient


class SyncKeyWatch(SyncIterator[KeyWatch]):
    """An iterator of each `KeyChange`: see `KeyWatch`. Use it as a context manager, or call `close`.

    Args:
        watch: what it reads.
        client: runs it.
    """

    def __init__(self, watch: KeyWatch, client: RunsCoroutines) -> None:
        super().__init__(watch, client)


class SyncKeyValue(SyncFacade[KeyValue]):
    """Each method is the method of `KeyValue` with the same name, run to its end.

    Args:
        client: a client, which the caller closes.
        timeout_s, max_command_bytes: see `KeyValue`.
    """

    def __init__(
        self,
        client: SyncClient,
        *,
        timeout_s: float | None = None,
        max_command_bytes: int = DEFAULT_COMMAND_BYTES,
    ) -> None:
        keys = KeyValue(
            client.asynchronous, timeout_s=timeout_s, max_command_bytes=max_command_bytes
        )
        super().__init__(keys, client)

    get = sync_method(KeyValue.get)
    range = sync_method(KeyValue.range)
    items = sync_iterator(KeyValue.items)
    put = sync_method(KeyValue.put)
    replace = sync_method(KeyValue.replace)
    delete = sync_method(KeyValue.delete)
    txn = sync_method(KeyValue.txn)
    grant = sync_method(KeyValue.grant)
    keep_alive = sync_method(KeyValue.keep_alive)
    revoke = sync_method(KeyValue.revoke)
    lease = sync_method(KeyValue.lease)
    leases = sync_method(KeyValue.leases)
    watch = sync_object(KeyValue.watch, SyncKeyWatch)
    compact = sync_method(KeyValue.compact)
    keep_history = sync_method(KeyValue.keep_history)
    status = sync_method(KeyValue.status)
    request = sync_method(KeyValue.request)
