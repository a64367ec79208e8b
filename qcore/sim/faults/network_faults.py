"""Timeline actions on the network: partitions, cuts, changed links, and their healing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random

from qcore.sim.faults.ledger import Fault, Firing
from qcore.sim.faults.selection import Namer
from qcore.sim.faults.standing_faults import Standing
from qcore.sim.scenario.actions.cluster_actions import (
    Cut,
    Deaf,
    Heal,
    Isolate,
    LinkChange,
    Mute,
    Partition,
)
from qcore.sim.scenario.cluster import QualitySpec
from qcore.sim.scenario.values import Selector
from qcore.sim.world.network import Link, Quality
from qcore.sim.world.services import Services

#: Takes the effect of an action back.
Undo = Callable[[], object]

#: Setting in a scenario -> attribute of `Quality`.
_SETTINGS = {
    "latency_ms": "latency",
    "loss": "loss",
    "duplicate": "duplicate",
    "reorder": "reorder",
    "reorder_extra_ms": "reorder_extra",
    "bandwidth_bytes_per_s": "bandwidth_bytes_per_s",
}


def changed(quality: Quality, spec: QualitySpec) -> Quality:
    """`quality` with what `spec` says, and unchanged where it says nothing."""
    said = {
        name: getattr(spec, setting)
        for setting, name in _SETTINGS.items()
        if getattr(spec, setting) is not None
    }
    return replace(quality, **said)


def mishaps_of(spec: QualitySpec) -> list[str]:
    """The settings of `spec` that will do harm now and then, and so can be counted when they do."""
    names = ("loss", "duplicate", "reorder", "bandwidth_bytes_per_s")
    return [name.removesuffix("_bytes_per_s") for name in names if getattr(spec, name)]


def text_of(spec: QualitySpec, mishap: str) -> str:
    """One of `mishaps_of(spec)` with its value, as the trace says it."""
    setting = f"{mishap}_bytes_per_s" if mishap == "bandwidth" else mishap
    return f"{setting} {getattr(spec, setting)}"


def _differing(one: Quality, other: Quality) -> list[str]:
    """The settings in which they differ, by the names under which links book faults."""
    return [
        name.removesuffix("_bytes_per_s")
        for name in _SETTINGS.values()
        if getattr(one, name) != getattr(other, name)
    ]


@dataclass(slots=True)
class _Change:
    """What one firing changes, and where (the keys of `links`)."""

    label: str
    action: LinkChange
    links: dict[Link, None]


class NetworkActions:
    """Cuts, changes and mends links, and keeps the trace and the monitor informed.

    Args:
        services: the shared parts of the run.
        namer: resolves symbolic names.
        standing: hears of every change of links.
    """

    def __init__(self, services: Services, namer: Namer, standing: Standing) -> None:
        self._services = services
        self._standing = standing
        self._network = services.network
        self._namer = namer
        self._cutting: dict[Firing, str] = {}  # those with links cut now -> label
        self._changing: dict[Firing, _Change] = {}
        self._normal: dict[tuple[int, int], tuple[Quality, dict[str, Fault]]] = {}

    def remember_normal(self) -> None:
        """Links as they are now are what `heal` restores."""
        for link in self._network.links():
            self._normal[link.source, link.target] = (link.quality, dict(link.blame))

    # -- faults ----------------------------------------------------------------------------------

    def partition(self, action: Partition, fault: Fault, label: str, rng: Random) -> Undo:
        groups = self._namer.resolve_groups(action.groups, rng, self._up())
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
        return self._cut(fault, label, pairs, [node for node in sorted(named) if node > 0], text)

    def isolate(self, action: Isolate, fault: Fault, label: str, rng: Random) -> Undo:
        alone = self._namer.resolve(action.nodes, rng, preferred=self._up())
        pairs = [
            (a, b)
            for a, b in sorted(self._network.graph.edges)
            if (a in alone or b in alone) and (action.clients or (a > 0 and b > 0))
        ]
        return self._cut(fault, label, pairs, alone, "")

    def cut(self, action: Cut, fault: Fault, label: str, rng: Random) -> Undo:
        pairs = self._pairs(action.source, action.target, action.both, rng)
        nodes = sorted({end for pair in pairs for end in pair if end > 0})
        return self._cut(fault, label, pairs, nodes, "both ways" if action.both else "one way")

    def deaf(self, action: Deaf, fault: Fault, label: str, rng: Random) -> Undo:
        nodes = self._namer.resolve(action.nodes, rng, preferred=self._up())
        pairs = [(a, b) for a, b in sorted(self._network.graph.edges) if b in nodes and a > 0]
        return self._cut(fault, label, pairs, nodes, "receives nothing")

    def mute(self, action: Mute, fault: Fault, label: str, rng: Random) -> Undo:
        nodes = self._namer.resolve(action.nodes, rng, preferred=self._up())
        pairs = [(a, b) for a, b in sorted(self._network.graph.edges) if a in nodes and b > 0]
        return self._cut(fault, label, pairs, nodes, "sends nothing")

    def change_links(self, action: LinkChange, fault: Fault, label: str, rng: Random) -> Undo:
        if action.source is None or action.target is None:
            pairs = [(a, b) for a, b in sorted(self._network.graph.edges) if a > 0 and b > 0]
        else:
            pairs = self._pairs(action.source, action.target, action.both, rng)
        links = [self._network.link(a, b) for a, b in pairs if self._network.graph.has_edge(a, b)]
        firing = Firing(fault)
        self._changing[firing] = _Change(label, action, dict.fromkeys(links))
        for link in links:
            self._settle(link)
        note = ", ".join(f"{name} {getattr(action, name)}" for name in action.changes())
        ends = [(link.source, link.target) for link in links]
        # What only takes trouble away is no fault that begins: nothing is wrong from then on.
        phase = "act" if action.is_calm else "begin"
        self._services.trace.fault(self._now, phase, fault.name, [], ends, note)
        self._standing.changed()
        return lambda: self._restore(firing)

    # -- repairs --------------------------------------------------------------------------------

    def heal(self, action: Heal, fault: Fault, rng: Random) -> None:
        """Mend everything, one labelled fault, or the links that touch some nodes."""
        self._services.trace.fault(self._now, "act", fault.name, [], [], action.label or "")
        if action.nodes is not None:
            nodes = self._namer.meant(action.nodes, rng, tuple(self._services.monitor.facts))
            self._heal_nodes(frozenset(nodes), fault)
            return
        chosen = [
            (cause, None) for cause, label in self._cutting.items() if action.label in (None, label)
        ]
        for cause, _ in chosen:
            self._mend(cause)
            fault.acted += 1
        for cause, change in list(self._changing.items()):
            if action.label in (None, change.label):
                self._restore(cause)
                fault.acted += 1

    def _heal_nodes(self, nodes: frozenset[int], fault: Fault) -> None:
        mended = self._network.mend(touching=nodes)
        fault.acted += len(mended)
        touching = [ln for ln in self._network.links() if {ln.source, ln.target} & nodes]
        for change in self._changing.values():
            for link in touching:
                change.links.pop(link, None)
        for link in touching:
            self._settle(link)
        self._standing.changed()
        still = {cut for link in self._network.links() for cut in link.cuts}
        for cause in [cause for cause in self._cutting if cause not in still]:
            self._end(cause)
        self._services.monitor.links_changed(self._now)

    # -- cutting and mending ----------------------------------------------------------------------

    @property
    def _now(self) -> int:
        return self._services.engine.now

    def _up(self) -> tuple[int, ...]:
        """Whose links random picks prefer: to cut off a node that is down changes nothing while it is."""
        return tuple(node for node, facts in self._services.monitor.facts.items() if facts.up)

    def _pairs(
        self, source: Selector, target: Selector, both: bool, rng: Random
    ) -> list[tuple[int, int]]:
        ends = self._namer.resolve_groups((source, target), rng, self._up())
        pairs = [(a, b) for a in ends[0] for b in ends[1] if a != b]
        return pairs + [(b, a) for a, b in pairs] if both else pairs

    def _cut(
        self,
        fault: Fault,
        label: str,
        pairs: Iterable[tuple[int, int]],
        nodes: Sequence[int],
        note: str,
    ) -> Undo:
        firing = Firing(fault)
        cut = self._network.cut(pairs, firing)
        self._cutting[firing] = label
        self._services.trace.fault(self._now, "begin", fault.name, sorted(nodes), cut, note)
        self._services.monitor.links_changed(self._now)
        return lambda: self._mend(firing)

    def _mend(self, firing: Firing) -> None:
        if firing in self._cutting:
            self._network.mend(firing)
            self._end(firing)
            self._services.monitor.links_changed(self._now)

    def _end(self, firing: Firing) -> None:
        del self._cutting[firing]
        self._services.trace.fault(self._now, "end", firing.fault.name)

    def _restore(self, firing: Firing) -> None:
        """End one change of links; those that other firings made stay in force."""
        change = self._changing.pop(firing, None)
        if change is not None:
            for link in change.links:
                self._settle(link)
            if not change.action.is_calm:
                self._services.trace.fault(self._now, "end", firing.fault.name)
            self._standing.changed()

    def _settle(self, link: Link) -> None:
        """Give a link its normal quality, changed by every firing in force, in their order."""
        quality, normal = self._normal[link.source, link.target]
        blame = dict(normal)
        for firing, change in self._changing.items():
            if link in change.links:
                before, quality = quality, changed(quality, change.action)
                blame.update(dict.fromkeys(_differing(before, quality), firing.fault))
        if link.quality != quality:
            link.set_quality(quality)
        link.hold_responsible(blame)


def _vertex(vertex: int) -> str:
    return str(vertex) if vertex > 0 else f"client {-vertex}"
