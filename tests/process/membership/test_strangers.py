"""What strangers say on a node's port: only the owner of a member's key is ever accepted as that member."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from qcore.node.peers.node_key_file import load_key
from qcore.processes import NodeProcess, ProcessCluster
from qcore.security.keys.handshake_proof import acceptor_signed, sign_as_acceptor, sign_as_dialler
from qcore.security.keys.node_key import NodeKey
from tests.process.conftest import ARGUMENTS, assert_no_traceback, initialise
from tests.process.support.member_changes import change
from tests.process.support.raw_peer import (
    connect_as,
    hello_of,
    new_nonce,
    say_hello,
    send_proof,
)
from tests.process.support.wire_client import WireClient

pytestmark = pytest.mark.process

STRANGER = NodeKey(b"a stranger's seed, 32 bytes long")
#: What a node without a proof would do first: stop the cluster with one message.
REQUEST = {
    "term": 2**63 - 1,
    "candidate_id": 2,
    "last_log_index": 10**9,
    "last_log_term": 10**9,
}
VOTE = {"RaftVote": {"id": "v", "request": REQUEST}}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    """Two nodes that form a cluster. No test may change it."""
    with ProcessCluster(tmp_path_factory.mktemp("pair"), size=2, arguments=ARGUMENTS) as cluster:
        cluster.start()
        initialise(cluster)
        yield cluster
    assert_no_traceback(cluster)


@pytest.fixture
def node(pair: ProcessCluster) -> Iterator[NodeProcess]:
    """The follower, whose term must not change. Unlike a leader it accepts nodes that it does not know yet."""
    node = next(each for each in pair.nodes.values() if each is not pair.wait_leader())
    before = node.status()
    yield node
    after = node.status()
    assert after["current_term"] == before["current_term"]
    assert after["membership_config"] == before["membership_config"]


@pytest.fixture
def member(pair: ProcessCluster, node: NodeProcess) -> NodeProcess:
    """The other member."""
    return next(each for each in pair.nodes.values() if each is not node)


@pytest.fixture
def cluster_id(node: NodeProcess) -> str:
    found: str = node.status()["qcore"]["cluster_id"]
    return found


def key_of(node: NodeProcess) -> NodeKey:
    key = load_key(node.data_dir)
    assert key is not None
    return key


def receive_all(client: WireClient) -> None:
    """Send a message of a peer, and receive until the connection ends."""
    client.send(VOTE)
    while True:
        client.receive()


def assert_closed(client: WireClient) -> None:
    """The connection was refused, and takes no message of a peer."""
    with pytest.raises(ConnectionClosed) as closed:
        receive_all(client)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


def test_the_owner_of_a_members_key_is_accepted(
    member: NodeProcess, node: NodeProcess, cluster_id: str
) -> None:
    """Without this every other test here would pass for a wrong reason."""
    key = key_of(member)
    with WireClient(node.address) as client:
        assert connect_as(client, hello_of(member.node_id, cluster_id, key), key) == {"Ok": None}
        name, value = client.exchange(
            {
                "RaftVote": {
                    "id": "v",
                    "request": REQUEST | {"term": 1, "candidate_id": member.node_id},
                }
            }
        )
        assert name == "RaftVoteResponse"
        answer = value["response"]["Ok"]
        assert answer.pop("wall_us") > 0, "to a peer of rules 2 or later it sends its clock"
        assert answer == {"term": node.status()["current_term"], "vote_granted": False}


def test_a_later_version_may_add_fields_to_the_handshake(
    member: NodeProcess, node: NodeProcess, cluster_id: str
) -> None:
    """The node signs them and expects them to be signed. Without that, a relay could remove what a version added."""
    key = key_of(member)
    added = {"later": {"number": 1.5, "texts": ["ä"]}}
    for lost in (False, True):
        with WireClient(node.address) as client:
            hello = hello_of(member.node_id, cluster_id, key)
            reply = say_hello(client, hello if lost else hello | added)["Ok"]
            signature = reply["signature"]
            assert acceptor_signed(reply["public_key"], signature, hello | added, reply) != lost
            answer = send_proof(client, sign_as_dialler(key, hello | added, reply))
            assert "its signature is wrong" in answer["Err"] if lost else answer == {"Ok": None}


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({}, "has not proved that it is node"),
        ({"nonce": new_nonce()}, "has not proved that it is node"),
        ({"public_key": STRANGER.public}, "has not proved that it is node"),
        ({"incarnation": "", "membership_index": 10**9}, "has not proved that it is node"),
        ({"node_id": 99, "membership_index": 10**9}, "has not proved that it is node 99"),
        (
            {"node_id": 99, "membership_index": 10**9, "vouchers": [[2, 10**9, "A" * 86]]},
            "has not proved that it is node 99",
        ),
        ({"cluster_id": "another"}, "belongs to cluster another"),
        ({"cluster_id": ""}, "belongs to no cluster"),
        ({"role": "admin"}, "is unknown"),
        ({"rules": [1, 4]}, "apply rules are version"),
    ],
)
def test_a_stranger_without_a_key_is_refused(
    member: NodeProcess, node: NodeProcess, cluster_id: str, changed: dict[str, Any], why: str
) -> None:
    with WireClient(node.address) as client:
        response = say_hello(client, hello_of(member.node_id, cluster_id) | changed)
        assert why in response["Err"]
        assert_closed(client)


def test_a_stranger_with_its_own_key_is_refused(
    member: NodeProcess, node: NodeProcess, cluster_id: str
) -> None:
    for node_id in (member.node_id, 99):
        with WireClient(node.address) as client:
            newer = hello_of(node_id, cluster_id, STRANGER, membership_index=10**9)
            response = connect_as(client, newer, STRANGER)
            assert f"has not proved that it is node {node_id}" in response["Err"]
            assert_closed(client)


@pytest.mark.parametrize("signed", ["nothing", "by a stranger", "as acceptor", "reflected"])
def test_a_members_public_key_without_its_secret_is_refused(
    member: NodeProcess, node: NodeProcess, cluster_id: str, signed: str
) -> None:
    key = key_of(member)
    with WireClient(node.address) as client:
        hello = hello_of(member.node_id, cluster_id, key)
        reply = say_hello(client, hello)["Ok"]
        proof = {
            "nothing": "",
            "by a stranger": sign_as_dialler(STRANGER, hello, reply),
            "as acceptor": sign_as_acceptor(key, hello, reply),
            "reflected": reply["signature"],
        }[signed]
        assert "its signature is wrong" in send_proof(client, proof)["Err"]
        assert_closed(client)


def test_a_replayed_proof_is_refused(
    member: NodeProcess, node: NodeProcess, cluster_id: str
) -> None:
    key = key_of(member)
    hello = hello_of(member.node_id, cluster_id, key)
    with WireClient(node.address) as client:
        proof = sign_as_dialler(key, hello, say_hello(client, hello)["Ok"])
        assert send_proof(client, proof) == {"Ok": None}
    with WireClient(node.address) as client:
        say_hello(client, hello)
        assert "its signature is wrong" in send_proof(client, proof)["Err"]
        assert_closed(client)


#: A change that an active relay makes to the `Hello` of a member, by the field.
CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "id": lambda hello: hello["id"] + "x",
    "version": lambda hello: "0.1.0",
    "membership_index": lambda hello: 10**9,
    "rules": lambda hello: [1, 6],
    "machine_versions": lambda hello: [1, 2],
    "nonce": lambda hello: new_nonce(),
    "vouchers": lambda hello: [[1, 1, "A"]],
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_hello_that_a_relay_has_changed_is_refused(
    member: NodeProcess, node: NodeProcess, cluster_id: str, name: str
) -> None:
    key = key_of(member)
    sent = hello_of(member.node_id, cluster_id, key)
    arrived = sent | {name: CHANGES[name](sent)}
    with WireClient(node.address) as client:
        reply = say_hello(client, arrived)["Ok"]
        assert (
            "its signature is wrong" in send_proof(client, sign_as_dialler(key, sent, reply))["Err"]
        )
        assert_closed(client)


def test_a_node_that_only_asks_for_the_key_is_no_peer(node: NodeProcess, cluster_id: str) -> None:
    with WireClient(node.address) as client:
        hello = hello_of(7, "", STRANGER, role="asking")
        reply = say_hello(client, hello)["Ok"]
        assert reply["public_key"] == key_of(node).public
        client.send(
            {"HelloProof": {"id": "p", "signature": sign_as_dialler(STRANGER, hello, reply)}}
        )
        assert "there was no Hello" in client.receive()["HelloProofResponse"]["response"]["Err"]
        assert_closed(client)


def test_each_connection_has_one_hello_and_one_proof(
    member: NodeProcess, node: NodeProcess, cluster_id: str
) -> None:
    key = key_of(member)
    hello = hello_of(member.node_id, cluster_id, key)
    with WireClient(node.address) as client:
        say_hello(client, hello)
        assert "there was one" in say_hello(client, hello)["Err"]
        assert_closed(client)
    with WireClient(node.address) as client:
        assert "there was no Hello" in send_proof(client, "")["Err"]
        assert_closed(client)
    with WireClient(node.address) as client:
        client.send({"Hello": hello})
        assert_closed(client)  # before the proof


@pytest.mark.long
def test_the_connections_of_a_removed_member_end(ready_cluster: ProcessCluster) -> None:
    """Its key was stolen: the operator removes the node, and the thief is out."""
    cluster = ready_cluster
    thief_as = cluster.nodes[3]
    key, cluster_id = key_of(thief_as), thief_as.status()["qcore"]["cluster_id"]
    thief_as.stop()
    cluster.wait_leader()
    node = cluster.nodes[1]
    with WireClient(node.address) as thief:
        assert connect_as(thief, hello_of(3, cluster_id, key), key) == {"Ok": None}
        change(cluster, [1, 2])
        with pytest.raises(ConnectionClosed) as closed:
            thief.receive()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (
            1008,
            "node 3: it was removed",
        )
    with WireClient(node.address) as thief:
        response = connect_as(thief, hello_of(3, cluster_id, key), key)
        assert "removed" in response["Err"] or "has not proved" in response["Err"]


@pytest.mark.long
def test_a_peer_that_never_sends_its_proof_is_disconnected(
    member: NodeProcess, node: NodeProcess, cluster_id: str
) -> None:
    with WireClient(node.address) as client:
        say_hello(client, hello_of(member.node_id, cluster_id, key_of(member)))
        with pytest.raises(ConnectionClosed) as closed:
            client.receive()  # within hello_timeout_s
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008
