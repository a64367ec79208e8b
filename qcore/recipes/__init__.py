"""Coordination between programs: locks, elections, queues and more, on a cluster that runs the machine `kv`.

    async with Client(["127.0.0.1:8080"]) as client:
        lock = Lock(KeyValue(client), "jobs/nightly", ttl_s=10)
        async with lock as held:
            await storage.write(data, fencing_token=held.token)

A class whose name begins with `Sync` is for programs without asyncio. It has the methods of the class without `Sync`,
run to their ends. docs/coordination.md has a tutorial, and says which recipe is for what.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.lazy_names import lazy_names

if TYPE_CHECKING:
    from qcore.recipes.barrier import Barrier
    from qcore.recipes.counter import Counter
    from qcore.recipes.holding.held import Held
    from qcore.recipes.holding.leader_election import LeaderElection
    from qcore.recipes.holding.lock import Lock
    from qcore.recipes.holding.rw_lock import RWLock
    from qcore.recipes.holding.semaphore import Semaphore
    from qcore.recipes.holding.tickets import Participant
    from qcore.recipes.lease import Lease, LeaseGuard
    from qcore.recipes.queues.queue_items import QueueItem
    from qcore.recipes.queues.work_queue import DeadLetter, Queue, QueueSize, Taking
    from qcore.recipes.recipe_errors import LeaseLost, NotAcquired, NotAvailable
    from qcore.recipes.schedules.run_once import RunOnce
    from qcore.recipes.schedules.slot_records import SlotRecord
    from qcore.recipes.schedules.slot_run import SlotRun
    from qcore.recipes.synchronous.sync_barrier import SyncBarrier
    from qcore.recipes.synchronous.sync_counter import SyncCounter
    from qcore.recipes.synchronous.sync_held import SyncHeld, SyncLease
    from qcore.recipes.synchronous.sync_leader_election import SyncLeaderElection
    from qcore.recipes.synchronous.sync_lock import SyncLock
    from qcore.recipes.synchronous.sync_queue import SyncQueue, SyncQueueItem, SyncTaking
    from qcore.recipes.synchronous.sync_run_once import SyncRunOnce, SyncSlotRun
    from qcore.recipes.synchronous.sync_rw_lock import SyncRWLock
    from qcore.recipes.synchronous.sync_semaphore import SyncSemaphore
    from qcore.recipes.synchronous.sync_views import (
        SyncConfigChanges,
        SyncConfigWatch,
        SyncRegistration,
        SyncServiceChanges,
        SyncServiceRegistry,
        SyncServiceView,
    )
    from qcore.recipes.views.config_content import ConfigChange, InvalidContent
    from qcore.recipes.views.config_watch import ConfigChanges, ConfigWatch
    from qcore.recipes.views.service_instances import Instance, InstancesChange
    from qcore.recipes.views.service_registration import Registration
    from qcore.recipes.views.service_registry import ServiceRegistry
    from qcore.recipes.views.service_view import ServiceChanges, ServiceView
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "qcore.recipes.barrier": ("Barrier",),
            "qcore.recipes.counter": ("Counter",),
            "qcore.recipes.holding.held": ("Held",),
            "qcore.recipes.holding.leader_election": ("LeaderElection",),
            "qcore.recipes.holding.lock": ("Lock",),
            "qcore.recipes.holding.rw_lock": ("RWLock",),
            "qcore.recipes.holding.semaphore": ("Semaphore",),
            "qcore.recipes.holding.tickets": ("Participant",),
            "qcore.recipes.lease": (
                "Lease",
                "LeaseGuard",
            ),
            "qcore.recipes.queues.queue_items": ("QueueItem",),
            "qcore.recipes.queues.work_queue": (
                "DeadLetter",
                "Queue",
                "QueueSize",
                "Taking",
            ),
            "qcore.recipes.recipe_errors": (
                "LeaseLost",
                "NotAcquired",
                "NotAvailable",
            ),
            "qcore.recipes.schedules.run_once": ("RunOnce",),
            "qcore.recipes.schedules.slot_records": ("SlotRecord",),
            "qcore.recipes.schedules.slot_run": ("SlotRun",),
            "qcore.recipes.synchronous.sync_barrier": ("SyncBarrier",),
            "qcore.recipes.synchronous.sync_counter": ("SyncCounter",),
            "qcore.recipes.synchronous.sync_held": (
                "SyncHeld",
                "SyncLease",
            ),
            "qcore.recipes.synchronous.sync_leader_election": ("SyncLeaderElection",),
            "qcore.recipes.synchronous.sync_lock": ("SyncLock",),
            "qcore.recipes.synchronous.sync_queue": (
                "SyncQueue",
                "SyncQueueItem",
                "SyncTaking",
            ),
            "qcore.recipes.synchronous.sync_run_once": (
                "SyncRunOnce",
                "SyncSlotRun",
            ),
            "qcore.recipes.synchronous.sync_rw_lock": ("SyncRWLock",),
            "qcore.recipes.synchronous.sync_semaphore": ("SyncSemaphore",),
            "qcore.recipes.synchronous.sync_views": (
                "SyncConfigChanges",
                "SyncConfigWatch",
                "SyncRegistration",
                "SyncServiceChanges",
                "SyncServiceRegistry",
                "SyncServiceView",
            ),
            "qcore.recipes.views.config_content": (
                "ConfigChange",
                "InvalidContent",
            ),
            "qcore.recipes.views.config_watch": (
                "ConfigWatch",
                "ConfigChanges",
            ),
            "qcore.recipes.views.service_instances": (
                "Instance",
                "InstancesChange",
            ),
            "qcore.recipes.views.service_registration": ("Registration",),
            "qcore.recipes.views.service_registry": ("ServiceRegistry",),
            "qcore.recipes.views.service_view": (
                "ServiceView",
                "ServiceChanges",
            ),
        },
    )

__all__ = [
    "Barrier",
    "ConfigChange",
    "ConfigChanges",
    "ConfigWatch",
    "Counter",
    "DeadLetter",
    "Held",
    "Instance",
    "InstancesChange",
    "InvalidContent",
    "LeaderElection",
    "Lease",
    "LeaseGuard",
    "LeaseLost",
    "Lock",
    "NotAcquired",
    "NotAvailable",
    "Participant",
    "Queue",
    "QueueItem",
    "QueueSize",
    "RWLock",
    "Registration",
    "RunOnce",
    "Semaphore",
    "ServiceChanges",
    "ServiceRegistry",
    "ServiceView",
    "SlotRecord",
    "SlotRun",
    "SyncBarrier",
    "SyncConfigChanges",
    "SyncConfigWatch",
    "SyncCounter",
    "SyncHeld",
    "SyncLeaderElection",
    "SyncLease",
    "SyncLock",
    "SyncQueue",
    "SyncQueueItem",
    "SyncRWLock",
    "SyncRegistration",
    "SyncRunOnce",
    "SyncSemaphore",
    "SyncServiceChanges",
    "SyncServiceRegistry",
    "SyncServiceView",
    "SyncSlotRun",
    "SyncTaking",
    "Taking",
]
