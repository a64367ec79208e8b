"""Passes over the steps of a timeline: fewer of them, and each simpler."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import combinations, pairwise
from typing import Final

from qcore.sim.scenario.actions.registry import ACTIONS, REPAIRS
from qcore.sim.scenario.timeline import TIMING_KEYS
from qcore.sim.shrinking.candidate_values import (
    Values,
    actions_of,
    nodes_of,
    number_at,
)
from qcore.sim.shrinking.edits import Case, Edit, replaced_item, without_items
from qcore.sim.shrinking.shrink_search import ShrinkSearch

#: Pairs of items are tried in timelines of up to this many items.
_MOST_FOR_PAIRS: Final = 14
#: The keys of actions that end faults.
_REPAIRING: Final = frozenset(key for key, kind in ACTIONS.items() if kind in REPAIRS)
#: Simpler faults on the same nodes.
_WEAKER: Final = {
    "wipe": ("crash",),
    "power_loss": ("crash",),
    "crash_loop": ("crash",),
    "isolate": ("mute", "deaf"),
    "swizzle_clog": ("isolate",),
}
#: What ends the effect of a fault, and the faults that it ends.
_ENDED_BY: Final = {
    "restart": ("crash", "power_loss", "wipe", "crash_loop"),
    "resume": ("pause",),
    "heal": ("partition", "isolate", "cut", "deaf", "mute", "clog", "links"),
    "disk_recover": ("disk_stall", "disk_slow", "disk_error", "disk_full"),
    "release": ("hold",),
}
#: Faults of whole links in place of faults of single messages, and the ends that these name.
_OF_LINKS: Final = {"mute": {"from"}, "deaf": {"to"}, "cut": {"from", "to"}}
#: Keys without which an item has no time.
_KEPT: Final = ("at_ms", "after_ms", "when")
#: Keys of items that a run may need to be judged as before, if its cause is no violation.
_NEEDED_TO_RECOVER: Final = ("for_ms", "until_ms", "times")


def drop_steps(search: ShrinkSearch) -> bool:
    """Remove as many items as possible, large groups first (delta debugging).

    Source: Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002.
    """
    accepted = False
    size = len(removable(search.case))
    while size and not search.is_over:
        items = removable(search.case)
        groups = [items[start : start + size] for start in range(0, len(items), size)]
        # Later items first: what happens after the failure is never needed.
        # Without any step the run is so simple that it is worth more seeds.
        seeds = search.case.more_seeds if len(groups) == 1 else ()
        found = search.attempt([_without(group, seeds) for group in reversed(groups)])
        accepted = accepted or found
        size = min(size, len(removable(search.case)))
        if size > 1:
            size = (size + 1) // 2
        elif not found:
            break
    return accepted


def drop_single_steps(case: Case) -> list[Edit]:
    """Remove a step, with other seeds too."""
    return [_without([item], case.more_seeds[:4]) for item in reversed(removable(case))]


def drop_pairs(case: Case) -> list[Edit]:
    """Remove two items that need each other, such as a crash and a restart."""
    items = removable(case)
    if len(items) > _MOST_FOR_PAIRS:
        return []
    return [_without(list(pair), ()) for pair in combinations(items, 2)]


def join_steps(case: Case) -> list[Edit]:
    """One step with a duration in place of a fault and its repair."""
    edits: list[Edit] = []
    for number, item in enumerate(case.items):
        for later in case.items[number + 1 :]:
            joined = _joined(item, later)
            if joined is not None:
                change = partial(_join, first=item, second=later, joined=joined)
                edits.append(Edit(f"{step_name(later)}, in place of a duration", change))
    return edits


def merge_moments(case: Case) -> list[Edit]:
    """One item for two neighbours that act at the same moment, or might."""
    edits: list[Edit] = []
    for first, second in pairwise(case.items):
        for at_ms in dict.fromkeys((first.get("at_ms"), second.get("at_ms"))):
            merged = _merged(first, second, at_ms)
            if merged is not None:
                change = partial(_join, first=first, second=second, joined=merged)
                edits.append(Edit(f"{step_name(second)}, as a separate item", change))
    return edits


def simplify_steps(case: Case) -> list[Edit]:
    """Remove what the steps give beyond their defaults, and weaken faults."""
    return [
        Edit(
            f"{step_name(item)}: {text}",
            partial(replaced_item, old=item, new=simpler),
            case.more_seeds[:3],
        )
        for item in case.items
        for text, simpler in _simpler(item, is_violation=case.is_violation)
    ] + [
        Edit(
            f"{step_name(item)}: node {node} in place of a drawn one",
            partial(replaced_item, old=item, new=_with_node(item, node)),
            group=str(item),
        )
        for item in case.items
        if _with_node(item, 1) != item
        for node in nodes_of(case.values)
    ]


def _joined(item: Values, later: Values) -> Values | None:
    """A fault that ends when a later step would end it; None if that step does not."""
    faults, repairs = actions_of(item), actions_of(later)
    if faults == repairs and [key for key, _ in faults] == ["drop"]:
        return _twice(item, later)
    if len(faults) != 1 or len(repairs) != 1 or "for_ms" in item or "when" in later:
        return None
    fault, repair = faults[0][0], repairs[0][0]
    if fault not in _ENDED_BY.get(repair, ()) or "at_ms" not in item:
        return None
    lasts = round(number_at(later, "at_ms") - number_at(item, "at_ms"), 3)
    return {"at_ms": item["at_ms"], "for_ms": lasts, **item} if lasts > 0 else None


def _twice(item: Values, later: Values) -> Values | None:
    """One item that loses what two equal ones lose."""
    drop = item.get("drop")
    if not isinstance(drop, dict) or item.get("at_ms") != later.get("at_ms"):
        return None
    times = drop.get("times", 1)
    return {**item, "drop": {**drop, "times": 2 * times}} if isinstance(times, int) else None


def _merged(first: Values, second: Values, at_ms: object) -> Values | None:
    """One item with the actions of two that have nothing but a time and different actions."""
    times = {"at_ms"}
    if len(first) > 2 or len(second) > 2 or "do" in first or "do" in second:
        return None  # more than two actions in an item are hard to read
    if {*first} & {*second} != times or {*first, *second} & {*TIMING_KEYS} != times:
        return None
    return {**first, **second, "at_ms": at_ms}


def _join(values: Values, first: Values, second: Values, joined: Values) -> bool:
    return without_items(values, [second]) and replaced_item(values, first, joined)


def removable(case: Case) -> list[Values]:
    """The items that may go. What repairs the cluster stays if an expectation fails."""
    if case.is_violation:
        return list(case.items)
    return [
        item for item in case.items if not _REPAIRING.issuperset(key for key, _ in actions_of(item))
    ]


def _without(items: list[Values], seeds: tuple[int, ...]) -> Edit:
    text = step_name(items[0]) if len(items) == 1 else f"{len(items)} steps"
    return Edit(text, partial(without_items, items=items), seeds)


def step_name(item: Values) -> str:
    """The actions of an item and its time, for the report."""
    kinds = "+".join(key for key, _ in actions_of(item))
    at = item.get("at_ms")
    return f"{kinds} at {at:g} ms" if isinstance(at, int | float) else kinds


def _simpler(item: Values, *, is_violation: bool) -> Iterator[tuple[str, Values]]:
    for key in [key for key in item if key in TIMING_KEYS and key not in _KEPT]:
        if is_violation or key not in _NEEDED_TO_RECOVER:
            yield f"without {key}", _without_key(item, key)
    when = item.get("when")
    if isinstance(when, dict):
        for key in when:
            if key != "event":
                yield f"without when.{key}", {**item, "when": _without_key(when, key)}
    for key, value in item.items():
        if key in ACTIONS:
            for text, simpler in _simpler_action(key, value):
                yield text, {**_without_key(item, key), **simpler}


def _simpler_action(key: str, value: object) -> Iterator[tuple[str, Values]]:
    nodes = value.get("nodes") if isinstance(value, dict) else value
    for weaker in _WEAKER.get(key, ()):
        if nodes is not None:
            yield f"{weaker} instead of {key}", {weaker: nodes}
    if key in ("hold", "drop") and isinstance(value, dict):
        for fault, ends in _OF_LINKS.items():
            if {"from", "to"} & value.keys() == ends:
                named = {end: value[end] for end in ends}
                whole: object = named if len(ends) == 2 else next(iter(named.values()))
                yield f"{fault} instead of {key}", {fault: whole}
    if isinstance(value, dict):
        for inner in value:
            yield f"without {inner}", {key: _without_key(value, inner)}
            for new in _smaller(value[inner]):
                fewer: Values = {**value, inner: new}
                yield f"{inner} {new!r}", {key: fewer}
    for new in _smaller(value):
        yield f"only {new!r}", {key: new}


def _with_node(item: Values, node: int) -> Values:
    """The item with a node in place of a drawn one."""

    def named(value: object) -> object:
        if value == "random":
            return node
        if isinstance(value, dict):
            return {key: named(inner) if key == "nodes" else inner for key, inner in value.items()}
        return value

    return {key: named(value) if key in ACTIONS else value for key, value in item.items()}


def _smaller(value: object) -> Iterator[object]:
    """A list with one of its values less; a smaller number of times."""
    if isinstance(value, list) and len(value) > 1:
        for place in range(len(value)):
            yield value[:place] + value[place + 1 :]


def _without_key(values: Values, key: str) -> Values:
    return {name: value for name, value in values.items() if name != key}
