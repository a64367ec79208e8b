"""Every request ends in exactly one outcome: ok, rejected or unknown."""

from __future__ import annotations

import json

import pytest

from qcore.core.entry import Membership
from qcore.core.events import Campaign, PeerUnreachable, Tick
from qcore.core.version import LATEST_RULES
from qcore.errors import (
    ConfigError,
    DeadlineExceeded,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    ProposalDropped,
    QcoreError,
    StateMachineFailed,
    StoreError,
    TooLarge,
)
from qcore.machines.interface import ApplyContext
from qcore.replica.events import ClientRequest, InitCluster, Reply, TriggerSnapshot
from tests.driver.clock import WALL_US
from tests.driver.replicas import ReplicaCluster, ReplicaDriver


def put(key: str, value: int) -> str:
    return json.dumps({"op": "set", "key": key, "value": value})


def get(key: str) -> str:
    return json.dumps({"op": "get", "key": key})


def outcomes(driver: ReplicaDriver) -> dict[int, Reply]:
    """Replies by request; fails if a request has two."""
    found: dict[int, Reply] = {}
    for reply in driver.replies:
        assert reply.request_id not in found, f"two outcomes for request {reply.request_id}"
        found[reply.request_id] = reply
    return found


def value_of(reply: Reply) -> object:
    assert reply.error is None, reply.error
    assert reply.result is not None
    return json.loads(reply.result)["value"]


def error_of(reply: Reply) -> QcoreError:
    assert reply.result is None
    assert reply.error is not None
    return reply.error


def test_leader_responds_to_a_write_with_result_and_index() -> None:
    cluster = ReplicaCluster()
    leader = cluster.elect(1)
    leader.request(7, put("x", 5))
    cluster.settle()
    reply = outcomes(leader)[7]
    assert value_of(reply) == 5
    assert reply.index == leader.replica.applied_index


def test_writes_that_arrive_together_share_one_append() -> None:
    cluster = ReplicaCluster()
    leader = cluster.elect(1)
    before = len(leader.disk.durable.entries)
    effects = leader.step(*(ClientRequest(i, "write", put("x", i), 1000) for i in range(10)))
    assert sum(type(effect).__name__ == "AppendLog" for effect in effects) == 1
    cluster.settle()
    assert len(leader.disk.durable.entries) == before + 10
    assert [value_of(outcomes(leader)[i]) for i in range(10)] == list(range(10))


def test_follower_forwards_requests_and_relays_the_response() -> None:
    cluster = ReplicaCluster()
    cluster.elect(1)
    follower = cluster.drivers[2]
    follower.request(1, put("x", 9))
    cluster.settle()
    follower.request(2, get("x"), "read")
    cluster.settle()
    assert value_of(outcomes(follower)[1]) == 9
    assert value_of(outcomes(follower)[2]) == 9


def test_request_without_a_leader_is_rejected_as_retryable() -> None:
    driver = ReplicaCluster().drivers[1]
    driver.request(1, put("x", 1))
    driver.request(2, get("x"), "read")
    for request_id in (1, 2):
        error = error_of(outcomes(driver)[request_id])
        assert isinstance(error, NotLeader)
        assert error.leader_id is None
        assert error.retryable


def test_forward_to_a_deposed_leader_names_the_new_leader() -> None:
    cluster = ReplicaCluster()
    cluster.elect(1)
    cluster.network.isolated = {3}
    cluster.elect(2)
    cluster.heal()
    stale = cluster.drivers[3]  # still believes in node 1
    stale.request(1, put("x", 1))
    cluster.settle()
    error = error_of(outcomes(stale)[1])
    assert isinstance(error, NotLeader)
    assert (error.leader_id, error.leader_addr) == (2, "10.0.0.2:80")


def test_timed_out_write_is_unknown_and_read_is_retryable() -> None:
    cluster = ReplicaCluster()
    leader = cluster.elect(1)
    cluster.network.isolated = {2, 3}
    leader.request(1, put("x", 1), timeout_ms=100)
    leader.request(2, get("x"), "read", timeout_ms=100)
    assert outcomes(leader) == {}
    cluster.now += 100_000
    assert leader.replica.next_deadline() <= cluster.now
    leader.step(Tick())
    assert isinstance(error_of(outcomes(leader)[1]), OutcomeUnknown)
    assert not error_of(outcomes(leader)[1]).retryable
    assert isinstance(error_of(outcomes(leader)[2]), DeadlineExceeded)
    assert len(leader.replica._writes) == len(leader.replica._reads) == 0


def test_overwritten_write_is_dropped_after_the_next_commit() -> None:
    cluster = ReplicaCluster()
    old = cluster.elect(1)
    cluster.network.isolated = {1}
    old.request(1, put("x", 1), timeout_ms=60_000)
    cluster.settle()
    new = cluster.elect(2)
    new.request(1, put("x", 2))
    cluster.settle()
    assert outcomes(old) == {}, "no outcome yet: the entry might have survived elsewhere"
    cluster.heal()
    cluster.pass_time(200)
    assert isinstance(error_of(outcomes(old)[1]), ProposalDropped)
    assert old.replica.machine.state_hash() == new.replica.machine.state_hash()


def test_old_leader_reports_a_write_committed_by_a_later_one() -> None:
    cluster = ReplicaCluster()
    old = cluster.elect(1)
    old.request(1, put("x", 1), timeout_ms=60_000)
    cluster.network.hold_back(lambda sent: sent.to != 2)
    cluster.network.isolated = {3}
    old.stalled = True
    cluster.settle()  # node 2 has the entry; node 1 is stalled, whether or not it has the response
    cluster.network.isolated = {1}
    cluster.elect(2)
    cluster.heal()
    old.stalled = False
    old.persist()
    cluster.pass_time(200)
    assert value_of(outcomes(old)[1]) == 1


def test_lost_leadership_forwards_or_rejects_pending_reads() -> None:
    cluster = ReplicaCluster()
    old = cluster.elect(1)
    cluster.network.isolated = {1}
    old.request(1, get("x"), "read", timeout_ms=60_000)
    cluster.settle()
    cluster.elect(2)
    cluster.heal()
    cluster.pass_time(200)
    error_or_value = outcomes(old)[1]
    assert error_or_value.error is None or error_or_value.error.retryable


def test_command_above_the_limit_is_rejected_unappended() -> None:
    cluster = ReplicaCluster()
    leader = cluster.elect(1)
    before = len(leader.disk.durable.entries)
    leader.request(1, json.dumps({"op": "set", "key": "x", "value": "y" * 5000}))
    follower = cluster.drivers[2]
    follower.request(2, "z" * 5000, "read")
    assert isinstance(error_of(outcomes(leader)[1]), TooLarge)
    assert isinstance(error_of(outcomes(follower)[2]), TooLarge)
    assert len(leader.disk.durable.entries) == before


def test_full_queue_rejects_requests_until_it_drains() -> None:
    cluster = ReplicaCluster(max_pending_requests=5)
    leader = cluster.elect(1)
    cluster.network.isolated = {2, 3}
    for request_id in range(8):
        leader.request(request_id, put("x", request_id), timeout_ms=60_000)
    refused = [i for i, reply in outcomes(leader).items() if isinstance(reply.error, Overloaded)]
    assert refused == [5, 6, 7]
    cluster.heal()
    cluster.pass_time(100)
    assert [value_of(outcomes(leader)[i]) for i in range(5)] == [0, 1, 2, 3, 4]
    leader.request(9, put("x", 9))
    cluster.settle()
    assert value_of(outcomes(leader)[9]) == 9


def test_writes_are_rejected_at_the_limit_of_uncommitted_bytes() -> None:
    cluster = ReplicaCluster(max_uncommitted_bytes=2000)
    leader = cluster.elect(1)
    cluster.network.isolated = {2, 3}
    for request_id in range(5):
        leader.request(request_id, json.dumps({"op": "set", "key": "x", "value": "y" * 900}))
    kinds = {i: type(reply.error) for i, reply in outcomes(leader).items()}
    assert set(kinds.values()) == {Overloaded}
    assert kinds, "no request was rejected"
    assert len(leader.replica._writes) == 5 - len(kinds)


def test_lost_connection_leaves_forwarded_writes_unknown() -> None:
    cluster = ReplicaCluster()
    cluster.elect(1)
    follower = cluster.drivers[2]
    follower.request(1, put("x", 1))
    follower.request(2, get("x"), "read")
    follower.step(PeerUnreachable(1))
    assert isinstance(error_of(outcomes(follower)[1]), OutcomeUnknown)
    assert error_of(outcomes(follower)[2]).retryable
    cluster.settle()  # the late responses change nothing
    assert len(outcomes(follower)) == 2


def test_bad_query_is_the_same_error_when_forwarded() -> None:
    cluster = ReplicaCluster()
    leader = cluster.elect(1)
    follower = cluster.drivers[3]
    leader.request(1, "not json", "read")
    follower.request(1, "not json", "read")
    cluster.settle()
    for driver in (leader, follower):
        assert isinstance(error_of(outcomes(driver)[1]), StoreError)
    assert str(outcomes(leader)[1].error) == str(outcomes(follower)[1].error)


class Exploding:
    """A machine that breaks its contract: `apply` raises on `boom`, `query` always does."""

    name = "exploding"
    versions = (1, 1)

    def apply(self, command: str, context: ApplyContext) -> str:
        if command == "boom":
            raise KeyError("boom")
        return "fine"

    def query(self, query: str) -> str:
        raise ZeroDivisionError("query")

    def snapshot(self) -> list[str]:
        return [""]

    def restore(self, chunks: object) -> None:
        pass

    def state_hash(self) -> str:
        return ""


def test_a_machine_that_raises_while_applying_stops_the_node() -> None:
    cluster = ReplicaCluster(size=1, machine=Exploding, rules=LATEST_RULES)
    leader = cluster.elect(1)
    leader.request(1, "ok")
    assert outcomes(leader)[1].result == "fine"
    with pytest.raises(StateMachineFailed, match="entry 5, the command 'boom', raised KeyError"):
        leader.request(2, "boom")


def test_machine_that_raises_on_a_query_fails_only_that_query() -> None:
    cluster = ReplicaCluster(size=1, machine=Exploding)
    leader = cluster.elect(1)
    leader.request(1, "?", "read")
    leader.request(2, "ok")
    assert "ZeroDivisionError" in str(error_of(outcomes(leader)[1]))
    assert outcomes(leader)[2].result == "fine"


def test_second_bootstrap_is_refused() -> None:
    cluster = ReplicaCluster()
    driver = cluster.elect(1)
    driver.step(InitCluster(5, Membership(voters=(1,), cluster_id="other"), 1000))
    assert isinstance(error_of(outcomes(driver)[5]), ConfigError)


def test_a_restart_restores_the_machine_from_snapshot_and_log() -> None:
    cluster = ReplicaCluster()
    leader = cluster.elect(1)
    for i in range(5):
        leader.request(i, put(f"k{i}", i))
        cluster.settle()
    leader.step(TriggerSnapshot(keep_entries=2))
    leader.request(10, put("after", 1))
    cluster.settle()
    expected = leader.replica.machine.state_hash()
    assert leader.disk.durable.snapshot is not None
    assert len(leader.disk.durable.entries) == 3
    cluster.restart(1)
    leader = cluster.elect(1)
    assert leader.replica.machine.state_hash() == expected
    leader.request(1, get("k3"), "read")
    cluster.settle()
    assert value_of(outcomes(leader)[1]) == 3


def test_a_follower_behind_the_compacted_log_gets_the_snapshot() -> None:
    cluster = ReplicaCluster()
    leader = cluster.elect(1)
    cluster.network.isolated = {3}
    for i in range(5):
        leader.request(i, put(f"k{i}", i))
        cluster.settle()
    leader.step(TriggerSnapshot())
    cluster.heal()
    cluster.pass_time(500)
    leader.request(9, put("after", 1))
    cluster.settle()
    cluster.pass_time(100)
    lagging = cluster.drivers[3]
    assert lagging.disk.durable.snapshot is not None
    assert lagging.replica.machine.state_hash() == leader.replica.machine.state_hash()


def test_entry_times_follow_the_leaders_clock_and_never_go_back() -> None:
    cluster = ReplicaCluster()
    first = cluster.elect(1)
    first.request(1, put("x", 1))
    cluster.settle()
    newest = first.disk.durable.entries[-1].time_us
    assert newest >= WALL_US
    second = cluster.elect(2)
    second.replica.step([ClientRequest(1, "write", put("x", 2), 1000)], cluster.now, 5)
    assert cluster.drivers[2].replica.core.log_entries()[-1].time_us >= newest


def test_single_node_that_campaigns_leads_immediately() -> None:
    cluster = ReplicaCluster(size=1)
    cluster.drivers[1].step(Campaign())
    cluster.drivers[1].request(1, put("x", 1))
    assert value_of(outcomes(cluster.drivers[1])[1]) == 1
