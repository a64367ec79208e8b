"""The ledger of faults: which were declared, and how often each acted.

What counts for each kind is written in docs/scenarios.md, "What the words mean".

A fault that silently does nothing makes a run green for the wrong reason. So every declared
fault has a line here, everything that it does is counted, and a run with an idle line fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


class Fault:
    """One declared fault.

    Attributes:
        name: what the user wrote and where, e.g. `timeline[0] partition`.
        acted: how often it did something: messages cut, nodes crashed, writes delayed, ...
        required: an idle fault fails the run unless this is False.
    """

    __slots__ = ("acted", "name", "required")

    def __init__(self, name: str, *, required: bool = True) -> None:
        self.name = name
        self.required = required
        self.acted = 0

    def __repr__(self) -> str:
        return f"Fault({self.name!r}, acted={self.acted})"


@dataclass(slots=True, frozen=True, eq=False)
class Firing:
    """One firing of a fault, which may fire again while this one is in force.

    Whatever a fault changes remembers the firings that hold it so, in the order in which they began. The end of a
    firing takes that one away, and what is left stays in force.
    """

    fault: Fault


class FaultLedger:
    """All faults of a run, in the order in which they were declared."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def declare(self, name: str, *, required: bool = True) -> Fault:
        """Open a line for a fault."""
        fault = Fault(name, required=required)
        self._faults.append(fault)
        return fault

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._faults)

    def idle(self) -> list[Fault]:
        """Declared faults that never acted though they had to."""
        return [fault for fault in self._faults if fault.required and not fault.acted]
