"""`acknowledged_write_lost`: the logs of electable nodes decide, not what was applied or which nodes run at the end.

A naive check errs in both directions: the check of qcore 0.1.0 looked at what the most advanced running node had
applied, and at nothing behind a snapshot that it had installed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from random import Random
from typing import Literal

import pytest

from qcore.core.entry import Entry, Membership
from qcore.core.messages import InstallSnapshot, RaftMessage
from qcore.core.raft_server import RaftServer
from qcore.machines.interface import ApplyContext
from qcore.machines.register import RegisterMachine
from qcore.sim import World, load_scenario, run_scenario
from qcore.sim.verdict.log_queries import LogContents, electable, lost_writes
from qcore.sim.verdict.service_at_end import most_advanced_node
from qcore.sim.verdict.snapshot_histories import EntryHistory
from qcore.sim.workload.custom_machine import CustomMachine
from qcore.trace import TraceWriter
from tests.checkout import SCENARIOS
from tests.sim.support.scenario_texts import run, scenario, seen

BEHIND = (
    "[{at_ms: 1000, crash: 3}, {at_ms: 1900, snapshot: [1, 2]}, {at_ms: 2000, restart: 3},"
    " {at_ms: 2400, snapshot: 3}, {at_ms: 2500, restart: 3}]"
)
WRITES = "{clients: 2, rate_per_s: 60, read_fraction: 0, cas_fraction: 0, keys: 4}"
FIRST_TWO_LEAD = "{nodes: 3, priorities: {3: 0}}"


def naive(world: World) -> list[int]:
    """The check of qcore 0.1.0: the indexes of the acknowledged writes that it reports as lost."""
    best = most_advanced_node(world)
    if best is None:
        return []
    held = {entry.index: entry.data for entry in best.applied}
    return [
        op.index
        for op in world.history
        if op.outcome == "ok"
        and op.request in ("write", "session")
        and op.index > best.state_history.restored_through
        and held.get(op.index) != op.payload
    ]


def lost(world: World) -> list[str]:
    return lost_writes(world.logs, world.services.monitor.committed_membership, world.history)


def checks() -> set[str]:
    """The violations in a run in which node 3 installs a snapshot and later restarts from a snapshot that it took."""
    result = run(BEHIND, cluster=FIRST_TWO_LEAD, workload=WRITES)
    return {violation.check for violation in result.violations}


# -- writes that only the naive check reports as lost ---------------------------------------------


def test_an_unapplied_write_in_two_logs_is_not_lost() -> None:
    spec = load_scenario(SCENARIOS / "crash_at_the_end.yaml")
    blamed = 0
    for seed in range(1, 13):
        world = World(spec, seed, TraceWriter())
        world.run()
        assert lost(world) == [], seed
        blamed += bool(naive(world))
    assert blamed > 2, "the naive check errs on many of these seeds"


def test_acknowledged_writes_are_found_on_stopped_nodes() -> None:
    result = run("[{at_ms: 2500, power_loss: all}]", "{acknowledged_writes_present: true}")
    assert result.ok, seen(result)
    assert "all " in seen(result)["acknowledged_writes_present"]


class Raising(RegisterMachine):
    """Breaks the contract of a state machine: it raises, on every node at the same entry."""

    def apply(self, command: str, context: ApplyContext) -> str:
        if context.index > 40:
            raise ValueError("forty is enough")
        return super().apply(command, context)


def draw(rng: Random) -> tuple[Literal["write"], str]:
    return "write", json.dumps({"op": "set", "key": "a", "value": rng.randrange(1000)})


def test_a_machine_that_raises_loses_no_logged_write() -> None:
    for seed in range(1, 6):
        result = run_scenario(
            scenario("[{at_ms: 200, crash: random, for_ms: 100}]"),
            seed,
            machine=Raising,
            requests=draw,
        )
        assert {violation.check for violation in result.violations} == {"node_failed"}


def test_loss_is_judged_by_the_newest_committed_configuration() -> None:
    """The first voters are removed and their logs ended long ago, so they can no longer elect a leader."""
    timeline = """
      - {at_ms: 500, join: [4, 5, 6]}
      - {at_ms: 600, change_members: {voters: [4, 5, 6], outcome: ok}}
      - {at_ms: 2900, power_loss: all}
    """
    result = run(timeline, "{acknowledged_writes_present: true}", until_ms="3000")
    assert result.ok, seen(result)


# -- lost writes that the naive check misses ------------------------------------------------------


def test_a_write_is_lost_if_blank_nodes_can_be_elected() -> None:
    world = World(scenario("[{at_ms: 2500, crash: [2, 3]}]", workload=WRITES), 1, TraceWriter())

    def wipe() -> None:
        for node in (2, 3):
            world.nodes[node].disk.wipe()

    world.engine.at(2_700_000, wipe)
    world.run()
    acknowledged = [op for op in world.history if op.is_acknowledged_write]
    assert naive(world) == []
    assert len(lost(world)) == 2 * len(acknowledged) > 50, "two electable nodes lack each write"
    assert acknowledged[0].payload in lost(world)[0], "the text names the command"
    assert "node 2 can be elected (its log ends at index 0, term 0)" in lost(world)[0]


def test_installed_snapshots_keep_the_history_behind_them() -> None:
    for seed in (1, 2, 3):
        world = World(
            scenario(BEHIND, cluster=FIRST_TWO_LEAD, workload=WRITES), seed, TraceWriter()
        )
        world.run()
        assert world.nodes[3].snapshots_installed, "the test depends on it"
        assert lost(world) == []
        log = world.logs.log_of(3)
        assert log.first > log.history.through - 50 > 1, "most entries lie behind the snapshot"
        for op in world.history:
            entry = log.entry_at(op.index)
            assert not op.is_acknowledged_write or (entry and entry.data == op.payload)


def test_an_entry_missing_from_an_installed_snapshot_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The leader labels its snapshot with an index three too high. A node that installs it misses these entries."""
    assert checks() == set()
    send = RaftServer.send

    def too_far(server: RaftServer, to: int, message: RaftMessage, after: int = 0) -> None:
        if isinstance(message, InstallSnapshot):
            message = replace(message, last_included_index=message.last_included_index + 3)
        send(server, to, message, after)

    monkeypatch.setattr(RaftServer, "send", too_far)
    caught = checks()
    assert "acknowledged_write_lost" in caught


class Forgetting(RegisterMachine):
    """A machine whose snapshots lack a register."""

    def snapshot(self) -> Iterable[str]:
        other = RegisterMachine()
        other.restore(super().snapshot())
        other.apply('{"op": "delete", "key": "k1"}', ApplyContext(1, 0, 0))
        return other.snapshot()


def test_a_snapshot_that_drops_writes_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "qcore.sim.world.simulated_cluster.machine_factory", lambda _name: Forgetting
    )
    caught = checks()
    assert {"state_hash", "acknowledged_write_lost"} <= caught


def test_a_restore_that_drops_a_key_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    restore = RegisterMachine.restore_gradually

    def partly(machine: RegisterMachine, chunks: Iterable[str]) -> object:
        yield from restore(machine, chunks)
        machine.apply('{"op": "delete", "key": "k2"}', ApplyContext(1, 0, 0))

    monkeypatch.setattr(RegisterMachine, "restore_gradually", partly)
    assert {"state_hash", "acknowledged_write_lost"} <= checks()


class Rejecting(RegisterMachine):
    """A machine that rejects every third command. An error is a result, too."""

    def apply(self, command: str, context: ApplyContext) -> str:
        if context.index % 3 == 0:
            return '{"ok":false,"error":"no"}'
        return super().apply(command, context)


def test_a_write_rejected_by_the_machine_is_acknowledged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "qcore.sim.world.simulated_cluster.machine_factory", lambda _name: Rejecting
    )
    world = World(scenario(workload=WRITES), 1, TraceWriter())
    world.run()
    rejected = [op for op in world.history if op.outcome == "refused" and op.is_acknowledged_write]
    assert len(rejected) > 10
    assert lost(world) == []
    for node in world.nodes.values():
        node.crash()
        node.disk.wipe()
    assert any(rejected[0].payload in text for text in lost(world))


def test_an_equal_command_does_not_replace_a_lost_entry() -> None:
    """All commands are equal. The power loss destroys acknowledged ones, and later ones get their indexes."""
    spec = scenario(
        "[{at_ms: 2000, power_loss: all, for_ms: 100}]",
        cluster="{nodes: 3, safeguards: {append_durable_before_ack: false, noop_on_election: false},"
        " disk: {latency_ms: 60}}",
        workload="{rate_per_s: 100}",
        until_ms=4000,
    )
    same = json.dumps({"op": "set", "key": "a", "value": 1})
    world = World(
        spec, 1, TraceWriter(), CustomMachine(RegisterMachine, lambda _rng: ("write", same))
    )
    world.run()
    acknowledged = [op for op in world.history if op.is_acknowledged_write]
    for log in map(world.logs.log_of, world.nodes):
        held = [log.entry_at(op.index) for op in acknowledged]
        assert {entry and entry.data for entry in held} == {same}, "judged by text, none is missing"
    assert "of term" in lost(world)[0]


# -- electable nodes ------------------------------------------------------------------------------


def logs(*ends: tuple[int, int]) -> dict[int, LogContents]:
    return {
        number: LogContents((), 1, EntryHistory.unknown(), end)
        for number, end in enumerate(ends, start=1)
    }


@pytest.mark.parametrize(
    ("ends", "voters", "outgoing", "expected"),
    [
        ([(1, 5), (1, 5), (1, 5)], (1, 2, 3), (), [1, 2, 3]),
        ([(1, 5), (1, 5), (1, 4)], (1, 2, 3), (), [1, 2]),
        ([(1, 9), (2, 1), (1, 4)], (1, 2, 3), (), [1, 2]),
        ([(3, 1), (2, 9), (2, 8), (2, 7), (2, 6)], (1, 2, 3, 4, 5), (), [1, 2, 3]),
        ([(1, 5), (1, 4), (1, 4), (1, 3)], (1, 2, 3, 4), (), [1, 2, 3]),
        ([(1, 5), (1, 4), (1, 6), (1, 7)], (1, 2), (3, 4), [4]),
        ([(1, 5), (1, 4), (1, 3)], (2, 3), (), [2]),
        ([(0, 0)], (1,), (), [1]),
    ],
)
def test_only_nodes_with_up_to_date_logs_are_electable(
    ends: Sequence[tuple[int, int]],
    voters: tuple[int, ...],
    outgoing: tuple[int, ...],
    expected: list[int],
) -> None:
    assert electable(logs(*ends), Membership(voters, outgoing)) == expected


def test_a_node_log_gives_entries_on_both_sides_of_a_snapshot() -> None:
    entries = [Entry(index, 1, "command", str(index), 0) for index in range(1, 9)]
    log = LogContents(entries[5:], 6, EntryHistory.unknown().extended(entries[:6]), (1, 8))
    assert [log.entry_at(index) for index in range(10)] == [None, *entries, None]


def test_a_run_with_a_custom_machine_loses_no_write() -> None:
    world = World(
        scenario("[{at_ms: 2000, snapshot: all}, {at_ms: 2500, power_loss: all, for_ms: 100}]"),
        1,
        TraceWriter(),
        CustomMachine(RegisterMachine, draw),
    )
    world.run()
    assert lost(world) == []
