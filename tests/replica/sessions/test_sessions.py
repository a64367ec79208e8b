"""Client sessions: a command takes effect once, across retries, failover, snapshots and restarts."""

from __future__ import annotations

import json

from qcore.core.config import RaftConfig
from qcore.core.entry import Entry
from qcore.errors import SequenceRefused, SessionExpired, StoreError
from qcore.machines.register import RegisterMachine
from qcore.replica.events import ClientRequest, Reply, TriggerSnapshot
from qcore.replica.sessions.session_table import (
    MAX_REPLIES,
    MAX_SESSIONS,
    SessionTable,
    close_session_payload,
    keep_session_payload,
    open_session_payload,
    session_command_payload,
)
from tests.driver.replicas import ReplicaCluster, ReplicaDriver
from tests.replica.support.client_sessions import apply, restored, text_of

ADD = json.dumps({"op": "add", "key": "n", "amount": 1})
GET = json.dumps({"op": "get", "key": "n"})


def ask(cluster: ReplicaCluster, driver: ReplicaDriver, payload: str, request_id: int = 1) -> Reply:
    driver.step(ClientRequest(request_id, "session", payload, 60_000))
    cluster.settle()
    return driver.replies[-1]


def opened(cluster: ReplicaCluster, driver: ReplicaDriver, lifetime_ms: int = 60_000) -> int:
    reply = ask(cluster, driver, open_session_payload(lifetime_ms))
    assert reply.result is not None
    return int(reply.result)


def count(driver: ReplicaDriver) -> object:
    return json.loads(driver.replica.machine.query(GET))["value"]


def test_repeated_sequence_number_gets_the_recorded_reply() -> None:
    cluster = ReplicaCluster()
    leader = cluster.elect(1)
    session = opened(cluster, leader)
    first = ask(cluster, leader, session_command_payload(session, 1, 0, ADD))
    again = ask(cluster, leader, session_command_payload(session, 1, 0, ADD))
    assert first.result == again.result
    assert count(leader) == 1
    assert ask(cluster, leader, session_command_payload(session, 2, 0, ADD)).error is None
    assert count(leader) == 2


def test_retry_after_failover_and_restart_is_applied_once() -> None:
    cluster = ReplicaCluster()
    leader = cluster.elect(1)
    session = opened(cluster, leader)
    ask(cluster, leader, session_command_payload(session, 1, 0, ADD))
    for driver in list(cluster.drivers.values()):
        cluster.pass_time(100)
        driver.step(TriggerSnapshot())
    for node_id in (1, 2, 3):
        cluster.restart(node_id)
    new = cluster.elect(2)
    reply = ask(cluster, cluster.drivers[3], session_command_payload(session, 1, 0, ADD))
    assert reply.error is None
    assert count(new) == 1


def test_a_snapshot_sent_to_a_follower_carries_the_sessions() -> None:
    cluster = ReplicaCluster(raft=RaftConfig(1, max_snapshot_chunk=16))
    leader = cluster.elect(1)
    cluster.network.isolated = {3}
    session = opened(cluster, leader)
    ask(cluster, leader, session_command_payload(session, 1, 0, ADD))
    leader.step(TriggerSnapshot())
    cluster.heal()
    cluster.pass_time(600)
    assert cluster.drivers[3].disk.durable.snapshot is not None, "sent in chunks of 16 characters"
    cluster.network.isolated = {1}
    third = cluster.elect(3)
    assert ask(cluster, third, session_command_payload(session, 1, 0, ADD)).error is None
    assert count(third) == 1


def test_an_expired_session_is_an_explicit_error_by_log_time() -> None:
    cluster = ReplicaCluster(rules=1)
    leader = cluster.elect(1)
    session = opened(cluster, leader, lifetime_ms=1000)
    cluster.pass_time(900)
    assert ask(cluster, leader, keep_session_payload(session)).error is None
    cluster.pass_time(900)
    assert ask(cluster, leader, session_command_payload(session, 1, 0, ADD)).error is None
    cluster.pass_time(1200)
    reply = ask(cluster, leader, session_command_payload(session, 1, 0, ADD))
    assert isinstance(reply.error, SessionExpired)
    assert count(leader) == 1
    for driver in cluster.drivers.values():
        cluster.pass_time(100)
        assert len(driver.replica.sessions) == 0


def behind_a_snapshot_with_the_clock_set_back(
    cluster: ReplicaCluster, seconds: int
) -> ReplicaDriver:
    """The log is compacted behind a snapshot, the leader restarts, and its wall clock goes back."""
    cluster.drivers[1].step(TriggerSnapshot(keep_entries=0))
    assert cluster.drivers[1].disk.durable.entries == []
    cluster.restart(1)
    cluster.drivers[1].clock.wall_us -= (
        seconds * 1_000_000 + 1_000_000
    )  # `elect` lets a second pass
    return cluster.elect(1)


def test_session_survives_a_clock_set_back_behind_a_snapshot() -> None:
    """Otherwise its last use would be recorded too early, and it would expire too soon."""
    cluster = ReplicaCluster(1, rules=1)
    session = opened(cluster, cluster.elect(1), lifetime_ms=2_000)
    leader = behind_a_snapshot_with_the_clock_set_back(cluster, 5)
    assert ask(cluster, leader, session_command_payload(session, 1, 0, ADD)).error is None
    cluster.pass_time(6_000)  # by the wall clock one second after the session was opened
    assert ask(cluster, leader, session_command_payload(session, 2, 0, ADD)).error is None
    assert count(leader) == 2


def test_session_expired_before_a_snapshot_stays_expired() -> None:
    cluster = ReplicaCluster(1, rules=1)
    leader = cluster.elect(1)
    session = opened(cluster, leader, lifetime_ms=2_000)
    cluster.pass_time(4_000)
    leader.request(2, ADD)  # log time passes the session's end, and no entry uses the session
    leader = behind_a_snapshot_with_the_clock_set_back(cluster, 4)
    reply = ask(cluster, leader, session_command_payload(session, 1, 0, ADD))
    assert isinstance(reply.error, SessionExpired)
    assert count(leader) == 1


def test_an_expired_session_is_the_same_error_through_a_follower() -> None:
    cluster = ReplicaCluster()
    cluster.elect(1)
    reply = ask(cluster, cluster.drivers[2], session_command_payload(77, 1, 0, ADD))
    assert isinstance(reply.error, SessionExpired)


def test_a_closed_session_is_gone() -> None:
    cluster = ReplicaCluster()
    leader = cluster.elect(1)
    session = opened(cluster, leader)
    assert ask(cluster, leader, close_session_payload(session)).error is None
    assert isinstance(
        ask(cluster, leader, session_command_payload(session, 1, 0, ADD)).error, SessionExpired
    )


def entry(index: int, data: str, time_us: int = 0) -> Entry:
    return Entry(index, 1, "session", data, time_us)


def test_numbers_of_acknowledged_replies_are_rejected() -> None:
    table, machine = SessionTable(), RegisterMachine()
    apply(table, entry(1, open_session_payload(1000)), machine)
    for number in range(1, 4):
        apply(table, entry(1 + number, session_command_payload(1, number, 0, ADD)), machine)
    result, error = apply(table, entry(9, session_command_payload(1, 4, 2, ADD)), machine)
    assert error is None
    assert result is not None
    _, error = apply(table, entry(10, session_command_payload(1, 2, 2, ADD)), machine)
    assert isinstance(error, SequenceRefused)
    assert json.loads(machine.query(GET))["value"] == 4


def test_the_table_is_bounded_in_sessions_and_in_replies() -> None:
    table, machine = SessionTable(), RegisterMachine()
    for index in range(1, MAX_SESSIONS + 3):
        apply(table, entry(index, open_session_payload(1000)), machine)
    assert len(table) == MAX_SESSIONS
    _, error = apply(table, entry(MAX_SESSIONS + 3, keep_session_payload(1)), machine)
    assert isinstance(error, SessionExpired), "the least recently used made room"
    last = MAX_SESSIONS + 2
    outcomes = [
        apply(
            table, entry(MAX_SESSIONS + 10 + n, session_command_payload(last, n, 0, ADD)), machine
        )[1]
        for n in range(1, MAX_REPLIES + 2)
    ]
    assert outcomes[:-1] == [None] * MAX_REPLIES
    assert isinstance(outcomes[-1], SequenceRefused)


def test_dump_and_load_keep_everything() -> None:
    table, machine = SessionTable(), RegisterMachine()
    apply(table, entry(1, open_session_payload(5000), 7), machine)
    apply(table, entry(2, open_session_payload(9000), 8), machine)
    apply(table, entry(3, session_command_payload(1, 5, 3, ADD), 9), machine)
    for rules in (2, 3):
        copy = restored(text_of(table, rules), 1)
        assert text_of(copy) == text_of(table)
    result, error = apply(copy, entry(4, session_command_payload(1, 5, 3, ADD), 10), machine)
    assert error is None
    assert json.loads(result or "")["value"] == 1


def test_digest_shows_the_sessions_and_every_reply() -> None:
    table, machine = SessionTable(), RegisterMachine()
    assert table.digest() == ""
    digests = [""]
    for index, data in enumerate(
        [
            open_session_payload(5000),
            session_command_payload(1, 1, 0, ADD),
            session_command_payload(1, 2, 0, ADD),
            session_command_payload(1, 3, 1, ADD),
        ],
        start=1,
    ):
        apply(table, entry(index, data, index), machine)
        digests.append(table.digest())
        for rules in (2, 3):
            assert restored(text_of(table, rules), 1).digest() == table.digest()
    assert len({*digests}) == len(digests)


def test_malformed_session_entry_is_a_harmless_error() -> None:
    table, machine = SessionTable(), RegisterMachine()
    for data in ("", "[]", '["run",1]', '{"a":1}', '["open","x"]', "[" * 10_000):
        _, error = apply(table, entry(1, data), machine)
        assert isinstance(error, StoreError)
    assert len(table) == 0
