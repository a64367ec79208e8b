"""Coordination between programs: locks, elections, queues and more, on a cluster that runs the machine `kv`.

async with Client(["127.0.0.1:8080"]) as client:
    lock = Lock(KeyValue(client), "jobs/nightly", ttl_s=10)
    async with lock as held:
        await storage.write(data, fencing_token=held.token)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.lazy_names import lazy_names

if TYPE_CHECKING:
    from qcore.recipes.barrier import Barrier
    from qcore.recipes.holding.held import Held
    from qcore.recipes.holding.lock import Lock
    from qcore.recipes.holding.rw_lock import RWLock
    from qcore.recipes.holding.semaphore import Semaphore
    from qcore.recipes.holding.tickets import Participant
    from qcore.recipes.lease import Lease, LeaseGuard
    from qcore.recipes.recipe_errors import LeaseLost, NotAcquired
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "qcore.recipes.barrier": ("Barrier",),
            "qcore.recipes.holding.held": ("Held",),
            "qcore.recipes.holding.lock": ("Lock",),
            "qcore.recipes.holding.rw_lock": ("RWLock",),
            "qcore.recipes.holding.semaphore": ("Semaphore",),
            "qcore.recipes.holding.tickets": ("Participant",),
            "qcore.recipes.lease": ("Lease", "LeaseGuard"),
            "qcore.recipes.recipe_errors": ("LeaseLost", "NotAcquired"),
        },
    )

__all__ = [
    "Barrier",
    "Held",
    "Lease",
    "LeaseGuard",
    "LeaseLost",
    "Lock",
    "NotAcquired",
    "Participant",
    "RWLock",
    "Semaphore",
]
