"""`LoopLag`: measures and logs stalls of the event loop. During a stall the node sends no heartbeat."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Final

from qcore.node.observability.logs import NodeLog
from qcore.node.observability.metrics import NodeMetrics

#: How often the timer fires, seconds. A measured stall is too short by up to this time.
PROBE_INTERVAL_S: Final = 0.025

#: Linux: for the thread that reads it, the time on a processor and the time waiting for one, in ns.
_SCHEDULER_STATISTICS: Final = Path("/proc/thread-self/schedstat")


class RunQueue:
    """How long the current thread has waited for a processor while other programs used it.

    Always 0 on systems that do not report it (all but Linux). Create it in the thread that it measures.
    """

    def __init__(self) -> None:
        try:
            self._file = os.open(_SCHEDULER_STATISTICS, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._file = -1

    def waited_s(self) -> float:
        """The time waited since the thread began, seconds."""
        if self._file < 0:
            return 0.0
        return int(os.pread(self._file, 80, 0).split()[1]) / 1e9

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class LoopLag:
    """Runs a timer, and measures how late it fires.

    Two numbers distinguish stalls caused by the node from those of a busy machine: how late the timer fired, and the
    part of that time that the node caused. That part excludes the time in which the thread waited for a processor or
    the process was stopped (SIGSTOP), except for the time in which it computed.

    Args:
        metrics: its `stall_seconds` and `stall_own_seconds` count the stalls.
        log: gets a line for each stall of at least `warn_after_s`.
        warn_after_s: seconds; half a heartbeat interval is a sensible value.
        notice_stops: whether to handle SIGCONT, to notice that the process was stopped. Without it, such a time
            counts as a stall of the node.
    """

    def __init__(
        self,
        metrics: NodeMetrics,
        log: NodeLog,
        warn_after_s: float,
        *,
        notice_stops: bool = True,
    ) -> None:
        self._metrics = metrics
        self._log = log
        self._warn_after_s = warn_after_s
        # Only the main thread may handle signals.
        self._notice_stops = notice_stops and threading.current_thread() is threading.main_thread()
        self._timer: asyncio.TimerHandle | None = None
        self._run_queue: RunQueue | None = None
        self._due = 0.0
        self._waited_s = 0.0
        self._computed_s = 0.0
        self._was_stopped = False

    def start(self) -> None:
        """Start measuring the running event loop."""
        self._run_queue = RunQueue()
        self._waited_s, self._computed_s = self._run_queue.waited_s(), time.thread_time()
        if self._notice_stops:
            # Not through the event loop, which would call the late timer first.
            signal.signal(signal.SIGCONT, self._continued)
        self._arm()

    def stop(self) -> None:
        """Stop measuring."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            if self._notice_stops:
                signal.signal(signal.SIGCONT, signal.SIG_DFL)
        if self._run_queue is not None:
            self._run_queue.close()

    def _arm(self) -> None:
        self._due = time.monotonic() + PROBE_INTERVAL_S
        self._timer = asyncio.get_running_loop().call_later(PROBE_INTERVAL_S, self._probe)

    def _probe(self) -> None:
        assert self._run_queue is not None, "not started"
        late_s = max(0.0, time.monotonic() - self._due)
        waited_s, computed_s = self._run_queue.waited_s(), time.thread_time()
        computed_s -= self._computed_s
        own_s = max(0.0, late_s - (waited_s - self._waited_s))
        stopped, self._was_stopped = self._was_stopped, False
        if stopped:
            own_s = min(own_s, computed_s)
        self._metrics.stall_seconds.observe(late_s)
        self._metrics.stall_own_seconds.observe(own_s)
        if late_s >= self._warn_after_s:
            # The part of `own_seconds` beyond `computed_seconds` is waiting for another thread, or for the system.
            self._log.warning(
                "event loop stalled",
                seconds=late_s,
                own_seconds=own_s,
                computed_seconds=computed_s,
                stopped=stopped,
            )
        self._waited_s = waited_s
        self._computed_s += computed_s
        self._arm()

    def _continued(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGCONT: the process may have been stopped."""
        self._was_stopped = True
