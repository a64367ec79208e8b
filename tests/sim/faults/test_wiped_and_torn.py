"""Disks that are wiped, and disks that keep some unsynced writes after a power loss."""

from __future__ import annotations

from random import Random

import pytest

from qcore.core.effects import AppendLog
from qcore.core.entry import DurableState, Entry
from qcore.errors import ConfigError
from qcore.sim import World
from qcore.sim.faults.nodes.node_faults import _survivors
from qcore.sim.invariants import Invariants
from qcore.sim.scenario.actions.node_actions import PowerLoss
from qcore.sim.world.clock.engine import Engine
from qcore.sim.world.node.disk import SimDisk
from qcore.trace import TraceWriter, parse_trace
from tests.sim.support.scenario_texts import failures, run, scenario

BUSY = "{clients: 5, rate_per_s: 400, read_fraction: 0, cas_fraction: 0, keys: 200}"
SLOW = "{nodes: 3, disk: {latency_ms: 20}}"


def disk_with(writes: int) -> SimDisk:
    """A disk that syncs this many writes, while one more waits in the process."""
    disk = SimDisk(Engine(), lambda: 1000, DurableState())
    for index in range(1, writes + 1):
        disk.submit(AppendLog(index, [Entry(index, 1, "command", "", index)]))
    disk.save_commit(writes)
    disk.start_sync()
    disk.submit(AppendLog(writes + 1, [Entry(writes + 1, 1, "command", "", 1)]))
    return disk


@pytest.mark.parametrize(("survivors", "held"), [(0, 0), (1, 1), (2, 2), (3, 3), (9, 3)])
def test_a_power_loss_may_keep_a_prefix_of_unsynced_writes(survivors: int, held: int) -> None:
    disk = disk_with(3)
    assert disk.unsynced_writes == 3
    assert disk.crash(power_loss=True, survivors=survivors) == 4 - held
    state = disk.load()
    assert [entry.index for entry in state.entries] == list(range(1, held + 1))
    assert (disk.writes_survived, disk.writes_lost) == (held, 4 - held)
    # The commit index is stored with the last write of the sync.
    assert state.hard_state.commit == (3 if held == 3 else 0)


def test_random_survivors_range_from_none_to_all() -> None:
    action = PowerLoss.model_validate({"nodes": 1, "survives": "random"})
    assert {_survivors(action, 3, Random(seed)) for seed in range(40)} == {0, 1, 2, 3}


@pytest.mark.parametrize("survives", ["none", "all", "random", 1])
def test_no_acknowledged_write_is_lost_whatever_survives(survives: str | int) -> None:
    """Different nodes may keep different prefixes of the writes of one leader."""
    wanted = {"none": 0, "all": "'> 3'", "random": "'> 0'", 1: "'> 0'"}[survives]
    result = run(
        f"[{{at_ms: 1005, power_loss: {{nodes: all, survives: {survives}}}, for_ms: 60, every_ms: 311, times: 5}}]",
        f"{{unsynced_writes_survived: {wanted}, acknowledged_writes_present: true, converges: true}}",
        cluster=SLOW,
        workload=BUSY,
        until_ms="5000",
    )
    assert result.ok, failures(result)


def test_a_wiped_node_starts_blank_with_a_new_identity() -> None:
    timeline = "[{at_ms: 1000, wipe: 3}, {at_ms: 1500, restart: 3}]"
    writer = TraceWriter(keep=True)
    world = World(scenario("[{at_ms: 1000, wipe: 3}]", until_ms=1400), 1, writer)
    world.run()
    disk = world.nodes[3].disk
    assert not world.nodes[3].up
    assert (disk.load().entries, disk.load().hard_state.term) == ([], 0)
    assert (disk.identity.incarnation, disk.wipes) == (2, 1)
    result = run(timeline, "{safe: true, leader_at_end: true, acknowledged_writes_present: true}")
    assert result.ok, failures(result)
    assert result.metrics["disks_wiped"] == 1


def test_a_stopped_node_can_be_wiped_and_for_ms_starts_it() -> None:
    world = World(
        scenario("[{at_ms: 900, crash: 3, for_ms: 200}, {at_ms: 1000, wipe: 3, for_ms: 300}]"),
        1,
        TraceWriter(),
    )
    world.run()
    assert world.nodes[3].up
    assert world.nodes[3].disk.wipes == 1
    assert [fault.acted for fault in world.ledger] == [1, 2], (
        "the wipe blanked the disk, and kept the node down"
    )


def test_members_reject_a_known_node_after_it_is_wiped() -> None:
    """A node that forgot its votes gets no vote (`qcore.replica.peers.peer_admission`)."""
    writer = TraceWriter(keep=True)
    world = World(scenario("[{at_ms: 1500, wipe: follower_1, for_ms: 200}]"), 1, writer)
    world.run()
    notes = [r.fields["note"] for r in parse_trace(writer.lines()) if r.kind == "drop"]
    assert sum("was wiped" in note for note in notes) > 10
    (wiped,) = [node for node in world.nodes.values() if node.disk.wipes]
    assert not wiped.applied, "the leader must send it nothing"


def test_a_wiped_majority_commits_nothing_and_loss_is_reported() -> None:
    """One node of three holds the acknowledged writes. The other two have lost their votes, so nothing commits."""
    for seed in (1, 2):
        result = run(
            "[{at_ms: 1500, wipe: [1, 2], for_ms: 200}]",
            "{violation: acknowledged_write_lost, no_commits_between: [1700, 4000]}",
            seed=seed,
            until_ms="4000",
        )
        assert result.ok, failures(result)
        assert {violation.check for violation in result.violations} == {"acknowledged_write_lost"}


def test_a_vote_cast_before_a_wipe_still_counts() -> None:
    """A node that votes again in the same term has voted twice, although its wiped disk does not show it."""
    from qcore.core.effects import SaveHardState, VoteGranted
    from qcore.core.entry import HardState

    reports: list[str] = []
    invariants = Invariants(lambda check, _node, _note: reports.append(check))
    invariants.on_start(1, DurableState())
    vote = HardState(5, 2, 0)
    invariants.on_effect(1, SaveHardState(1, vote), 0)
    invariants.on_effect(1, VoteGranted(5, 2), 0)
    invariants.on_stop(1)
    invariants.on_wipe(1, DurableState(vote))
    invariants.on_start(1, DurableState())
    assert not reports
    invariants.on_effect(1, VoteGranted(5, 3), 0)
    assert reports == ["election_safety"]


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("power_loss: {nodes: all, survives: some}", "survives"),
        ("power_loss: {nodes: all, survives: -1}", "survives"),
        ("crash: {nodes: all, survives: 1}", "survives"),
        ("wipe: 9", "node 9 is not in the cluster"),
    ],
)
def test_invalid_disk_actions_are_rejected(action: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        scenario(f"[{{at_ms: 1, {action}}}]")
