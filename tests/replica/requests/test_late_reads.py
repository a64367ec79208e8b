"""Requests whose deadline comes while they wait for a step, and ticks that the core rejects."""

from __future__ import annotations

import json

from qcore.core.events import Tick
from qcore.errors import DeadlineExceeded, QcoreError
from qcore.replica.events import ClientRequest, ReplicaEffect, Reply, TransferLeader
from qcore.replica.requests.reads import MAX_READ_COST
from qcore.replica.sessions.session_table import open_session_payload
from tests.driver.clock import WALL_US
from tests.driver.replicas import ReplicaCluster
from tests.replica.apply.test_version_edges import ready_to_upgrade

GET = json.dumps({"op": "get", "key": "n"})
ADD = json.dumps({"op": "add", "key": "n", "amount": 1})


def errors(effects: list[ReplicaEffect], request_id: int) -> list[QcoreError | None]:
    return [
        effect.error
        for effect in effects
        if isinstance(effect, Reply) and effect.request_id == request_id
    ]


def test_stale_read_that_waits_too_long_has_an_error() -> None:
    """More reads than one step serves: the rest are judged in the next step, which comes too late."""
    cluster = ReplicaCluster(1)
    leader = cluster.elect(1)
    many = MAX_READ_COST + 10
    leader.step(*[ClientRequest(i, "stale_read", GET, 10, 1000) for i in range(many)])
    assert 0 < len([reply for reply in leader.replies if reply.result is not None]) < many
    effects = leader.replica.step([Tick()], cluster.now + 20_000, WALL_US)
    (error,) = errors(effects, many - 1)
    assert isinstance(error, DeadlineExceeded)


def test_confirmed_read_that_expires_waiting_has_one_outcome() -> None:
    """It waits while each step serves as many reads as it may, and its deadline comes first."""
    many = 3 * MAX_READ_COST
    cluster = ReplicaCluster(1, max_pending_requests=2 * many)
    leader = cluster.elect(1)
    effects = leader.step(*[ClientRequest(i, "read", GET, 10) for i in range(many)])
    for _ in range(6):
        effects += leader.replica.step([Tick()], cluster.now + 20_000, WALL_US)
    outcomes = [errors(effects, request_id) for request_id in range(many)]
    assert {len(each) for each in outcomes} == {1}
    assert isinstance(outcomes[-1][0], DeadlineExceeded)
    assert outcomes[0] == [None]


def test_expired_read_is_not_answered_again_once_it_is_ready() -> None:
    """It waited for entries that were committed and not applied yet."""
    cluster = ReplicaCluster(1, max_pending_requests=10_000)
    leader = cluster.elect(1)
    leader.step(*[ClientRequest(i, "write", ADD, 5000) for i in range(3000)])
    leader.request(9000, GET, kind="read", timeout_ms=10)
    behind = leader.replica.has_apply_backlog
    assert behind
    effects: list[ReplicaEffect] = []
    for _ in range(20):
        effects += leader.replica.step([Tick()], cluster.now + 20_000, WALL_US)
    assert leader.replica.applied_index > 3000
    (error,) = errors(effects, 9000)
    assert isinstance(error, DeadlineExceeded)


def test_request_with_a_shortened_deadline_has_one_outcome() -> None:
    """It is in the queue twice, and a paused process meets both deadlines in one step."""
    cluster = ReplicaCluster(3)
    cluster.elect(1)
    cluster.network.isolated = {1}
    follower = cluster.drivers[2]
    follower.request(7, ADD, timeout_ms=5000)  # forwarded to the old leader
    cluster.elect(3)
    assert errors([*follower.replies], 7) == []
    effects = follower.replica.step([Tick()], cluster.now + 10_000_000, WALL_US)
    assert len(errors(effects, 7)) == 1


def test_rejected_tick_is_not_proposed_in_every_step() -> None:
    """Otherwise the node would spin as long as a transfer of leadership lasts."""
    cluster, leader = ready_to_upgrade()
    leader.request(1, open_session_payload(1000), kind="session")
    cluster.settle()
    cluster.pass_time(900)
    cluster.network.isolated = {3}
    leader.step(TransferLeader(50, 3, 3000))
    for _ in range(5):
        cluster.pass_time(50)
        assert leader.replica.core.transferring
        assert leader.replica.next_deadline() > cluster.now
    cluster.pass_time(1000)
    assert len(leader.replica.sessions) == 0
