"""The end of one fault ends only its effect: the effects of other firings stay active."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from qcore.sim import World
from qcore.trace import TraceWriter
from tests.sim.support.scenario_texts import scenario


def watched(timeline: str, look: Callable[[World], object], *at_ms: int) -> list[object]:
    """The results of `look` at these times of a run."""
    world = World(scenario(timeline, until_ms=4000), 1, TraceWriter())
    found: list[object] = []
    for time_ms in at_ms:
        world.engine.at(time_ms * 1000, lambda: found.append(look(world)))
    world.run()
    return found


def acted(timeline: str) -> list[int]:
    world = World(scenario(timeline, until_ms=4000), 1, TraceWriter())
    world.run()
    return [fault.acted for fault in world.ledger]


def is_up(world: World) -> bool:
    return world.nodes[3].up


def is_paused(world: World) -> bool:
    return world.nodes[3].paused


def is_cut(world: World) -> bool:
    return bool(world.network.link(2, 3).cuts)


def loss(world: World) -> float:
    return world.network.link(2, 3).quality.loss


def clock(world: World) -> tuple[int, int]:
    shown = world.nodes[3].clock
    return shown.wall_offset_us, shown.drift_ppm


@pytest.mark.parametrize(
    ("timeline", "look", "seen"),
    [
        ("crash: 3, for_ms: 500} | power_loss: 3, for_ms: 1500}", is_up, "---++"),
        ("crash: 3, for_ms: 500} | wipe: 3, for_ms: 1500}", is_up, "---++"),
        ("crash: 3, for_ms: 1500} | crash: 3, for_ms: 100}", is_up, "---++"),
        ("crash: 3} | crash: 3, for_ms: 100}", is_up, "-----"),
        ("crash: 3, for_ms: 1500} | restart: 3}", is_up, "-++++"),
        ("restart: {nodes: 3, down_ms: 500}} | crash: 3, for_ms: 1000}", is_up, "--+++"),
        ("pause: 3, for_ms: 500} | pause: 3, for_ms: 1500}", is_paused, "+++--"),
        ("pause: 3, for_ms: 500} | resume: 3}", is_paused, "+----"),
        ("pause: 3, for_ms: 900, every_ms: 500, times: 3}", is_paused, "++++-"),
        ("isolate: 3, for_ms: 900, every_ms: 500, times: 3}", is_cut, "++++-"),
        ("isolate: 3, for_ms: 900, every_ms: 500, times: 3} | heal: all}", is_cut, "++++-"),
        ("isolate: 3, for_ms: 1900} | heal: all}", is_cut, "+----"),
    ],
)
def test_a_node_or_link_is_free_when_nothing_holds_it(
    timeline: str, look: Callable[[World], bool], seen: str
) -> None:
    first, _, second = timeline.partition(" | ")
    items = f"{{at_ms: 1000, {first}" + (f", {{at_ms: 1200, {second}" if second else "")
    found = watched(f"[{items}]", look, 1100, 1700, 2250, 2800, 3200)
    expected = [sign == "+" for sign in seen]
    assert found == expected


def test_a_fault_that_outlasts_another_has_acted() -> None:
    two = "[{at_ms: 1000, %s: 3, for_ms: 500}, {at_ms: 1200, %s: 3, for_ms: %d}]"
    assert acted(two % ("crash", "power_loss", 1500)) == [1, 1]
    assert acted(two % ("pause", "pause", 1500)) == [1, 1]
    assert acted(two % ("crash", "power_loss", 100)) == [1, 0], (
        "the first fault kept it down all the time"
    )
    assert acted(two % ("pause", "pause", 100)) == [1, 0]


def test_the_newest_active_link_change_applies() -> None:
    timeline = (
        "[{at_ms: 1000, loss: 0.5, for_ms: 1000}, {at_ms: 1500, loss: 0.9, for_ms: 1500},"
        " {at_ms: 1600, loss: 0.7, for_ms: 100}, {at_ms: 1600, latency_ms: 40}]"
    )
    assert watched(timeline, loss, 1100, 1550, 1650, 1750, 2100, 3100) == [
        0.5, 0.9, 0.7, 0.9, 0.9, 0.0,
    ]  # fmt: skip
    healed = "[{at_ms: 1000, loss: 0.5, for_ms: 2000}, {at_ms: 1500, heal: {nodes: 3}}]"
    assert watched(healed, loss, 1100, 1600) == [0.5, 0.0]


def test_the_active_clock_faults_set_the_clock() -> None:
    timeline = (
        "[{at_ms: 1000, clock: {nodes: 3, offset_ms: 10}, for_ms: 1000},"
        " {at_ms: 1500, clock: {nodes: 3, drift_ppm: 100, offset_ms: 50}},"
        " {at_ms: 2500, clock: {nodes: 3, drift_ppm: 7}, for_ms: 100}]"
    )
    assert watched(timeline, clock, 1100, 1600, 2100, 2550, 2700) == [
        (10_000, 0), (50_000, 100), (50_000, 100), (50_000, 7), (50_000, 100),
    ]  # fmt: skip


def test_a_stalled_disk_waits_for_the_end_of_every_stall() -> None:
    timeline = (
        "[{at_ms: 1000, disk_stall: 3, for_ms: 500}, {at_ms: 1200, disk_stall: 3, for_ms: 2000},"
        " {at_ms: 1300, disk_slow: {nodes: 3, latency_ms: 5}, for_ms: 100}]"
    )
    syncs = watched(timeline, lambda world: world.nodes[3].disk.syncs, 1190, 1600, 3190, 3900)
    assert syncs[0] == syncs[1] == syncs[2] < syncs[3]  # type: ignore[operator]  # numbers
    assert acted(timeline) == [1, 1, 0]
    recovered = timeline.replace("]", ", {at_ms: 1500, disk_recover: 3}]")
    before, after = watched(recovered, lambda world: world.nodes[3].disk.syncs, 1400, 1600)
    assert before < after  # type: ignore[operator]  # numbers
