"""`SyncBarrier`: `Barrier` for programs without asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.client.synchronous.sync_facade import SyncFacade, sync_method
from qcore.kv.kv_client import KeyValue
from qcore.recipes.barrier import Barrier
from qcore.recipes.lease import DEFAULT_MAX_DRIFT, DEFAULT_TTL_S

if TYPE_CHECKING:
    from qcore.client.synchronous.sync_client import SyncClient
    from qcore.recipes.synchronous.sync_held import SyncLease


class SyncBarrier(SyncFacade[Barrier]):
    """A `Barrier` for programs without asyncio; its guarantees are those of `Barrier`.

        barrier = SyncBarrier(client, "epoch", parties=4, ttl_s=10)
        number = barrier.wait()

    It may be used by many threads, each of which is a participant. Ctrl-C leaves the barrier.

    Args:
        client: a client, which the caller closes.
        name, parties, ttl_s, max_drift, lease: see `Barrier`.
    """

    def __init__(
        self,
        client: SyncClient,
        name: str,
        parties: int,
        *,
        ttl_s: float = DEFAULT_TTL_S,
        max_drift: float = DEFAULT_MAX_DRIFT,
        lease: SyncLease | None = None,
    ) -> None:
        barrier = Barrier(
            KeyValue(client.asynchronous),
            name,
            parties,
            ttl_s=ttl_s,
            max_drift=max_drift,
            lease=None if lease is None else lease.asynchronous,
        )
        super().__init__(barrier, client)

    wait = sync_method(Barrier.wait)
    waiting = sync_method(Barrier.waiting)
