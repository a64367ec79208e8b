"""Walks the tree of entities level by level, with few requests."""

from __future__ import annotations

from dataclasses import dataclass, field

from qcore.cli.store.access.entity_names import Types, read_column
from qcore.client import Client, EntityId


@dataclass
class TreeNode:
    """An entity in the tree.

    Attributes:
        entity: its id.
        name: its name; empty if its type has none.
        depth: how far it is below the start.
        children: below it, in the order of its list.
        hidden: how many of its children were left out, because they are too deep.
    """

    entity: EntityId
    name: str
    depth: int
    children: list[TreeNode] = field(default_factory=list)
    hidden: int = 0


async def tree_below(
    client: Client, types: Types, start: EntityId | None, depth: int | None
) -> list[TreeNode]:
    """The tree that begins with `start`; with None, the trees at the top level.

    Args:
        client: reads the entities.
        types: the schemas.
        start: the first entity.
        depth: how many levels below the first ones to include; None for all.
    """
    first = [start] if start is not None else [entity async for entity in client.children(None)]
    roots = await _nodes(client, types, first, 0)
    seen = {node.entity for node in roots}
    level = roots
    while level:
        lists = await read_column(client, types, [node.entity for node in level], "Children")
        below: list[TreeNode] = []
        for node in level:
            found = lists[node.entity].value if node.entity in lists else []
            assert isinstance(found, list), "Children is a list of entities"
            if depth is not None and node.depth >= depth:
                node.hidden = len(found)
                continue
            # Moves meanwhile may show an entity in two lists.
            new = [one for one in dict.fromkeys(found) if one not in seen]
            seen.update(new)
            node.children = [TreeNode(one, "", node.depth + 1) for one in new]
            below += node.children
        await _name(client, types, below)
        level = below
    return roots


async def count_below(client: Client, types: Types, start: EntityId) -> int:
    """How many entities are below one."""
    seen = {start: None}
    level = [start]
    while level:
        lists = await read_column(client, types, level, "Children")
        level = []
        for found in lists.values():
            assert isinstance(found.value, list), "Children is a list of entities"
            level += [one for one in found.value if one not in seen]
            seen |= dict.fromkeys(found.value)
    return len(seen) - 1


async def _nodes(
    client: Client, types: Types, entities: list[EntityId], depth: int
) -> list[TreeNode]:
    nodes = [TreeNode(entity, "", depth) for entity in entities]
    await _name(client, types, nodes)
    return nodes


async def _name(client: Client, types: Types, nodes: list[TreeNode]) -> None:
    names = await read_column(client, types, [node.entity for node in nodes], "Name")
    for node in nodes:
        name = names[node.entity].value if node.entity in names else ""
        node.name = name if isinstance(name, str) else ""
