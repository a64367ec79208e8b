"""Attacks on a node that waits to be added: what a stranger gets from its proof, or from its token."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from qcore.client import SyncClient
from qcore.errors import QcoreError
from qcore.processes import NodeProcess, ProcessCluster
from qcore.security.keys.handshake_proof import sign_as_acceptor, sign_join
from qcore.security.keys.join_token import HeldJoinToken
from qcore.security.keys.node_key import NodeKey
from tests.process.conftest import assert_no_traceback
from tests.process.support.member_changes import initialised_cluster
from tests.process.support.raw_peer import connect_as, hello_of, new_nonce, say_hello
from tests.process.support.wire_client import WireClient

pytestmark = [pytest.mark.process, pytest.mark.long]

_OWN = NodeKey(b"a stranger's seed, 32 bytes long")

#: Makes the fields of `HelloReply` for those of a `Hello`.
MakeReply = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(slots=True, frozen=True)
class Target:
    """A cluster of node 1, and a node that waits with its token."""

    cluster: ProcessCluster
    token: HeldJoinToken
    waiting: NodeProcess
    honest: SyncClient

    def add(self, address: str) -> None:
        """The operator adds the waiting node at this address."""
        self.honest.add_learner(self.waiting.node_id, address)

    def membership(self) -> Any:
        return self.cluster.nodes[1].status()["membership_config"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    directory = tmp_path_factory.mktemp("cluster")
    with initialised_cluster(directory, size=3) as cluster:
        yield cluster
    assert_no_traceback(cluster)


def target_with(cluster: ProcessCluster, honest: SyncClient, node_id: int) -> Target:
    token, waiting = honest.create_join_token(), cluster.nodes[node_id]
    waiting.environment = {"QCORE_JOIN_TOKEN": token.text()}
    waiting.start()
    return Target(cluster, token, waiting, honest)


@pytest.fixture
def honest(cluster: ProcessCluster) -> Iterator[SyncClient]:
    with SyncClient([cluster.nodes[1].address], timeout_s=20) as client:
        yield client


@contextmanager
def thief(make_reply: MakeReply) -> Iterator[str]:
    """A server of the attacker that answers each `Hello`; gives its address."""

    def answer(connection: ServerConnection) -> None:
        try:
            hello = json.loads(connection.recv(timeout=5))["Hello"]
            response = {"Ok": make_reply(hello)}
            connection.send(
                json.dumps({"HelloResponse": {"id": hello["id"], "response": response}})
            )
            while True:
                connection.recv(timeout=5)
        except (ConnectionClosed, TimeoutError):
            pass

    with serve(answer, sock=socket.create_server(("127.0.0.1", 0))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host, port = server.socket.getsockname()
        yield f"{host}:{port}"
        server.shutdown()


def proved_by(target: Target, hello: dict[str, Any]) -> dict[str, Any]:
    """What the waiting node answers to this `Hello`, which anyone can send."""
    with WireClient(target.waiting.address) as client:
        return dict(say_hello(client, hello)["Ok"])


def assert_refused(target: Target, make_reply: MakeReply) -> str:
    before, asked = target.membership(), []

    def answer(hello: dict[str, Any]) -> dict[str, Any]:
        asked.append(hello)
        return make_reply(hello)

    with thief(answer) as address, pytest.raises(QcoreError) as caught:
        target.add(address)
    assert asked, "the leader asked the attacker"
    assert target.membership() == before
    assert target.token.token_id in [each.token_id for each in target.honest.list_join_tokens()]
    return str(caught.value)


def test_a_recorded_proof_is_worth_nothing(cluster: ProcessCluster, honest: SyncClient) -> None:
    """Shown again as it was, or with the challenge, the key and the signature of the attacker."""
    target = target_with(cluster, honest, 2)
    asking = hello_of(1, target.token.cluster_id, _OWN, role="asking")
    recorded = proved_by(target, asking)
    assert recorded["join_proof"]
    assert "its signature is wrong" in assert_refused(target, lambda hello: recorded)

    def with_own_key(hello: dict[str, Any]) -> dict[str, Any]:
        reply = recorded | {"public_key": _OWN.public, "nonce": new_nonce()}
        return reply | {"signature": sign_as_acceptor(_OWN, hello, reply)}

    assert "its proof of the join token" in assert_refused(target, with_own_key)

    def relayed_with_own_key(hello: dict[str, Any]) -> dict[str, Any]:
        reply = proved_by(target, hello) | {"public_key": _OWN.public}
        return reply | {"signature": sign_as_acceptor(_OWN, hello, reply)}

    assert "its proof of the join token" in assert_refused(target, relayed_with_own_key)

    def of_another_node(hello: dict[str, Any]) -> dict[str, Any]:
        return proved_by(target, hello | {"node_id": 7})

    assert "its signature is wrong" in assert_refused(target, of_another_node)


def test_a_stolen_token_adds_only_the_node_that_is_asked(
    cluster: ProcessCluster, honest: SyncClient
) -> None:
    target = target_with(cluster, honest, 3)
    leader, before = target.cluster.nodes[1], target.membership()
    for node_id in (3, 7):
        with WireClient(leader.address) as client:
            hello = hello_of(node_id, target.token.cluster_id, _OWN, membership_index=10**9)
            hello |= {"join_token": target.token.token_id}
            hello |= {"join_proof": sign_join(target.token.key, hello, {})}
            assert "Err" in connect_as(client, hello, _OWN)
    assert target.membership() == before
    target.add(target.waiting.address)  # the true node, at its address
    assert target.membership()["membership"]["nodes"]["3"]["addr"] == target.waiting.address

    def with_the_used_token(hello: dict[str, Any]) -> dict[str, Any]:
        reply = {"protocol": 1, "cluster_id": "", "node_id": 9, "nonce": new_nonce()}
        reply |= {"public_key": _OWN.public, "join_token": target.token.token_id}
        reply |= {"join_proof": sign_join(target.token.key, hello, reply)}
        return reply | {"signature": sign_as_acceptor(_OWN, hello, reply)}

    target.honest.create_join_token()
    with thief(with_the_used_token) as address, pytest.raises(QcoreError, match="was used"):
        target.honest.add_learner(9, address)
