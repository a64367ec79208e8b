"""Mistakes in `ServiceRegistry` that are easy to make."""

from __future__ import annotations

import asyncio
from typing import Final

from qcore.kv import KeyValue, Put
from qcore.recipes.lease import Lease
from qcore.recipes.views.key_changes_feed import KeysChange
from qcore.recipes.views.live_keys import LiveKeys
from qcore.recipes.views.service_registration import Registration
from qcore.recipes.views.service_registry import ServiceRegistry
from qcore.recipes.views.service_view import ServiceView
from tests.recipes.planted.config_mistakes import BelievesItsNode, WatchesFromNow


class RegistersOnce(Registration):
    """Does not register again when its lease was lost, and believes to be registered."""

    async def _run(self) -> None:
        lease = self._new_lease()
        await lease.open()
        self._leases[lease.lease_id] = lease
        await self._claim(lease)
        self._set_lease(lease)
        await asyncio.get_running_loop().create_future()

    @property
    def is_registered(self) -> bool:
        return self._lease is not None


class TakesTheName(Registration):
    """Writes its key without a condition."""

    async def _claim(self, lease: Lease) -> int:
        put = Put(self._key, self._content, lease.lease_id)
        done = await self._kv.txn([], [put])
        self._written = self._content
        return done.revision


class KeepsNoLease(Registration):
    """Writes its key without a lease, so that it never disappears by itself."""

    async def _claim(self, lease: Lease) -> int:
        done = await self._kv.txn([], [Put(self._key, self._content)])
        self._written = self._content
        return done.revision


class ForgetsWhatIsGone(LiveKeys):
    """After a compaction it adds what is new, and leaves what was deleted meanwhile."""

    def _publish(self, change: KeysChange) -> None:
        if change.skipped:
            steps = {key: step for key, step in change.steps.items() if step.after is not None}
            change = KeysChange(change.revision, steps, change.skipped)
        super()._publish(change)


def mistaken_registry(mistake: type[Registration] | type[LiveKeys]) -> type[ServiceRegistry]:
    """A `ServiceRegistry` with a mistake."""

    class Mistaken(ServiceRegistry):
        def __init__(self, kv: KeyValue, *, ttl_s: float = 10, max_drift: float = 0.01) -> None:
            super().__init__(kv, ttl_s=ttl_s, max_drift=max_drift)
            if issubclass(mistake, Registration):
                self._registration_type = mistake

        def watch(self, service: str, *, sync_every_s: float | None = None) -> ServiceView:
            view = super().watch(service, sync_every_s=sync_every_s)
            if issubclass(mistake, LiveKeys):
                view._keys = mistake(self._kv, prefix=f"service/{service}//")
                view._keys.on_change = view._changed
            return view

    return Mistaken


REGISTRY_MISTAKES: Final[tuple[type[Registration] | type[LiveKeys], ...]] = (
    RegistersOnce,
    TakesTheName,
    KeepsNoLease,
    WatchesFromNow,
    ForgetsWhatIsGone,
    BelievesItsNode,
)
