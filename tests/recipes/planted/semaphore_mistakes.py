"""Semaphores, each with a mistake."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from qcore.kv import KeyValue
from qcore.kv.key_values import KeyVersion
from qcore.recipes import Semaphore
from qcore.recipes.holding.tickets import WaitFor
from tests.recipes.planted.lease_mistakes import CarelessAcquirer


class OnePermitTooMany(Semaphore):
    """The count includes the participant at one place, and not at another."""

    def _has_permit(self, before: Sequence[KeyVersion]) -> WaitFor | None:
        return super()._has_permit(before[1:])


class GoesOnAfterOneRelease(Semaphore):
    """A participant that has waited for one release takes the permit, also if another one was before it in the line."""

    def _has_permit(self, before: Sequence[KeyVersion]) -> WaitFor | None:
        newest = before[-1].create_revision if before else 0
        has_waited = newest in self._waited
        self._waited[newest] = None
        return None if has_waited or len(before) < self.permits else WaitFor()

    def __init__(self, kv: KeyValue, name: str, permits: int, *, ttl_s: float) -> None:
        super().__init__(kv, name, permits, ttl_s=ttl_s)
        self._waited: dict[int, None] = {}


class BelievesInItsPermit(Semaphore):
    """A holder does not stop by its own clock."""

    def __init__(self, kv: KeyValue, name: str, permits: int, *, ttl_s: float) -> None:
        super().__init__(kv, name, permits, ttl_s=ttl_s)
        self._acquirer = CarelessAcquirer(kv, f"semaphore/{name}//", ttl_s=ttl_s)


SEMAPHORE_MISTAKES: Final[dict[str, type[Semaphore]]] = {
    each.__name__: each for each in (OnePermitTooMany, GoesOnAfterOneRelease, BelievesInItsPermit)
}
