"""Executes the timeline actions on the network: partitions, cuts, changes of links, and healing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random

from qcore.sim.faults.ledger import Fault, Firing, Undo
from qcore.sim.faults.selector_resolver import SelectorResolver
from qcore.sim.faults.standing_faults import StandingFaults
from qcore.sim.scenario.actions.network_actions import (
    Cut,
    Deaf,
    Heal,
    Isolate,
    LinkChange,
    Mute,
    Partition,
)
from qcore.sim.scenario.specs.network_spec import QualitySpec
from qcore.sim.scenario.values import Selector
from qcore.sim.world.network import Link, LinkQuality
from qcore.sim.world.services import Services

#: Setting of a scenario -> attribute of `LinkQuality`.
_SETTINGS = {
    "latency_ms": "latency",
    "loss": "loss",
    "duplicate": "duplicate",
    "reorder": "reorder",
    "reorder_extra_ms": "reorder_extra",
    "bandwidth_bytes_per_s": "bandwidth_bytes_per_s",
}


def with_spec(quality: LinkQuality, spec: QualitySpec) -> LinkQuality:
    """`quality` with the settings that `spec` has."""
    settings = {
        name: getattr(spec, setting)
        for setting, name in _SETTINGS.items()
        if getattr(spec, setting) is not None
    }
    return replace(quality, **settings)


def impairments_of(spec: QualitySpec) -> list[str]:
    """The settings of `spec` that harm some messages, so that each harmed message can be counted."""
    names = ("loss", "duplicate", "reorder", "bandwidth_bytes_per_s")
    return [name.removesuffix("_bytes_per_s") for name in names if getattr(spec, name)]


def impairment_text(spec: QualitySpec, impairment: str) -> str:
    """One of `impairments_of(spec)` with its value, as in the trace."""
    setting = f"{impairment}_bytes_per_s" if impairment == "bandwidth" else impairment
    return f"{setting} {getattr(spec, setting)}"


def _differing(one: LinkQuality, other: LinkQuality) -> list[str]:
    """The settings in which the two differ, as keys of `Link.faults_by_setting`."""
    return [
        name.removesuffix("_bytes_per_s")
        for name in _SETTINGS.values()
        if getattr(one, name) != getattr(other, name)
    ]


@dataclass(slots=True)
class _ActiveChange:
    """A change of links by one firing. The keys of `links` are the changed links."""

    action: LinkChange
    links: dict[Link, None]


class NetworkActions:
    """Cuts, changes and heals links, and reports this to the trace and the monitor.

    Each public method executes one kind of action. A method that begins a fault returns a function that ends it.

    Args:
        services: the shared parts of the run.
        resolver: resolves symbolic names.
        standing_faults: informed of every change of links.
    """

    def __init__(
        self, services: Services, resolver: SelectorResolver, standing_faults: StandingFaults
    ) -> None:
        self._services = services
        self._standing_faults = standing_faults
        self._network = services.network
        self._resolver = resolver
        self._active_cuts: dict[Firing, None] = {}  # in the order in which they began
        self._active_changes: dict[Firing, _ActiveChange] = {}
        self._base_quality: dict[tuple[int, int], tuple[LinkQuality, dict[str, Fault]]] = {}

    def remember_base_quality(self) -> None:
        """Remember the links as they are now: `heal` restores this state."""
        for link in self._network.links():
            self._base_quality[link.source, link.target] = (
                link.quality,
                dict(link.faults_by_setting),
            )

    # -- faults ----------------------------------------------------------------------------------

    def partition(self, action: Partition, fault: Fault, rng: Random) -> Undo:
        groups = self._resolver.resolve_groups(action.groups, rng, self._up())
        named = {vertex for group in groups for vertex in group}
        nodes = self._services.monitor.facts
        groups.append(tuple(node for node in nodes if node not in named))
        sides: dict[int, set[int]] = {}
        for number, group in enumerate(groups):
            for vertex in group:
                sides.setdefault(vertex, set()).add(number)
        pairs = [
            (a, b)
            for a, b in sorted(self._network.graph.edges)
            if a in sides and b in sides and not sides[a] & sides[b]
        ]
        text = " | ".join(",".join(map(_vertex, group)) for group in groups if group)
        return self._cut(fault, pairs, [node for node in sorted(named) if node > 0], text)

    def isolate(self, action: Isolate, fault: Fault, rng: Random) -> Undo:
        alone = self._resolver.resolve(action.nodes, rng, preferred=self._up())
        pairs = [
            (a, b)
            for a, b in sorted(self._network.graph.edges)
            if (a in alone or b in alone) and (action.clients or (a > 0 and b > 0))
        ]
        return self._cut(fault, pairs, alone, "")

    def cut(self, action: Cut, fault: Fault, rng: Random) -> Undo:
        pairs = self._pairs(action.source, action.target, action.both, rng)
        nodes = sorted({end for pair in pairs for end in pair if end > 0})
        return self._cut(fault, pairs, nodes, "both ways" if action.both else "one way")

    def deaf(self, action: Deaf, fault: Fault, rng: Random) -> Undo:
        nodes = self._resolver.resolve(action.nodes, rng, preferred=self._up())
        pairs = [(a, b) for a, b in sorted(self._network.graph.edges) if b in nodes and a > 0]
        return self._cut(fault, pairs, nodes, "receives nothing")

    def mute(self, action: Mute, fault: Fault, rng: Random) -> Undo:
        nodes = self._resolver.resolve(action.nodes, rng, preferred=self._up())
        pairs = [(a, b) for a, b in sorted(self._network.graph.edges) if a in nodes and b > 0]
        return self._cut(fault, pairs, nodes, "sends nothing")

    def change_links(self, action: LinkChange, fault: Fault, rng: Random) -> Undo:
        if action.source is None or action.target is None:
            pairs = [(a, b) for a, b in sorted(self._network.graph.edges) if a > 0 and b > 0]
        else:
            pairs = self._pairs(action.source, action.target, action.both, rng)
        links = [self._network.link(a, b) for a, b in pairs if self._network.graph.has_edge(a, b)]
        firing = Firing(fault)
        self._active_changes[firing] = _ActiveChange(action, dict.fromkeys(links))
        for link in links:
            self._apply_quality(link)
        note = ", ".join(f"{name} {getattr(action, name)}" for name in action.changes())
        ends = [(link.source, link.target) for link in links]
        # A change that only removes impairments begins no fault.
        phase = "act" if action.only_removes_impairments else "begin"
        self._services.trace.fault(self._now, phase, fault.name, [], ends, note)
        self._standing_faults.links_changed()
        return lambda: self._end_link_change(firing)

    # -- repairs --------------------------------------------------------------------------------

    def heal(self, action: Heal, fault: Fault, rng: Random) -> None:
        """Heal everything, one labelled fault, or the links that touch some nodes."""
        self._services.trace.fault(self._now, "act", fault.name, [], [], action.label or "")
        if action.nodes is not None:
            nodes = self._resolver.resolve_as_before(
                action.nodes, rng, tuple(self._services.monitor.facts)
            )
            self._heal_nodes(frozenset(nodes), fault)
            return
        for firing in list(self._active_cuts):
            if action.label in (None, firing.fault.label):
                self._heal_cut(firing)
                fault.acted += 1
        for firing in list(self._active_changes):
            if action.label in (None, firing.fault.label):
                self._end_link_change(firing)
                fault.acted += 1

    def _heal_nodes(self, nodes: frozenset[int], fault: Fault) -> None:
        healed = self._network.heal(touching=nodes)
        fault.acted += len(healed)
        touching = [ln for ln in self._network.links() if {ln.source, ln.target} & nodes]
        for change in self._active_changes.values():
            for link in touching:
                change.links.pop(link, None)
        for link in touching:
            self._apply_quality(link)
        self._standing_faults.links_changed()
        still_cutting = {cut for link in self._network.links() for cut in link.cuts}
        for firing in [firing for firing in self._active_cuts if firing not in still_cutting]:
            self._end_cut(firing)
        self._services.monitor.links_changed(self._now)

    # -- cutting and healing ----------------------------------------------------------------------

    @property
    def _now(self) -> int:
        return self._services.engine.now

    def _up(self) -> tuple[int, ...]:
        """The nodes that random picks prefer. Cutting off a node that is down has no effect."""
        return tuple(node for node, facts in self._services.monitor.facts.items() if facts.up)

    def _pairs(
        self, source: Selector, target: Selector, both: bool, rng: Random
    ) -> list[tuple[int, int]]:
        ends = self._resolver.resolve_groups((source, target), rng, self._up())
        pairs = [(a, b) for a in ends[0] for b in ends[1] if a != b]
        return pairs + [(b, a) for a, b in pairs] if both else pairs

    def _cut(
        self,
        fault: Fault,
        pairs: Iterable[tuple[int, int]],
        nodes: Sequence[int],
        note: str,
    ) -> Undo:
        firing = Firing(fault)
        cut = self._network.cut(pairs, firing)
        self._active_cuts[firing] = None
        self._services.trace.fault(self._now, "begin", fault.name, sorted(nodes), cut, note)
        self._services.monitor.links_changed(self._now)
        return lambda: self._heal_cut(firing)

    def _heal_cut(self, firing: Firing) -> None:
        if firing in self._active_cuts:
            self._network.heal(firing)
            self._end_cut(firing)
            self._services.monitor.links_changed(self._now)

    def _end_cut(self, firing: Firing) -> None:
        del self._active_cuts[firing]
        self._services.trace.fault(self._now, "end", firing.fault.name)

    def _end_link_change(self, firing: Firing) -> None:
        """End the change of links by one firing. The changes by other firings stay active."""
        change = self._active_changes.pop(firing, None)
        if change is not None:
            for link in change.links:
                self._apply_quality(link)
            if not change.action.only_removes_impairments:
                self._services.trace.fault(self._now, "end", firing.fault.name)
            self._standing_faults.links_changed()

    def _apply_quality(self, link: Link) -> None:
        """Give a link its base quality, changed by each active firing in their order."""
        quality, base_faults = self._base_quality[link.source, link.target]
        faults_by_setting = dict(base_faults)
        for firing, change in self._active_changes.items():
            if link in change.links:
                before, quality = quality, with_spec(quality, change.action)
                faults_by_setting.update(dict.fromkeys(_differing(before, quality), firing.fault))
        if link.quality != quality:
            link.set_quality(quality)
        link.set_faults(faults_by_setting)


def _vertex(vertex: int) -> str:
    return str(vertex) if vertex > 0 else f"client {-vertex}"
