"""Passes over the nodes: fewer of them, and numbered from 1."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import combinations
from typing import Final

from qcore.sim.shrinking.candidate_values import (
    Values,
    nodes_of,
    part,
    rename_nodes,
    timeline_of,
)
from qcore.sim.shrinking.edits import Case, Edit

#: Pairs of nodes are tried in clusters of up to this many nodes.
_MOST_FOR_PAIRS: Final = 7
#: Parts of the cluster with an entry for each node.
_BY_NODE: Final = ("priorities", "settings", "clocks")


def drop_nodes(case: Case) -> list[Edit]:
    """Remove single nodes, and pairs of nodes, because an even number may survive what an odd one does not."""
    nodes = nodes_of(case.values)
    seeds = _seeds(6)
    edits = [_without_nodes((node,), seeds) for node in reversed(nodes)]
    if len(nodes) <= _MOST_FOR_PAIRS:
        pairs = combinations(reversed(nodes), 2)
        edits = [*(_without_nodes(pair, _seeds(3)) for pair in pairs), *edits]
    return edits


def renumber_nodes(case: Case) -> list[Edit]:
    """Number the nodes from 1."""
    nodes = nodes_of(case.values)
    names: dict[int, int | None] = {old: new for new, old in enumerate(nodes, 1)}
    if all(old == new for old, new in names.items()):
        return []
    return [Edit("node ids from 1", partial(_rename, names=names), _seeds(12))]


def _seeds(number: int) -> tuple[int, ...]:
    return tuple(range(1, number + 1))


def _without_nodes(nodes: tuple[int, ...], seeds: tuple[int, ...]) -> Edit:
    text = f"node{'s' if len(nodes) > 1 else ''} {', '.join(map(str, sorted(nodes)))}"
    return Edit(text, partial(_rename, names=dict.fromkeys(nodes)), seeds)


def _rename(values: Values, names: Mapping[int, int | None]) -> bool:
    cluster = values.setdefault("cluster", {})
    assert isinstance(cluster, dict)
    nodes = rename_nodes(nodes_of(values), names, is_name=True)
    if not nodes or nodes == nodes_of(values):
        return False
    cluster["nodes"] = nodes
    for name in _BY_NODE:
        given = cluster.get(name)
        if isinstance(given, dict):
            cluster[name] = {names.get(key, key): value for key, value in given.items()}
            cluster[name].pop(None, None)
    workload = part(values, "workload")
    if "pin" in workload and (pin := rename_nodes(workload["pin"], names, is_name=True)):
        workload["pin"] = pin
    network = part(values, "network")
    regions = network.get("regions")
    if isinstance(regions, dict):
        renamed = {key: rename_nodes(one, names, is_name=True) for key, one in regions.items()}
        network["regions"] = {key: one for key, one in renamed.items() if one is not None}
    if "links" in network:
        network["links"] = rename_nodes(network["links"], names) or []
    items = [rename_nodes(item, names) for item in timeline_of(values)]
    values["timeline"] = [item for item in items if item is not None]
    return True
