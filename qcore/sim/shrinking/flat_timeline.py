"""Brings a timeline into a form in which each step stands alone: its time, its nodes, one action, once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Final

from qcore.sim.scenario.actions.registry import ACTIONS
from qcore.sim.shrinking.candidate_values import Values, actions_of, number_at, timeline_of
from qcore.sim.shrinking.edits import Case, Edit
from qcore.trace import TraceRecord

#: The place of an item in the names of its faults.
_PLACE: Final = re.compile(r"timeline\[(\d+)\] ")
#: An item that repeats becomes at most this many items.
_MOST_FIRINGS: Final = 200
#: Names that stand for drawn nodes.
_DRAWN: Final = re.compile(r"(random(_\d+)?|majority|minority|candidate)")


@dataclass(slots=True, frozen=True)
class Firing:
    """One firing of an action, as the trace has it.

    Attributes:
        name: the kind of the action, or the label of its item.
        t_us: its time, in simulated microseconds.
        nodes, links: what it hit; links are pairs of nodes.
    """

    name: str
    t_us: int
    nodes: tuple[int, ...]
    links: tuple[tuple[int, int], ...]


def firings_of(records: Iterable[TraceRecord]) -> dict[int, list[Firing]]:
    """What the items of a timeline did, by the number of the item, in the order of time."""
    found: dict[int, list[Firing]] = {}
    for record in records:
        if record.kind != "fault":
            continue
        fields = record.fields
        match = _PLACE.match(fields["fault"])
        if match is None or fields["phase"] != "begin":
            continue
        name = fields["fault"][match.end() :]
        links = tuple((one, other) for one, other in fields["links"])
        firing = Firing(name, record.t_us, tuple(fields["nodes"]), links)
        firings = found.setdefault(int(match[1]), [])
        before = firings[-1] if firings else None
        if before is not None and (before.name, before.t_us) == (name, record.t_us):
            # An action on several nodes may write a record for each of them.
            nodes, links = (*before.nodes, *firing.nodes), (*before.links, *links)
            firings[-1] = Firing(name, record.t_us, nodes, links)
        else:
            firings.append(firing)
    return found


def name_nodes(case: Case, firings: Mapping[int, list[Firing]]) -> list[Edit]:
    """Each firing as an item with the ids of the nodes that it hit. It stays as it is when others are removed."""
    pairs: list[tuple[Values, list[Values]]] = []
    for number, item in enumerate(case.items):
        new = _as_fired(item, firings.get(number, []))
        if new is not None and new != [item]:
            pairs.append((item, new))
    together = Edit("drawn nodes and repetitions", partial(_replace_all, pairs=pairs))
    return [
        together,
        *(
            Edit("drawn nodes and repetitions", partial(_replace_all, pairs=[pair]))
            for pair in pairs
        ),
    ]


def flatten(case: Case) -> list[Edit]:
    """Absolute times, one item for each firing and for each action, in the order of time."""
    return [
        Edit("times that depend on other items", _absolute_times),
        Edit("repetitions", _single_firings),
        Edit("items of several actions", _single_actions),
        Edit("the order of the items", _sorted),
    ]


def sort_items(case: Case) -> list[Edit]:
    """Sort the items by time."""
    return [Edit("the order of the items", _sorted)]


def _replace_all(values: Values, pairs: list[tuple[Values, list[Values]]]) -> bool:
    timeline = timeline_of(values)
    changed = False
    for old, new in pairs:
        if old in timeline:
            place = timeline.index(old)
            timeline[place : place + 1] = new
            changed = True
    return changed


def _as_fired(item: Values, firings: list[Firing]) -> list[Values] | None:
    """An item for each firing; None if the item draws nothing, or not every action of it is in the trace."""
    actions = actions_of(item)
    draws = any(_is_drawn(key, value) for key, value in actions)
    if "when" in item or "flap" in item or not (draws or "every_ms" in item):
        return None
    if {firing.name for firing in firings} != {key for key, _ in actions}:
        return None
    values = dict(actions)
    left_out = ("every_ms", "times", "after_ms", "do", *values)
    rest = {key: value for key, value in item.items() if key not in left_out}
    fired: list[Values] = []
    for firing in firings:
        value = values[firing.name]
        drawn = _is_drawn(firing.name, value)
        new = _with_ids(firing.name, value, firing) if drawn else value
        if new is None:
            return None
        fired.append({**rest, "at_ms": firing.t_us / 1000, firing.name: new})
    return fired


def _with_ids(key: str, value: object, hit: Firing) -> object | None:
    """The value of an action with the ids of the nodes that it hit; None if that is not known."""
    if key == "partition":
        return _groups(hit)
    nodes = [*dict.fromkeys(hit.nodes)]
    if isinstance(value, dict) and "from" in value and "to" in value:
        return _ends_with_ids(value, hit) if hit.links else None
    if not nodes:
        return None
    if not isinstance(value, dict) or {"random", "of"} >= value.keys():
        return nodes
    return {**value, "nodes": nodes} if _draws(value.get("nodes")) else None


def _is_drawn(key: str, value: object) -> bool:
    """Whether the item draws which nodes an action hits."""
    if key == "partition" and isinstance(value, dict) and "groups" not in value:
        return value.get("order") != "id"
    return _draws(value)


def _draws(value: object) -> bool:
    if isinstance(value, dict):
        return "random" in value or any(map(_draws, value.values()))
    if isinstance(value, list):
        return any(map(_draws, value))
    return isinstance(value, str) and _DRAWN.fullmatch(value) is not None


def _ends_with_ids(value: Values, hit: Firing) -> Values:
    """The two ends of links. With both directions, the end with fewer nodes comes first."""
    sources = list(dict.fromkeys(source for source, _ in hit.links))
    targets = list(dict.fromkeys(target for _, target in hit.links))
    if value.get("both"):
        # Every node is at both ends; a node that is linked to most others is the one that was named first.
        counts = {node: sum(source == node for source, _ in hit.links) for node in sources}
        most = max(counts.values())
        first = [node for node in sources if counts[node] == most]
        if len(first) == len(sources):
            first = sources[:1]
        return {**value, "from": first, "to": [node for node in targets if node not in first]}
    return {**value, "from": sources, "to": targets}


def _groups(hit: Firing) -> list[list[int]] | None:
    """The groups of a partition: sets of nodes between which no link is cut; None if they are not known."""
    nodes = sorted({node for pair in hit.links for node in pair if node > 0} | {*hit.nodes})
    cut = {*hit.links}
    if not nodes:
        return None
    linked = [pair for pair in combinations(nodes, 2) if pair not in cut]
    alone = [(node,) for node in nodes if not any(node in pair for pair in linked)]
    groups: list[list[int]] = []
    for first in (*linked, *alone):
        group = [*first]
        for other in nodes:
            if other not in group and all((one, other) not in cut for one in group):
                group.append(other)
        if sorted(group) not in groups:
            groups.append(sorted(group))
    return groups


def _absolute_times(values: Values) -> bool:
    before, changed = 0.0, False
    for item in timeline_of(values):
        if "when" in item:
            continue
        if "at_ms" in item:
            before = number_at(item, "at_ms")
        elif "after_ms" in item:
            before = round(before + number_at(item, "after_ms"), 3)
            del item["after_ms"]
            item["at_ms"] = before
            changed = True
    return changed


def _single_firings(values: Values) -> bool:
    until = number_at(values, "until_ms", 10_000)
    timeline: list[Values] = []
    for item in timeline_of(values):
        gap = number_at(item, "every_ms")
        if not gap or "at_ms" not in item:
            timeline.append(item)
            continue
        once = {key: one for key, one in item.items() if key not in ("every_ms", "times")}
        at, last = number_at(item, "at_ms"), min(until, number_at(item, "until_ms", until))
        times = int(number_at(item, "times", _MOST_FIRINGS))
        moments = [round(at + gap * number, 3) for number in range(min(times, _MOST_FIRINGS))]
        timeline += [{**once, "at_ms": moment} for moment in moments if moment < last]
    changed = timeline != values["timeline"]
    values["timeline"] = timeline
    return changed


def _single_actions(values: Values) -> bool:
    timeline: list[Values] = []
    for item in timeline_of(values):
        actions = actions_of(item)
        if "when" in item or len(actions) < 2:
            timeline.append(item)
            continue
        rest = {key: one for key, one in item.items() if key not in ACTIONS and key != "do"}
        timeline += [{**rest, key: value} for key, value in actions]
    changed = timeline != values["timeline"]
    values["timeline"] = timeline
    return changed


def _sorted(values: Values) -> bool:
    timeline = timeline_of(values)
    ordered = sorted(timeline, key=lambda item: number_at(item, "at_ms"))
    values["timeline"] = ordered
    return ordered != timeline
