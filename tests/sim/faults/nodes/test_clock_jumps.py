"""Clock jumps: wall clocks jump, and the monotonic clocks of timers do not."""

from __future__ import annotations

from itertools import pairwise

import pytest

from qcore.errors import ConfigError
from qcore.sim import World
from qcore.trace import TraceWriter, parse_trace
from tests.sim.support.scenario_texts import scenario

HOUR = 3_600_000
_HOUR_US = HOUR * 1000


def offsets(timeline: str, *at_ms: int, node: int = 3) -> list[int]:
    """How far the wall clock of a node is ahead at these times, milliseconds."""
    world = World(scenario(timeline, until_ms=4000), 1, TraceWriter())
    found: list[int] = []
    for time_ms in at_ms:
        world.engine.at(
            time_ms * 1000, lambda: found.append(world.nodes[node].clock.wall_offset_us // 1000)
        )
    world.run()
    return found


def test_jumps_add_up_and_end_one_by_one() -> None:
    timeline = (
        f"[{{at_ms: 1000, clock_jump: {{nodes: 3, by_ms: {HOUR}}}}},"
        " {at_ms: 1500, clock_jump: {nodes: 3, by_ms: -500.0}, for_ms: 1000},"
        " {at_ms: 2000, clock_jump: {nodes: 3, by_ms: 7}, every_ms: 100, times: 3}]"
    )
    assert offsets(timeline, 900, 1100, 1600, 2050, 2350, 2600) == [
        0, HOUR, HOUR - 500, HOUR - 493, HOUR - 479, HOUR + 21,
    ]  # fmt: skip


def test_a_clock_that_is_set_forgets_earlier_jumps() -> None:
    timeline = (
        "[{at_ms: 1000, clock_jump: {nodes: 3, by_ms: 50}},"
        " {at_ms: 1500, clock: {nodes: 3, offset_ms: 10}, for_ms: 500},"
        " {at_ms: 1700, clock_jump: {nodes: 3, by_ms: 1}}]"
    )
    assert offsets(timeline, 1600, 1800, 2100) == [10, 11, 51]


def test_random_jumps_differ_and_stay_within_their_bounds() -> None:
    timeline = (
        "[{at_ms: 1000, clock_jump: {nodes: all, by_ms: [-900, 900]}, every_ms: 100, times: 10}]"
    )
    times = [1050 + 100 * number for number in range(10)]
    found = [0, *offsets(timeline, *times)]
    jumps = [after - before for before, after in pairwise(found)]
    assert len(set(jumps)) > 5
    assert all(-901 <= jump <= 901 for jump in jumps)
    assert found[1:] != offsets(timeline, *times, node=2)


def deadlines(timeline: str) -> list[tuple[int, str, int]]:
    """Every role and every message of a run with its time: what timers decide."""
    writer = TraceWriter(keep=True)
    World(scenario(timeline, cluster="{nodes: 3, lease_reads: true}"), 1, writer).run()
    return [
        (r.t_us, r.kind, r.node)
        for r in parse_trace(writer.lines())
        if r.kind in ("role", "send", "recv", "vote")
    ]


@pytest.mark.parametrize("by_ms", [str(HOUR), str(-HOUR), f"[-{HOUR}, {HOUR}]"])
def test_a_wall_clock_that_jumps_moves_no_timer(by_ms: str) -> None:
    jumping = (
        f"[{{at_ms: 100, clock_jump: {{nodes: all, by_ms: {by_ms}}}, every_ms: 90, times: 30}}]"
    )
    assert deadlines(jumping) == deadlines("[]")


def test_a_jump_acts_in_each_step_that_reads_the_clock() -> None:
    for timeline, acts in (
        ("[{at_ms: 1000, clock_jump: {nodes: 3, by_ms: 9}}]", True),
        ("[{at_ms: 500, crash: 3}, {at_ms: 1000, clock_jump: {nodes: 3, by_ms: 9}}]", False),
    ):
        world = World(scenario(timeline), 1, TraceWriter())
        world.run()
        assert (list(world.ledger)[-1].acted > 50) is acts


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("clock_jump: 3", "by_ms: is missing"),
        ("clock_jump: {nodes: 3, by_ms: 0}", "a jump by 0 is none"),
        ("clock_jump: {nodes: 3, by_ms: [5, 1]}", "the lower end comes first"),
        ("clock_jump: {nodes: 3, by_ms: far}", "is not a jump"),
    ],
)
def test_an_invalid_jump_is_rejected(action: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        scenario(f"[{{at_ms: 1, {action}}}]")
