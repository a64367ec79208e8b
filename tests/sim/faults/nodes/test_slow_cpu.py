"""A slow processor: each event takes time, and those behind it wait in order."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.core.events import Tick, WriteDurable
from qcore.errors import ConfigError
from qcore.replica.events import ReplicaEvent
from qcore.sim import World
from qcore.sim.faults.ledger import Fault, Firing
from qcore.sim.world.clock.engine import Engine
from qcore.sim.world.node.event_queue import EventQueue
from qcore.trace import TraceWriter
from tests.sim.support.scenario_texts import failures, run, scenario


def numbers(events: list[ReplicaEvent]) -> list[int]:
    return [event.write_id for event in events if isinstance(event, WriteDurable)]


def test_events_of_a_slow_process_take_one_step_each() -> None:
    engine = Engine()
    steps: list[tuple[int, list[int]]] = []
    queue = EventQueue(engine, lambda events: steps.append((engine.now, numbers(events))))
    fault = Fault("slow")
    firing = Firing(fault)
    queue.slow_down(firing, lambda: 100)
    assert queue.holds
    for number in (1, 2, 3, 4):
        queue.add(WriteDurable(number))
    engine.at(250, lambda: queue.end_slow_down(firing))
    engine.run(1000)
    assert steps == [(100, [1]), (200, [2]), (300, [3, 4])]
    assert fault.acted == 3
    assert not queue.holds


def test_the_timer_of_a_slow_process_waits_only_once() -> None:
    engine = Engine()
    steps: list[list[ReplicaEvent]] = []
    queue = EventQueue(engine, steps.append)
    queue.slow_down(Firing(Fault("slow")), lambda: 100)
    for _ in range(5):
        queue.add_tick()
    engine.run(1000)
    assert steps == [[Tick()]]
    queue.add_tick()
    engine.run(2000)
    assert len(steps) == 2


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["event", "pause", "resume", "slow", "fast", "clear", "time"]),
            st.integers(0, 300),
        ),
        max_size=40,
    )
)
def test_events_are_processed_once_and_in_order(actions: list[tuple[str, int]]) -> None:
    engine = Engine()
    processed: list[int] = []
    lost: list[int] = []
    queue = EventQueue(engine, lambda events: processed.extend(numbers(events)))
    firings: list[Firing] = []
    added = 0
    for action, number in actions:
        if action == "event":
            added += 1
            if queue.holds:
                assert queue.add(WriteDurable(added))
            else:
                processed.append(added)
        elif action == "pause":
            queue.pause()
        elif action == "resume" and queue.paused:
            queue.resume()
        elif action == "slow":
            firings.append(Firing(Fault("slow")))
            queue.slow_down(firings[-1], lambda number=number: number)  # type: ignore[misc]  # binds the value
        elif action == "fast" and firings:
            queue.end_slow_down(firings.pop())
        elif action == "clear":
            lost += [one for one in range(1, added + 1) if one not in processed]
            queue.clear()
        else:
            engine.run(engine.now + number)
    if queue.paused:
        queue.resume()
    while firings:
        queue.end_slow_down(firings.pop())
    engine.run(engine.now + 20_000)
    assert all(before < after for before, after in pairwise(processed))
    assert sorted({*processed, *lost}) == list(range(1, added + 1))
    assert not queue.holds


def test_a_slow_leader_starves_its_followers_of_heartbeats() -> None:
    result = run(
        "[{at_ms: 1000, slow_cpu: {nodes: leader, step_ms: 120}, for_ms: 1500}]",
        "{leader_changes: {at_least: 1}, writes_succeed_after_heal: true, converges: true,"
        " acknowledged_writes_present: true}",
        until_ms="5000",
    )
    assert result.ok, failures(result)


def test_a_slightly_slow_node_only_takes_longer() -> None:
    result = run(
        "[{at_ms: 1000, slow_cpu: {nodes: all, factor: 10}, for_ms: 1000}]",
        "{same_leader: true, converges: true, every_write_succeeds: true}",
        workload="{clients: 2, rate_per_s: 40, start_ms: 800}",
        until_ms="4000",
    )
    assert result.ok, failures(result)


def test_a_slow_cpu_that_takes_no_time_changes_no_message() -> None:
    """Without cost the queue must not reorder anything that the replica sees."""
    found = []
    for timeline in ("[]", "[{at_ms: 1000, slow_cpu: {nodes: all, step_ms: 0}}]"):
        world = World(scenario(timeline), 1, TraceWriter())
        world.run()
        found.append((world.services.monitor.highest_commit, world.services.monitor.leader))
        if timeline != "[]":
            assert [fault.acted for fault in world.ledger] == [0]
    assert found[0][1] == found[1][1]
    assert abs(found[0][0] - found[1][0]) <= 2


def test_a_slow_process_can_crash_and_be_paused() -> None:
    result = run(
        "[{at_ms: 1000, slow_cpu: {nodes: all, step_ms: [1, 4]}, for_ms: 2500},"
        " {at_ms: 1300, crash: leader, for_ms: 200}, {at_ms: 1900, pause: leader, for_ms: 400},"
        " {at_ms: 2600, do: [{campaign: follower_1}, {snapshot: leader}]}]",
        "{writes_succeed_after_heal: true, converges: true, acknowledged_writes_present: true}",
        until_ms="6000",
    )
    assert result.ok, failures(result)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("slow_cpu: 3", "give step_ms .* or factor"),
        ("slow_cpu: {nodes: 3, factor: 2.0, step_ms: 3}", "one of the two"),
        ("slow_cpu: {nodes: 3, factor: 0.5}", "0.5 is not at least 1"),
    ],
)
def test_an_invalid_slow_cpu_is_rejected(action: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        scenario(f"[{{at_ms: 1, {action}}}]")
