"""`NodeSymmetry`: a name for a state that is the same for all states which differ only in the ids of their nodes.

Raft treats all voters of equal settings alike, so such states have the same futures up to the ids, and one of them
stands for all. The nodes are put into an order by signatures that do not depend on ids. Only nodes of equal signature
are tried in every order. Clarke, Enders, Filkorn, Jha, "Exploiting symmetry in temporal logic model checking" (1996).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations, product
from typing import Final

from qcore.sim.exploration.small.fingerprints import Fingerprint, renamed
from qcore.sim.exploration.small.small_cluster import SmallCluster, State

#: In signatures: the node itself, and any other.
_SELF: Final = 1
_OTHER: Final = 2


class NodeSymmetry:
    """Names states of a cluster whose nodes all have equal rights: no spares and no membership changes."""

    def __init__(self, cluster: SmallCluster) -> None:
        self._cluster = cluster
        self._nodes = tuple(range(1, cluster.size + 1))
        self._values: dict[Fingerprint, int] = {}
        self._signatures: dict[int, int] = {}
        self._renamings: dict[tuple[int, ...], tuple[Mapping[int, int], dict[int, int]]] = {}

    def name(self, state: State) -> tuple[int, ...]:
        """The name of a state: equal for two states only if a renaming of nodes makes one of the other."""
        size = self._cluster.size
        signatures = [self._signature(local) for local in state[:size]]
        order = sorted(range(size), key=signatures.__getitem__)
        groups: list[list[int]] = []
        for place in order:
            if groups and signatures[groups[-1][-1]] == signatures[place]:
                groups[-1].append(place)
            else:
                groups.append([place])
        if len(groups) == size:
            return self._renamed(state, order)
        orders = product(*[permutations(group) for group in groups])
        return min(
            [self._renamed(state, [place for part in parts for place in part]) for parts in orders]
        )

    def _renamed(self, state: State, order: list[int]) -> tuple[int, ...]:
        """The numbers of the renamed parts of a state, if the node at `order[i]` gets the id `i + 1`."""
        key = tuple(order)
        found = self._renamings.get(key)
        if found is None:
            found = {place + 1: new for new, place in enumerate(order, 1)}, {}
            self._renamings[key] = found
        names, known = found
        parts: list[int] = []
        for place in order:
            local = state[place]
            part = known.get(local)
            if part is None:
                part = known[local] = self._number(
                    renamed(self._cluster.steps.fingerprints[local], names)
                )
            parts.append(part)
        network = ~(state[-3] << 2 | 1)
        part = known.get(network)
        if part is None:
            part = known[network] = self._number(self._network(state[-3], names, known))
        parts.append(part)
        history = ~(state[-2] << 2 | 2)
        part = known.get(history)
        if part is None:
            part = known[history] = self._number(self._history(state[-2], names))
        return (*parts, part, state[-1])

    def _network(
        self, network: int, names: Mapping[int, int], known: dict[int, int]
    ) -> Fingerprint:
        fingerprints = self._cluster.steps.message_fingerprints
        return (
            "network",
            *sorted(
                [
                    known[~(message << 2)]
                    if ~(message << 2) in known
                    else known.setdefault(
                        ~(message << 2), self._number(renamed(fingerprints[message], names))
                    )
                    for message in self._cluster.networks[network]
                ]
            ),
        )

    def _history(self, history: int, names: Mapping[int, int]) -> Fingerprint:
        leaders, committed, reads = self._cluster.histories[history]
        return (
            "history",
            renamed(leaders, names),
            renamed(tuple(map(tuple, committed)), names),
            reads,
        )

    def _signature(self, local: int) -> int:
        found = self._signatures.get(local)
        if found is None:
            steps = self._cluster.steps
            me = steps.states[local].core.node_id
            names = {node: _SELF if node == me else _OTHER for node in self._nodes}
            merged = renamed(steps.fingerprints[local], names)
            found = self._signatures[local] = self._number(("signature", merged))
        return found

    def _number(self, value: Fingerprint) -> int:
        return self._values.setdefault(value, len(self._values))
