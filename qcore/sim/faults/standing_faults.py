"""What a scenario's standing network does wrong, told to the trace: a fault from the beginning on.

It is in force on a link while nothing in the timeline overrules it there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from qcore.sim.faults.ledger import Fault
from qcore.sim.world.network import Link
from qcore.sim.world.services import Services


@dataclass(slots=True)
class _Trouble:
    """The mishaps of one part of `network`: what each is (its setting and value), by the name that links book it under.

    `told` is what the trace says now; empty while none is in force.
    """

    name: str
    mishaps: Mapping[str, tuple[Fault, str]]
    links: tuple[Link, ...]
    told: str = ""


class Standing:
    """Begins and ends the faults of the standing network in the trace."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._troubles: list[_Trouble] = []

    def add(
        self, name: str, mishaps: Mapping[str, tuple[Fault, str]], links: Iterable[Link]
    ) -> None:
        """These links have mishaps of their own.

        Args:
            name: which part of the scenario says so, for example `network`.
            mishaps: fault and text, for example `loss 0.3`, by the name under which links book it.
            links: where.
        """
        if mishaps:
            self._troubles.append(_Trouble(name, mishaps, tuple(links)))

    def changed(self) -> None:
        """Links may have changed: tell the trace what that means for the standing faults."""
        trace, now = self._services.trace, self._services.engine.now
        for trouble in self._troubles:
            links = [
                link
                for link in trouble.links
                if any(
                    link.blame.get(name) is fault for name, (fault, _) in trouble.mishaps.items()
                )
            ]
            note = ", ".join(
                text
                for name, (fault, text) in trouble.mishaps.items()
                if any(link.blame.get(name) is fault for link in links)
            )
            if note == trouble.told:
                continue
            if trouble.told:
                trace.fault(now, "end", trouble.name)
            if note:
                ends = [(link.source, link.target) for link in links]
                trace.fault(now, "begin", trouble.name, [], ends, note)
            trouble.told = note
