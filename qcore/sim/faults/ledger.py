"""The ledger of faults: which faults a scenario declares, and how often each one acted.

A fault that silently does nothing makes a run green for the wrong reason. So every declared fault has a line here,
everything that it does is counted, and a run with an idle line fails. docs/scenarios.md defines what
counts for each kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from qcore.sim.scenario.specs.flap_spec import FlapSpec
from qcore.sim.world.clock.engine import NEVER_US


class Fault:
    """One declared fault.

    Attributes:
        name: its place in the scenario and its kind or label, e.g. `timeline[0] partition`.
        kind: the kind of action or impairment, e.g. `partition`.
        acted: how often it did something: messages cut, nodes crashed, writes delayed, ...
        required: whether the run fails if the fault never acts.
        label: the label of its item; empty if it has none.
        until_us: after this time its item does nothing more.
        flap: how it flaps; None if it does not.
    """

    __slots__ = ("acted", "flap", "kind", "label", "name", "required", "until_us")

    def __init__(
        self,
        name: str,
        kind: str = "",
        *,
        required: bool = True,
        label: str = "",
        until_us: int = NEVER_US,
        flap: FlapSpec | None = None,
    ) -> None:
        self.name = name
        self.kind = kind or name
        self.required = required
        self.label = label
        self.until_us = until_us
        self.flap = flap
        self.acted = 0

    def __repr__(self) -> str:
        return f"Fault({self.name!r}, acted={self.acted})"


@dataclass(slots=True, frozen=True, eq=False)
class Firing:
    """One firing of a fault. The fault may fire again while this firing is active.

    A node, disk, clock or link keeps its active firings in the order in which they began. The end of one firing leaves
    the others active.
    """

    fault: Fault


#: Ends the effect of one firing.
Undo = Callable[[], object]


@dataclass(slots=True, frozen=True)
class TimedUndo:
    """Ends the effect of a firing that ends by itself at `at_us`, or earlier if its item ends earlier."""

    undo: Undo
    at_us: int

    def __call__(self) -> object:
        return self.undo()


class FaultLedger:
    """All faults of a run, in the order in which they were declared.

    Args:
        may_not_act: the run may pass although a fault never acted.
    """

    def __init__(self, *, may_not_act: bool = False) -> None:
        self._faults: list[Fault] = []
        self._may_not_act = may_not_act

    def declare(
        self,
        name: str,
        kind: str = "",
        *,
        required: bool = True,
        label: str = "",
        until_us: int = NEVER_US,
        flap: FlapSpec | None = None,
    ) -> Fault:
        """Add a fault to the ledger. The kind is its name if left out."""
        required = required and not self._may_not_act
        fault = Fault(name, kind, required=required, label=label, until_us=until_us, flap=flap)
        self._faults.append(fault)
        return fault

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._faults)

    def idle(self) -> list[Fault]:
        """The required faults that never acted."""
        return [fault for fault in self._faults if fault.required and not fault.acted]

    def idle_kinds(self) -> list[str]:
        """The kinds of faults that were declared and never acted in the whole run, required or not."""
        acted: dict[str, int] = {}
        for fault in self._faults:
            acted[fault.kind] = acted.get(fault.kind, 0) + fault.acted
        return sorted(kind for kind, times in acted.items() if not times)
