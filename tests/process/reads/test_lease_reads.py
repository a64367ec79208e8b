"""Reads on real nodes whose followers are paused: which reads the leader may serve, and which it must not.

SIGSTOP pauses the followers while their connections stay open, so the leader notices only their silence. It keeps
leading for the longest election timeout, but its lease expires much sooner. A node processes the requests of one
connection in order, so the answer to a later request shows that an earlier one waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qcore.processes import NodeProcess, ProcessCluster, wait_for
from tests.process.conftest import assert_no_traceback
from tests.process.support.load import schema_of_item
from tests.process.support.member_changes import initialised_cluster
from tests.process.support.wire_client import WireClient, read_field, write_field

pytestmark = pytest.mark.process

#: The duration of a lease: 90 % of the shortest election timeout.
SHORTEST_S, LONGEST_S = 1.5, 3.0
LEASE_S = 0.9 * SHORTEST_S
TIMING = ("--election-timeout-min-ms", "1500", "--election-timeout-max-ms", "3000")
#: On a busy machine, a lease may expire before the test sends its request. Then the test tries again.
ATTEMPTS = 10

Entity = dict[str, Any]


@pytest.fixture(scope="module")
def leased(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    """Three nodes with lease reads and slow elections."""
    directory = tmp_path_factory.mktemp("leased")
    with initialised_cluster(
        directory, size=3, voters=3, arguments=("--lease-reads", *TIMING)
    ) as cluster:
        yield cluster
    assert_no_traceback(cluster)


@pytest.fixture(scope="module")
def entity(leased: ProcessCluster) -> Entity:
    """An entity whose `Text` is "old"."""
    return make_entity(leased.wait_leader())


def make_entity(leader: NodeProcess) -> Entity:
    with WireClient(leader.address) as client:
        client.perform("SetSchema", entity_schema=schema_of_item())
        made = client.perform("CreateEntity", entity_type="Item", parent_id=None, name="r")
        entity: Entity = made["response"]
        client.perform("UpdateEntity", request=[write_field(entity, "Text", {"String": "old"})])
    return entity


def read(entity: Entity, message_id: str, consistency: object) -> dict[str, Any]:
    request = {"UpdateEntity": {"request": [read_field(entity, "Text")]}}
    return {"Perform": {"id": message_id, "request": request, "consistency": consistency}}


def value_of(reply: dict[str, Any]) -> str | None:
    """The value that a read returned; None if it was rejected."""
    body = reply["response"]["UpdateEntity"]
    return None if body["error"] is not None else body["response"][0]["Read"]["value"]["String"]


class IsolatedLeader:
    """A connection to a leader whose followers are paused on entry.

    The exit resumes them and waits until the cluster serves again.
    """

    def __init__(self, cluster: ProcessCluster, entity: Entity) -> None:
        self._cluster = cluster
        self._entity = entity
        self.leader = cluster.wait_leader()
        self._followers = [node for node in cluster.running() if node is not self.leader]
        self.client = WireClient(self.leader.address)
        self.answers: dict[str, dict[str, Any]] = {}

    @property
    def followers(self) -> list[NodeProcess]:
        return self._followers

    def __enter__(self) -> IsolatedLeader:
        self.client.send(read(self._entity, "warm", "linearizable"))
        self.await_answer("warm")
        for node in self._followers:
            node.pause()
        self._since = time.monotonic()
        return self

    def __exit__(self, *_error: object) -> None:
        for node in self._followers:
            node.resume()
        self.client.close()
        wait_for(self._serves, 30, "the cluster to serve again")

    def _serves(self) -> bool:
        leader = self._cluster.leader()
        if leader is None:
            return False
        with WireClient(leader.address) as client:
            _, reply = client.exchange(read(self._entity, "again", "linearizable"))
        answer: str | None = value_of(reply)
        return answer is not None

    @property
    def elapsed_s(self) -> float:
        """The time since the last follower was paused: an upper bound on the age of the newest promise."""
        return time.monotonic() - self._since

    def ask(self, message_id: str, consistency: object) -> None:
        self.client.send(read(self._entity, message_id, consistency))

    def await_answer(self, message_id: str) -> dict[str, Any]:
        """Receive until this answer arrives. `answers` then holds the others."""
        while message_id not in self.answers:
            for envelope in self.client.receive_all(1):
                ((_, reply),) = envelope.items()
                self.answers[reply["id"]] = reply
        return self.answers[message_id]

    def await_lease_read(self, message_id: str) -> bool:
        """Whether this lease read is answered while the lease may be valid."""
        self.ask(message_id, "lease")
        self.ask(f"after {message_id}", {"stale": 60_000})
        self.await_answer(f"after {message_id}")
        return message_id in self.answers and value_of(self.answers[message_id]) is not None


def retry_within_lease(attempt: Callable[[], bool]) -> None:
    """Repeat an attempt that was too late for the lease."""
    for _ in range(ATTEMPTS):
        if attempt():
            return
    pytest.fail(f"{ATTEMPTS} times the lease expired before the test could send its request")


def test_only_a_lease_read_is_served_without_a_quorum(
    leased: ProcessCluster, entity: Entity
) -> None:
    """Check quorum is not enough: a leader that still leads serves no linearizable read without a quorum."""

    def attempt() -> bool:
        with IsolatedLeader(leased, entity) as isolated:
            isolated.ask("linearizable", "linearizable")
            isolated.ask("follower", "follower")
            served = isolated.await_lease_read("lease")
            leads = bool(isolated.leader.status()["state"] == "Leader")
            assert "linearizable" not in isolated.answers, "answered without a quorum"
            assert "follower" not in isolated.answers, "answered without a quorum"
            if isolated.elapsed_s > LEASE_S:
                return False  # too late to decide
            assert leads
            assert served, "the lease was valid, but the read was not answered"
            assert value_of(isolated.answers["lease"]) == "old"
            return True

    retry_within_lease(attempt)


def test_a_leader_with_an_expired_lease_serves_no_lease_read(
    leased: ProcessCluster, entity: Entity
) -> None:
    def attempt() -> bool:
        with IsolatedLeader(leased, entity) as isolated:
            while (
                isolated.elapsed_s <= SHORTEST_S
            ):  # the lease must expire: there is nothing to poll
                time.sleep(0.05)
            assert not isolated.await_lease_read("late"), "served without a lease"
            leads = bool(isolated.leader.status()["state"] == "Leader")
            # In the end the read is rejected or times out. It is never served while the followers are paused.
            assert value_of(isolated.await_answer("late")) is None
            return leads

    retry_within_lease(attempt)


def test_a_transfer_voids_the_lease(leased: ProcessCluster, entity: Entity) -> None:
    def attempt() -> bool:
        with IsolatedLeader(leased, entity) as isolated:
            served = isolated.await_lease_read("before")
            to = isolated.followers[0].node_id
            isolated.client.send({"TransferLeader": {"id": "transfer", "to": to}})
            assert not isolated.await_lease_read("after"), "served although a transfer had begun"
            return served and isolated.elapsed_s < LEASE_S

    retry_within_lease(attempt)


def test_a_leader_paused_past_its_lease_serves_no_stale_read(
    tmp_path: Path,
) -> None:
    """Reads wait in its socket when it resumes, and more follow. None may miss the write at the new leader."""
    kinds: dict[str, object] = {
        "linearizable": "linearizable",
        "lease": "lease",
        "follower": "follower",
        "stale": {"stale": 100},
    }
    with initialised_cluster(tmp_path, size=3, voters=3, arguments=("--lease-reads",)) as cluster:
        old = cluster.wait_leader()
        entity = make_entity(old)
        others = [node for node in cluster.running() if node is not old]
        with WireClient(old.address) as client:
            old.pause()
            try:
                for name, consistency in kinds.items():
                    client.send(read(entity, f"{name} early", consistency))
                write_elsewhere(others, entity, "new")
                time.sleep(0.15)  # now the earlier state is too old for a stale read as well
            finally:
                old.resume()
            for number in range(5):
                for name, consistency in kinds.items():
                    client.send(read(entity, f"{name} {number}", consistency))
            for envelope in client.receive_all(6 * len(kinds)):
                reply = envelope["PerformResponse"]
                assert value_of(reply) in (None, "new"), reply

            served: set[str] = set()

            def all_served() -> bool:
                """In the end this node answers every kind of read. Otherwise the test proves nothing."""
                for name, consistency in kinds.items():
                    wide = {"stale": 60_000} if name == "stale" else consistency
                    _, reply = client.exchange(read(entity, f"{name} in the end", wide))
                    if value_of(reply) is not None:
                        assert value_of(reply) == "new"
                        served.add(name)
                return served == set(kinds)

            wait_for(all_served, 30, "reads of every kind to be answered")
        cluster.wait_converged()
    assert_no_traceback(cluster)


def write_elsewhere(nodes: list[NodeProcess], entity: Entity, value: str) -> None:
    """Wait until one of these nodes leads, and write there."""

    def written() -> bool:
        for node in nodes:
            if node.status().get("state") == "Leader":
                with WireClient(node.address) as client:
                    write = write_field(entity, "Text", {"String": value})
                    return bool(client.perform("UpdateEntity", request=[write])["error"] is None)
        return False

    wait_for(written, 30, "another node to accept a write")
