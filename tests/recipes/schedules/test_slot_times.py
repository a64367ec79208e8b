"""When slots are due."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.errors import ConfigError
from qcore.recipes.schedules.slot_times import RegularSlots, ScheduledSlots, slot_times


def test_a_slot_is_at_each_multiple_of_the_span() -> None:
    slots = slot_times(60, None)
    assert slots.next_due(0) == 60_000
    assert slots.next_due(59_999) == 60_000
    assert slots.next_due(60_000) == 120_000
    assert slots.due(60_000, 120_000, 5) == [120_000]
    assert slots.due(60_000, 119_999, 5) == []
    assert slots.due(0, 600_000, 2) == [540_000, 600_000]


@given(
    every_s=st.integers(1, 5_000),
    after=st.integers(0, 10**8),
    span=st.integers(0, 10**7),
    most=st.integers(1, 4),
)
def test_a_schedule_gives_the_same_slots(every_s: int, after: int, span: int, most: int) -> None:
    regular = RegularSlots(1000 * every_s)
    asked: list[float] = []

    def schedule(time_s: float) -> float:
        asked.append(time_s)
        return (time_s // every_s + 1) * every_s

    scheduled = ScheduledSlots(schedule)
    assert scheduled.next_due(after) == regular.next_due(after)
    until = after + span
    assert scheduled.due(after, until, most) == regular.due(after, until, most)


def test_years_without_a_worker_ask_for_few_times() -> None:
    asked: list[float] = []

    def schedule(time_s: float) -> float:
        asked.append(time_s)
        return (time_s // 60 + 1) * 60

    year_ms = 365 * 86_400_000
    assert ScheduledSlots(schedule).due(0, year_ms, 1) == [year_ms]
    assert len(asked) < 20


@pytest.mark.parametrize("time_s", [0.0, -1.0, math.nan, math.inf])
def test_a_schedule_must_go_on(time_s: float) -> None:
    with pytest.raises(ConfigError, match="it must be a later time"):
        ScheduledSlots(lambda _: time_s).due(0, 60_000, 1)


def test_either_a_span_or_a_schedule() -> None:
    for every_s, schedule in ((None, None), (1.0, lambda time_s: time_s + 1)):
        with pytest.raises(ConfigError, match="give every_s"):
            slot_times(every_s, schedule)
    for wrong in (0, -1, math.nan, math.inf):
        with pytest.raises(ConfigError, match="every_s"):
            slot_times(wrong, None)
