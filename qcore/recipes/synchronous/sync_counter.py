"""`SyncCounter`: `Counter` for programs without asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.client.synchronous.sync_facade import SyncFacade, sync_method
from qcore.kv.kv_client import KeyValue
from qcore.recipes.counter import Counter

if TYPE_CHECKING:
    from qcore.client.synchronous.sync_client import SyncClient


class SyncCounter(SyncFacade[Counter]):
    """A `Counter` for programs without asyncio; its guarantees are those of `Counter`.

        counter = SyncCounter(client, "orders")
        number = counter.add()

    It may be used by many threads. A call that Ctrl-C interrupts may have taken effect.

    Args:
        client: a client, which the caller closes.
        name: see `Counter`.
    """

    def __init__(self, client: SyncClient, name: str) -> None:
        super().__init__(Counter(KeyValue(client.asynchronous), name), client)

    get = sync_method(Counter.get)
    add = sync_method(Counter.add)
    set = sync_method(Counter.set)
