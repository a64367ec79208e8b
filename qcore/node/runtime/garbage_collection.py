"""`CollectorControl`: keeps Python's cyclic garbage collector from stalling a node that holds a large state.

A full collection visits every object that survived earlier ones. With 100,000 entities in the store it computes for
0.3 s, in which the node sends no heartbeat. It happens whenever the state has grown by a quarter. But reference counts
free a state machine's records without the collector. So after a collection that took long, the survivors are frozen
(`gc.freeze`): no collection visits them again, and they are still freed once nothing refers to them.

The price: a *cycle* that was frozen and becomes garbage later stays in memory. A closed connection leaves a cycle of
some kilobytes (in asyncio's transports). So after many connections one thorough collection visits everything.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from typing import Final, Literal

from qcore.node.observability.metrics import NodeMetrics

#: After a collection that computed for this long, the survivors are frozen, seconds. So no later collection takes much
#: longer.
FREEZE_AFTER_S: Final = 0.002
#: A full collection follows after this many collections of the middle generation (Python's default: 10). A low number
#: keeps it short: it visits fewer new objects, and fewer of the old records that they refer to.
FULL_AFTER: Final = 2
#: A thorough collection follows after this many connections.
THOROUGH_AFTER_CONNECTIONS: Final = 20_000
_LOOK_INTERVAL_S: Final = 5.0


class CollectorControl:
    """Controls the collector of this process, from `start` to `stop`.

    Args:
        metrics: its `gc_pause_seconds` counts the collections.
        connections: returns how many connections were accepted since the start.
        may_pause: returns whether a thorough collection, which takes long, may run now.
    """

    def __init__(
        self,
        metrics: NodeMetrics,
        connections: Callable[[], int],
        may_pause: Callable[[], bool],
    ) -> None:
        self._metrics = metrics
        self._connections = connections
        self._may_pause = may_pause
        self._seen_connections = 0
        self._began = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._thresholds = gc.get_threshold()

    def start(self) -> None:
        """Freeze all current objects (modules, the restored state), and begin to control the collector."""
        self.collect_all()
        gc.set_threshold(*self._thresholds[:2], FULL_AFTER)
        gc.callbacks.append(self._on_collection)
        self._look()

    def stop(self) -> None:
        """Restore the collector's defaults. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._on_collection in gc.callbacks:
            gc.callbacks.remove(self._on_collection)
            gc.set_threshold(*self._thresholds)
            gc.unfreeze()

    def freeze(self) -> None:
        """Freeze all objects without a collection.

        A captured state is one new table that refers to every old record. Until that table is old, each collection
        would touch all the records, for tens of milliseconds.
        """
        gc.freeze()

    def collect_all(self) -> None:
        """Free all garbage, frozen objects included, then freeze everything."""
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        # Python makes the next full collection once a quarter more objects exist than survived the last one. Collect
        # again, now that few are left, or the next one would take a quarter as long as this one.
        gc.collect()

    def _on_collection(self, phase: Literal["start", "stop"], info: dict[str, int]) -> None:
        """Called by the collector before and after each run."""
        if phase == "start":
            self._began = time.thread_time()
            return
        took_s = time.thread_time() - self._began
        self._metrics.gc_pause_seconds.observe(took_s)
        if info["generation"] == 2 and took_s >= FREEZE_AFTER_S:
            gc.freeze()

    def _look(self) -> None:
        """Make a thorough collection if it is due. Called at intervals."""
        connections = self._connections()
        if connections - self._seen_connections >= THOROUGH_AFTER_CONNECTIONS and self._may_pause():
            self._seen_connections = connections
            self.collect_all()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_LOOK_INTERVAL_S, self._look)
