"""Traces the impairments that a scenario's `network` declares: faults that are active from the start.

Such a fault is active on a link unless the timeline overrides it there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from qcore.sim.faults.ledger import Fault
from qcore.sim.world.network import Link
from qcore.sim.world.services import Services


@dataclass(slots=True)
class _StandingImpairments:
    """The impairments that one part of `network` declares.

    Attributes:
        impairments: fault and text, by key of `Link.faults_by_setting`.
        traced: the active impairments, as in the trace; empty while none is active.
    """

    name: str
    impairments: Mapping[str, tuple[Fault, str]]
    links: tuple[Link, ...]
    traced: str = ""


class StandingFaults:
    """Traces the begin and end of standing faults."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._parts: list[_StandingImpairments] = []

    def add(
        self, name: str, impairments: Mapping[str, tuple[Fault, str]], links: Iterable[Link]
    ) -> None:
        """Add the impairments of some links.

        Args:
            name: the part of the scenario that declares them, for example `network`.
            impairments: fault and text, for example `loss 0.3`, by key of `Link.faults_by_setting`.
            links: the impaired links.
        """
        if impairments:
            self._parts.append(_StandingImpairments(name, impairments, tuple(links)))

    def links_changed(self) -> None:
        """Trace which standing faults begin or end because of a change of links."""
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
