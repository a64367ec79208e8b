"""Rules of the timeline: random choices, `until_ms`, which nodes can join, and which keys exist."""

from __future__ import annotations

import json
from random import Random
from typing import Literal

import pytest

from qcore.core.entry import DurableState
from qcore.errors import ConfigError
from qcore.machines.register import RegisterMachine
from qcore.sim import World, run_scenario
from qcore.trace import TraceRecord, TraceWriter, parse_trace
from tests.sim.support.scenario_texts import failures, run, scenario, seen


def trace(timeline: str, seed: int = 1, **parts: str) -> tuple[World, list[TraceRecord]]:
    writer = TraceWriter(keep=True)
    until_ms = int(parts.pop("until_ms", "3000"))
    world = World(scenario(timeline, until_ms=until_ms, **parts), seed, writer)
    world.run()
    return world, list(parse_trace(writer.lines()))


def acted(world: World) -> list[int]:
    return [fault.acted for fault in world.ledger]


# -- random choices -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "action",
    [
        "crash: random",
        "crash: {random: 2}",
        "power_loss: minority",
        "pause: random",
        "pause: {random: 1, of: followers}",
        "disk_stall: random",
        "disk_slow: {nodes: random, latency_ms: 9}",
        "clock: {nodes: random, offset_ms: 7}",
        "snapshot: random",
        "write: random",
        "read: random",
        "isolate: random",
        "deaf: random",
        "mute: random",
        "partition: [[minority], [rest]]",
        "cut: [random, rest]",
    ],
)
@pytest.mark.parametrize("seeds", [range(1, 4), pytest.param(range(4, 9), marks=pytest.mark.long)])
def test_random_picks_choose_nodes_on_which_the_action_acts(action: str, seeds: range) -> None:
    timeline = f"[{{at_ms: 900, power_loss: [1, 2]}}, {{at_ms: 1000, {action}}}]"
    for seed in seeds:
        world, _ = trace(
            timeline,
            seed,
            cluster="{nodes: 5}",
            workload="{clients: 5, rate_per_s: 100}",
            until_ms="2000",
        )
        assert acted(world)[1] > 0, seed


def test_a_random_pick_waits_until_a_node_qualifies() -> None:
    _, records = trace(
        "[{at_ms: 1000, crash: all, for_ms: 500}, {at_ms: 1200, crash: random}]", until_ms="2000"
    )
    downs = [r.t_us for r in records if r.kind == "down"]
    assert len(downs) == 4
    assert 1_500_000 <= downs[-1] <= 1_501_000


def test_random_picks_depend_on_the_seed() -> None:
    def picked(seed: int) -> list[int]:
        _, records = trace("[{at_ms: 1000, crash: {random: 2}}]", seed, cluster="{nodes: 5}")
        return [r.node for r in records if r.kind == "down"]

    picks = [picked(seed) for seed in range(1, 7)]
    assert picks == [picked(seed) for seed in range(1, 7)]
    assert len({tuple(nodes) for nodes in picks}) > 2


def test_partitions_use_stopped_nodes_when_too_few_run() -> None:
    world, _ = trace(
        "[{at_ms: 900, crash: [1, 2, 3]}, {at_ms: 1000, partition: [[majority], [minority]]}]",
        cluster="{nodes: 5}",
        until_ms="1100",
    )
    assert any(link.cuts for link in world.network.links())


def test_a_random_removal_picks_only_members() -> None:
    timeline = """
      - {at_ms: 500, join: [4, 5]}
      - {at_ms: 1000, remove: {nodes: {random: 1, of: followers}, outcome: ok}}
    """
    for seed in range(1, 9):
        world, _ = trace(timeline, seed)
        assert world.admin_actions.ops[0].removed[0] in (1, 2, 3)
        assert world.admin_actions.ops[0].outcome == "ok"


# -- until_ms -------------------------------------------------------------------------------------

NO_LEADER = "{at_ms: 500, partition: [[1], [2], [3]]}, {at_ms: 2500, heal: all}"


def test_a_fault_waits_for_a_leader_until_it_is_disarmed() -> None:
    for until, downs in (("", 1), (", until_ms: 2000", 0)):
        timeline = f"[{NO_LEADER}, {{at_ms: 1200, crash: leader{until}}}]"
        world, records = trace(timeline, until_ms="4000")
        found = [r.t_us for r in records if r.kind == "down"]
        assert len(found) == downs
        assert all(time > 2_500_000 for time in found), "the crash waits for the heal"
        assert acted(world)[2] == downs


def test_a_fault_that_was_disarmed_without_acting_fails_the_run() -> None:
    result = run(f"[{NO_LEADER}, {{at_ms: 1200, crash: leader, until_ms: 2000}}]", until_ms="4000")
    assert seen(result)["every_fault_acted"] == "timeline[2] crash never acted"


def test_until_ms_disarms_a_trigger() -> None:
    item = "{when: {event: role, role: leader}, at_ms: 1000, crash: leader, times: 9%s}"
    always = "[{at_ms: 1500, crash: leader}, {at_ms: 2200, restart: down}, " + item + "]"
    _, without = trace(always % "", until_ms="4000")
    _, disarmed = trace(always % ", until_ms: 1499", until_ms="4000")
    assert len([r for r in without if r.kind == "down"]) > 1
    assert len([r for r in disarmed if r.kind == "down"]) == 1


def test_until_ms_includes_the_delay_after_a_trigger() -> None:
    item = "{when: {event: role, role: leader}, after_ms: 700, crash: leader, until_ms: %d}"
    for until, downs in ((700, 0), (2000, 1)):
        _, records = trace(f"[{item % until}]")
        assert len([r for r in records if r.kind == "down"]) == downs


def test_until_ms_ends_repeats_and_running_faults_still_end() -> None:
    _, records = trace("[{at_ms: 500, crash: 1, for_ms: 200, every_ms: 500, until_ms: 1100}]")
    assert [(r.kind, r.t_us) for r in records if r.node == 1 and r.kind in ("up", "down")][1:] == [
        ("down", 500_000),
        ("up", 700_000),
        ("down", 1_000_000),
        ("up", 1_200_000),
    ]


def test_until_ms_ends_the_retries_of_an_admin_request() -> None:
    world, _ = trace(
        "[{at_ms: 500, partition: [[1], [2], [3]]}, {at_ms: 2500, heal: all},"
        " {at_ms: 1200, remove: 3, until_ms: 2000}]",
        until_ms="5000",
    )
    (op,) = world.admin_actions.ops
    assert op.outcome == "no_leader"


# -- join -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["3", "[4, 2]"])
def test_an_initial_member_cannot_join(who: str) -> None:
    with pytest.raises(ConfigError, match=r"test\.yaml:5:\d+: timeline\[0\]\.join: ") as caught:
        scenario(f"[{{at_ms: 500, join: {who}}}]")
    assert "restart" in str(caught.value)
    assert "wipe" in str(caught.value)


AGAIN = """
  - {at_ms: 500, join: 4}
  - {at_ms: 800, change_members: {add: 4, outcome: ok}}
  - {at_ms: 1500, remove: {nodes: 4, outcome: ok}}
  - {at_ms: 2000, %s}
  - {at_ms: 2100, join: 4}
  - {at_ms: 2200, change_members: {add: 4, outcome: ok}}
"""


def joined_again(before: str, seed: int) -> tuple[World, list[DurableState]]:
    """The world, and the contents of the disk of node 4 just before and after it joins again."""
    world = World(scenario(AGAIN % before, until_ms=4000), seed, TraceWriter())
    held: list[DurableState] = []
    for time in (2_099_999, 2_100_001):
        world.engine.at(time, lambda: held.append(world.nodes[4].disk.load()))
    world.run()
    return world, held


@pytest.mark.parametrize("before", ["crash: 4", "pause: 4", "write: leader"])
def test_a_node_that_joins_again_starts_with_a_blank_disk(before: str) -> None:
    for seed in range(1, 6):
        world, held = joined_again(before, seed)
        assert held[0].entries
        assert held[1] == DurableState(), "no term, vote, log or snapshot"
        assert world.services.violations == []
        assert world.services.monitor.committed_membership.voters == (1, 2, 3, 4)
        assert [op.outcome for op in world.admin_actions.ops] == ["ok"] * 3


# -- keys and machines ----------------------------------------------------------------------------


def test_an_operation_waits_until_the_entity_store_is_prepared() -> None:
    """Clients begin when the registers exist, and so do the operations of the timeline."""
    for seed in range(1, 11):
        result = run(
            "[{at_ms: 0, write: random}, {at_ms: 1, read: {node: random, key: k3}}]",
            "{safe: true, acknowledged_writes_present: true}",
            seed,
            cluster="{nodes: 3, machine: entity}",
            workload="{clients: 1, rate_per_s: 20, keys: 4}",
        )
        assert result.ok, failures(result)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "write: {node: 1, key: x}",
            r"write: there is no key 'x'; .* k0, k1, k2 \(workload.keys\)",
        ),
        ("read: {node: 1, key: k3}", "read: there is no key 'k3'"),
        ("read: {node: 1, key: 1}", "read: there is no key '1'"),
    ],
)
def test_a_key_outside_the_workload_is_rejected(text: str, error: str) -> None:
    with pytest.raises(ConfigError, match=r"test\.yaml:5:\d+: timeline\[0\]\." + error):
        scenario(
            f"[{{at_ms: 500, {text}}}]",
            cluster="{nodes: 3, machine: entity}",
            workload="{keys: 3}",
        )
    scenario(
        f"[{{at_ms: 500, {text}}}]", workload="{keys: 3}"
    )  # the machine register has every key


def ask(_rng: Random) -> tuple[Literal["write"], str]:
    return "write", json.dumps({"op": "set", "key": "a", "value": 1})


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ({"timeline": "[{at_ms: 1000, write: leader}]"}, "write goes to a register"),
        ({"timeline": "[{at_ms: 1000, read: leader}]"}, "read goes to a register"),
        ({"workload": "{sessions: true}"}, "sessions adds to registers"),
    ],
)
def test_register_operations_need_a_built_in_machine(parts: dict[str, str], error: str) -> None:
    """The error comes before the run, for a machine in Python and for one in the scenario."""
    spec = scenario(**parts)  # type: ignore[arg-type]  # the texts among its parameters
    with pytest.raises(ConfigError, match=error):
        run_scenario(spec, 1, machine=RegisterMachine, requests=ask)
    if "workload" in parts:
        return  # a scenario file rejects sessions with any custom machine
    workload = "{requests: [{read: x}]}"
    with pytest.raises(ConfigError, match=error):
        scenario(**parts, cluster="{nodes: 3, machine: 'x.py:X'}", workload=workload)  # type: ignore[arg-type]  # as above


class Fragile(RegisterMachine):
    """A machine that cannot be made any more after the first client request."""

    is_broken = False

    def __init__(self) -> None:
        super().__init__()
        if Fragile.is_broken:
            raise ConfigError("another one cannot be made")


def break_it(rng: Random) -> tuple[Literal["write"], str]:
    Fragile.is_broken = True
    return ask(rng)


def test_a_machine_that_cannot_restart_fails_only_its_node() -> None:
    cluster = "{nodes: 3, check_determinism: false}"  # the check finds that the class is to blame
    spec = scenario("[{at_ms: 1000, restart: 2}]", cluster=cluster)
    result = run_scenario(spec, 1, machine=Fragile, requests=break_it)
    (violation,) = result.violations
    assert (violation.check, violation.node) == ("node_failed", 2)
    assert "another one cannot be made" in violation.note


# -- rejected before the run ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "error"),
    [
        ("{at_ms: 9, crash: clients}", "clients: a client is not a node"),
        ("{at_ms: 9, pause: client_1}", "client_1: a client is not a node"),
        ("{at_ms: 9, write: client_1}", "a client is not a node"),
        ("{at_ms: 9, clock: {nodes: clients, offset_ms: 1}}", "a client is not a node"),
        ("{at_ms: 9, remove: clients}", "a client is not a node"),
        ("{at_ms: 9, transfer: {to: 1, at: clients}}", "a client is not a node"),
        ("{when: {event: commit, node: clients}, crash: 1}", "a client is not a node"),
        ("{when: {event: commit, node: 7}, crash: 1}", "node 7 is not in the cluster"),
        ("{at_ms: 9, partition: [[1, client_3], [rest]]}", "client_3: there are 2 clients"),
        ("{at_ms: 9, cut: [client_3, 1]}", "client_3: there are 2 clients"),
        ("{at_ms: 9, crash: 1, until_ms: 8}", "it would never act"),
    ],
)
def test_an_item_that_breaks_the_run_or_does_nothing_is_rejected(item: str, error: str) -> None:
    with pytest.raises(ConfigError, match=r"test\.yaml:5:\d+: .*" + error):
        scenario(f"[{item}]")


def test_an_admin_request_waits_while_no_node_matches_at() -> None:
    timeline = "[{at_ms: 1000, transfer: {to: 1, at: down, retry: false}}]"
    world, _ = trace(timeline)
    assert world.admin_actions.ops[0].outcome == "no_leader"
