"""Swizzle-clog, after FoundationDB: the nodes are clogged one after the other, and unclogged in another order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from qcore.sim.faults.ledger import Firing
from qcore.sim.faults.network.link_effects import LinkEffect, Pair
from qcore.sim.scenario.actions.network_actions import SwizzleClog
from qcore.sim.world.services import Services


@dataclass(slots=True, frozen=True)
class SwizzlePlan:
    """When each node is clogged and unclogged.

    Attributes:
        clogs: time after the begin, in microseconds, and node; in this order.
        unclogs: the same for the ends.
    """

    clogs: tuple[tuple[int, int], ...]
    unclogs: tuple[tuple[int, int], ...]

    @classmethod
    def draw(cls, action: SwizzleClog, nodes: Sequence[int], rng: Random) -> SwizzlePlan:
        """Draw both orders and all times."""
        gap, back_gap = action.clog_gap_ms.sampler(rng), action.unclog_gap_ms.sampler(rng)
        order, back = rng.sample(nodes, len(nodes)), rng.sample(nodes, len(nodes))
        clogs, unclogs = [], []
        time = 0
        for number, node in enumerate(order):
            time += gap() if number else 0
            clogs.append((time, node))
        time += action.clogged_ms.sampler(rng)()
        for number, node in enumerate(back):
            time += back_gap() if number else 0
            unclogs.append((time, node))
        return cls(tuple(clogs), tuple(unclogs))

    @property
    def length_us(self) -> int:
        """The time from the first clog to the last unclog."""
        return max((time for time, _ in self.unclogs), default=0)

    def __str__(self) -> str:
        order = ",".join(str(node) for _, node in self.clogs)
        return f"clogs {order}; unclogs {','.join(str(node) for _, node in self.unclogs)}"


class SwizzleEffect(LinkEffect):
    """Clogs and unclogs the links of nodes as planned. A link of two such nodes is clogged while either is.

    Args:
        services: the shared parts of the run.
        links: the ends of the links of each node.
        plan: the times.
    """

    rank = 3

    def __init__(
        self, services: Services, links: Mapping[int, Sequence[Pair]], plan: SwizzlePlan
    ) -> None:
        pairs = dict.fromkeys(pair for node in links for pair in links[node])
        super().__init__(services, pairs)
        self._links = {node: list(links[node]) for node in links}
        self._plan = plan
        self._clogged: dict[int, Firing] = {}  # node -> the firing that clogs its links
        self._firing: Firing | None = None  # while it is active

    @property
    def traced_links(self) -> list[Pair]:
        """None: each step traces its links."""
        return []

    def begin(self, firing: Firing) -> None:
        self._firing = firing
        for time, node in self._plan.clogs:
            self._at(time, partial(self._clog, node, firing))
        for time, node in self._plan.unclogs:
            self._at(time, partial(self._unclog, node, firing))

    def end(self, firing: Firing) -> None:
        for node in list(self._clogged):
            self._unclog(node, firing)
        self._firing = None

    def changed(self) -> None:
        self._services.monitor.links_changed(self._services.engine.now)

    def _at(self, time: int, step: partial[None]) -> None:
        self._services.engine.after(time, step)

    def _clog(self, node: int, firing: Firing) -> None:
        if self._firing is firing:
            clogging = self._clogged[node] = Firing(firing.fault)
            self._trace_step(node, "clogs", self._network.clog(self._links[node], clogging))

    def _unclog(self, node: int, firing: Firing) -> None:
        clogging = self._clogged.pop(node, None)
        if self._firing is firing and clogging is not None:
            self._network.unclog(self._links[node], clogging)
            self._trace_step(node, "unclogs", self._links[node])

    def _trace_step(self, node: int, what: str, pairs: Sequence[Pair]) -> None:
        assert self._firing is not None, "a step happens while it is active"
        services = self._services
        name = self._firing.fault.name
        services.trace.fault(services.engine.now, "act", name, [node], list(pairs), what)
        self.changed()

    def _end_on(self, pairs: list[Pair], firing: Firing) -> None:
        for node, links in self._links.items():
            if node in self._clogged:
                self._network.unclog([pair for pair in links if pair in pairs], self._clogged[node])
            self._links[node] = [pair for pair in links if pair not in pairs]
