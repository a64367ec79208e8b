"""What network faults do to links: cut them, clog them, or change their quality.

An effect can begin and end several times, because a fault may flap. The end of one effect leaves all others active.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

from qcore.sim.faults.ledger import Fault, Firing
from qcore.sim.faults.link_settings import differing_settings, with_spec
from qcore.sim.faults.standing_faults import StandingFaults
from qcore.sim.scenario.actions.network_actions import LinkChange
from qcore.sim.world.network import Link, LinkQuality
from qcore.sim.world.services import Services

Pair = tuple[int, int]


class LinkEffect(ABC):
    """What one fault does to some links while it is active.

    Args:
        services: the shared parts of the run.
        pairs: the ends of the links. Those that do not exist are left out.

    Attributes:
        pairs: the ends of the links.
        rank: the order in which a repair ends effects of different kinds.
        is_fault: whether the effect is a fault, with a begin and an end in the trace.
    """

    rank: ClassVar[int] = 0

    def __init__(self, services: Services, pairs: Iterable[Pair]) -> None:
        self._services = services
        self._network = services.network
        self.pairs = [pair for pair in pairs if self._network.graph.has_edge(*pair)]
        self.is_fault = True

    @property
    def traced_links(self) -> list[Pair]:
        """The links that the trace names when the effect begins."""
        return self.pairs

    @abstractmethod
    def begin(self, firing: Firing) -> None:
        """Take effect, for this firing."""

    @abstractmethod
    def end(self, firing: Firing) -> None:
        """End the effect of this firing."""

    @abstractmethod
    def changed(self) -> None:
        """Report that the effect began or ended, after the trace has recorded it."""

    def release(self, firing: Firing, touching: frozenset[int]) -> list[Pair]:
        """End the effect on the links that touch these nodes, for good. Returns their ends."""
        released = [pair for pair in self.pairs if touching.intersection(pair)]
        self.pairs = [pair for pair in self.pairs if pair not in released]
        self._end_on(released, firing)
        return released

    @abstractmethod
    def _end_on(self, pairs: list[Pair], firing: Firing) -> None:
        """End the effect of this firing on these links."""


class CutEffect(LinkEffect):
    """Cuts links."""

    rank = 0

    def begin(self, firing: Firing) -> None:
        self._network.cut(self.pairs, firing)

    def end(self, firing: Firing) -> None:
        self._network.heal(self.pairs, firing)

    def changed(self) -> None:
        self._services.monitor.links_changed(self._services.engine.now)

    def _end_on(self, pairs: list[Pair], firing: Firing) -> None:
        self._network.heal(pairs, firing)


class ClogEffect(LinkEffect):
    """Clogs links."""

    rank = 2

    def begin(self, firing: Firing) -> None:
        self._network.clog(self.pairs, firing)

    def end(self, firing: Firing) -> None:
        self._network.unclog(self.pairs, firing)

    def changed(self) -> None:
        self._services.monitor.links_changed(self._services.engine.now)

    def _end_on(self, pairs: list[Pair], firing: Firing) -> None:
        self._network.unclog(pairs, firing)


class LinkQualities:
    """The quality of every link: as the scenario begins, changed by the active changes in their order.

    Args:
        services: the shared parts of the run.
        standing_faults: informed of every change of links.
    """

    def __init__(self, services: Services, standing_faults: StandingFaults) -> None:
        self.standing_faults = standing_faults
        self._network = services.network
        self._base: dict[Pair, tuple[LinkQuality, dict[str, Fault]]] = {}
        self._active: dict[Firing, QualityEffect] = {}

    def remember_base(self) -> None:
        """Remember the links as they are now: this is the state without any change."""
        for link in self._network.links():
            self._base[link.source, link.target] = (link.quality, dict(link.faults_by_setting))

    def add(self, firing: Firing, effect: QualityEffect) -> None:
        """Begin a change."""
        self._active[firing] = effect
        self.apply(effect.pairs)

    def remove(self, firing: Firing, effect: QualityEffect) -> None:
        """End a change."""
        self._active.pop(firing, None)
        self.apply(effect.pairs)

    def apply(self, pairs: Iterable[Pair]) -> None:
        """Give links their base quality, changed by each active change in their order."""
        for pair in pairs:
            self._apply(self._network.link(*pair))

    def _apply(self, link: Link) -> None:
        ends = (link.source, link.target)
        quality, base_faults = self._base[ends]
        faults_by_setting = dict(base_faults)
        for firing, effect in self._active.items():
            if ends in effect.changed_links:
                before, quality = quality, with_spec(quality, effect.action)
                differing = differing_settings(before, quality)
                faults_by_setting.update(dict.fromkeys(differing, firing.fault))
        if link.quality != quality:
            link.set_quality(quality)
        link.set_faults(faults_by_setting)


class QualityEffect(LinkEffect):
    """Changes the quality of links.

    Args:
        services: the shared parts of the run.
        pairs: the ends of the links.
        action: the change.
        qualities: the quality of every link.

    Attributes:
        changed_links: the ends of the links, to look up.
    """

    rank = 1

    def __init__(
        self,
        services: Services,
        pairs: Iterable[Pair],
        action: LinkChange,
        qualities: LinkQualities,
    ) -> None:
        super().__init__(services, pairs)
        self.action = action
        self.is_fault = not action.only_removes_impairments
        self.changed_links = dict.fromkeys(self.pairs)
        self._qualities = qualities

    def begin(self, firing: Firing) -> None:
        self._qualities.add(firing, self)

    def end(self, firing: Firing) -> None:
        self._qualities.remove(firing, self)

    def changed(self) -> None:
        self._qualities.standing_faults.links_changed()

    def _end_on(self, pairs: list[Pair], firing: Firing) -> None:
        self.changed_links = dict.fromkeys(self.pairs)
        self._qualities.apply(pairs)
