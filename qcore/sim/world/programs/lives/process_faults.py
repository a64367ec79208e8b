"""`ProcessFaults`: pauses and kills the process of one client at random times; see `ProgramFaultsSpec`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Final

from qcore.sim.faults.ledger import Fault
from qcore.sim.scenario.distributions import Distribution
from qcore.sim.scenario.specs.program_faults_spec import ProgramFaultsSpec
from qcore.sim.world.clock.engine import Engine
from qcore.sim.world.node.node_clock import NodeClock
from qcore.sim.world.programs.lives.program_process import ProgramProcess
from qcore.sim.world.random_streams import Streams

#: A fault begins when its process has run fewer callbacks than this after the drawn time. So it also falls between
#: steps that take no simulated time, such as a check and the request that relies on it.
_CALLBACKS: Final = 4
#: It begins without them after this time, because a program may wait for long.
_LATEST_US: Final = 100_000
#: The shortest time between two faults of a client. Without it, a run could have faults without end at one time.
_SHORTEST_US: Final = 1000
#: Monotonic clocks begin at a value below this, which differs from client to client.
_BASE_US: Final = 1_000_000_000


class ProcessFaults:
    """The faults of one client's process.

    Args:
        spec: what they are.
        every: the time between two faults.
        process: the process.
        fault: counts pauses and kills, for the ledger.
        engine: the simulated clock.
        streams: give the client its random streams.
        until_us: no fault begins after this time.
        stops_us: the end of the load. No process starts again after it.
    """

    def __init__(
        self,
        spec: ProgramFaultsSpec,
        every: Distribution,
        process: ProgramProcess,
        fault: Fault,
        engine: Engine,
        streams: Streams,
        until_us: int,
        stops_us: int,
    ) -> None:
        self._process = process
        self._fault = fault
        self._engine = engine
        self._until_us = until_us
        self._stops_us = stops_us

        def stream(name: str) -> Random:
            return streams.get(f"program_faults/{process.client}/{name}")

        #: What begins next, once the process has run so many callbacks.
        self._pending: Callable[[], None] | None = None
        self._kinds = stream("kind")
        self._kill_fraction = spec.kill_fraction
        self._every = every.sampler(stream("every"))
        self._pause_us = spec.pause_ms.sampler(stream("pause"))
        self._restart_us = spec.restart_after_ms.sampler(stream("restart"))

    def start(self) -> None:
        """Draw the first fault. The program has begun."""
        due_us = self._engine.now + max(_SHORTEST_US, self._every())
        if due_us < self._until_us:
            self._engine.at(due_us, self._is_due)

    def _is_due(self) -> None:
        kills = self._kinds.random() < self._kill_fraction
        callbacks = self._kinds.randrange(_CALLBACKS)
        if self._process.runs:
            fault = partial(self._kill if kills else self._pause)
            self._pending = fault
            self._engine.after(_LATEST_US, partial(self._begin, fault))
            self._process.interrupt_after(callbacks, partial(self._begin, fault))

    def _begin(self, fault: Callable[[], None]) -> None:
        if fault is self._pending:
            self._pending = None
            if self._process.runs and self._engine.now < self._until_us:
                self._fault.acted += 1
                fault()

    def _pause(self) -> None:
        self._process.pause()
        self._engine.after(self._pause_us(), self._resume)

    def _resume(self) -> None:
        if self._process.paused_at_us is not None:  # else it continued at the end of the load
            self._process.resume()
            self.start()

    def _kill(self) -> None:
        self._process.kill()
        self._engine.after(self._restart_us(), self._restart)

    def _restart(self) -> None:
        if self._engine.now < self._stops_us:
            self._process.begin()
            self.start()


def client_clock(client: int, spec: ProgramFaultsSpec | None, streams: Streams) -> NodeClock:
    """The clocks of a client, which shows the true time but for the errors that the scenario allows."""
    base_us = streams.get(f"client/{client}/clock").randrange(_BASE_US)
    if spec is None:
        return NodeClock(base_us)
    rng = streams.get(f"program_faults/{client}/clock")
    drift, skew_us = spec.clock_drift_ppm, round(spec.clock_skew_ms * 1000)
    return NodeClock(base_us, rng.randint(-drift, drift), rng.randint(-skew_us, skew_us))
