"""Passes over the times: an earlier end, less waiting, and round numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from qcore.sim.shrinking.candidate_values import Values, maps_within, number_at, part, timeline_of
from qcore.sim.shrinking.edits import Case, Edit

#: Round numbers of milliseconds, the roundest first.
_GRIDS: Final = (1000.0, 500.0, 100.0, 50.0, 10.0, 1.0)
#: The times of an item.
_TIMES: Final = ("at_ms", "after_ms", "for_ms", "every_ms", "until_ms")
_DEFAULT_UNTIL: Final = 10_000.0
#: An end that is not earlier by this share is not worth a run.
_WORTH_A_RUN: Final = 0.97
#: A run as long as this may need only its last part; and the time before the first step of that, for an election, ms.
_LONG_MS: Final = 3000.0
_BEFORE_STEPS_MS: Final = 600.0
#: Seeds that are tried, too.
_OTHER_SEEDS: Final = (1, 2, 3, 4)
#: The settings of the workload that are moments of the run.
_MOMENTS: Final = ("start_ms", "stop_ms")


def end_earlier(case: Case) -> list[Edit]:
    """End the run soon after the failure, or earlier."""
    until = number_at(case.values, "until_ms", _DEFAULT_UNTIL)
    ends: list[float] = []
    if case.is_violation and case.outcome.failed_us is not None:
        failed = case.outcome.failed_us / 1000
        ends += [math.floor(failed / grid + 1) * grid for grid in reversed(_GRIDS)]
    least = 1.0 if case.is_violation else _judged_until(case.values)
    ends += [round(until * share) for share in (0.25, 0.5, 0.75, 0.9)]
    round_ends = [math.floor((until - 1) / grid) * grid for grid in _GRIDS]
    ends += [end for end in round_ends if least <= end <= until * _WORTH_A_RUN]
    return [
        Edit(f"the time after {end:g} ms", partial(_end_at, end=end), group="end")
        for end in dict.fromkeys(ends)
        if least <= end < until
    ]


def end_at_failure(case: Case) -> list[Edit]:
    """End the run right after the failure."""
    return [edit for edit in end_earlier(case)[:2] if case.is_violation and case.outcome.failed_us]


def only_last_part(case: Case) -> list[Edit]:
    """Only the steps of the last part of a long run, which then happen soon after its begin; with other seeds too."""
    until = number_at(case.values, "until_ms", _DEFAULT_UNTIL)
    if not case.is_violation or until < _LONG_MS:
        return []
    edits: list[Edit] = []
    for share in (0.1, 0.2, 0.4):
        begin = round(until * (1 - share))
        if begin > _BEFORE_STEPS_MS:
            change = partial(_only_from, begin=float(begin), by_ms=begin - _BEFORE_STEPS_MS)
            edits.append(
                Edit(f"all before {begin} ms", change, _OTHER_SEEDS[:2], group="last part")
            )
    return edits


def end_much_earlier(case: Case) -> list[Edit]:
    """End the run after a small part of it, with other seeds too: a fault that many runs find needs no long run."""
    if not case.is_violation:
        return []
    until = number_at(case.values, "until_ms", _DEFAULT_UNTIL)
    return [
        Edit(f"the time after {end:g} ms", partial(_end_at, end=end), _OTHER_SEEDS, group="end")
        for end in (round(until * share) for share in (0.1, 0.2, 0.35, 0.5))
        if end >= 1
    ]


def start_earlier(case: Case) -> list[Edit]:
    """Remove the time in which nothing happens: before the first step, and between two steps."""
    moments = sorted({number_at(item, "at_ms") for item in case.items if "at_ms" in item})
    edits: list[Edit] = []
    for before, after in zip([0.0, *moments], moments, strict=False):
        gap = after - before
        for grid in (0.0, 10.0, 50.0, 100.0, 200.0):
            if gap > grid * 2 and gap - grid >= 20:
                text = f"{gap - grid:g} ms before the step at {after:g} ms"
                edits.append(Edit(text, partial(_sooner, from_ms=after, by_ms=gap - grid)))
    return edits


def round_times(case: Case) -> list[Edit]:
    """Round numbers in place of drawn times."""
    edits: list[Edit] = []
    for number, item in enumerate(case.items):
        for key in _TIMES:
            value = item.get(key)
            if isinstance(value, int | float):
                change = partial(_round_in_item, number=number, key=key)
                edits += _rounded(value, f"{key} {value:g}", change)
    for key in _MOMENTS:
        value = part(case.values, "workload").get(key)
        if isinstance(value, int | float):
            edits += _rounded(value, f"{key} {value:g}", partial(_set_moment, key=key))
    return edits


def _judged_until(values: Values) -> float:
    """Until when the run must go on, so that its expectations are judged as before."""
    waits = [
        number
        for inner in maps_within(part(values, "expect"))
        for key, number in inner.items()
        if key.endswith("_ms") and isinstance(number, int | float)
    ]
    ends = [number_at(item, "at_ms") + number_at(item, "for_ms") for item in timeline_of(values)]
    return max(ends, default=0.0) + max([1000.0, *waits]) + 1000.0


def _end_at(values: Values, end: float) -> bool:
    """End the run, and leave out what would come later."""
    values["until_ms"] = end
    timeline = timeline_of(values)
    values["timeline"] = [item for item in timeline if number_at(item, "at_ms") < end]
    workload = values.get("workload")
    if isinstance(workload, dict):
        for key in _MOMENTS:
            if number_at(workload, key) > end:
                workload[key] = end
    return True


def _only_from(values: Values, begin: float, by_ms: float) -> bool:
    """Leave out the steps before a moment, and let everything after it happen sooner."""
    timeline = timeline_of(values)
    values["timeline"] = [
        item for item in timeline if "at_ms" not in item or number_at(item, "at_ms") >= begin
    ]
    return _sooner(values, begin, by_ms)


def _sooner(values: Values, from_ms: float, by_ms: float) -> bool:
    """Let everything from one moment on happen sooner."""

    def moved(value: float) -> float:
        return round(value - by_ms, 3) if value >= from_ms else value

    for item in timeline_of(values):
        for key in ("at_ms", "until_ms"):
            if key in item:
                item[key] = moved(number_at(item, key))
    values["until_ms"] = moved(number_at(values, "until_ms", _DEFAULT_UNTIL))
    workload = values.get("workload")
    if isinstance(workload, dict):
        for key in _MOMENTS:
            if key in workload:
                workload[key] = moved(number_at(workload, key))
    return True


def _rounded(value: float, text: str, change: Callable[..., bool]) -> Iterator[Edit]:
    """Edits that replace a time by a rounder one."""
    for grid in _GRIDS:
        for new in (round(value / grid) * grid, math.floor(value / grid) * grid):
            if new and _roundness(new) < _roundness(value):
                yield Edit(f"{text} rounded to {new:g}", partial(change, old=value, new=new))


def _roundness(value: float) -> tuple[int, float]:
    """How many digits a number needs; smaller is rounder."""
    text = f"{value:.3f}".rstrip("0").rstrip(".")
    return len(text.rstrip("0")), len(text)


def _round_in_item(values: Values, number: int, key: str, old: float, new: float) -> bool:
    timeline = timeline_of(values)
    if number >= len(timeline) or timeline[number].get(key) != old:
        return False
    timeline[number] = {**timeline[number], key: new}
    return True


def _set_moment(values: Values, key: str, old: float, new: float) -> bool:
    workload = part(values, "workload")
    if workload.get(key) != old:
        return False
    workload[key] = new
    return True
