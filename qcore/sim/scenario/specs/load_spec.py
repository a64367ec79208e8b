"""The parts of a workload that shape the load: pinned clients, phases, skewed keys and the sizes of values."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator

from qcore.sim.scenario.values import NodeId


def _nodes_or_name(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        value = (value,)
    if isinstance(value, list | tuple):
        ids = tuple(value)
        if not ids or len(set(map(repr, ids))) != len(ids):
            raise ValueError(f"{list(ids)}: give at least one node id, and each id once")
        return ids
    if value not in (None, "leader", "spread"):
        raise ValueError(f"{value!r:.100}: write a node id, a list of ids, leader or spread")
    return value


#: The nodes that clients ask first: ids, or a name.
Pinned = Annotated[
    tuple[NodeId, ...] | Literal["leader", "spread"] | None, BeforeValidator(_nodes_or_name)
]
