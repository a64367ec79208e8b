"""The simulated clock and event queue: SimPy, used through plain callbacks.

Simulated time is an integer number of microseconds. A message, a finished sync or a timer is one light SimPy event with
one callback. Nothing on the hot path is a SimPy process, because a process costs a generator and three events.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from simpy.core import Environment
from simpy.events import NORMAL, URGENT, Event

#: Events of the same time run in the order in which they were scheduled, urgent ones first.
__all__ = [
    "NEVER_US",
    "NORMAL",
    "STEP_CODE",
    "URGENT",
    "Call",
    "Delivery",
    "Engine",
    "SimEnvironment",
]

#: The code that runs an event. Its `self` is the environment.
STEP_CODE: Final = Environment.step.__code__
#: A simulated time that no run reaches.
NEVER_US: Final = 1 << 60


class SimEnvironment(Environment):
    """A SimPy environment in which all delays are integers, so the time is one."""

    if TYPE_CHECKING:

        @property
        def now(self) -> int:
            """Microseconds since the start of the run."""
            ...


class Call(Event):
    """A SimPy event that succeeded already, and runs one callback when its time comes."""

    # The only use of private names of SimPy. Its public `Timeout`, one for each message, makes a run about 5 % slower.
    __slots__ = ("callbacks",)
    _ok = True
    _value = None

    def __init__(self, callback: Callable[[Event], object]) -> None:
        self.callbacks = [callback]  # type: ignore[list-item]  # SimPy ignores what it returns


class Delivery(Call):
    """A message in transit: the SimPy event of its arrival.

    Attributes:
        link: the `Link` that it is on.
        payload, message_id: the message.
    """

    __slots__ = ("link", "message_id", "payload")

    def __init__(
        self,
        callbacks: list[Callable[[Event], None]],
        link: object,
        payload: object,
        message_id: str,
    ) -> None:
        self.callbacks = callbacks
        self.link = link
        self.payload = payload
        self.message_id = message_id


class Engine:
    """The simulated clock and its events.

    Attributes:
        env: the SimPy environment, to which tests and notebooks may add processes.
    """

    def __init__(self) -> None:
        self.env = SimEnvironment(initial_time=0)

    @property
    def now(self) -> int:
        """Microseconds since the start of the run."""
        return self.env.now

    @property
    def next_us(self) -> int:
        """When the next event is due; `NEVER_US` if there is none."""
        return int(min(self.env.peek(), NEVER_US))

    def step(self) -> None:
        """Run the next event."""
        self.env.step()

    def at(self, time_us: int, action: Callable[[], object]) -> None:
        """Run `action` at `time_us`, or now if that time has passed."""
        self.after(max(0, time_us - self.now), action)

    def after(self, delay_us: int, action: Callable[[], object]) -> None:
        """Run `action` in `delay_us` microseconds; 0 means after everything that is already due now."""
        self.env.schedule(Call(lambda _event: action()), NORMAL, delay_us)

    def immediately(self, action: Callable[[], object]) -> None:
        """Run `action` now, before anything else that is due, but after the current event."""
        self.env.schedule(Call(lambda _event: action()), URGENT, 0)

    def run(self, until_us: int) -> None:
        """Run all events that are due before `until_us`."""
        if until_us > self.now:
            self.env.run(until=until_us)
