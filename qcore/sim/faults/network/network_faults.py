"""Executes the timeline actions on links: partitions, cuts, clogs, changes of quality, flapping, and healing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from qcore.sim.faults.ledger import Fault, Firing, TimedUndo, Undo
from qcore.sim.faults.network import partition_shapes
from qcore.sim.faults.network.link_effects import (
    ClogEffect,
    CutEffect,
    LinkEffect,
    LinkQualities,
    Pair,
    QualityEffect,
)
from qcore.sim.faults.network.swizzle import SwizzleEffect, SwizzlePlan
from qcore.sim.faults.selector_resolver import SelectorResolver
from qcore.sim.faults.standing_faults import StandingFaults
from qcore.sim.scenario.actions.network_actions import (
    Clog,
    Cut,
    Deaf,
    Heal,
    Isolate,
    LinkChange,
    LinkEnds,
    Mute,
    Partition,
    SwizzleClog,
)
from qcore.sim.scenario.specs.flap_spec import FlapSpec
from qcore.sim.scenario.values import Selector
from qcore.sim.world.services import Services

#: The shortest time between two changes of a flapping link.
_SHORTEST_FLAP_US = 1000

_ALL = Selector(terms=("all",))
_RANDOM = Selector(terms=("random_1",))


@dataclass(slots=True, eq=False)
class _ActiveFault:
    """One firing of a network fault.

    Attributes:
        is_on: whether its effect is active now; while a fault flaps it is not always.
    """

    firing: Firing
    effect: LinkEffect
    nodes: Sequence[int]
    note: str
    is_on: bool = False


class NetworkActions:
    """Cuts, clogs, changes and heals links, and reports this to the trace and the monitor.

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
        self._qualities = LinkQualities(services, standing_faults)
        self._active: dict[_ActiveFault, None] = {}  # in the order in which they began

    def remember_base_quality(self) -> None:
        """Remember the links as they are now: `heal` restores this state."""
        self._qualities.remember_base()

    # -- faults ----------------------------------------------------------------------------------

    def partition(self, action: Partition, fault: Fault, rng: Random) -> Undo:
        if action.groups is None:
            return self._shape(action, fault, rng)
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
        return self._cut(fault, pairs, [node for node in sorted(named) if node > 0], text, rng)

    def _shape(self, action: Partition, fault: Fault, rng: Random) -> Undo:
        if action.pendants is not None:
            ends = (action.pendants, action.hub if action.hub is not None else _RANDOM)
            alone, hubs = self._resolver.resolve_groups(ends, rng, self._up())
            alone = tuple(node for node in alone if node not in hubs)
            pairs = partition_shapes.pendants(alone, hubs, self._joined())
            text = f"{_list(alone)} reach only {_list(hubs)}"
            return self._cut(fault, pairs, alone, text, rng)
        if action.bridge is not None:
            bridges = self._resolver.resolve(action.bridge, rng, preferred=self._up())
            nodes = tuple(node for node in self._joined() if node not in bridges)
            order = self._order(action, nodes, rng)
            text = f"{_halves(order)}, joined by {_list(bridges)}"
            return self._cut(fault, partition_shapes.halves(order), bridges, text, rng)
        named = action.halves or action.ring or action.majorities_ring or _ALL
        nodes = self._resolver.resolve(named, rng, preferred=self._up())
        order = self._order(action, nodes, rng)
        if action.halves is not None:
            pairs = partition_shapes.halves(order)
            return self._cut(fault, pairs, nodes, _halves(order), rng)
        if action.ring is not None:
            pairs, text = partition_shapes.ring(order), f"ring {_list(order)}"
        else:
            pairs, text = partition_shapes.majorities_ring(order), f"majorities {_list(order)}"
        return self._cut(fault, pairs, nodes, text, rng)

    def isolate(self, action: Isolate, fault: Fault, rng: Random) -> Undo:
        alone = self._resolver.resolve(action.nodes, rng, preferred=self._up())
        return self._cut(fault, self._links_of(alone, clients=action.clients), alone, "", rng)

    def cut(self, action: Cut, fault: Fault, rng: Random) -> Undo:
        pairs = self._pairs(action.source, action.target, action.both, rng)
        return self._cut(fault, pairs, _ends_of(pairs), _direction(action), rng)

    def deaf(self, action: Deaf, fault: Fault, rng: Random) -> Undo:
        nodes = self._resolver.resolve(action.nodes, rng, preferred=self._up())
        pairs = [(a, b) for a, b in sorted(self._network.graph.edges) if b in nodes and a > 0]
        return self._cut(fault, pairs, nodes, "receives nothing", rng)

    def mute(self, action: Mute, fault: Fault, rng: Random) -> Undo:
        nodes = self._resolver.resolve(action.nodes, rng, preferred=self._up())
        pairs = [(a, b) for a, b in sorted(self._network.graph.edges) if a in nodes and b > 0]
        return self._cut(fault, pairs, nodes, "sends nothing", rng)

    def clog(self, action: Clog, fault: Fault, rng: Random) -> Undo:
        pairs = self._pairs(action.source, action.target, action.both, rng)
        effect = ClogEffect(self._services, pairs)
        undo = self._begin(fault, effect, _ends_of(pairs), _direction(action), rng)
        if action.clog_ms is None:
            return undo
        return TimedUndo(undo, self._now + action.clog_ms.sampler(rng)())

    def swizzle_clog(self, action: SwizzleClog, fault: Fault, rng: Random) -> Undo:
        named = action.nodes
        if named is None:
            named = Selector(terms=(f"random_{rng.randint(1, len(self._joined()))}",))
        nodes = self._resolver.resolve(named, rng, preferred=self._up())
        links = {node: self._links_of((node,), clients=action.clients) for node in nodes}
        plan = SwizzlePlan.draw(action, nodes, rng)
        effect = SwizzleEffect(self._services, links, plan)
        undo = self._begin(fault, effect, nodes, str(plan), rng)
        return TimedUndo(undo, self._now + plan.length_us)

    def change_links(self, action: LinkChange, fault: Fault, rng: Random) -> Undo:
        if action.source is None or action.target is None:
            pairs = [(a, b) for a, b in sorted(self._network.graph.edges) if a > 0 and b > 0]
        else:
            pairs = self._pairs(action.source, action.target, action.both, rng)
        effect = QualityEffect(self._services, pairs, action, self._qualities)
        note = ", ".join(f"{name} {getattr(action, name)}" for name in action.changes())
        return self._begin(fault, effect, [], note, rng)

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
        for active in sorted(self._active, key=lambda active: active.effect.rank):
            if action.label in (None, active.firing.fault.label):
                self._end(active)
                fault.acted += 1

    def _heal_nodes(self, nodes: frozenset[int], fault: Fault) -> None:
        healed: set[Pair] = set()
        for active in sorted(self._active, key=lambda active: active.effect.rank):
            released = active.effect.release(active.firing, nodes)
            if not isinstance(active.effect, QualityEffect):
                healed.update(released)
        fault.acted += len(healed)
        self._standing_faults.links_changed()
        for active in list(self._active):
            if not active.effect.pairs and not isinstance(active.effect, QualityEffect):
                self._end(active)
        self._services.monitor.links_changed(self._now)

    # -- the course of a fault --------------------------------------------------------------------

    def _cut(
        self, fault: Fault, pairs: Sequence[Pair], nodes: Sequence[int], note: str, rng: Random
    ) -> Undo:
        return self._begin(fault, CutEffect(self._services, pairs), nodes, note, rng)

    def _begin(
        self, fault: Fault, effect: LinkEffect, nodes: Sequence[int], note: str, rng: Random
    ) -> Undo:
        """Begin a fault. If its item flaps, it ends and begins again until it is ended for good."""
        active = _ActiveFault(Firing(fault), effect, sorted(nodes), note)
        self._active[active] = None
        self._switch_on(active)
        if fault.flap is not None:
            self._flap(active, fault.flap, rng)
        return lambda: self._end(active)

    def _flap(self, active: _ActiveFault, flap: FlapSpec, rng: Random) -> None:
        engine = self._services.engine
        down, up = flap.down_ms.sampler(rng), flap.up_ms.sampler(rng)

        def toggle() -> None:
            if active not in self._active:
                return
            if active.is_on:
                self._switch_off(active)
                length = up()
            else:
                self._switch_on(active)
                length = down()
            engine.after(max(_SHORTEST_FLAP_US, length), toggle)

        engine.after(max(_SHORTEST_FLAP_US, down()), toggle)

    def _end(self, active: _ActiveFault) -> None:
        """End a fault, unless it has ended already."""
        if active in self._active:
            del self._active[active]
            if active.is_on:
                self._switch_off(active)

    def _switch_on(self, active: _ActiveFault) -> None:
        effect, name = active.effect, active.firing.fault.name
        active.is_on = True
        effect.begin(active.firing)
        # A change that only removes impairments begins no fault.
        phase = "begin" if effect.is_fault else "act"
        self._services.trace.fault(
            self._now, phase, name, active.nodes, effect.traced_links, active.note
        )
        effect.changed()

    def _switch_off(self, active: _ActiveFault) -> None:
        active.is_on = False
        active.effect.end(active.firing)
        if active.effect.is_fault:
            self._services.trace.fault(self._now, "end", active.firing.fault.name)
        active.effect.changed()

    # -- nodes and links --------------------------------------------------------------------------

    @property
    def _now(self) -> int:
        return self._services.engine.now

    def _up(self) -> tuple[int, ...]:
        """The nodes that random picks prefer. Cutting off a node that is down has no effect."""
        return tuple(node for node, facts in self._services.monitor.facts.items() if facts.up)

    def _joined(self) -> tuple[int, ...]:
        return tuple(node for node, facts in self._services.monitor.facts.items() if facts.joined)

    def _order(self, action: Partition, nodes: Sequence[int], rng: Random) -> list[int]:
        """The order of the nodes in a shape."""
        return sorted(nodes) if action.order == "id" else rng.sample(list(nodes), len(nodes))

    def _links_of(self, nodes: Sequence[int], *, clients: bool) -> list[Pair]:
        """All links of these nodes to other nodes; with `clients`, to clients too."""
        return [
            (a, b)
            for a, b in sorted(self._network.graph.edges)
            if (a in nodes or b in nodes) and (clients or (a > 0 and b > 0))
        ]

    def _pairs(self, source: Selector, target: Selector, both: bool, rng: Random) -> list[Pair]:
        ends = self._resolver.resolve_groups((source, target), rng, self._up())
        pairs = [(a, b) for a in ends[0] for b in ends[1] if a != b]
        return pairs + [(b, a) for a, b in pairs] if both else pairs


def _ends_of(pairs: Sequence[Pair]) -> list[int]:
    return sorted({end for pair in pairs for end in pair if end > 0})


def _direction(action: LinkEnds) -> str:
    return "both ways" if action.both else "one way"


def _list(nodes: Sequence[int]) -> str:
    return ",".join(map(str, nodes))


def _halves(order: Sequence[int]) -> str:
    half = len(order) // 2
    return f"{_list(sorted(order[:half]))} | {_list(sorted(order[half:]))}"


def _vertex(vertex: int) -> str:
    return str(vertex) if vertex > 0 else f"client {-vertex}"
