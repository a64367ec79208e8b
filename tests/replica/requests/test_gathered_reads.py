"""`gather_reads`: all linearizable reads of one step are one question to the leader, or to the quorum."""

from __future__ import annotations

import json
from collections.abc import Sequence

from qcore.core.config import RaftConfig
from qcore.core.events import MessageReceived, PeerUnreachable, Tick
from qcore.core.messages import AppendEntries
from qcore.errors import DeadlineExceeded, NotLeader
from qcore.replica.events import BeginWatch, ClientRequest
from qcore.replica.messages import PeerMessage, ReadIndex, ReadIndexResponse, RequestKind
from qcore.replica.replica import Replica
from tests.driver.replicas import ReplicaCluster, ReplicaDriver

GET = json.dumps({"op": "get", "key": "x"})
NUMBERS = range(64)


def reads(
    kind: RequestKind, numbers: Sequence[int] = NUMBERS, ms: int = 1000
) -> list[ClientRequest]:
    return [ClientRequest(number, kind, GET, ms) for number in numbers]


def ready_cluster(raft: RaftConfig | None = None) -> tuple[ReplicaCluster, ReplicaDriver]:
    """A cluster in which node 1 leads, and the value of x is 5; and its follower 2."""
    cluster = ReplicaCluster(gather_reads=True, raft=raft)
    leader = cluster.elect(1)
    leader.request(900, json.dumps({"op": "set", "key": "x", "value": 5}))
    cluster.settle()
    return cluster, cluster.drivers[2]


def on_the_way(cluster: ReplicaCluster, kind: type[PeerMessage]) -> list[PeerMessage]:
    return [sent.message for sent in cluster.network if isinstance(sent.message, kind)]


def values(driver: ReplicaDriver) -> list[object]:
    """The values that the reads got, in the order of their numbers."""
    replies = {reply.request_id: reply for reply in driver.replies if reply.request_id in NUMBERS}
    assert [*replies] == [*NUMBERS], "one reply each, in order"
    return [json.loads(reply.result or "null")["value"] for reply in replies.values()]


def waits_for_nothing(replica: Replica) -> bool:
    forwarder = replica.forwarder
    return not (len(forwarder) or forwarder._asked or len(replica._reads))


# -- at a follower ---------------------------------------------------------------------------------


def test_a_follower_asks_the_leader_once_a_step() -> None:
    cluster, follower = ready_cluster()
    follower.step(*reads("follower_read"))
    (asked,) = on_the_way(cluster, ReadIndex)
    assert isinstance(asked, ReadIndex)
    assert asked.timeout_ms == 1000
    cluster.settle()
    assert values(follower) == [5] * 64
    assert waits_for_nothing(follower.replica)
    assert waits_for_nothing(cluster.leader().replica)


def test_the_question_has_the_longest_timeout_of_its_reads() -> None:
    cluster, follower = ready_cluster()
    follower.step(*reads("follower_read", [1], 10), *reads("follower_read", [2], 700))
    (asked,) = on_the_way(cluster, ReadIndex)
    assert isinstance(asked, ReadIndex)
    assert asked.timeout_ms == 700


def test_a_watch_shares_the_question_of_the_reads() -> None:
    cluster, follower = ready_cluster()
    follower.step(*reads("follower_read", [1]), BeginWatch(2, 77, "{}", None, 1000))
    assert len(on_the_way(cluster, ReadIndex)) == 1


def test_a_read_that_expires_leaves_the_others() -> None:
    cluster, follower = ready_cluster()
    cluster.network.isolated = {2}
    follower.step(*reads("follower_read", [1], 10), *reads("follower_read", [2], 10_000))
    cluster.now += 20_000
    follower.step(Tick())
    (reply,) = follower.replies
    assert reply.request_id == 1
    assert isinstance(reply.error, DeadlineExceeded)
    cluster.network.isolated = set()
    (number,) = follower.replica.forwarder._asked
    follower.step(MessageReceived(1, ReadIndexResponse(number, 1)))
    assert [reply.request_id for reply in follower.replies] == [1, 2]
    assert waits_for_nothing(follower.replica)


def test_a_lost_answer_fails_each_read_at_its_deadline() -> None:
    cluster, follower = ready_cluster()
    follower.step(*reads("follower_read", ms=20))
    cluster.network.clear()
    cluster.now += 30_000
    follower.step(Tick())
    assert [reply.request_id for reply in follower.replies] == [*NUMBERS]
    assert all(isinstance(reply.error, DeadlineExceeded) for reply in follower.replies)
    assert waits_for_nothing(follower.replica)


def test_a_rejection_fails_each_read() -> None:
    cluster, follower = ready_cluster()
    follower.step(*reads("follower_read"))
    (asked,) = on_the_way(cluster, ReadIndex)
    assert isinstance(asked, ReadIndex)
    answer = ReadIndexResponse(asked.read_id, None, "NotLeader", "not the leader")
    follower.step(MessageReceived(1, answer), MessageReceived(1, answer))
    assert [reply.request_id for reply in follower.replies] == [*NUMBERS]
    assert all(isinstance(reply.error, NotLeader) for reply in follower.replies)
    assert waits_for_nothing(follower.replica)


def test_a_broken_connection_fails_each_read() -> None:
    _, follower = ready_cluster()
    follower.step(*reads("follower_read"))
    follower.step(PeerUnreachable(1))
    assert [reply.request_id for reply in follower.replies] == [*NUMBERS]
    assert all(isinstance(reply.error, NotLeader) for reply in follower.replies)
    assert waits_for_nothing(follower.replica)


def test_a_new_leader_is_asked_once_for_all_reads() -> None:
    cluster, follower = ready_cluster()
    cluster.network.isolated = {1}
    follower.step(*reads("follower_read", ms=60_000))
    first = [*follower.replica.forwarder._asked]
    cluster.elect(3)
    cluster.settle()
    assert values(follower) == [5] * 64
    follower.step(MessageReceived(1, ReadIndexResponse(first[0], 1)))
    assert len(follower.replies) == 64, "the old leader's answer is too late"
    assert waits_for_nothing(follower.replica)


def test_a_leader_change_in_the_same_step_asks_only_the_new_one() -> None:
    cluster, follower = ready_cluster()
    cluster.network.clear()
    core = follower.core
    last, term = core.last_log_index, core.term
    append = MessageReceived(3, AppendEntries(term + 1, 3, last, term, core.commit_index, []))
    follower.step(*reads("follower_read"), append)
    asked = [sent.to for sent in cluster.network if isinstance(sent.message, ReadIndex)]
    assert asked == [3]
    assert len(follower.replica.forwarder) == 64


# -- at the leader ---------------------------------------------------------------------------------


def test_reads_of_a_step_share_one_round_of_the_leader() -> None:
    cluster, _ = ready_cluster()
    leader = cluster.leader()
    before = leader.core._server.reads.round
    leader.step(*reads("read"))
    assert leader.core._server.reads.round == before + 1
    assert not leader.core._server.reads.queued, "none waits for a second round"
    cluster.settle()
    assert values(leader) == [5] * 64
    assert waits_for_nothing(leader.replica)


def test_lease_reads_between_others_keep_their_order() -> None:
    cluster, _ = ready_cluster(RaftConfig(1, lease_reads=True))
    leader = cluster.leader()
    cluster.pass_time(100)
    kinds: list[RequestKind] = ["read", "lease_read", "lease_read", "read"]
    leader.step(*(ClientRequest(at, kind, GET, 1000) for at, kind in enumerate(kinds)))
    cluster.settle()
    assert [reply.request_id for reply in leader.replies[-4:]] == [1, 2, 0, 3]


def test_the_core_forgets_reads_once_all_have_expired() -> None:
    cluster, _ = ready_cluster()
    leader = cluster.leader()
    cluster.network.isolated = {2, 3}
    leader.step(*reads("read", [1], 10), *reads("read", [2], 30))
    state = leader.core._server.reads
    cluster.now += 20_000
    leader.step(Tick())
    assert state.in_flight is not None
    assert len(state.in_flight[2]) == 1, "one read still waits"
    cluster.now += 20_000
    leader.step(Tick())
    assert not state.in_flight[2]
    assert waits_for_nothing(leader.replica)


def test_a_leader_that_is_deposed_asks_its_successor() -> None:
    cluster, _ = ready_cluster()
    leader = cluster.leader()
    leader.step(*reads("follower_read"))
    cluster.network.clear()
    core = leader.core
    last, term = core.last_log_index, core.term
    leader.step(MessageReceived(3, AppendEntries(term + 1, 3, last, term, last, [])))
    (asked,) = on_the_way(cluster, ReadIndex)
    assert isinstance(asked, ReadIndex)
    leader.step(MessageReceived(3, ReadIndexResponse(asked.read_id, last)))
    assert values(leader) == [5] * 64
    assert waits_for_nothing(leader.replica)
