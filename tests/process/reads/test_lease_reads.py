"""Reads on real nodes whose followers stand still: what may be answered, and what must not.

SIGSTOP holds the followers back while their connections stay open, so nothing but their silence tells the leader
that it is alone. The leader stays in office for the longest election timeout; its lease is over much sooner.
Requests of one connection are taken in order, so a later request's answer shows that an earlier one waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qcore.cli.demo.processes import LocalCluster, NodeProcess, wait_for
from tests.process.conftest import assert_no_traceback
from tests.process.support.load import schema_of_item
from tests.process.support.member_changes import initialised_cluster
from tests.process.support.wire_client import WireClient, read_field, write_field

pytestmark = pytest.mark.process

#: Of the whole election timeout, what a follower's promise is worth to a lease: 90 % of the shortest one.
SHORTEST_S, LONGEST_S = 1.5, 3.0
LEASE_S = 0.9 * SHORTEST_S
TIMING = ("--election-timeout-min-ms", "1500", "--election-timeout-max-ms", "3000")
#: A machine that is busy elsewhere may let a lease run out before the test has asked; then it tries again.
ATTEMPTS = 10

Entity = dict[str, Any]


@pytest.fixture(scope="module")
def leased(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three nodes with lease reads and slow elections."""
    directory = tmp_path_factory.mktemp("leased")
    with initialised_cluster(
        directory, size=3, voters=3, arguments=("--lease-reads", *TIMING)
    ) as cluster:
        yield cluster
    assert_no_traceback(cluster)


@pytest.fixture(scope="module")
def entity(leased: LocalCluster) -> Entity:
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
    """The value that a read was answered; None if it was refused."""
    body = reply["response"]["UpdateEntity"]
    return None if body["error"] is not None else body["response"][0]["Read"]["value"]["String"]


class Alone:
    """A connection to a leader whose followers stand still from the moment of entering.

    Leaving wakes them, and waits until the cluster serves again.
    """

    def __init__(self, cluster: LocalCluster, entity: Entity) -> None:
        self._cluster = cluster
        self._entity = entity
        self.leader = cluster.wait_leader()
        self._followers = [node for node in cluster.running() if node is not self.leader]
        self.client = WireClient(self.leader.address)
        self.answers: dict[str, dict[str, Any]] = {}

    @property
    def followers(self) -> list[NodeProcess]:
        return self._followers

    def __enter__(self) -> Alone:
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
        """Since the last follower stood still: an upper bound on how old the youngest promise is."""
        return time.monotonic() - self._since

    def ask(self, message_id: str, consistency: object) -> None:
        self.client.send(read(self._entity, message_id, consistency))

    def await_answer(self, message_id: str) -> dict[str, Any]:
        """Receive until this answer is there; the others are in `answers` then."""
        while message_id not in self.answers:
            for envelope in self.client.receive_all(1):
                ((_, reply),) = envelope.items()
                self.answers[reply["id"]] = reply
        return self.answers[message_id]

    def await_lease_read(self, message_id: str) -> bool:
        """Whether this lease read is answered while the lease may hold."""
        self.ask(message_id, "lease")
        self.ask(f"after {message_id}", {"stale": 60_000})
        self.await_answer(f"after {message_id}")
        return message_id in self.answers and value_of(self.answers[message_id]) is not None


def until_it_hits(attempt: Callable[[], bool]) -> None:
    """Repeat an attempt that came too late for the lease."""
    for _ in range(ATTEMPTS):
        if attempt():
            return
    pytest.fail(f"{ATTEMPTS} times the lease had run out before the test could ask")


def test_only_a_lease_read_is_served_without_a_quorum(leased: LocalCluster, entity: Entity) -> None:
    """Also what separates ReadIndex from CheckQuorum: a leader in office does not serve a read for that."""

    def attempt() -> bool:
        with Alone(leased, entity) as alone:
            alone.ask("linearizable", "linearizable")
            alone.ask("follower", "follower")
            served = alone.await_lease_read("lease")
            in_office = bool(alone.leader.status()["state"] == "Leader")
            assert "linearizable" not in alone.answers, "answered though no quorum was asked"
            assert "follower" not in alone.answers, "answered though no quorum was asked"
            if alone.elapsed_s > LEASE_S:
                return False  # too late to tell
            assert in_office
            assert served, "the lease held, and the read was not answered"
            assert value_of(alone.answers["lease"]) == "old"
            return True

    until_it_hits(attempt)


def test_a_leader_with_an_expired_lease_serves_no_lease_read(
    leased: LocalCluster, entity: Entity
) -> None:
    def attempt() -> bool:
        with Alone(leased, entity) as alone:
            while alone.elapsed_s <= SHORTEST_S:  # the lease's own length: there is nothing to poll
                time.sleep(0.05)
            assert not alone.await_lease_read("late"), "served without a lease"
            in_office = bool(alone.leader.status()["state"] == "Leader")
            # In the end it is refused, or given up: never served while the others stand still.
            assert value_of(alone.await_answer("late")) is None
            return in_office

    until_it_hits(attempt)


def test_a_transfer_voids_the_lease(leased: LocalCluster, entity: Entity) -> None:
    def attempt() -> bool:
        with Alone(leased, entity) as alone:
            served = alone.await_lease_read("before")
            to = alone.followers[0].node_id
            alone.client.send({"TransferLeader": {"id": "transfer", "to": to}})
            assert not alone.await_lease_read("after"), "served though a transfer had begun"
            return served and alone.elapsed_s < LEASE_S

    until_it_hits(attempt)


def test_a_leader_paused_past_its_lease_serves_no_stale_read(
    tmp_path: Path,
) -> None:
    """The reads are in its socket when it wakes, and more come then; all but the oldest news is wrong."""
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
                time.sleep(0.15)  # now what was true before is too old for a stale read as well
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
                """In the end every kind is answered here; else the test would show nothing."""
                for name, consistency in kinds.items():
                    wide = {"stale": 60_000} if name == "stale" else consistency
                    _, reply = client.exchange(read(entity, f"{name} at last", wide))
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

    wait_for(written, 30, "another node to take a write")
