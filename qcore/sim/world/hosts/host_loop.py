"""`HostLoop`: the event loop of one simulated computer, whose callbacks take simulated time.

Callbacks run one after the other on one processor. Each one costs a fixed time, and what it spends in addition: for the
bytes that it reads and writes, and for what its program reports by `spend`. So a process that has much to do is late:
for its timers, for what arrives, and for everything that waits behind.

The turns are those of asyncio. At the beginning of a turn, the loop collects the sockets that are ready and the timers
that are due. Callbacks that these make ready run in the next turn.

What a callback does outside its process, such as sending a segment, happens at the end of the callback's time; see
`defer`.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import sys
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, TypeVarTuple, Unpack

from qcore.sim.faults.ledger import Firing
from qcore.sim.scenario.distributions import Sampler
from qcore.sim.world.clock.engine import NEVER_US, Engine
from qcore.sim.world.node.node_clock import NodeClock
from qcore.sim.world.programs.lives.process_loop import ProcessLoop

Args = TypeVarTuple("Args")

#: Timers are compared in whole microseconds. A time in seconds that is too large by less than this counts as whole.
_ROUNDING_US: Final = 1e-3
#: So many cancelled timers are removed together.
_MANY_CANCELLED: Final = 100
#: So many failed tasks are kept before those whose errors were retrieved are dropped.
_MANY_FAILED: Final = 100


@dataclass(slots=True)
class Processor:
    """The processor of a computer: what the work of its process costs, in microseconds.

    The usual costs follow measurements of the real server and client on the loopback interface. Both ends together need
    63 µs of CPU time for a small request, 16 µs for one of a hundred at the same time, 130 µs with a response of
    100 KB, and 910 µs with one of 1 MB. These costs give 64, 17, 142 and 1,230 µs. What a node does with a message is
    not in them.

    Attributes:
        callback_us: each callback of the event loop.
        kib_us: each KiB that is read from a socket or written to it.
        socket_us: each call that reads or writes.
        long_work_us: each piece of work that the process gives to a thread.
        slowdown: all costs are multiplied by this.
    """

    callback_us: int = 4
    kib_us: float = 0.4
    socket_us: int = 12
    long_work_us: int = 1000
    slowdown: float = 1.0
    #: The active firings of faults that slow it down, and the time that each callback takes in addition.
    slow: dict[Firing, Sampler] = field(default_factory=dict)

    def slow_down(self, firing: Firing, callback_time: Sampler) -> None:
        """Let every callback that begins from now on take this time in addition. The latest slow-down counts."""
        self.slow[firing] = callback_time

    def end_slow_down(self, firing: Firing) -> None:
        """End a slow-down. The current callback ends at its time."""
        self.slow.pop(firing, None)


class HostLoop(ProcessLoop):
    """The event loop of one life of a process.

    Args:
        engine: the simulated clock.
        clock: the clock of the computer, which the event loop's time is.
        processor: what callbacks cost.

    Attributes:
        callbacks: how many callbacks have run.
        busy_us: how long the processor was busy.
    """

    def __init__(self, engine: Engine, clock: NodeClock, processor: Processor) -> None:
        super().__init__(engine)
        self._engine = engine
        self._clock = clock
        self._processor = processor
        self.callbacks = 0
        self.busy_us = 0
        self._paused = False
        #: Whether a callback runs now, and what it has spent until now.
        self._runs = False
        self._spent_us = 0
        #: When the processor has finished the last callback.
        self._free_at = 0
        #: When the next step is due, and how many callbacks of this turn are left.
        self._step_at = NEVER_US
        self._left_in_turn = 0
        self._deferred: list[Callable[[], object]] = []
        #: What is ready because of a socket, in the order in which it became so.
        self._signals: dict[asyncio.Handle, None] = {}
        self._timers: list[tuple[int, int, asyncio.TimerHandle]] = []
        self._timer_numbers = count()
        self._cancelled_timers = 0
        self._most_failed = _MANY_FAILED
        self._hooks = (self._generator_begins, self._generator_is_dropped)

    # -- time -----------------------------------------------------------------------------------------

    def time(self) -> float:
        """The monotonic clock of the computer, seconds. It includes what the current callback has spent."""
        return self._clock.local(self._engine.now + self._spent_us) / 1e6

    def now_us(self) -> int:
        """The true simulated time, and what the current callback has spent; microseconds."""
        return self._engine.now + self._spent_us

    @property
    def paused(self) -> bool:
        """Whether the process is frozen."""
        return self._paused

    @property
    def holds(self) -> bool:
        """Whether a callback that becomes ready now has to wait."""
        return self._paused or bool(self._processor.slow) or self._free_at > self._engine.now

    def spend(self, us: float) -> None:
        """Let the process be busy for this long. Within a callback, its clock shows it immediately."""
        cost_us = round(us * self._processor.slowdown)
        if self._runs:
            self._spent_us += cost_us
        else:
            self._free_at = max(self._free_at, self._engine.now) + cost_us
            self.busy_us += cost_us

    def spend_on_bytes(self, number: int) -> None:
        """Spend what it costs to read or write this many bytes."""
        self.spend(self._processor.socket_us + number * self._processor.kib_us / 1024)

    def pause(self) -> None:
        """Freeze the process. What its last callback did outside still happens."""
        self._paused = True

    def resume(self) -> None:
        """Let the process continue. It finds everything in order, and its timers are late."""
        self._paused = False
        self._expect_step(self._engine.now)

    def clock_changed(self) -> None:
        """Note that the clock runs at another speed from now on."""
        if not self._runs:
            self._expect_next()

    # -- what is ready --------------------------------------------------------------------------------

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Args]], object],
        *args: *Args,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """See `asyncio.AbstractEventLoop`. Seconds of the computer's clock, rounded up to microseconds."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        handle._scheduled = True  # type: ignore[attr-defined]  # whether it is in the heap
        due_us = math.ceil(min(max(when * 1e6, 0.0), float(NEVER_US)) - _ROUNDING_US)
        heapq.heappush(self._timers, (due_us, next(self._timer_numbers), handle))
        if not self._runs:
            self._expect_next()
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """`asyncio.TimerHandle` calls this, even for a timer that has run."""
        self._cancelled_timers += handle._scheduled  # type: ignore[attr-defined]  # see `call_at`
        if self._cancelled_timers > max(_MANY_CANCELLED, len(self._timers) // 2):
            self._timers = [timer for timer in self._timers if not timer[2].cancelled()]
            heapq.heapify(self._timers)
            self._cancelled_timers = 0

    def signal(self, handle: asyncio.Handle) -> None:
        """Run this in the next turn, because its socket is ready. The same handle may be used again and again."""
        if self._closed:
            return
        self._signals[handle] = None
        if not self._runs:
            self._expect_step(self._engine.now)

    def defer(self, action: Callable[[], object]) -> None:
        """Do something outside the process at the end of the current callback's time; now if no callback runs.

        It happens even if the process is frozen meanwhile. If it dies meanwhile, see `close`.
        """
        if self._runs:
            self._deferred.append(action)
        else:
            action()

    def _add(self, handle: asyncio.Handle) -> None:
        if self._closed:
            return
        self._ready.append(handle)
        if not self._runs:
            self._expect_step(self._engine.now)

    @property
    def _halted(self) -> bool:
        """Whether the process is dead or frozen."""
        return self._closed or self._paused

    # -- steps ----------------------------------------------------------------------------------------

    def _expect_step(self, at_us: int) -> None:
        """Take the next step at this time, or when the processor is free."""
        at_us = max(at_us, self._free_at)
        if at_us < self._step_at:
            self._step_at = at_us
            self._engine.after(at_us - self._engine.now, self._step)

    def _expect_next(self) -> None:
        """Take the next step when there is something to do."""
        if self._ready or self._signals:
            self._expect_step(self._engine.now)
            return
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
            self._cancelled_timers -= 1
        if timers:
            self._expect_step(max(self._engine.now, self._clock.true_at(timers[0][0])))

    def _step(self) -> None:
        """End the current callback, and begin the next one."""
        now = self._engine.now
        if now != self._step_at:
            return  # another step was earlier, and this one is not needed any more
        self._step_at = NEVER_US
        if now < self._free_at:
            self._expect_step(now)
            return
        self._do_deferred()
        if self._halted:
            return
        if now != self._turns_at_us:
            self._turns_at_us, self._turns = now, 0
        elif self._stands_still():
            return
        handle = self._next_handle()
        if handle is not None:
            self._run(handle)
            if self._interruption is not None:
                self._count_callback()
        if self._deferred:
            self._expect_step(now)
        elif not self._halted:
            self._expect_next()

    def _next_handle(self) -> asyncio.Handle | None:
        ready = self._ready
        while True:
            if not self._left_in_turn:
                self._begin_turn()
                if not ready:
                    return None
                self._left_in_turn = len(ready)
            self._left_in_turn -= 1
            handle = ready.popleft()
            if not handle.cancelled():
                return handle

    def _begin_turn(self) -> None:
        """Collect the sockets that are ready and the timers that are due."""
        if self._signals:
            self._ready.extend(self._signals)
            self._signals.clear()
        timers = self._timers
        if timers:
            now_us = self._clock.local(self._engine.now)
            while timers and timers[0][0] <= now_us:
                handle = heapq.heappop(timers)[2]
                handle._scheduled = False  # type: ignore[attr-defined]  # see `call_at`
                if handle.cancelled():
                    self._cancelled_timers -= 1
                else:
                    self._ready.append(handle)

    def _run(self, handle: asyncio.Handle) -> None:
        """Run one callback. The processor is busy until its time is over."""
        self.callbacks += 1
        self._runs = True
        self._spent_us = 0
        self.spend(self._processor.callback_us)
        if self._processor.slow:
            firing, callback_time = next(reversed(self._processor.slow.items()))
            extra_us = callback_time()
            if extra_us:
                firing.fault.acted += 1
                self._spent_us += extra_us
        try:
            if asyncio._get_running_loop() is None:  # the same as `entered`, which takes longer
                hooks = sys.get_asyncgen_hooks()
                asyncio._set_running_loop(self)
                sys.set_asyncgen_hooks(*self._hooks)
                try:
                    handle._run()
                finally:
                    sys.set_asyncgen_hooks(*hooks)
                    asyncio._set_running_loop(None)
            else:
                with self.entered():
                    handle._run()
        finally:
            self._runs = False
            self.busy_us += self._spent_us
            self._free_at = self._engine.now + self._spent_us
            self._spent_us = 0
            if self._closed:
                self._do_deferred()

    def flush(self) -> None:
        """Do now what the last callback left for its end, because the process dies."""
        if not self._runs:
            self._do_deferred()

    def _do_deferred(self) -> None:
        while self._deferred:
            deferred, self._deferred = self._deferred, []
            for action in deferred:
                action()

    def _task_is_done(self, task: asyncio.Task[Any]) -> None:
        """Drop the failed tasks whose errors were retrieved, because a long run has many of them."""
        super()._task_is_done(task)
        if len(self._failed) > self._most_failed:
            self._failed = [each for each in self._failed if each._log_traceback]
            self._most_failed = 2 * len(self._failed) + _MANY_FAILED

    def run_ready(self) -> bool:
        """Run what is ready now, once, in no time. Returns whether anything was."""
        self._left_in_turn = 0
        self._begin_turn()
        found = super().run_ready()
        self._do_deferred()
        return found

    # -- the end --------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let the process die.

        The code after an `await` does not run, except for that in a `finally`, which finds a closed loop: nothing that
        it schedules or sends has any effect.
        """
        if not self._closed:
            self.flush()
            self._closed = True
            self._signals.clear()
            self._timers.clear()
        super().close()


def new_host_loop(engine: Engine, clock: NodeClock, processor: Processor) -> HostLoop:
    """An event loop for one life of a process."""
    return HostLoop(engine, clock, processor)  # type: ignore[abstract]  # `REFUSED` has the methods that seem to be missing
