"""Retries: a command was applied, its response was lost, and the client sends it again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from qcore.errors import SessionExpired
from qcore.replica.events import Reply, TriggerSnapshot
from qcore.replica.messages import ForwardResponse
from qcore.replica.sessions import session_table
from qcore.replica.sessions.client_session import Session
from qcore.replica.sessions.session_table import (
    ApplyOutcome,
    SessionTable,
    open_session_payload,
    session_command_payload,
)
from tests.driver.replicas import ReplicaCluster, ReplicaDriver
from tests.pitfalls.support.cluster_steps import deliver_all_but

ADD = json.dumps({"op": "add", "key": "n", "amount": 1})


@dataclass
class Outcomes:
    """The counter at the end, the result in the lost response, and the response to the retry."""

    counter: object
    lost_result: str | None
    reply: Reply


def count(driver: ReplicaDriver) -> object:
    """The counter at this replica."""
    return json.loads(driver.replica.machine.query(json.dumps({"op": "get", "key": "n"})))["value"]


def retry_elsewhere(*, snapshot: bool, restart: bool, in_session: bool = True) -> Outcomes:
    """redisraft#52, etcd#18424: an increment is committed, its response is lost, and the client sends it elsewhere.

    The client is connected to follower 3, which forwards the command. The leader's response to 3 is lost. Under
    another leader, the client sends the same number again to follower 1.

    Args:
        snapshot: every replica takes a snapshot of all that it has applied before the retry.
        restart: every replica restarts from its disk before the retry.
        in_session: False sends a command without a session instead, twice.

    Returns:
        the counter at the end, which should be 1, and both replies.
    """
    cluster = ReplicaCluster()
    leader = cluster.elect(1)
    leader.request(1, open_session_payload(60_000), "session")
    cluster.settle()
    session = int(leader.replies[-1].result or 0)
    payload = session_command_payload(session, 1, 0, ADD) if in_session else ADD
    cluster.drivers[3].request(2, payload, "session" if in_session else "write", 60_000)
    (lost,) = deliver_all_but(cluster, ForwardResponse)
    assert isinstance(lost, ForwardResponse)
    cluster.pass_time(100)
    assert [count(driver) for driver in cluster.drivers.values()] == [1, 1, 1]
    assert not cluster.drivers[3].replies, "the client has no reply"
    if snapshot:
        for driver in cluster.drivers.values():
            driver.step(TriggerSnapshot())
            assert driver.disk.durable.snapshot is not None
    if restart:
        for node_id in cluster.drivers:
            cluster.restart(node_id)
    new = cluster.elect(2)
    cluster.drivers[1].request(3, payload, "session" if in_session else "write", 60_000)
    cluster.settle()
    return Outcomes(count(new), lost.result, cluster.drivers[1].replies[-1])


RUN_ONCE = session_table._run


def forgetful(session: Session, *rest: Any) -> ApplyOutcome:
    """Does not record the reply."""
    outcome = RUN_ONCE(session, *rest)
    session.replies.clear()
    return outcome


@pytest.mark.parametrize("restart", [False, True], ids=["", "after a restart"])
@pytest.mark.parametrize("snapshot", [False, True], ids=["", "across a snapshot"])
def test_retried_command_counts_once(snapshot: bool, restart: bool) -> None:
    seen = retry_elsewhere(snapshot=snapshot, restart=restart)
    assert seen.counter == 1
    assert seen.reply.error is None
    assert seen.reply.result == seen.lost_result


@pytest.mark.parametrize("restart", [False, True], ids=["", "after a restart"])
@pytest.mark.parametrize("snapshot", [False, True], ids=["", "across a snapshot"])
def test_without_recorded_reply_retried_command_counts_twice(
    snapshot: bool, restart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_table, "_run", forgetful)
    seen = retry_elsewhere(snapshot=snapshot, restart=restart)
    # A node that still waits for the old leader's response asks the new leader, too.
    assert seen.counter == (2 if restart else 3)


def test_without_session_retried_command_counts_twice() -> None:
    """Sessions exist for this. Without one, the client library repeats no command that may have taken effect."""
    assert retry_elsewhere(snapshot=False, restart=False, in_session=False).counter == 2


def test_without_replies_in_snapshot_the_retry_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even then no command silently counts twice: the retry ends with the error that the session is unknown."""
    monkeypatch.setattr(SessionTable, "dump", lambda _table, _rules: iter(["[]\n"]))
    seen = retry_elsewhere(snapshot=True, restart=True)
    assert seen.counter == 1
    assert isinstance(seen.reply.error, SessionExpired)
