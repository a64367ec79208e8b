"""Crash loops: processes that crash, start again, and crash again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from qcore.sim.faults.ledger import Fault, Firing
from qcore.sim.scenario.distributions import Sampler
from qcore.sim.world.clock.engine import Engine


@dataclass(slots=True)
class CrashCycle:
    """The crash loop of one node.

    Attributes:
        node: the node.
        fault: the fault that counts the crashes.
        left: how many crashes are still to come; None for no bound.
        up_time, down_time: draw how long the process runs, and how long it is down; µs.
    """

    node: int
    fault: Fault
    left: int | None
    up_time: Sampler
    down_time: Sampler


class CrashLoop:
    """Runs the crash cycles of one firing.

    Args:
        engine: the simulated clock.
        stop: kills the process of a node; the firing keeps it down.
        end_stop: ends that; the process starts if nothing else keeps it down.
    """

    def __init__(
        self,
        engine: Engine,
        stop: Callable[[int, Firing], None],
        end_stop: Callable[[int, Firing], None],
    ) -> None:
        self._engine = engine
        self._stop = stop
        self._end_stop = end_stop
        self._ended = False
        self._down: dict[int, Firing] = {}

    def begin(self, cycle: CrashCycle) -> None:
        """Crash the node now, and again and again."""
        if self._ended or cycle.left == 0:
            return
        if cycle.left is not None:
            cycle.left -= 1
        firing = self._down[cycle.node] = Firing(cycle.fault)
        self._stop(cycle.node, firing)
        self._engine.after(cycle.down_time(), partial(self._start, cycle))

    def end(self) -> None:
        """End the loop: the nodes that it keeps down start."""
        self._ended = True
        down, self._down = self._down, {}
        for node, firing in down.items():
            self._end_stop(node, firing)

    def _start(self, cycle: CrashCycle) -> None:
        firing = self._down.pop(cycle.node, None)
        if firing is not None:
            self._end_stop(cycle.node, firing)
            self._engine.after(cycle.up_time(), partial(self.begin, cycle))
