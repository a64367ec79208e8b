"""Brings a timeline into a form in which each step stands alone: its time, its nodes, one action, once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from qcore.sim.scenario.actions.registry import ACTIONS
from qcore.sim.shrinking.candidate_values import Values, actions_of, number_at, timeline_of
from qcore.sim.shrinking.edits import Case, Edit, replaced_item
from qcore.trace import TraceRecord

#: The place of an item in the names of its faults.
_PLACE: Final = re.compile(r"timeline\[(\d+)\] ")
#: An item that repeats becomes at most this many items.
_MOST_FIRINGS: Final = 200
#: Names that stand for drawn nodes.
_DRAWN: Final = re.compile(r"(random(_\d+)?|majority|minority|candidate)")


@dataclass(slots=True, frozen=True)
class HitNodes:
    """What the first firing of an item hit: the nodes, and the links as pairs."""

    nodes: tuple[int, ...]
    links: tuple[tuple[int, int], ...]


def hit_nodes(records: Iterable[TraceRecord]) -> dict[int, HitNodes]:
    """What each item of a timeline hit first, by its number."""
    found: dict[int, HitNodes] = {}
    times: dict[int, int] = {}
    for record in records:
        if record.kind != "fault" or record.fields["phase"] != "begin":
            continue
        match = _PLACE.match(record.fields["fault"])
        if match is None:
            continue
        number = int(match[1])
        if times.setdefault(number, record.t_us) != record.t_us:
            continue
        before = found.get(number, HitNodes((), ()))
        links = (*before.links, *((one, other) for one, other in record.fields["links"]))
        found[number] = HitNodes((*before.nodes, *record.fields["nodes"]), links)
    return found


def name_nodes(case: Case, hit: Mapping[int, HitNodes]) -> list[Edit]:
    """Node ids in place of drawn nodes. Then a step stays as it is when others are removed."""
    pairs: list[tuple[Values, Values]] = []
    for number, item in enumerate(case.items):
        if number in hit and (new := _with_ids(item, hit[number])) is not None:
            pairs.append((item, new))
    together = Edit("drawn nodes", partial(_replace_all, pairs=pairs))
    return [
        together,
        *(Edit("drawn nodes", partial(replaced_item, old=a, new=b)) for a, b in pairs),
    ]


def flatten(case: Case) -> list[Edit]:
    """Absolute times, one item for each firing and for each action, in the order of time."""
    return [
        Edit("times that depend on other items", _absolute_times),
        Edit("repetitions", _single_firings),
        Edit("items of several actions", _single_actions),
        Edit("the order of the items", _sorted),
    ]


def join_items(case: Case) -> list[Edit]:
    """Sort the items by time."""
    return [Edit("the order of the items", _sorted)]


def _replace_all(values: Values, pairs: list[tuple[Values, Values]]) -> bool:
    changed = [replaced_item(values, old, new) for old, new in pairs]
    return any(changed)


def _with_ids(item: Values, hit: HitNodes) -> Values | None:
    """The item with the ids of the nodes that it hit; None if it draws none, or that is not known."""
    (key, value), *others = actions_of(item)
    if others or key not in item:
        return None
    if key == "partition" and _draws(value):
        groups = _groups(hit)
        return None if groups is None else {**item, key: groups}
    if not _draws(value):
        return None
    nodes = [*dict.fromkeys(hit.nodes)]
    if isinstance(value, dict) and "from" in value and "to" in value:
        return {**item, key: _ends_with_ids(value, hit)} if hit.links else None
    if not nodes:
        return None
    if not isinstance(value, dict) or {"random", "of"} >= value.keys():
        return {**item, key: nodes}
    if _draws(value.get("nodes")):
        return {**item, key: {**value, "nodes": nodes}}
    return None


def _draws(value: object) -> bool:
    if isinstance(value, dict):
        return "random" in value or any(map(_draws, value.values()))
    if isinstance(value, list):
        return any(map(_draws, value))
    return isinstance(value, str) and _DRAWN.fullmatch(value) is not None


def _ends_with_ids(value: Values, hit: HitNodes) -> Values:
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


def _groups(hit: HitNodes) -> list[list[int]] | None:
    """The groups of a partition: sets of nodes between which no link is cut; None if they are not known."""
    nodes = sorted({node for pair in hit.links for node in pair if node > 0} | {*hit.nodes})
    cut = {*hit.links}
    if not nodes:
        return None
    groups: list[list[int]] = []
    for node in nodes:
        group = [node]
        for other in nodes:
            if other != node and all((one, other) not in cut for one in group):
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
