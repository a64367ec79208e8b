"""What the load is like at each time: the rate and the mix of its phases."""

from __future__ import annotations

from dataclasses import dataclass

from qcore.compiled_build import register_copies
from qcore.sim.scenario.specs.load_shape_spec import PhaseSpec
from qcore.sim.scenario.specs.workload_spec import WorkloadSpec
from qcore.sim.scenario.values import microseconds

_FOREVER_US = 1 << 62  # later than any run ends


@dataclass(frozen=True)
class Phase:
    """One part of the load.

    Attributes:
        until_us: when it ends.
        mean_gap_us: the mean time between two operations of one client in the open loop; 0: no operation begins.
        reads, cas: the shares of these operations.
    """

    until_us: int
    mean_gap_us: float
    reads: float
    cas: float


class PhasePlan:
    """The phases of a load, and which of them it is in. A workload without phases is one phase.

    After the last phase, if that ends, the load is as the workload says.
    """

    def __init__(self, spec: WorkloadSpec) -> None:
        self._phases = [_phase(spec, phase) for phase in (*spec.phases, PhaseSpec())]
        self._number = 0

    def at(self, now: int) -> Phase:
        """The phase at this time. Times never go back from call to call."""
        while now >= self._phases[self._number].until_us:
            self._number += 1
        return self._phases[self._number]


def _phase(spec: WorkloadSpec, phase: PhaseSpec) -> Phase:
    rate = spec.rate_per_s if phase.rate_per_s is None else phase.rate_per_s
    reads = spec.read_fraction if phase.read_fraction is None else phase.read_fraction
    # A workload without cas has none in its phases either: the machine may have no cas.
    cas = spec.cas_fraction
    if cas and phase.cas_fraction is not None:
        cas = phase.cas_fraction
    until_us = _FOREVER_US if phase.until_ms is None else microseconds(phase.until_ms)
    return Phase(until_us, spec.clients * 1_000_000 / rate if rate else 0.0, reads, cas)


register_copies(globals())
