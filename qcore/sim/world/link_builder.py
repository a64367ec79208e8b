"""Creates the links of a run, between nodes and between clients and nodes, from the `network` of a scenario."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from qcore.sim.faults.ledger import FaultLedger
from qcore.sim.faults.link_settings import impairment_text, impairments_of, with_spec
from qcore.sim.faults.standing_faults import StandingFaults
from qcore.sim.scenario.specs.network_spec import ClientLinkSpec, NetworkSpec, QualitySpec
from qcore.sim.scenario.values import Selector
from qcore.sim.world.network import Link, LinkQuality, Network, Receiver


class _Client(Protocol):
    @property
    def vertex(self) -> int: ...

    def receive(self, source: int, payload: object, message_id: str) -> None: ...


class LinkBuilder:
    """Creates links, and declares their impairments as faults that last until the timeline overrides them.

    Args:
        spec: the network of the scenario.
        network: where the links are created.
        ledger: gets a line for each impairment.
        standing_faults: traces them.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        network: Network,
        ledger: FaultLedger,
        standing_faults: StandingFaults,
    ) -> None:
        self._spec = spec
        self._network = network
        self._ledger = ledger
        self._standing_faults = standing_faults
        self._quality = with_spec(LinkQuality(), spec)
        self._client_links: list[Link] = []

    def connect_nodes(self, receivers: Mapping[int, Receiver]) -> None:
        """Link all nodes with each other.

        Args:
            receivers: gets the messages that arrive, by node.
        """
        spec = self._spec
        for a in receivers:
            for b, receive in receivers.items():
                if a != b:
                    latency = spec.latency_between(a, b) or self._quality.latency
                    self._network.connect(a, b, receive, replace(self._quality, latency=latency))
        self._declare_impairments("network", spec, list(self._network.links()))

    def connect_client(
        self, client: _Client, receivers: Mapping[int, Receiver], *, is_impaired: bool = True
    ) -> None:
        """Link a client with all nodes.

        Args:
            client: the client, or a watcher.
            receivers: gets the client's messages that arrive, by node.
            is_impaired: whether its links have the impairments of `network.clients`.
        """
        clients = self._spec.clients or ClientLinkSpec()
        usual = clients.latency_ms or self._spec.latency_ms
        quality = LinkQuality()
        if is_impaired:
            quality = LinkQuality(loss=clients.loss, corrupt=clients.corrupt)
        for node, receive in receivers.items():
            there = self._spec.latency_between(client.vertex, node) or usual
            back = self._spec.latency_between(node, client.vertex) or usual
            links = (
                self._network.connect(
                    client.vertex, node, receive, replace(quality, latency=there)
                ),
                self._network.connect(
                    node, client.vertex, client.receive, replace(quality, latency=back)
                ),
            )
            self._client_links += links

    def finish(self, ids: Sequence[int]) -> None:
        """Declare the impairments of the clients' links, and apply the exceptions of single links.

        Args:
            ids: all nodes.
        """
        clients = self._spec.clients
        if clients is not None:
            impairments = QualitySpec(loss=clients.loss, corrupt=clients.corrupt)
            self._declare_impairments("network.clients", impairments, self._client_links)
        for number, spec in enumerate(self._spec.links):
            pairs = _pairs_of(spec.source, spec.target, ids)
            if spec.both:
                pairs += [(b, a) for a, b in pairs]
            links = [self._network.link(*pair) for pair in pairs]
            for link in links:
                link.set_quality(with_spec(link.quality, spec))
            self._declare_impairments(f"network.links[{number}]", spec, links)

    def _declare_impairments(self, name: str, spec: QualitySpec, links: Sequence[Link]) -> None:
        """Declare each impairment of `spec` as a fault that lasts until the timeline overrides it."""
        impairments = {
            impairment: (
                self._ledger.declare(f"{name}.{impairment}", impairment),
                impairment_text(spec, impairment),
            )
            for impairment in impairments_of(spec)
        }
        for link in links:
            link.faults_by_setting.update(
                {impairment: fault for impairment, (fault, _) in impairments.items()}
            )
        self._standing_faults.add(name, impairments, links)


def _pairs_of(source: Selector, target: Selector, ids: Sequence[int]) -> list[tuple[int, int]]:
    def members(selector: Selector, other: Selector) -> list[int]:
        if "all" in selector.terms:
            return list(ids)
        if selector.names_rest:
            return [node for node in ids if node not in other.terms]
        return [term for term in selector.terms if isinstance(term, int)]

    return [(a, b) for a in members(source, target) for b in members(target, source) if a != b]
