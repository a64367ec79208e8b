"""Watches how long the event loop is kept from running: while it stands still, no heartbeat leaves."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from qcore.node.logs import NodeLog
from qcore.node.metrics import NodeMetrics

#: How often the loop is asked to come by, seconds. A stall is measured too short by up to this much.
PROBE_INTERVAL_S: Final = 0.01


class LoopLag:
    """A timer that notes by how much it is late.

    Two figures tell the own stalls from a machine that is busy elsewhere: how late the timer was, and how
    much of that time this process computed, in any thread (the disk thread can hold the interpreter, too).
    What neither computes, it waits: for a processor, or in a system call.

    Args:
        metrics: `stall_seconds` and `stall_cpu_seconds` are counted there.
        log: a stall of at least `warn_after_s` gets a line.
        warn_after_s: seconds; half a heartbeat interval is a sensible value.
    """

    def __init__(self, metrics: NodeMetrics, log: NodeLog, warn_after_s: float) -> None:
        self._metrics = metrics
        self._log = log
        self._warn_after_s = warn_after_s
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._process_s = 0.0
        self._thread_s = 0.0

    def start(self) -> None:
        """Begin to watch the running event loop."""
        self._process_s, self._thread_s = time.process_time(), time.thread_time()
        self._arm()

    def stop(self) -> None:
        """Watch no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._due = time.monotonic() + PROBE_INTERVAL_S
        self._timer = asyncio.get_running_loop().call_later(PROBE_INTERVAL_S, self._probe)

    def _probe(self) -> None:
        late_s = max(0.0, time.monotonic() - self._due)
        process_s, thread_s = time.process_time(), time.thread_time()
        computed_s = process_s - self._process_s
        own_s = min(late_s, computed_s)
        self._metrics.stall_seconds.observe(late_s)
        self._metrics.stall_cpu_seconds.observe(own_s)
        if late_s >= self._warn_after_s:
            self._log.warning(
                "event loop stalled",
                seconds=late_s,
                cpu_seconds=own_s,
                loop_cpu_seconds=min(late_s, thread_s - self._thread_s),
            )
        self._process_s, self._thread_s = process_s, thread_s
        self._arm()
