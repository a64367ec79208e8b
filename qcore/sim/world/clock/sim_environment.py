"""The SimPy environment of a run, for processes that tests and notebooks add."""

from __future__ import annotations

from typing import Protocol

from simpy.core import EmptySchedule, Environment, Infinity, SimTime, StopSimulation
from simpy.events import NORMAL, Event, EventPriority

#: Before all other events of its time.
_FIRST = EventPriority(-1)


class EventQueue(Protocol):
    """What the environment needs of the engine (`qcore.sim.world.clock.engine.Engine`), which makes it.

    Attributes:
        now: microseconds since the start of the run.
    """

    now: int

    @property
    def is_empty(self) -> bool:
        """Whether no event waits."""
        ...

    @property
    def next_us(self) -> int:
        """When the next event is due, if there is one."""
        ...

    def schedule_simpy(
        self, env: SimEnvironment, event: Event, delay_us: int, priority: int
    ) -> None:
        """Let `SimEnvironment.run_callbacks` run for the event in `delay_us` microseconds."""
        ...

    def step(self) -> None:
        """Run the next event."""
        ...


class SimEnvironment(Environment):
    """A SimPy environment whose clock and queue are those of an engine. All delays are integers.

    Args:
        engine: has the clock and the queue.
    """

    def __init__(self, engine: EventQueue) -> None:
        super().__init__(initial_time=0)
        self._engine = engine

    @property
    def now(self) -> int:
        """Microseconds since the start of the run."""
        return self._engine.now

    def schedule(self, event: Event, priority: EventPriority = NORMAL, delay: SimTime = 0) -> None:
        """See SimPy. A delay is rounded to whole microseconds."""
        self._engine.schedule_simpy(self, event, round(delay), priority)

    def peek(self) -> SimTime:
        """See SimPy."""
        return Infinity if self._engine.is_empty else self._engine.next_us

    def step(self) -> None:
        """See SimPy: run the next event, of a process or of the run.

        Raises:
            EmptySchedule: there is none.
        """
        if self._engine.is_empty:
            raise EmptySchedule
        self._engine.step()

    def run_callbacks(self, event: Event) -> None:
        """Let an event happen, as SimPy's `Environment.step` does."""
        callbacks, event.callbacks = event.callbacks, None  # type: ignore[assignment]  # as in SimPy: it has happened
        for number, callback in enumerate(callbacks):
            try:
                callback(event)
            except StopSimulation:  # the rest follows when the simulation goes on
                event.callbacks = callbacks[number + 1 :]
                self.schedule(event, _FIRST)
                raise
        if not event._ok and not hasattr(event, "_defused"):
            # The same type with the same arguments, so that the traceback begins here.
            failure = type(event._value)(*event._value.args)
            raise failure from event._value
