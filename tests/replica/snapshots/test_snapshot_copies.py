"""Snapshots on request: what they hold, what they wait for, and their limits."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.core.events import Campaign, MessageReceived, Tick
from qcore.core.messages import AppendEntries
from qcore.errors import DeadlineExceeded, NotLeader, Overloaded, Refused
from qcore.machines.register import RegisterMachine
from qcore.replica.access.access_table import AccessTable
from qcore.replica.events import Reply, RequestSnapshot
from qcore.replica.requests.requested_snapshots import MAX_SNAPSHOT_REQUESTS
from qcore.replica.sessions.session_table import SessionTable
from qcore.replica.snapshot_builder import restore_snapshot
from tests.driver.replicas import ReplicaCluster, ReplicaDriver

#: Enough keys for a snapshot of many chunks.
WIDE = 40


def put(key: str, text: str = "") -> str:
    return json.dumps({"op": "set", "key": key, "value": text or key})


def filled(size: int = 3, keys: int = WIDE) -> ReplicaCluster:
    """A cluster with leader 1 and a state that is captured in several steps."""
    cluster = ReplicaCluster(size)
    leader = cluster.elect(1)
    for number in range(keys):
        write(cluster, leader, f"key{number}", "x" * 4000)
    cluster.pass_time(100)
    return cluster


def write(cluster: ReplicaCluster, driver: ReplicaDriver, key: str, text: str = "") -> None:
    driver.request(900, put(key, text))
    cluster.settle()
    assert driver.replies.pop().error is None


def ask(
    driver: ReplicaDriver,
    request_id: int = 1,
    *,
    stale: bool = False,
    timeout_ms: int = 1000,
    confirm_ms: int = 1000,
) -> None:
    driver.step(RequestSnapshot(request_id, timeout_ms, confirm_ms, stale))


def outcome(cluster: ReplicaCluster, driver: ReplicaDriver, request_id: int = 1) -> Reply:
    """Advance time in small steps until the request has its outcome."""
    for _ in range(400):
        for reply in driver.replies:
            if reply.request_id == request_id:
                return reply
        cluster.now += 1000
        driver.step(Tick())
        cluster.settle()
    raise AssertionError("no outcome")


def copied(driver: ReplicaDriver, reply: Reply) -> RegisterMachine:
    """A fresh machine, restored from the snapshot that the reply names."""
    assert reply.error is None
    snapshot = driver.replica.core.snapshot
    assert snapshot is not None
    assert snapshot.meta.last_included_index >= reply.index
    machine = RegisterMachine()
    for _ in restore_snapshot(snapshot.data, machine, SessionTable(), AccessTable()):
        pass
    return machine


def isolated(cluster: ReplicaCluster, node_id: int) -> ReplicaDriver:
    """Cut a node off until it has no leader."""
    cluster.network.isolated = {1, 2, 3}
    cluster.now += 2_000_000
    cluster.drivers[node_id].step(Tick())
    cluster.settle()
    return cluster.drivers[node_id]


@pytest.mark.parametrize("node_id", [1, 2])
def test_a_copy_holds_all_that_was_acknowledged_before_it(node_id: int) -> None:
    cluster = filled()
    driver = cluster.drivers[node_id]
    write(cluster, cluster.leader(), "last")
    ask(driver)
    cluster.settle()
    reply = outcome(cluster, driver)
    assert json.loads(copied(driver, reply).query('{"op":"get","key":"last"}'))["value"] == "last"
    assert reply.index == cluster.leader().replica.applied_index


def test_lagging_follower_copies_only_the_confirmed_state() -> None:
    """It has not applied everything that was acknowledged: it waits, and does not return the old state."""
    cluster = filled()
    follower = cluster.drivers[3]
    cluster.network.isolated = {3}
    write(cluster, cluster.leader(), "unseen")
    before = follower.replica.applied_index
    cluster.heal()
    ask(follower)
    cluster.pass_time(200)
    reply = outcome(cluster, follower)
    assert reply.index > before
    assert "unseen" in copied(follower, reply).query('{"op":"get","key":"unseen"}')


def test_copy_is_captured_gradually_while_writes_continue() -> None:
    cluster = filled()
    leader = cluster.leader()
    state = leader.replica.machine.state_hash()
    ask(leader)
    cluster.settle()
    index, steps = leader.replica.applied_index, 0
    while not any(reply.request_id == 1 for reply in leader.replies):
        write(cluster, leader, f"during{steps}")
        cluster.now += 1000
        steps += 1
    reply = outcome(cluster, leader)
    assert steps > 2, "the state is captured in several steps"
    assert reply.index == index
    assert copied(leader, reply).state_hash() == state


def test_existing_snapshot_is_reused_for_the_copy() -> None:
    cluster = filled()
    leader = cluster.leader()
    for request_id in (1, 2):
        ask(leader, request_id)
        cluster.settle()
        outcome(cluster, leader, request_id)
    first, second = leader.replies[-2:]
    assert first.index == second.index
    assert len(leader.disk.snapshots) == 1


def test_a_capture_that_began_too_early_is_followed_by_another() -> None:
    cluster = filled()
    leader = cluster.leader()
    ask(leader, 1)
    cluster.settle()
    write(cluster, leader, "after the first")
    ask(leader, 2)
    ask(leader, 3)
    cluster.settle()
    first, second, third = (outcome(cluster, leader, request_id) for request_id in (1, 2, 3))
    assert first.index < second.index == third.index
    assert "after" in copied(leader, second).query('{"op":"get","key":"after the first"}')
    assert len(leader.disk.snapshots) == 2


def test_log_is_compacted_behind_a_copy_by_the_policy() -> None:
    cluster = filled()
    leader = cluster.leader()
    ask(leader)
    cluster.settle()
    index = outcome(cluster, leader).index
    kept = [entry.index for entry in leader.replica.core.log_entries()]
    assert kept == [index - 1, index], "keep_entries is 2 here"


def test_without_a_leader_only_a_stale_copy_is_possible() -> None:
    cluster = filled()
    alone = isolated(cluster, 2)
    ask(alone, 1)
    assert isinstance(outcome(cluster, alone, 1).error, NotLeader)
    ask(alone, 2, stale=True)
    reply = outcome(cluster, alone, 2)
    assert reply.index == alone.replica.applied_index > 0
    assert "xxx" in copied(alone, reply).query('{"op":"get","key":"key1"}')


def test_isolated_leader_reports_unconfirmed_copy_in_time() -> None:
    cluster = filled()
    cluster.network.isolated = {1}
    leader = cluster.drivers[1]
    ask(leader, timeout_ms=30)
    reply = outcome(cluster, leader)
    assert isinstance(reply.error, DeadlineExceeded)
    assert "stale copy" in str(reply.error)


def test_slow_capture_times_out_and_continues() -> None:
    cluster = filled(size=1, keys=200)
    leader = cluster.leader()
    ask(leader, 1, timeout_ms=2)
    cluster.settle()
    reply = outcome(cluster, leader, 1)
    assert isinstance(reply.error, DeadlineExceeded)
    assert "allow more time" in str(reply.error)
    ask(leader, 2)
    cluster.settle()
    assert outcome(cluster, leader, 2).error is None
    assert len(leader.disk.snapshots) == 1, "the capture continued for the next request"


def test_confirmation_and_capture_have_separate_timeouts() -> None:
    """A large state may take long, but a client should soon leave a leader that has lost its quorum."""
    cluster = filled(keys=200)
    leader = cluster.leader()
    ask(leader, 1, confirm_ms=3)
    cluster.settle()
    assert leader.replica.next_deadline() <= cluster.now + 3000
    asked_at = cluster.now
    assert outcome(cluster, leader, 1).error is None
    assert cluster.now - asked_at > 3000, "the capture continued after the time to confirm"
    cluster.network.isolated = {1}
    ask(leader, 2, confirm_ms=3)
    asked_at = cluster.now
    assert isinstance(outcome(cluster, leader, 2).error, DeadlineExceeded)
    assert cluster.now - asked_at <= 4000


def test_node_without_state_rejects_a_copy() -> None:
    cluster = filled()
    pristine = cluster.join(4)
    ask(pristine, stale=True)
    assert isinstance(outcome(cluster, pristine).error, Refused)


def test_a_stale_copy_waits_for_the_first_entry_to_be_applied() -> None:
    """Commits are applied later in the same step. Until then there is no state for a snapshot."""
    cluster = filled(keys=1)
    core = cluster.leader().replica.core
    joining = cluster.join(4)
    log = core.log_entries()
    append = AppendEntries(core.term, core.node_id, 0, 0, core.commit_index, log)
    joining.step(MessageReceived(core.node_id, append), RequestSnapshot(1, 1000, 1000, stale=True))
    reply = outcome(cluster, joining)
    assert reply.index == core.commit_index
    assert "xxx" in copied(joining, reply).query('{"op":"get","key":"key0"}')


def test_installed_snapshot_completes_a_pending_copy() -> None:
    """It replaces the state that was being captured, and holds more."""
    cluster = filled(keys=200)
    follower = cluster.drivers[3]
    ask(follower, stale=True)
    cluster.network.isolated = {3}
    for number in range(10):
        write(cluster, cluster.leader(), f"later{number}")
    ask(cluster.leader())
    cluster.settle()
    outcome(cluster, cluster.leader())
    cluster.heal()
    assert not follower.replies
    for _ in range(20):
        cluster.pass_time(100)
    reply = outcome(cluster, follower)
    assert "later9" in copied(follower, reply).query('{"op":"get","key":"later9"}')


def test_requests_are_bounded_and_all_get_their_outcome() -> None:
    cluster = filled()
    leader = cluster.leader()
    cluster.network.isolated = {1}  # no quorum confirms anything
    for request_id in range(1, MAX_SNAPSHOT_REQUESTS + 2):
        ask(leader, request_id, timeout_ms=50)
    refused = outcome(cluster, leader, MAX_SNAPSHOT_REQUESTS + 1).error
    assert isinstance(refused, Overloaded)
    assert 1 <= refused.retry_after_ms <= 50
    for request_id in range(1, MAX_SNAPSHOT_REQUESTS + 1):
        assert isinstance(outcome(cluster, leader, request_id).error, DeadlineExceeded)
    cluster.heal()
    cluster.pass_time(100)
    ask(leader, 99)
    cluster.settle()
    assert outcome(cluster, leader, 99).error is None, "the slots are free again"


def test_rejected_requests_free_their_slot() -> None:
    cluster = filled()
    alone = isolated(cluster, 2)
    for request_id in range(1, 3 * MAX_SNAPSHOT_REQUESTS):
        ask(alone, request_id)
        assert isinstance(outcome(cluster, alone, request_id).error, NotLeader)


STEPS = st.lists(
    st.sampled_from(["write", "write", "copy", "stale copy", "time", "cut", "heal", "elect"]),
    min_size=4,
    max_size=40,
)


@settings(max_examples=60)
@given(STEPS, st.integers(0, 2**31))
def test_copy_holds_acknowledged_writes_under_faults(steps: list[str], seed: int) -> None:
    cluster = filled(keys=8)
    acknowledged = 0
    promised: dict[tuple[int, int], int] = {}  # node and request -> number of acknowledged writes
    nodes = [1 + (seed >> shift) % 3 for shift in range(len(steps))]
    for number, (step, node_id) in enumerate(zip(steps, nodes, strict=True)):
        driver = cluster.drivers[node_id]
        match step:
            case "write":
                driver.request(1000 + number, '{"op":"add","key":"n","amount":1}')
                cluster.settle()
                done = [r for r in driver.replies if r.request_id == 1000 + number and not r.error]
                acknowledged += len(done)
            case "copy":
                promised[node_id, number] = acknowledged
                ask(driver, number, timeout_ms=300)
                cluster.settle()
            case "stale copy":
                ask(driver, number, stale=True, timeout_ms=300)
            case "time":
                cluster.now += 1000
                for other in cluster.drivers.values():
                    other.step(Tick())
                cluster.settle()
            case "cut":
                cluster.network.isolated = {node_id}
            case "heal":
                cluster.heal()
            case _:
                cluster.now += 1_000_000
                driver.step(Campaign())
                cluster.settle()
        _check(cluster, promised)
    for node_id, number in list(promised):
        outcome(cluster, cluster.drivers[node_id], number)


def _check(cluster: ReplicaCluster, promised: dict[tuple[int, int], int]) -> None:
    """Check each request that has its snapshot: it holds at least as many writes as were acknowledged before."""
    for node_id, driver in cluster.drivers.items():
        for reply in [reply for reply in driver.replies if reply.request_id < 1000]:
            least = promised.get((node_id, reply.request_id))
            if least and not reply.error:
                found = json.loads(copied(driver, reply).query('{"op":"get","key":"n"}'))["value"]
                assert found >= least
                del promised[node_id, reply.request_id]
