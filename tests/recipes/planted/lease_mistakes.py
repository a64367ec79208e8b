"""Mistakes with leases that every recipe could have which relies on one."""

from __future__ import annotations

from typing import Final

from qcore.kv import KeyValue
from qcore.recipes import Lease
from qcore.recipes.holding.acquiring import Acquirer

#: Clients that are often paused for longer than 1.5 s, the time to live of the programs. The nodes stay well.
PAUSES: Final = """
cluster: {nodes: 3, machine: kv}
workload:
  clients: 4
  program_faults: {every_ms: {uniform: [200, 1200]}, pause_ms: {uniform: [1600, 2500]}, kill_fraction: 0.1}
  stop_ms: 10000
until_ms: 11000
"""


class LeaseWithoutDeadline(Lease):
    """Its holder believes in it until the cluster says that it has ended, so a paused or cut off one goes on."""

    def _deadline_of(self, sent_us: int) -> int:
        return sent_us + 1000 * self._held_us


class CarelessAcquirer(Acquirer):
    """Uses these leases.

    Args:
        kv, prefix, ttl_s: see `Acquirer`.
    """

    def __init__(self, kv: KeyValue, prefix: str, *, ttl_s: float) -> None:
        super().__init__(kv, prefix, ttl_s=ttl_s)

    def _new_lease(self) -> Lease:
        return LeaseWithoutDeadline(self._kv, ttl_s=self._ttl_s, max_drift=self._max_drift)
