"""The events that a simulated process has not processed yet: while it is frozen, or while its processor is slow.

A process that runs at normal speed processes each event at the moment at which it comes, so its queue stays empty.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from qcore.core.events import Tick, WriteDurable
from qcore.replica.events import ReplicaEvent
from qcore.sim.faults.ledger import Fault, Firing
from qcore.sim.scenario.distributions import Sampler
from qcore.sim.world.clock.engine import Engine

#: At most this many events wait, as in the socket buffers of a process. Further events are lost.
_MAX_EVENTS: Final = 10_000


class EventQueue:
    """The waiting events of one process, in the order in which they came.

    On a slow processor each event takes a separate step, which ends after the time that the fault draws. The effects
    of the step appear at its end. So the events behind it wait: heartbeats are late, and timers fire late.

    Args:
        engine: the simulated clock.
        process: processes events, all in one step.

    Attributes:
        paused: whether the process is frozen.
        holds: whether events wait at the moment, so that a new one must wait behind them.
    """

    def __init__(self, engine: Engine, process: Callable[[list[ReplicaEvent]], None]) -> None:
        self._engine = engine
        self._process = process
        self._waiting: deque[tuple[ReplicaEvent, Fault | None]] = deque()
        self._slow: dict[Firing, Sampler] = {}
        self._step_runs = False
        self._tick_waits = False
        self._epoch = 0
        self.paused = False
        self.holds = False

    def add(self, event: ReplicaEvent, fault: Fault | None = None) -> bool:
        """Let an event wait.

        Args:
            event: the event.
            fault: the fault that causes the event. It has acted once the process finds the event.

        Returns:
            False if the event is lost, because too many wait.
        """
        if len(self._waiting) >= _MAX_EVENTS and not isinstance(event, WriteDurable):
            return False
        self._waiting.append((event, fault))
        self._begin_step()
        return True

    def add_tick(self) -> None:
        """Let the signal of the timer wait, unless one waits already."""
        if not self._tick_waits:
            self._tick_waits = True
            self.add(Tick())

    def pause(self) -> None:
        """Freeze the process."""
        self.paused = self.holds = True

    def resume(self) -> None:
        """Let the process continue. It finds all events of the pause, in order, and its timers are late."""
        self.paused = False
        self._waiting.append((Tick(), None))
        if not self._slow:
            self._process_all()
        self._update()
        self._begin_step()

    def slow_down(self, firing: Firing, step_time: Sampler) -> None:
        """Let every step that begins from now on take time. The latest slow-down counts."""
        self._slow[firing] = step_time
        self._update()

    def end_slow_down(self, firing: Firing) -> None:
        """End a slow-down. The step that runs ends at its time, and then all waiting events are processed."""
        self._slow.pop(firing, None)
        self._update()

    def clear(self) -> None:
        """Forget everything that waits: the process has died. Its processor stays slow."""
        self._waiting.clear()
        self._step_runs = self._tick_waits = self.paused = False
        self._epoch += 1
        self._update()

    def _update(self) -> None:
        self.holds = self.paused or bool(self._slow) or self._step_runs

    def _begin_step(self) -> None:
        """Begin the step of the first event, unless the process is frozen or in the middle of a step."""
        if self.paused or self._step_runs or not (self._slow and self._waiting):
            return
        firing, step_time = next(reversed(self._slow.items()))
        duration = step_time()
        if duration:
            firing.fault.acted += 1
        self._step_runs = True
        epoch = self._epoch
        self._engine.after(duration, lambda: self._step_ends(epoch))

    def _step_ends(self, epoch: int) -> None:
        if epoch != self._epoch:
            return
        self._step_runs = False
        if self.paused:  # the rest of the step follows when the process continues
            return
        if not self._slow:
            self._process_all()
        else:
            self._process_events([self._waiting.popleft()])
        if epoch == self._epoch:  # else the process has died in this step
            self._update()
            self._begin_step()

    def _process_all(self) -> None:
        waiting = list(self._waiting)
        self._waiting.clear()
        if waiting:
            self._process_events(waiting)

    def _process_events(self, waiting: list[tuple[ReplicaEvent, Fault | None]]) -> None:
        events: list[ReplicaEvent] = []
        for event, fault in waiting:
            if fault is not None:
                fault.acted += 1
            if isinstance(event, Tick):
                self._tick_waits = False
            events.append(event)
        self._process(events)
