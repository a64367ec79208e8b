"""The checks `durability` and `quorum` see a broken promise when it is made, without a crash that exposes it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from benchmarks.potency import safety_bugs, state_bugs
from qcore.core.config import Safeguards
from qcore.core.effects import AppendLog, MembershipChanged, RoleChanged, SaveCommit
from qcore.core.entry import DurableState, Entry, HardState, Membership, Snapshot, SnapshotMeta
from qcore.core.log import replication
from qcore.core.messages import AppendEntriesResponse, RequestVoteResponse
from qcore.core.raft_server import RaftServer
from qcore.replica.messages import PeerMessage
from qcore.sim import parse_scenario, run_scenario
from qcore.sim.invariants import Invariants

SHORT = """
name: short
cluster: {{nodes: 3, disk: {{latency_ms: [1, 40]}}}}
fidelity: {fidelity}
workload: {{clients: 2, rate_per_s: 100, wait_for_leader: true}}
timeline: [{{at_ms: 700, campaign: follower_1}}]
until_ms: 1400
"""


class Watched:
    """Invariants over three servers whose disks a test writes by hand."""

    def __init__(self, **off: bool) -> None:
        self.reports: list[tuple[str, int, str]] = []
        self.invariants = Invariants(lambda *report: self.reports.append(report))
        self.disks = {node: DurableState() for node in (1, 2, 3)}
        for node, disk in self.disks.items():
            self.invariants.on_start(node, disk)
            held = partial(self.disks.__getitem__, node)
            self.invariants.promises.on_start(node, disk, held, Safeguards(**off))
            change = MembershipChanged(Membership(voters=(1, 2, 3)), 1)
            self.invariants.on_effect(node, change, 0)

    def send(self, node: int, to: int, message: PeerMessage) -> list[str]:
        """Send; returns the checks that fail."""
        before = len(self.reports)
        self.invariants.promises.on_sent(node, to, message)
        return [check for check, _, _ in self.reports[before:]]

    def elect(self, node: int, term: int, *voters: int) -> None:
        """The disks hold these votes, and the server leads."""
        for voter in voters:
            self.disks[voter].hard_state = HardState(term, node)
            if voter != node:
                assert self.send(voter, node, RequestVoteResponse(term, True)) == []
        self.invariants.on_effect(node, RoleChanged("leader", term, node), 0)


def accepted(term: int, match: int) -> AppendEntriesResponse:
    return AppendEntriesResponse(term, True, match, 0, 0, 0, 0)


def entries(count: int, term: int = 1) -> list[Entry]:
    return [Entry(index, term, "command", "", 0) for index in range(1, count + 1)]


def test_a_vote_needs_its_disk() -> None:
    servers = Watched()
    servers.disks[2].hard_state = HardState(3)
    assert servers.send(2, 1, RequestVoteResponse(3, True)) == ["durability"]
    assert servers.send(2, 1, RequestVoteResponse(3, False)) == []
    assert servers.send(2, 1, RequestVoteResponse(4, False)) == ["durability"], "not even the term"
    servers.disks[2].hard_state = HardState(3, 1)
    assert servers.send(2, 1, RequestVoteResponse(3, True)) == []
    assert servers.send(2, 3, RequestVoteResponse(3, True)) == ["durability"], "another's vote"
    servers.disks[2].hard_state = HardState(4)
    assert servers.send(2, 1, RequestVoteResponse(3, True)) == [], "a later term makes it void"


def test_an_acknowledgement_needs_its_disk() -> None:
    servers = Watched()
    servers.disks[2].hard_state = HardState(3)
    servers.disks[2].entries = entries(5)
    assert servers.send(2, 1, accepted(3, 5)) == []
    assert servers.send(2, 1, accepted(3, 6)) == ["durability"]
    assert servers.send(2, 1, accepted(2, 6)) == [], "a later leader may have replaced it"
    meta = SnapshotMeta(9, 3, 0, Membership(voters=(1, 2, 3)))
    servers.disks[2] = DurableState(HardState(3), Snapshot(meta, ""))
    assert servers.send(2, 1, accepted(3, 9)) == []


def test_a_safeguard_that_is_off_promises_nothing() -> None:
    servers = Watched(vote_durable_before_reply=False, append_durable_before_ack=False)
    assert servers.send(2, 1, RequestVoteResponse(3, True)) == []
    assert servers.send(2, 1, accepted(3, 5)) == []


def test_a_leader_needs_the_votes_of_a_quorum() -> None:
    servers = Watched()
    servers.elect(1, 2, 1, 2)
    assert servers.reports == []
    servers.elect(3, 4, 3)
    assert [(check, node) for check, node, _ in servers.reports] == [("quorum", 3)]
    assert "only node 3 votes for it" in servers.reports[0][2]


def test_both_majorities_of_a_joint_phase_elect() -> None:
    servers = Watched()
    joint = Membership(voters=(1,), voters_outgoing=(1, 2, 3))
    servers.invariants.on_effect(1, MembershipChanged(joint, 2), 0)
    servers.elect(1, 2, 1)
    assert [check for check, _, _ in servers.reports] == ["quorum"]


def test_a_leader_commits_what_a_quorum_has() -> None:
    servers = Watched()
    servers.elect(1, 1, 1, 2)
    servers.invariants.on_effect(1, AppendLog(1, entries(4)), 0)
    servers.disks[1].entries = entries(3)
    servers.disks[2].entries = entries(4)
    assert servers.send(2, 1, accepted(1, 4)) == []
    servers.invariants.on_effect(1, SaveCommit(3), 0)
    assert servers.reports == []
    servers.invariants.on_effect(1, SaveCommit(4), 0)  # its own disk ends with entry 3
    assert [(check, node) for check, node, _ in servers.reports] == [("quorum", 1)]
    assert "only node 2 holds it" in servers.reports[0][2]


def test_an_acknowledgement_counts_in_its_term() -> None:
    servers = Watched()
    servers.disks[2].entries = entries(4)
    servers.disks[2].hard_state = HardState(1)
    servers.send(2, 1, accepted(1, 4))
    servers.elect(1, 2, 1, 3)
    servers.invariants.on_effect(1, AppendLog(1, entries(4)), 0)
    servers.disks[1].entries = entries(4)
    servers.invariants.on_effect(1, SaveCommit(4), 0)
    assert [check for check, _, _ in servers.reports] == ["quorum"]


def _forgets_votes(patch: pytest.MonkeyPatch) -> None:
    """Votes stay in memory."""
    save = RaftServer.save_hard_state

    def saving(server: RaftServer) -> None:
        vote, server.voted_for = server.voted_for, None
        save(server)
        server.voted_for = vote

    patch.setattr(RaftServer, "save_hard_state", saving)


def _counts_its_unsynced_log(patch: pytest.MonkeyPatch) -> None:
    """A leader counts entries in its own log that are not durable."""
    commit = replication.maybe_commit

    def counting(server: RaftServer) -> None:
        durable, server.durable_index = server.durable_index, server.log.last_index
        commit(server)
        server.durable_index = durable

    patch.setattr(replication, "maybe_commit", counting)


@pytest.mark.parametrize("fidelity", ["replica", "node"])
@pytest.mark.parametrize(
    ("plant", "check"),
    [
        (None, None),
        (_forgets_votes, "durability"),
        (state_bugs.sends_without_waiting_for_the_disk, "durability"),
        (_counts_its_unsynced_log, "quorum"),
        (safety_bugs.half_is_a_quorum, "quorum"),
    ],
)
def test_a_run_without_crashes_shows_it(
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[pytest.MonkeyPatch], None] | None,
    check: str | None,
    fidelity: str,
) -> None:
    if plant is not None:
        plant(monkeypatch)
    result = run_scenario(parse_scenario(SHORT.format(fidelity=fidelity)), seed=1)
    found = result.violations[0].check if result.violations else None
    assert found == check, result.violations
