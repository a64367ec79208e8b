"""What the load is like at each time: the rate, the mix and the thinking of its phases."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from qcore.sim.scenario.distributions import Sampler
from qcore.sim.scenario.specs.load_spec import PhaseSpec
from qcore.sim.scenario.specs.workload_spec import WorkloadSpec
from qcore.sim.scenario.values import microseconds

_FOREVER_US = 1 << 62  # later than any run ends


@dataclass(slots=True, frozen=True)
class Phase:
    """One part of the load.

    Attributes:
        until_us: when it ends.
        mean_gap_us: the mean time between two operations of one client in the open loop; 0: no operation begins.
        think: draws the pause of the closed loop.
        reads, cas: the shares of these operations.
    """

    until_us: int
    mean_gap_us: float
    think: Sampler
    reads: float
    cas: float


class PhasePlan:
    """The phases of one client's load, and which of them it is in. A workload without phases is one phase.

    Args:
        spec: the workload.
        rng: draws the pauses of the closed loop.
    """

    def __init__(self, spec: WorkloadSpec, rng: Random) -> None:
        whole = spec.think.sampler(rng)
        self._phases = [_phase(spec, phase, whole, rng) for phase in (*spec.phases, PhaseSpec())]
        self._number = 0

    def at(self, now: int) -> Phase:
        """The phase at this time. Times never go back from call to call."""
        while now >= self._phases[self._number].until_us:
            self._number += 1
        return self._phases[self._number]


def _phase(spec: WorkloadSpec, phase: PhaseSpec, whole: Sampler, rng: Random) -> Phase:
    rate = spec.rate_per_s if phase.rate_per_s is None else phase.rate_per_s
    reads, cas = spec.fractions(phase)
    return Phase(
        _FOREVER_US if phase.until_ms is None else microseconds(phase.until_ms),
        spec.clients * 1_000_000 / rate if rate else 0.0,
        whole if phase.think_ms is None else phase.think_ms.sampler(rng),
        reads,
        cas,
    )
