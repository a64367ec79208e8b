"""How a new leader responds to requests before its first commit in its term; docs/explanation/raft.md has the table.

It leads but does not know what is committed. Its log may end in acknowledged entries, and in entries that no client
knows to be committed.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from qcore.core.config import RaftConfig
from qcore.core.events import Campaign, MessageReceived, Tick
from qcore.core.messages import AppendEntries
from qcore.core.version import ClusterVersion, VersionSupport
from qcore.errors import ChangeRefused, NotLeader, TooStale, TransferUnknown
from qcore.node.status.metrics_object import LeaderHistory, metrics_object
from qcore.node.status.node_status import NodeStatus, VersionStatus, unready_reason
from qcore.node.status.watch_figures import WatchFigures
from qcore.replica.events import (
    AddLearner,
    ChangeMembers,
    ClientRequest,
    ReplicaEvent,
    RequestSnapshot,
    TransferLeader,
    UpgradeMachine,
)
from qcore.replica.leadership import Leadership
from qcore.replica.messages import Forward, ReadIndex, RequestKind
from qcore.replica.sessions.session_table import open_session_payload
from qcore.storage.log_size import Footprint
from tests.driver.network import Envelope
from tests.driver.replicas import ReplicaCluster, ReplicaDriver

GET = json.dumps({"op": "get", "key": "x"})
SET = json.dumps({"op": "set", "key": "x", "value": "later"})
ADDRESS = "10.0.0.{}:80"
NODE_STATUS = NodeStatus(
    cluster_id="test",
    stopping=False,
    failure=None,
    rejections={},
    removal_reason=None,
    address="10.0.0.1:80",
    disk_full=False,
    stored=Footprint(1, 0, 0, 0),
    snapshot_stored_at=0.0,
    longest_stall_s=0.0,
    queues={},
    connections={},
    watches=WatchFigures(0, 0, 0, 0, 0, 0, 0, 1),
    uptime_s=1.0,
    versions=VersionStatus(
        ClusterVersion(2, "register", 1), VersionSupport(1, 2, "register", 1, 1)
    ),
    digests={},
    comparison=None,
)


class NewLeader:
    """Node 1 acknowledged `x` = "new" and died. Node 2 was elected, and its first entry waits on the links."""

    def __init__(self, *, learner: bool = False) -> None:
        self.cluster = ReplicaCluster(raft=RaftConfig(1, lease_reads=True), rules=2)
        old = self.cluster.elect(1)
        if learner:
            self.cluster.join(4)
            old.step(AddLearner(900, 4, ADDRESS.format(4), 5000))
            self.cluster.pass_time(200)
        self.put(old, "old")
        self.cluster.pass_time(100)
        self.put(old, "new")
        self.late: list[Envelope] = []
        self.cluster.network.isolated = {1}
        self.win()

    def put(self, driver: ReplicaDriver, value: str) -> None:
        driver.request(1, json.dumps({"op": "set", "key": "x", "value": value}))
        self.cluster.settle()
        assert driver.replies[-1].error is None

    def win(self) -> None:
        self.cluster.now += 1_000_000
        self.leader.step(Campaign())
        self.deliver()
        self.cluster.now += 50_000
        self.leader.step(Tick())
        self.deliver()
        core = self.leader.replica.core
        assert core.role == "leader"
        assert core.commit_index < core.last_log_index - 1, (
            "an acknowledged entry is behind its commit index"
        )

    @property
    def leader(self) -> ReplicaDriver:
        return self.cluster.drivers[2]

    def deliver(self) -> None:
        """Deliver all messages except the new leader's entries."""
        while self.cluster.network:
            sent = self.cluster.network.take()
            if isinstance(sent.message, AppendEntries) and sent.message.entries:
                self.late.append(sent)
            else:
                self.cluster.deliver_envelope(sent)

    def ask(self, event: ReplicaEvent, node_id: int = 2) -> object:
        """The outcome of a request, with id 50, while the entry waits: a result, an error, or None."""
        driver = self.cluster.drivers[node_id]
        driver.step(event)
        self.deliver()
        for _ in range(4):
            self.cluster.now += 50_000
            self.leader.step(Tick())
            self.deliver()
        return self.outcome(node_id)

    def outcome(self, node_id: int = 2) -> object:
        replies = [r for r in self.cluster.drivers[node_id].replies if r.request_id == 50]
        if not replies:
            return None
        (reply,) = replies
        return reply.error or reply.result

    def commit(self) -> None:
        """Deliver the entry."""
        for sent in self.late:
            self.cluster.deliver_envelope(sent)
        self.cluster.pass_time(200)
        assert self.leader.replica.core.has_committed_in_term


def value_of(outcome: object) -> object:
    assert isinstance(outcome, str), outcome
    return json.loads(outcome)["value"]


def rejected_as(outcome: object) -> str:
    assert isinstance(outcome, ChangeRefused), outcome
    return outcome.name


# -- what it reports about itself ------------------------------------------------------------------


def test_metrics_show_a_leader_that_is_not_ready() -> None:
    world = NewLeader()

    def metrics(driver: ReplicaDriver) -> tuple[object, object]:
        core = driver.replica.core
        page = metrics_object(
            core, core.status(), LeaderHistory(), NODE_STATUS, "", world.cluster.now
        )
        assert isinstance(page["qcore"], dict)
        return page["state"], page["qcore"]["leader_ready"]

    assert metrics(world.leader) == ("Leader", False)
    assert metrics(world.cluster.drivers[3]) == ("Follower", None)
    world.commit()
    assert metrics(world.leader) == ("Leader", True)
    assert metrics(world.cluster.drivers[3]) == ("Follower", None)


def test_readyz_names_what_it_waits_for() -> None:
    world = NewLeader()

    def reason() -> str | None:
        core = world.leader.replica.core
        return unready_reason(core.status(), core.has_committed_in_term, NODE_STATUS)

    assert reason() == "elected, and the first entry of the term is not committed yet"
    world.commit()
    assert reason() is None


def test_status_shows_no_uncommitted_entry_as_committed() -> None:
    world = NewLeader()
    status = world.leader.replica.core.status()
    assert world.leader.replica.applied_index == status.commit_index
    assert status.commit_index < status.last_log_index
    index, _ = world.leader.replica.core.committed_membership
    assert index <= status.commit_index


# -- members ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("node_id", "then"),
    [(3, "is_voter"), (4, "Success"), (5, None)],
    ids=["a voter", "a learner already", "no member yet"],
)
def test_adding_any_learner_is_rejected(node_id: int, then: str | None) -> None:
    world = NewLeader(learner=True)
    world.cluster.join(5)
    event = AddLearner(50, node_id, ADDRESS.format(node_id), 5000)
    assert rejected_as(world.ask(event)) == "not_ready"
    world.commit()
    world.leader.replies.clear()
    world.leader.step(event)
    world.cluster.pass_time(200)
    outcome = world.outcome()
    assert (outcome if then == "Success" else "Success") == "Success"
    if then == "is_voter":
        assert rejected_as(outcome) == "is_voter"


def test_uncommitted_voter_is_not_a_voter_yet() -> None:
    """Also later in a term: the configuration may be replaced."""
    cluster = ReplicaCluster(rules=2)
    leader = cluster.elect(1)
    cluster.join(4)
    leader.step(AddLearner(1, 4, ADDRESS.format(4), 5000))
    cluster.pass_time(200)
    cluster.network.isolated = {2, 3, 4}
    leader.step(ChangeMembers(2, (1, 2, 3, 4), (), (), 5000))
    assert leader.replica.core.membership.is_voter(4)
    leader.step(AddLearner(3, 4, ADDRESS.format(4), 5000))
    assert rejected_as(leader.replies[-1].error) == "pending"


@pytest.mark.parametrize("silent", [False, True])
def test_change_is_rejected_before_its_voters_are_checked(silent: bool) -> None:
    world = NewLeader()
    if silent:
        world.cluster.now += 400_000  # no node has responded for a long time
    event = ChangeMembers(50, (1, 2), (), (), 5000)
    world.leader.step(event)
    assert rejected_as(world.outcome()) == "not_ready"


def test_upgrade_of_the_machine_is_rejected() -> None:
    assert rejected_as(NewLeader().ask(UpgradeMachine(50, 2, 5000))) == "not_ready"


# -- transfers -------------------------------------------------------------------------------------


def test_transfer_to_itself_waits_for_confirmed_leadership() -> None:
    world = NewLeader()
    assert world.ask(TransferLeader(50, 2, 5000)) is None
    world.commit()
    assert world.outcome() == Leadership(2, world.leader.replica.core.term).to_json()


@pytest.mark.parametrize("deposed", [True, False])
def test_a_transfer_to_itself_fails_at_a_leader_that_is_cut_off(deposed: bool) -> None:
    """Also long after its first commit: it cannot know that no other node leads."""
    cluster = ReplicaCluster(rules=2)
    old = cluster.elect(1)
    cluster.pass_time(100)
    cluster.network.isolated = {1}
    old.step(TransferLeader(50, 1, 100))
    assert not old.replies
    if deposed:
        cluster.elect(2)
        cluster.heal()
        cluster.pass_time(50)
    else:
        cluster.now += 100_000
        old.step(Tick())
    error = old.replies[-1].error
    assert isinstance(error, NotLeader if deposed else TransferUnknown)


def test_leadership_confirmations_are_bounded() -> None:
    world = NewLeader()
    for number in range(100, 164):
        world.leader.step(TransferLeader(number, 2, 5000))
    assert not world.leader.replies
    world.leader.step(TransferLeader(50, 2, 5000))
    assert getattr(world.outcome(), "code", "") == "Overloaded"


def test_transfer_to_a_learner_is_rejected_as_not_ready() -> None:
    assert rejected_as(NewLeader(learner=True).ask(TransferLeader(50, 4, 5000))) == "not_ready"


def test_a_transfer_to_another_voter_begins() -> None:
    """Giving leadership away needs no knowledge of commits. The transfer succeeds once the other node leads."""
    world = NewLeader()
    world.leader.step(TransferLeader(50, 3, 5000))
    assert world.leader.replica.core.transferring
    assert world.outcome() is None
    for sent in world.late:
        world.cluster.deliver_envelope(sent)
    world.cluster.settle()
    new = world.cluster.leader()
    assert new.node_id == 3
    assert world.outcome() == Leadership(3, new.replica.core.term).to_json()


# -- copies of the state ---------------------------------------------------------------------------


def test_a_linearizable_copy_waits() -> None:
    world = NewLeader()
    assert world.ask(RequestSnapshot(50, 5000, 5000, False)) is None
    world.commit()
    for _ in range(10):
        world.cluster.now += 1000
        world.leader.step(Tick())
    assert world.outcome() == ""
    reply = next(reply for reply in world.leader.replies if reply.request_id == 50)
    assert reply.index >= world.leader.replica.core.commit_index - 1, (
        "the copy holds the acknowledged write"
    )


def test_stale_copy_is_the_applied_state() -> None:
    world = NewLeader()
    assert world.ask(RequestSnapshot(50, 5000, 5000, True)) == ""
    snapshot = world.leader.replica.core.snapshot
    assert snapshot is not None
    assert snapshot.meta.last_included_index == world.leader.replica.core.commit_index
    assert '"old"' in str(snapshot.data)


# -- reads and writes ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["read", "lease_read", "follower_read"])
@pytest.mark.parametrize("node_id", [2, 3], ids=["leader", "follower"])
def test_linearizable_read_waits_at_every_node(kind: RequestKind, node_id: int) -> None:
    world = NewLeader()
    assert world.ask(ClientRequest(50, kind, GET, 5000), node_id) is None
    world.commit()
    assert value_of(world.outcome(node_id)) == "new"


def test_stale_read_uses_what_it_knew_as_a_follower() -> None:
    world = NewLeader()
    assert isinstance(world.ask(ClientRequest(50, "stale_read", GET, 5000, 1000)), TooStale)
    world.leader.replies.clear()
    age_ms = 10_000  # the write is more recent than that
    assert value_of(world.ask(ClientRequest(50, "stale_read", GET, 5000, age_ms))) == "old"
    world.commit()
    world.leader.replies.clear()
    world.leader.step(ClientRequest(50, "stale_read", GET, 5000, 50))
    assert value_of(world.outcome()) == "new"


@pytest.mark.parametrize("node_id", [2, 3], ids=["leader", "follower"])
@pytest.mark.parametrize(
    ("kind", "payload", "fits"),
    [
        ("write", SET, lambda result: value_of(result) == "later"),
        ("session", open_session_payload(60_000), lambda result: int(str(result)) > 0),
    ],
    ids=["write", "session"],
)
def test_write_is_accepted_and_succeeds_once_committed(
    kind: RequestKind, payload: str, fits: Callable[[object], bool], node_id: int
) -> None:
    world = NewLeader()
    assert world.ask(ClientRequest(50, kind, payload, 5000), node_id) is None
    world.commit()
    assert fits(world.outcome(node_id))


def test_peer_requests_get_no_response_before_first_commit() -> None:
    """A follower's `ReadIndex` and `Forward`, as they arrive over the wire."""
    world = NewLeader()
    world.leader.step(MessageReceived(3, ReadIndex(7, 5000)))
    world.leader.step(MessageReceived(3, Forward(8, "read", GET, 5000)))
    sent = [envelope.message for envelope in world.cluster.network]
    assert all(isinstance(message, AppendEntries) for message in sent), sent
