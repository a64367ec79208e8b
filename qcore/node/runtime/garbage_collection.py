"""Keeps Python's cyclic garbage collector from stopping a node that holds a large state.

A full collection looks at every object that ever survived one: with 100,000 entities in the store that takes
0.3 s of computing, in which no heartbeat leaves, and it happens whenever the state has grown by a quarter. But
a state machine's records are freed by their reference counts and need no collector. So what survived a
collection that took long is put aside (`gc.freeze`): it is still freed when nothing refers to it any more, and
no collection looks at it again.

The price: a *cycle* that was put aside and becomes garbage later stays. Closed connections leave one of some
kilobytes each (asyncio's transports do). So after many of them one thorough collection looks at everything.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from typing import Final, Literal

from qcore.node.observability.metrics import NodeMetrics

#: What survived a collection that computed for this long is put aside, seconds. The next one is at most little longer.
FREEZE_AFTER_S: Final = 0.002
#: A full collection comes after so many of the middle generation (Python's default: 10), each of some thousand
#: objects: the less there is to look at, the sooner it is over. An updated record refers to many old ones, which a
#: collection touches, too.
FULL_AFTER: Final = 2
#: A thorough collection comes after so many closed connections.
THOROUGH_AFTER_CONNECTIONS: Final = 20_000
_LOOK_INTERVAL_S: Final = 5.0


class CollectorControl:
    """Governs the collector of this process, from `start` to `stop`.

    Args:
        metrics: `gc_pause_seconds` is counted there.
        connections: how many connections there were since the start.
        may_pause: whether a thorough collection, which takes long, may run now.
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
        """Put aside what there is by now (modules, the restored state), and govern from here on."""
        self.collect_all()
        gc.set_threshold(*self._thresholds[:2], FULL_AFTER)
        gc.callbacks.append(self._on_collection)
        self._look()

    def stop(self) -> None:
        """Leave the collector to itself again. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._on_collection in gc.callbacks:
            gc.callbacks.remove(self._on_collection)
            gc.set_threshold(*self._thresholds)
            gc.unfreeze()

    def freeze(self) -> None:
        """Put aside all there is, unseen: a captured state is one new table that refers to every old record.

        The collector would touch them all, for tens of milliseconds, as often as the table has not grown old.
        """
        gc.freeze()

    def collect_all(self) -> None:
        """Free all garbage, also what was put aside, then put everything aside."""
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        # The next full collection comes when there is a quarter more than at the last one: that shall
        # be a quarter of little, or it would take a quarter as long as this one.
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
        """Every now and then: is it time for a thorough collection?"""
        connections = self._connections()
        if connections - self._seen_connections >= THOROUGH_AFTER_CONNECTIONS and self._may_pause():
            self._seen_connections = connections
            self.collect_all()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_LOOK_INTERVAL_S, self._look)
