"""The values of a scenario as maps and lists, the form in which a shrink changes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from qcore.sim.scenario.actions.registry import ACTIONS
from qcore.sim.scenario.model import Scenario

#: A map of a scenario file: the whole file, a part of it, or an item of its timeline.
Values: TypeAlias = "dict[str, object]"

#: The keys whose values name nodes.
_NODE_KEYS: Final = frozenset(
    {
        "nodes",
        "node",
        "from",
        "to",
        "between",
        "groups",
        "halves",
        "bridge",
        "ring",
        "majorities_ring",
        "pendants",
        "hub",
        "at",
        "voters",
        "learners",
        "add",
        "remove",
        "ids",
        "of",
        "pin",
    }
)


def scenario_of(values: Mapping[str, object], source: str) -> Scenario:
    """The scenario with these values.

    Args:
        values: as a scenario file gives them.
        source: the file beside which the user's files are.

    Raises:
        pydantic.ValidationError: a value is invalid, or two contradict each other.
    """
    return Scenario.model_validate({**values, "source": source, "edited": True})


def part(values: Values, name: str) -> Values:
    """A part of the scenario, such as `cluster`; an empty map if it is left out."""
    found = values.get(name)
    return found if isinstance(found, dict) else {}


def timeline_of(values: Values) -> list[Values]:
    """The items of the timeline, to read and to change."""
    items = values.setdefault("timeline", [])
    assert isinstance(items, list), "a scenario writes its timeline as a list"
    return items


def nodes_of(values: Values) -> list[int]:
    """The ids of the first members."""
    nodes = part(values, "cluster").get("nodes", [1, 2, 3])
    assert isinstance(nodes, list), "a scenario writes its nodes as a list"
    return nodes


def number_at(values: Mapping[str, object], key: str, default: float = 0.0) -> float:
    """A number; `default` if the key is left out, or holds something else."""
    found = values.get(key, default)
    return found if isinstance(found, int | float) else default


def actions_of(item: Values) -> list[tuple[str, object]]:
    """The actions of an item: their keys and values."""
    found = [(key, value) for key, value in item.items() if key in ACTIONS]
    blocks = item.get("do")
    if isinstance(blocks, list):
        found += [pair for block in blocks if isinstance(block, dict) for pair in block.items()]
    return found


def maps_within(value: object) -> Iterator[Values]:
    """Every map within a value, outer ones first."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from maps_within(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from maps_within(inner)


def rename_nodes(
    value: object, names: Mapping[int, int | None], *, is_name: bool = False
) -> object:
    """A value with other node ids.

    Args:
        value: a part of a scenario.
        names: the id that replaces each id; None removes the node.
        is_name: whether the value names nodes.

    Returns:
        The value; None if no node is left in it.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return names.get(value, value) if is_name else value
    if isinstance(value, list):
        kept = [rename_nodes(one, names, is_name=is_name) for one in value]
        left = [one for one in kept if one is not None]
        return left if left or not value else None
    if not isinstance(value, dict):
        return value
    renamed: Values = {}
    for key, inner in value.items():
        # The value of an action may be the short form for its nodes.
        names_nodes = key in _NODE_KEYS or (key in ACTIONS and not isinstance(inner, dict))
        new = rename_nodes(inner, names, is_name=names_nodes)
        if new is None and inner is not None:
            return None
        renamed[key] = new
    return renamed
