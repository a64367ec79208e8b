"""The quota of the state: what may add is rejected, what makes room is not, and nothing has to be reset."""

from __future__ import annotations

import json
from collections.abc import Iterable

from qcore.errors import QcoreError, QuotaExceeded
from qcore.machines.interface import ApplyContext
from qcore.replica.events import TransferLeader, TriggerSnapshot
from qcore.replica.messages import RequestKind
from qcore.replica.sessions.session_table import session_command_payload
from tests.driver.replicas import ReplicaCluster, ReplicaDriver

QUOTA = 10_000


def put(key: str, size: int = 1000) -> str:
    return json.dumps({"op": "set", "key": key, "value": "v" * size})


def delete(key: str) -> str:
    return json.dumps({"op": "delete", "key": key})


def get(key: str) -> str:
    return json.dumps({"op": "get", "key": key})


def outcome(
    cluster: ReplicaCluster, driver: ReplicaDriver, payload: str, kind: RequestKind = "write"
) -> QcoreError | None:
    """Send a request, let the cluster settle, and return the error of the reply."""
    number = 1 + max((reply.request_id for reply in driver.replies), default=0)
    driver.request(number, payload, kind, timeout_ms=60_000)
    cluster.settle()
    (reply,) = [reply for reply in driver.replies if reply.request_id == number]
    return reply.error


def full_cluster(snapshot_entries: int = 0) -> tuple[ReplicaCluster, ReplicaDriver, int]:
    """A cluster whose state quota is used up, its leader, and how many registers it holds."""
    cluster = ReplicaCluster(state_quota_bytes=QUOTA, snapshot_entries=snapshot_entries)
    leader = cluster.elect(1)
    for number in range(20):
        if outcome(cluster, leader, put(f"k{number}")) is not None:
            return cluster, leader, number
    raise AssertionError("the quota was never reached")


def test_growth_is_rejected_and_the_error_says_what_to_do() -> None:
    cluster, leader, number = full_cluster()
    error = outcome(cluster, leader, put("more"))
    assert isinstance(error, QuotaExceeded)
    assert (error.quota, error.limit, error.retry_after_ms) == ("state", QUOTA, None)
    assert QUOTA <= error.use < QUOTA + 1200
    assert number == 10
    assert "delete something, or raise state_quota_bytes" in str(error)
    (use,) = [use for use in leader.replica.quotas.uses() if use.name == "state"]
    assert (use.limit, use.refused, use.reached) == (QUOTA, 2, True)


def test_what_makes_room_stays_possible() -> None:
    cluster, leader, _ = full_cluster()
    assert outcome(cluster, leader, get("k0"), "read") is None
    for request in ('["open",60000]', '["keep",99]', '["close",99]'):
        assert not isinstance(outcome(cluster, leader, request, "session"), QuotaExceeded)
    in_session = session_command_payload(99, 1, 0, put("more"))
    assert isinstance(outcome(cluster, leader, in_session, "session"), QuotaExceeded)
    in_session = session_command_payload(99, 1, 0, delete("none"))
    assert not isinstance(outcome(cluster, leader, in_session, "session"), QuotaExceeded)
    leader.step(TriggerSnapshot())
    leader.step(TransferLeader(1000, 2, 5000))
    cluster.settle()
    assert cluster.drivers[2].core.role == "leader"
    assert outcome(cluster, cluster.drivers[2], delete("k0")) is None


def test_commands_pass_again_as_soon_as_there_is_room() -> None:
    cluster, leader, _ = full_cluster()
    assert outcome(cluster, leader, delete("k0")) is None
    assert outcome(cluster, leader, put("more")) is None
    assert isinstance(outcome(cluster, leader, put("again")), QuotaExceeded)


def test_a_follower_passes_the_whole_error_on() -> None:
    cluster, _, _ = full_cluster()
    error = outcome(cluster, cluster.drivers[2], put("more"))
    assert isinstance(error, QuotaExceeded)
    assert (error.quota, error.limit, error.retry_after_ms) == ("state", QUOTA, None)
    assert error.use >= QUOTA


def test_requests_in_progress_cannot_exceed_the_quota_together() -> None:
    cluster = ReplicaCluster(state_quota_bytes=QUOTA)
    leader = cluster.elect(1)
    cluster.network.isolated = {2, 3}  # nothing commits
    for number in range(50):
        leader.request(number, put(f"k{number}"), timeout_ms=60_000)
    refused = [reply for reply in leader.replies if isinstance(reply.error, QuotaExceeded)]
    assert 50 - len(refused) <= QUOTA // 1000 + 1


def test_a_new_leader_and_a_restart_know_the_use() -> None:
    cluster, leader, _ = full_cluster(snapshot_entries=3)
    used = leader.replica.quotas.uses()[0].use
    again = cluster.restart(3)
    cluster.elect(3)
    assert again.replica.quotas.uses()[0].use == used
    assert isinstance(outcome(cluster, again, put("more")), QuotaExceeded)


class Uncounted:
    """A machine that does not count its bytes."""

    name = "uncounted"
    versions = (1, 1)

    def __init__(self) -> None:
        self.texts: list[str] = []

    def apply(self, command: str, context: ApplyContext) -> str:
        self.texts.append(command)
        return ""

    def query(self, query: str) -> str:
        return str(len(self.texts))

    def snapshot(self) -> Iterable[str]:
        return ["\n".join(self.texts)]

    def restore(self, chunks: Iterable[str]) -> None:
        self.texts = "".join(chunks).split("\n")

    def state_hash(self) -> str:
        return f"{len(self.texts):04x}"


def test_a_machine_without_a_count_is_judged_by_its_snapshot() -> None:
    cluster = ReplicaCluster(machine=Uncounted, state_quota_bytes=QUOTA)
    leader = cluster.elect(1)
    for _ in range(20):
        assert outcome(cluster, leader, "x" * 1000) is None
    leader.step(TriggerSnapshot())
    cluster.settle()
    error = outcome(cluster, leader, "x")
    assert isinstance(error, QuotaExceeded)
    assert f"its quota is {QUOTA}: raise state_quota_bytes" in str(error)
    assert outcome(cluster, leader, "", "read") is None
