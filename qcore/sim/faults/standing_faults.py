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
class _StandingImpairments:
    """The impairments that one part of `network` declares: name on the links -> setting and value.

    `traced` is what the trace says now; empty while none is in force.
    """

    name: str
    impairments: Mapping[str, tuple[Fault, str]]
    links: tuple[Link, ...]
    traced: str = ""


class StandingFaults:
    """Begins and ends the faults of the standing network in the trace."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._parts: list[_StandingImpairments] = []

    def add(
        self, name: str, impairments: Mapping[str, tuple[Fault, str]], links: Iterable[Link]
    ) -> None:
        """These links have impairments of their own.

        Args:
            name: which part of the scenario says so, for example `network`.
            impairments: fault and text, for example `loss 0.3`, by the name under which links book it.
            links: where.
        """
        if impairments:
            self._parts.append(_StandingImpairments(name, impairments, tuple(links)))

    def links_changed(self) -> None:
        """Links may have changed: tell the trace what that means for the standing faults."""
        trace, now = self._services.trace, self._services.engine.now
        for part in self._parts:
            links = [
                link
                for link in part.links
                if any(
                    link.faults_by_setting.get(name) is fault
                    for name, (fault, _) in part.impairments.items()
                )
            ]
            note = ", ".join(
                text
                for name, (fault, text) in part.impairments.items()
                if any(link.faults_by_setting.get(name) is fault for link in links)
            )
            if note == part.traced:
                continue
            if part.traced:
                trace.fault(now, "end", part.name)
            if note:
                ends = [(link.source, link.target) for link in links]
                trace.fault(now, "begin", part.name, [], ends, note)
            part.traced = note
