"""Passes that move what is left when they remove a step: with other times, a run may need fewer steps.

Many a step only keeps nodes apart while others act. Without it the run fails, too, if the others act in quick
succession. Which times these are depends on the latencies, so the pass draws them.
"""

from __future__ import annotations

import copy
import json
import random
from functools import partial
from typing import Final

from qcore.sim.shrinking.candidate_values import Values, actions_of, number_at, part
from qcore.sim.shrinking.edits import Case, Edit
from qcore.sim.shrinking.passes.step_passes import removable, step_name

#: Fewer steps than these need no search. Of more, other passes remove them more quickly.
_FEWEST: Final = 3
_MOST: Final = 24
#: Of more steps than these, a draw removes up to so many others, too.
_FEW: Final = 8
_ALSO_DROPPED: Final = (0, 0, 1, 1, 2)
#: The most draws of one pass, and how many messages they may cost together.
_MOST_DRAWS: Final = 240
_DRAWS_FOR_STEP: Final = 30
_MOST_MESSAGES: Final = 60_000
#: How many times a draw changes, and what a time between two steps becomes, in milliseconds.
_CHANGES: Final = (1, 1, 2, 2, 3)
_GAPS_MS: Final = (0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30)
_FACTORS: Final = (0.5, 1.5, 2.0)
#: Faults that keep messages from nodes; how many draws keep few of them, and how many a draw keeps.
_LINK_FAULTS: Final = frozenset(
    {"hold", "release", "drop", "cut", "mute", "deaf", "isolate", "partition", "heal"}
)
_DRAWS_OF_FAULTS: Final = 400
_NUMBERS_OF_FAULTS: Final = (0, 1, 1, 1, 1, 2)
#: In these draws every message takes equally long, ms, and the gaps between steps are multiples of half of that.
_LATENCY_MS: Final = 4
_HALVES: Final = (2, 3, 4, 5, 6, 8, 10, 12)
#: The time that the run has left after its last step, ms.
_TAIL_MS: Final = 60.0
_SEEDS: Final = 9
#: By when a timer has elected a first leader, with the default timeouts, ms; and how many seeds are tried.
_FIRST_ELECTION_MS: Final = 400.0
_SEEDS_FOR_TIMER: Final = 40


def drop_and_move(case: Case, again: int = 0) -> list[Edit]:
    """Remove a step, and let a few of the others happen at drawn times.

    Args:
        case: the run.
        again: the number of earlier searches of this run; each draws others.
    """
    items = removable(case)
    size = case.outcome.size
    if not case.is_violation or size is None or not _FEWEST < len(items) <= _MOST:
        return []
    draws = min(_MOST_DRAWS, _DRAWS_FOR_STEP * len(items), _MOST_MESSAGES // max(1, size.messages))
    rng = random.Random(json.dumps(case.values) + (f" {again}" if again else ""))
    edits: list[Edit] = []
    for number in range(draws):
        dropped = [items[-1 - number % len(items)]]
        if len(items) > _FEW:
            dropped += rng.sample(items, rng.choice(_ALSO_DROPPED))
        kept = [item for item in case.items if not any(item is one for one in dropped)]
        timeline = _drawn(kept, rng)
        # Where every message takes equally long, few orders of events are possible.
        change = partial(_replace, timeline=timeline, any_latency=rng.random() < 0.5)
        steps = ", ".join(step_name(one) for one in dropped)
        text = f"{steps}, with other times of other steps"
        edits.append(Edit(text, change, only_seed=rng.randint(1, _SEEDS), group="moved"))
    return edits


def keep_few_link_faults(case: Case, again: int) -> list[Edit]:
    """Keep at most two of the faults of links, and draw all times.

    Many faults that hold or lose single messages only bring about one order of events. Where all messages take
    equally long, one of them and the right times often do the same.

    Args:
        case: the run.
        again: the number of earlier searches of this run; each draws others.
    """
    places = [place for place, item in enumerate(case.items) if not _LINK_FAULTS.isdisjoint(item)]
    if not case.is_violation or not places or any("when" in item for item in case.items):
        return []
    rng = random.Random(f"{json.dumps(case.values)} {again}")
    edits: list[Edit] = []
    for _ in range(_DRAWS_OF_FAULTS):
        number = min(rng.choice(_NUMBERS_OF_FAULTS), len(places) - 1)
        dropped = {*places} - {*rng.sample(places, number)}
        timeline: list[Values] = []
        at_ms = 0.0
        for place, item in enumerate(case.items):
            if place not in dropped:
                timeline.append({**item, "at_ms": at_ms})
                at_ms += rng.choice(_HALVES) * _LATENCY_MS / 2
        change = partial(_replace_and_fix_latency, timeline=timeline)
        text = f"{len(dropped)} faults of links, with other times of other steps"
        edits.append(Edit(text, change, group="moved"))
    return edits


def _replace_and_fix_latency(values: Values, timeline: list[Values]) -> bool:
    values["network"] = {**part(values, "network"), "latency_ms": _LATENCY_MS}
    return _replace(values, timeline, any_latency=False)


def drop_first_campaign(case: Case) -> list[Edit]:
    """Let a timer elect the first leader, and begin later."""
    first = case.items[0] if case.items else {}
    if [key for key, _ in actions_of(first)] != ["campaign"] or "when" in first:
        return []
    edits: list[Edit] = []
    for seed in range(1, _SEEDS_FOR_TIMER + 1):
        timeline = [copy.copy(item) for item in case.items[1:]]
        for item in timeline:
            for key in ("at_ms", "until_ms"):
                if key in item:
                    item[key] = round(number_at(item, key) + _FIRST_ELECTION_MS, 3)
        change = partial(_replace, timeline=timeline, any_latency=seed % 2 == 0)
        edits.append(Edit("the first campaign", change, only_seed=seed, group="moved"))
    return edits


def _drawn(items: list[Values], rng: random.Random) -> list[Values]:
    """The items with some of their times drawn."""
    chosen = {*rng.sample(range(len(items)), min(len(items), rng.choice(_CHANGES)))}
    moved, before = 0.0, 0.0
    drawn: list[Values] = []
    for number, given in enumerate(items):
        item = copy.copy(given)
        drawn.append(item)
        if "at_ms" not in item or "when" in item:
            continue
        at = number_at(item, "at_ms")
        moved += rng.choice(_GAPS_MS) if number in chosen else at - before
        before = at
        item["at_ms"] = round(moved, 3)
        if "until_ms" in item:
            item["until_ms"] = round(moved + number_at(item, "until_ms") - at, 3)
        if "for_ms" in item and number in chosen:
            item["for_ms"] = max(1.0, round(number_at(item, "for_ms") * rng.choice(_FACTORS)))
    return drawn


def _replace(values: Values, timeline: list[Values], *, any_latency: bool) -> bool:
    values["timeline"] = copy.deepcopy(timeline)
    if any_latency:
        part(values, "network").pop("latency_ms", None)
    last = max((number_at(item, "at_ms") for item in timeline), default=0.0)
    values["until_ms"] = round(last + _TAIL_MS)
    return True
