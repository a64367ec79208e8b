"""The simulated clock and its event queue.

Simulated time is an integer number of microseconds. A message, a finished sync or a timer is one `SimEvent` in the
queue. Nothing on the hot path is a SimPy process, because a process costs a generator and three events. But tests and
notebooks may add processes to `Engine.env`: their events wait in the same queue.

Events of the same time run in the order in which they were scheduled, urgent ones first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from simpy.events import Event

    from qcore.sim.world.clock.sim_environment import SimEnvironment

#: A simulated time that no run reaches.
NEVER_US: Final = 1 << 60
#: The priorities of SimPy: an urgent event comes before all others of its time.
URGENT: Final = 0
NORMAL: Final = 1

#: An order is the priority, and below it the number of the event.
_PRIORITY_BITS: Final = 48


class SimEvent:
    """Something that happens at a simulated time. A subclass says what, and `Engine.schedule` when.

    Attributes:
        due_us: when it happens. The queue sets it.
        order: its place among the events of that time. The queue sets it.
    """

    def __init__(self) -> None:
        self.due_us = 0
        self.order = 0

    def fire(self) -> None:
        """Let it happen."""
        raise NotImplementedError


class _Action(SimEvent):
    """Calls a function."""

    def __init__(self, action: Callable[[], object]) -> None:
        self.due_us = 0
        self.order = 0
        self._action = action

    def fire(self) -> None:
        self._action()


class _SimPyEvent(SimEvent):
    """An event of a SimPy process."""

    def __init__(self, env: SimEnvironment, event: Event) -> None:
        self.due_us = 0
        self.order = 0
        self._env = env
        self._event = event

    def fire(self) -> None:
        self._env.run_callbacks(self._event)


class _EventQueue:
    """The waiting events, as a heap: the first one is at place 0, and none is after those at 2n + 1 and 2n + 2.

    `heapq` would do the same, but would call Python to compare two events. Compiled, this takes half the time.
    """

    def __init__(self) -> None:
        self.heap: list[SimEvent] = []

    def push(self, event: SimEvent) -> None:
        """Add an event."""
        self.heap.append(event)
        self._rise(event, len(self.heap) - 1)

    def pop(self) -> SimEvent:
        """Remove the first event.

        Raises:
            IndexError: there is none.
        """
        heap = self.heap
        last = heap.pop()
        if not heap:
            return last
        first = heap[0]
        # The earlier child moves up, down to the end. The last event rises from there: nearly always it stays low.
        size = len(heap)
        place, child = 0, 1
        while child < size:
            earlier = heap[child]
            if child + 1 < size:
                other = heap[child + 1]
                due_us, others = earlier.due_us, other.due_us
                if others < due_us or (others == due_us and other.order < earlier.order):
                    earlier = other
                    child += 1
            heap[place] = earlier
            place, child = child, 2 * child + 1
        self._rise(last, place)
        return first

    def _rise(self, event: SimEvent, place: int) -> None:
        """Put an event where it belongs: at this place or above it."""
        heap = self.heap
        due_us, order = event.due_us, event.order
        while place > 0:
            above = (place - 1) >> 1
            parent = heap[above]
            others = parent.due_us
            if others < due_us or (others == due_us and parent.order < order):
                break
            heap[place] = parent
            place = above
        heap[place] = event


#: The engines whose `run` or `step` has not returned, the innermost last.
_running: Final[list[Engine]] = []


class Engine:
    """The simulated clock and its events.

    Attributes:
        now: microseconds since the start of the run. Only the engine sets it.
    """

    def __init__(self) -> None:
        self.now = 0
        self._queue = _EventQueue()
        self._scheduled = 0
        self._env: SimEnvironment | None = None

    @property
    def env(self) -> SimEnvironment:
        """The SimPy environment, to which tests and notebooks may add processes."""
        if self._env is None:
            # Late: it imports this module.
            from qcore.sim.world.clock.sim_environment import SimEnvironment

            self._env = SimEnvironment(self)
        return self._env

    @property
    def is_empty(self) -> bool:
        """Whether no event waits."""
        return not self._queue.heap

    @property
    def next_us(self) -> int:
        """When the next event is due; `NEVER_US` if there is none."""
        heap = self._queue.heap
        return heap[0].due_us if heap else NEVER_US

    def schedule(self, event: SimEvent, delay_us: int, priority: int = NORMAL) -> None:
        """Let an event happen in `delay_us` microseconds. One object can wait only once at a time."""
        event.due_us = self.now + delay_us
        event.order = (priority << _PRIORITY_BITS) + self._scheduled
        self._scheduled += 1
        self._queue.push(event)

    def schedule_simpy(
        self, env: SimEnvironment, event: Event, delay_us: int, priority: int
    ) -> None:
        """Let the callbacks of a SimPy event run in `delay_us` microseconds."""
        self.schedule(_SimPyEvent(env, event), delay_us, priority)

    def at(self, time_us: int, action: Callable[[], object]) -> None:
        """Run `action` at `time_us`, or now if that time has passed."""
        self.schedule(_Action(action), max(0, time_us - self.now))

    def after(self, delay_us: int, action: Callable[[], object]) -> None:
        """Run `action` in `delay_us` microseconds; 0 means after everything that is already due now."""
        self.schedule(_Action(action), delay_us)

    def immediately(self, action: Callable[[], object]) -> None:
        """Run `action` now, before anything else that is due, but after the current event."""
        self.schedule(_Action(action), 0, URGENT)

    def step(self) -> None:
        """Run the next event.

        Raises:
            IndexError: there is none.
        """
        _running.append(self)
        try:
            event = self._queue.pop()
            self.now = event.due_us
            event.fire()
        finally:
            _running.pop()

    def run(self, until_us: int) -> None:
        """Run all events that are due before `until_us`."""
        if until_us <= self.now:
            return
        heap = self._queue.heap
        _running.append(self)
        try:
            while heap and heap[0].due_us < until_us:
                event = self._queue.pop()
                self.now = event.due_us
                event.fire()
            self.now = until_us
        finally:
            _running.pop()


def running_engine() -> Engine | None:
    """The engine that runs an event now; None between runs. Another thread may ask."""
    return _running[-1] if _running else None
