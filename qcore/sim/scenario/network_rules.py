"""Rules that span the network of a scenario and its other parts, and the regions that selectors may name."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from qcore.sim.scenario.actions.network_actions import LinkChange
from qcore.sim.scenario.specs.network_spec import NetworkSpec
from qcore.sim.scenario.timeline import Item
from qcore.sim.scenario.validation_scope import ValidationScope
from qcore.sim.scenario.values import Selector, parse_selector


def scope_of(value: object) -> ValidationScope:
    """The scope of a scenario that is not validated yet. What is invalid is left out here, and reported later."""
    if not isinstance(value, dict):
        return ValidationScope()
    source, network = value.get("source"), value.get("network")
    folder = Path(source).parent if isinstance(source, str) and source else Path()
    if isinstance(network, NetworkSpec):
        raw: object = network.regions
    else:
        raw = network.get("regions") if isinstance(network, dict) else None
    regions: dict[str, tuple[int, ...]] = {}
    for name, members in raw.items() if isinstance(raw, dict) else ():
        try:
            selector = parse_selector(members)
        except ValueError:
            continue
        if isinstance(selector, Selector):
            regions[str(name)] = tuple(term for term in selector.terms if isinstance(term, int))
    return ValidationScope(folder, {name: ids for name, ids in regions.items() if ids})


def check_network(
    network: NetworkSpec, timeline: Sequence[Item], known: Collection[int], clients: int
) -> None:
    """Check the regions and queues of a scenario.

    Args:
        network: the network.
        timeline: the timeline.
        known: all nodes.
        clients: the number of clients.

    Raises:
        ValueError: a member of a region does not exist, a node is in no region, or a queue has no bandwidth.
    """
    for region, members in network.regions.items():
        for term in members.terms:
            if isinstance(term, int) and term not in known:
                raise ValueError(
                    f"network.regions: {region}: node {term} is not in the cluster {sorted(known)}"
                )
            number = str(term).removeprefix("client_")
            if number != str(term) and int(number) > clients:
                raise ValueError(f"network.regions: {region}: {term}: there are {clients} clients")
    for node in sorted(known):
        if network.regions and network.region_of(node) is None:
            raise ValueError(f"network.regions: node {node} is in no region; add it to one")
    labels = {item.label or "" for item in timeline}
    if both := sorted(labels & {*network.regions}):
        raise ValueError(f"network.regions: {both[0]} is also a label of the timeline; rename one")
    changes = [
        action for item in timeline for action in item.actions if isinstance(action, LinkChange)
    ]
    specs = [network, *network.links, *changes]
    if any(spec.queue_length for spec in specs) and not any(
        spec.bandwidth_bytes_per_s for spec in specs
    ):
        raise ValueError(
            "network.queue_length: messages queue for the bandwidth only; give bandwidth_bytes_per_s too"
        )
