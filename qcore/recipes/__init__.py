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
    from qcore.recipes.holding.held import Held
    from qcore.recipes.holding.lock import Lock
    from qcore.recipes.holding.tickets import Participant
    from qcore.recipes.lease import Lease, LeaseGuard
    from qcore.recipes.queues.queue_items import QueueItem
    from qcore.recipes.queues.work_queue import DeadLetter, Queue, QueueSize, Taking
    from qcore.recipes.recipe_errors import LeaseLost, NotAcquired
    from qcore.recipes.schedules.run_once import RunOnce
    from qcore.recipes.schedules.slot_records import SlotRecord
    from qcore.recipes.schedules.slot_run import SlotRun
    from qcore.recipes.synchronous.sync_queue import SyncQueue, SyncQueueItem, SyncTaking
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "qcore.recipes.holding.held": ("Held",),
            "qcore.recipes.holding.lock": ("Lock",),
            "qcore.recipes.holding.tickets": ("Participant",),
            "qcore.recipes.lease": ("Lease", "LeaseGuard"),
            "qcore.recipes.queues.queue_items": ("QueueItem",),
            "qcore.recipes.queues.work_queue": ("DeadLetter", "Queue", "QueueSize", "Taking"),
            "qcore.recipes.recipe_errors": ("LeaseLost", "NotAcquired"),
            "qcore.recipes.schedules.run_once": ("RunOnce",),
            "qcore.recipes.schedules.slot_records": ("SlotRecord",),
            "qcore.recipes.schedules.slot_run": ("SlotRun",),
            "qcore.recipes.synchronous.sync_queue": ("SyncQueue", "SyncQueueItem", "SyncTaking"),
        },
    )

__all__ = [
    "DeadLetter",
    "Held",
    "Lease",
    "LeaseGuard",
    "LeaseLost",
    "Lock",
    "NotAcquired",
    "Participant",
    "Queue",
    "QueueItem",
    "QueueSize",
    "RunOnce",
    "SlotRecord",
    "SlotRun",
    "SyncQueue",
    "SyncQueueItem",
    "SyncTaking",
    "Taking",
]
