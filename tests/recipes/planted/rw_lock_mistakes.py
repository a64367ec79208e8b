"""Locks for many readers or one writer, each with a mistake."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from qcore.kv import KeyValue
from qcore.kv.key_values import KeyVersion
from qcore.recipes import RWLock
from qcore.recipes.holding.rw_lock import READ, no_writer_before
from qcore.recipes.holding.tickets import WaitFor, kind_of
from tests.recipes.planted.lease_mistakes import CarelessAcquirer


class WriterIgnoresReaders(RWLock):
    """A writer waits for writers only."""

    def __init__(self, kv: KeyValue, name: str, *, ttl_s: float) -> None:
        super().__init__(kv, name, ttl_s=ttl_s)
        self._writing._rule = no_writer_before


class ReaderPassesWaitingWriters(RWLock):
    """A reader goes on when the first of the line is a reader. It does not see that a writer before it goes on, too."""

    def __init__(self, kv: KeyValue, name: str, *, ttl_s: float) -> None:
        super().__init__(kv, name, ttl_s=ttl_s)
        self._reading._rule = _first_reads


class BelievesInItsLease(RWLock):
    """A holder does not stop by its own clock."""

    def __init__(self, kv: KeyValue, name: str, *, ttl_s: float) -> None:
        super().__init__(kv, name, ttl_s=ttl_s)
        careless = CarelessAcquirer(kv, f"rwlock/{name}//", ttl_s=ttl_s)
        self._reading._acquirer = self._writing._acquirer = careless


def _first_reads(before: Sequence[KeyVersion]) -> WaitFor | None:
    if before and kind_of(before[0].key) == READ:
        return None
    return no_writer_before(before)


RW_LOCK_MISTAKES: Final[dict[str, type[RWLock]]] = {
    each.__name__: each
    for each in (WriterIgnoresReaders, ReaderPassesWaitingWriters, BelievesInItsLease)
}
