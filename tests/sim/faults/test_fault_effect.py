"""A fault has acted if the run differed because of it: what counts for each kind of fault, and what does not."""

from __future__ import annotations

import pytest

from qcore.sim import World
from qcore.trace import TraceWriter
from tests.sim.support.scenario_texts import run, scenario

QUIET = "{clients: 0}"


def acted(timeline: str, seed: int = 1, **parts: str) -> list[int]:
    """How often each declared fault acted."""
    until_ms = int(parts.pop("until_ms", "3000"))
    world = World(scenario(timeline, until_ms=until_ms, **parts), seed, TraceWriter())
    world.run()
    return [fault.acted for fault in world.ledger]


@pytest.mark.parametrize(
    ("change", "down"),
    [
        # No message uses the changed link before the end.
        ("{at_ms: 2999.999, latency_ms: 40}", "[]"),
        ("{at_ms: 2999.999, links: {from: 1, to: 2, bandwidth_bytes_per_s: 1000}}", "[]"),
        # No process would have received the messages anyway.
        ("{at_ms: 1000, isolate: 3}", "[3]"),
        ("{at_ms: 1000, cut: {from: rest, to: 3}}", "[3]"),
        ("{at_ms: 1000, deaf: 3}", "[3]"),
        ("{at_ms: 1000, loss: {rate: 1.0, between: [3, rest]}}", "[3]"),
        ("{at_ms: 1000, duplicate: {rate: 1.0, between: [3, rest]}}", "[3]"),
        ("{at_ms: 1000, links: {between: [3, rest], latency_ms: 40}}", "[3]"),
        ("{at_ms: 1000, corrupt: {rate: 1.0, between: [3, rest]}}", "[3]"),
        ("{at_ms: 1000, clog: [3, rest]}", "[3]"),
        ("{at_ms: 1000, swizzle_clog: {nodes: 3}}", "[3]"),
        ("{at_ms: 1000, partition: {pendants: 3, hub: 1}}", "[3]"),
        # The links stay as they were.
        ("{at_ms: 1000, latency_ms: {uniform: [1, 5]}}", "[]"),
        # An extra delay of reordered messages, but no message is reordered.
        ("{at_ms: 1000, links: {reorder_extra_ms: 50}}", "[]"),
        # Clocks that no process reads, or that stay as they were.
        ("{at_ms: 1000, clock: {nodes: 3, offset_ms: 1000}}", "[3]"),
        ("{at_ms: 1000, clock: {nodes: 3, drift_ppm: 1000}}", "[3]"),
        ("{at_ms: 1000, clock: {nodes: 2, offset_ms: 0, drift_ppm: 0}}", "[]"),
        ("{at_ms: 1000, clock_jump: {nodes: 3, by_ms: 1000}}", "[3]"),
        # Disks that sync nothing.
        ("{at_ms: 1000, disk_stall: 3}", "[3]"),
        ("{at_ms: 1000, disk_slow: {nodes: 3, latency_ms: 5}}", "[3]"),
        ("{at_ms: 1000, disk_slow: {nodes: 2, latency_ms: 0}}", "[]"),
        ("{at_ms: 1000, disk_error: {nodes: 3, times: all}}", "[3]"),
        ("{at_ms: 1000, disk_error: {nodes: 2, on: read}}", "[]"),
        ("{at_ms: 1000, disk_full: 3}", "[3]"),
        ("{at_ms: 1000, disk_full: {nodes: 2, free_bytes: 1000000}}", "[]"),
        ("{at_ms: 1000, bit_rot: 2}", "[]"),
        # A processor that no process uses, or that takes no time.
        ("{at_ms: 1000, slow_cpu: {nodes: 3, step_ms: 5}}", "[3]"),
        ("{at_ms: 1000, slow_cpu: {nodes: 2, step_ms: 0}}", "[]"),
        # Processes that are stopped already.
        ("{at_ms: 1000, crash_loop: {nodes: 3, times: 2}}", "[3]"),
        ("{at_ms: 1000, crash: 3}", "[3]"),
        ("{at_ms: 1000, power_loss: 3}", "[3]"),
        ("{at_ms: 1000, pause: 3}", "[3]"),
        # A leader does not campaign. A stopped process neither campaigns nor takes a snapshot.
        ("{at_ms: 1000, campaign: leader}", "[]"),
        ("{at_ms: 1000, campaign: 3}", "[3]"),
        ("{at_ms: 1000, snapshot: 3}", "[3]"),
        # Messages that would not have arrived. A disk that is blank already.
        ("{at_ms: 1000, drop: {message: AppendEntries, to: 3}}", "[3]"),
        ("{at_ms: 1000, hold: {message: AppendEntries, to: 3, times: all}, for_ms: 500}", "[3]"),
        ("{at_ms: 500, do: [{loss: 1.0}, {drop: {message: PreVote, times: all}}]}", "[]"),
        ("{at_ms: 1000, wipe: 3}, {at_ms: 1200, wipe: 3}", "[]"),
    ],
)
def test_a_fault_that_makes_no_difference_has_not_acted(change: str, down: str) -> None:
    timeline = f"[{{at_ms: 500, power_loss: {down if down != '[]' else 4}}}, {change}]"
    if down == "[]":
        timeline = f"[{change}]"
    assert acted(timeline)[-1] == 0


@pytest.mark.parametrize(
    "change",
    [
        "{at_ms: 1000, latency_ms: 40}",
        "{at_ms: 1000, links: {from: 1, to: 2, latency_ms: 40}}",
        "{at_ms: 1000, links: {bandwidth_bytes_per_s: 100000}}",
        "{at_ms: 1000, do: [{reorder: 0.2}, {links: {reorder_extra_ms: 50}}]}",
        "{at_ms: 1000, isolate: 3}",
        "{at_ms: 1000, loss: 0.5}",
        "{at_ms: 1000, duplicate: 0.5}",
        "{at_ms: 1000, corrupt: 0.5}",
        "{at_ms: 1000, clog: [1, 2]}",
        "{at_ms: 1000, swizzle_clog: all}",
        "{at_ms: 1000, links: {bandwidth_bytes_per_s: 9000, queue_length: 1}}",
        "{at_ms: 1000, clock: {nodes: 3, offset_ms: 1000}}",
        "{at_ms: 1000, clock: {nodes: 3, drift_ppm: 1000}}",
        "{at_ms: 1000, disk_stall: 3}",
        "{at_ms: 1000, disk_slow: {nodes: 3, latency_ms: 5}}",
        "{at_ms: 1000, disk_error: 3}",
        "{at_ms: 1000, disk_full: 3}",
        "{at_ms: 1000, clock_jump: {nodes: 3, by_ms: 1000}}",
        "{at_ms: 1000, slow_cpu: {nodes: 3, step_ms: 5}}",
        "{at_ms: 1000, crash_loop: {nodes: 3, times: 2}}",
        "{at_ms: 1000, crash: 3}, {at_ms: 1100, restart: 3}, {at_ms: 1050, bit_rot: 3}",
        "{at_ms: 1000, crash: 3}",
        "{at_ms: 1000, pause: 3}",
        "{at_ms: 1000, campaign: follower_1}",
        "{at_ms: 1000, snapshot: 3}",
        "{at_ms: 1000, drop: AppendEntries}",
        "{at_ms: 1000, hold: AppendEntries}",
        "{at_ms: 1000, wipe: 3}",
        "{at_ms: 1000, crash: 3}, {at_ms: 1200, wipe: 3}",
    ],
)
def test_a_fault_that_makes_a_difference_has_acted(change: str) -> None:
    assert acted(f"[{change}]")[-1] > 0


@pytest.mark.pure_only("it observes the calls of a compiled method")
def test_messages_on_slowed_links_are_counted_one_by_one() -> None:
    world = World(
        scenario("[{at_ms: 1000, links: {from: 1, to: 2, latency_ms: 40}, for_ms: 500}]"),
        1,
        TraceWriter(),
    )
    sent = []
    send = world.network.send
    link = world.network.link(1, 2)

    def counting(on: object, payload: object, message_id: str) -> None:
        if on is link and 1_000_000 <= world.engine.now < 1_500_000:
            sent.append(message_id)
        send(on, payload, message_id)  # type: ignore[arg-type]  # a link, as in the original

    world.network.send = counting  # type: ignore[assignment, method-assign]  # observes the messages
    world.run()
    assert [fault.acted for fault in world.ledger] == [len(sent)]
    assert len(sent) > 5


def test_a_clock_set_on_a_stopped_node_acts_when_it_runs() -> None:
    late = (
        "[{at_ms: 500, crash: 3, for_ms: 1000}, {at_ms: 1000, clock: {nodes: 3, offset_ms: 9}%s}]"
    )
    assert acted(late % "")[1] > 0
    assert acted(late % ", for_ms: 400")[1] == 0, "the clock was correct again before the node ran"


def test_a_clock_replaced_before_its_node_runs_has_not_acted() -> None:
    faults = acted(
        "[{at_ms: 500, crash: 3, for_ms: 1000}, {at_ms: 1000, clock: {nodes: 3, offset_ms: 9}},"
        " {at_ms: 1100, clock: {nodes: 3, offset_ms: 20}}]"
    )
    assert faults[1] == 0
    assert faults[2] > 0


def test_a_declared_clock_acts_when_it_is_wrong() -> None:
    assert acted("[]", cluster="{nodes: 3, clocks: {2: {drift_ppm: 5}}}")[0] > 0
    assert acted("[]", cluster="{nodes: 3, clocks: {2: {}}}") == [0]


def test_an_action_on_a_paused_process_acts_when_it_resumes() -> None:
    timeline = "[{at_ms: 1000, pause: follower_1, for_ms: %d}, {at_ms: 1100, campaign: %s}]"
    assert acted(timeline % (500, "paused"))[1] == 1
    assert acted(timeline % (5000, "paused"))[1] == 0, "the process never resumes"


def test_a_join_acts_once_and_wipes_only_a_former_member() -> None:
    timeline = "[{at_ms: 500, wipe: 4, for_ms: 100}, {at_ms: 1000, join: 4}%s]"
    for again, joins, wiped in (("", [0, 1], 0), (", {at_ms: 1500, join: 4}", [0, 1, 1], 0)):
        result = run(timeline % again)
        assert list(result.metrics["faults"].values()) == joins  # type: ignore[union-attr]  # a JSON object
        assert result.metrics["disks_wiped"] == wiped
    member = "[{at_ms: 500, join: 4}, {at_ms: 600, add_learner: 4}, {at_ms: 1500, join: 4}]"
    assert run(member).metrics["disks_wiped"] == 1


def test_a_drop_waits_for_a_message_that_would_have_arrived() -> None:
    timeline = "[{at_ms: 500, crash: 3, for_ms: 500}, {at_ms: 600, drop: {message: %s, to: 3}}]"
    assert acted(timeline % "[PreVoteResponse, AppendEntries]") == [1, 1]


def test_a_cut_that_hides_a_refused_connection_has_acted() -> None:
    """A dead process refuses connections. Behind a cut, a client waits instead."""
    timeline = "[{at_ms: 500, %s: 3}, {at_ms: 600, isolate: {nodes: 3, clients: true}}, {at_ms: 700, read: 3}]"
    assert acted(timeline % "crash")[1] > 0
    assert acted(timeline % "power_loss")[1] == 0


def test_the_same_seed_counts_the_same_acts() -> None:
    timeline = (
        "[{at_ms: 900, latency_ms: 9, for_ms: 500}, {at_ms: 1000, crash: random, for_ms: 300},"
        " {at_ms: 1100, pause: random, for_ms: 100}]"
    )
    assert acted(timeline, 5) == acted(timeline, 5)
