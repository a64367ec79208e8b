"""Attacks of a stranger who poses as a member, or as a joining node: rows A3 to A6, replay, relay, downgrade."""

from __future__ import annotations

from typing import Any

from qcore.node.peers.node_key_file import load_key
from qcore.processes import NodeProcess
from qcore.security.keys.handshake_proof import sign_as_acceptor, sign_as_dialler
from qcore.security.keys.node_key import NodeKey
from tests.process.attacks.strangers.stranger import Target, error_code
from tests.process.support.raw_peer import connect_as, hello_of, new_nonce, say_hello, send_proof

_OWN = NodeKey(b"a stranger's seed, 32 bytes long")
_FAR = 10**9


def _key(node: NodeProcess) -> NodeKey:
    """The key of a member. The attacks use its public half, or signatures that a relay has seen."""
    key = load_key(node.data_dir)
    assert key is not None
    return key


def _member(target: Target) -> tuple[NodeProcess, NodeProcess]:
    """A node to attack, and the member as which the attacker poses."""
    leader = target.leader
    return target.follower, leader


def peer_messages(target: Target) -> list[dict[str, Any]]:
    """What a peer could send to stop the cluster, or to change its state."""
    membership = {"voters": [99], "learners": [], "addresses": [[99, "127.0.0.1:1"]]}
    entry = {"index": 2, "term": 2**40, "kind": "command", "data": "{}", "time_us": 1}
    vote = {
        "term": 2**63 - 1,
        "candidate_id": 1,
        "last_log_index": _FAR,
        "last_log_term": _FAR,
    }
    bodies: dict[str, dict[str, Any]] = {
        "RaftVote": vote,
        "RaftPreVote": {**vote, "term": 1, "next_term": 2**63 - 1},
        "RaftAppend": {
            "term": 2**40,
            "leader_id": 1,
            "prev_log_index": 1,
            "prev_log_term": 1,
            "leader_commit": _FAR,
            "entries": [entry],
        },
        "RaftSnapshot": {
            "term": 2**40,
            "leader_id": 1,
            "last_included_index": _FAR,
            "last_included_term": 2**40,
            "last_included_time_us": 1,
            "membership": membership,
            "offset": 0,
            "total": 2,
            "checksum": 0,
            "data": "{}",
        },
        "RaftTimeoutNow": {"term": 1, "leader_id": 1},
        "RaftReadIndex": {"read_id": 1, "timeout_ms": 1000},
        "Forward": {
            "forward_id": 1,
            "kind": "access",
            "payload": '{"delete_user":{"name":"root"}}',
            "timeout_ms": 1000,
            "user": "root",
        },
    }
    return [{name: {"id": "1", "request": body}} for name, body in bodies.items()]


def peer_messages_without_hello(target: Target) -> None:
    """A4, A5, A6: each message of a peer, on a client's connection and on one that announces a peer."""
    for headers in ((), ("Qcore-Role: peer",)):
        for message in peer_messages(target):
            with target.stranger(*headers) as stranger:
                assert error_code(stranger.exchange(message)) != "ok"


def hello_without_proof(target: Target) -> None:
    """A3: as a member, as an unknown node with a far newer configuration, as a node without an incarnation."""
    node, member = _member(target)
    known = target.cluster_id
    for node_id in (member.node_id, node.node_id, 99):
        for key in (None, _OWN):
            with target.stranger(node=node) as stranger:
                hello = hello_of(node_id, known, key, membership_index=_FAR)
                if key is None:
                    assert "Err" in say_hello(stranger, hello)
                else:
                    assert "Err" in connect_as(stranger, hello, key)
                for message in peer_messages(target):
                    assert error_code(stranger.exchange(message)) != "ok"


def stolen_id_with_another_key(target: Target) -> None:
    """The public key of a member with a signature of the attacker's, of the wrong side, or none."""
    node, member = _member(target)
    key = _key(member)
    for wrong in ("nothing", "own", "reflected", "of the acceptor"):
        with target.stranger(node=node) as stranger:
            hello = hello_of(member.node_id, target.cluster_id, key)
            reply = say_hello(stranger, hello)["Ok"]
            proofs = {
                "nothing": "",
                "own": sign_as_dialler(_OWN, hello, reply),
                "reflected": reply["signature"],
                "of the acceptor": sign_as_acceptor(key, hello, reply),
            }
            assert "Err" in send_proof(stranger, proofs[wrong])
            assert error_code(stranger.exchange(peer_messages(target)[0])) != "ok"


def reply_of_one_node_shown_to_another(target: Target) -> None:
    """A proof that a member made for one node, relayed to another: both nonces and ids are signed."""
    node, member = _member(target)
    other = next(each for each in target.cluster.nodes.values() if each not in (node, member))
    key = _key(member)
    hello = hello_of(member.node_id, target.cluster_id, key)
    with target.stranger(node=node) as one, target.stranger(node=other) as two:
        first, second = say_hello(one, hello), say_hello(two, hello)
        proof = sign_as_dialler(key, hello, first["Ok"])  # the relay got it from the member
        assert "Ok" in second
        assert "Err" in send_proof(two, proof)
        assert error_code(two.exchange(peer_messages(target)[0])) != "ok"


def challenge_of_another_connection(target: Target) -> None:
    """A recorded Hello and its proof, sent again; and the node's own nonce, sent back."""
    node, member = _member(target)
    key = _key(member)
    hello = hello_of(member.node_id, target.cluster_id, key)
    with target.stranger(node=node) as one, target.stranger(node=node) as two:
        first, second = say_hello(one, hello), say_hello(two, hello)
        assert first["Ok"]["nonce"] != second["Ok"]["nonce"]
        assert "Err" in send_proof(two, sign_as_dialler(key, hello, first["Ok"]))


def downgraded_hello(target: Target) -> None:
    """Rules without keys, other protocols, other clusters, other machines, and unknown roles."""
    node, member = _member(target)
    changes: tuple[dict[str, Any], ...] = (
        {"rules": [1, 4]},
        {"rules": [1, 1]},
        {"rules": [9, 9]},
        {"rules": [5, 1]},
        {"protocol": 0},
        {"protocol": 2},
        {"cluster_id": ""},
        {"cluster_id": "another"},
        {"machine": "register"},
        {"machine": ""},
        {"role": "admin"},
        {"role": ""},
        {"version": "0.1.0"},
        {"public_key": "ed25519:" + "A" * 43, "nonce": new_nonce()},
        {"public_key": "ed25519:AQ" + "A" * 41, "nonce": new_nonce()},  # of small order
        {"public_key": _OWN.public, "nonce": ""},
        {"public_key": _OWN.public, "nonce": "A"},
    )
    for changed in changes:
        with target.stranger(node=node) as stranger:
            hello = hello_of(member.node_id, target.cluster_id) | changed
            answer = stranger.exchange({"Hello": hello})
            response = answer[1].get("response")
            if isinstance(response, dict) and "Ok" in response:
                assert "Err" in send_proof(stranger, "A" * 86)
            assert error_code(stranger.exchange(peer_messages(target)[0])) != "ok"


def hello_with_odd_fields(target: Target) -> None:
    """Names, vouchers and numbers that are too large, of the wrong kind, or hold control characters."""
    node, member = _member(target)
    changes: tuple[dict[str, Any], ...] = (
        {"version": "x" * 100_000},
        {"version": "\nforged line\x1b[2J"},
        {"cluster_id": "\nforged line\x1b[2J"},
        {"role": "\nforged line\x1b[2J"},
        {"machine": "\nforged line\x1b[2J"},
        {"public_key": "\nforged line\x1b[2J"},
        {"incarnation": "\n" * 100},
        {"cluster_id": "x" * 100_000},
        {"membership_index": 2**63},
        {"membership_index": -1},
        {"node_id": 0},
        {"node_id": 2**63},
        {"node_id": "1"},
        {"vouchers": [[1, 1, "A" * 86]] * 10_000},
        {"vouchers": [[1, _FAR, "A" * 86], [2, _FAR, "A" * 86], [3, _FAR, "A" * 86]]},
        {"id": "\r\nforged"},
        {"unknown": {"a": [1] * 1000}},
        {"unknown": {"a": [[]] * 100_000}},
    )
    for changed in changes:
        with target.stranger(node=node) as stranger:
            key = NodeKey(b"another stranger's seed, 32 byte")
            hello = hello_of(member.node_id, target.cluster_id, key) | changed
            answer = stranger.exchange({"Hello": hello})
            response = answer[1].get("response")
            if isinstance(response, dict) and "Ok" in response:
                proof = sign_as_dialler(key, hello, response["Ok"])
                assert "Err" in send_proof(stranger, proof)
            assert error_code(stranger.exchange(peer_messages(target)[0])) != "ok"


def handshake_in_the_wrong_order(target: Target) -> None:
    """Proof before Hello, two Hellos, Hello and a vote in one frame, an asking node that goes on as a peer."""
    node, member = _member(target)
    known, vote = target.cluster_id, peer_messages(target)[0]
    with target.stranger(node=node) as stranger:
        assert "Err" in send_proof(stranger, "A" * 86)
    key = _key(member)
    hello = hello_of(member.node_id, known, key)
    with target.stranger(node=node) as stranger:
        say_hello(stranger, hello)
        assert error_code(stranger.exchange({"Hello": hello})) != "ok"
    with target.stranger(node=node) as stranger:
        stranger.say([{"Hello": hello}, vote, {"HelloProof": {"id": "p", "signature": ""}}])
        while (answer := stranger.receive()) is not None:
            assert "RaftVoteResponse" not in str(answer)
    with target.stranger(node=node) as stranger:
        asking = hello_of(7, "", _OWN, role="asking")
        answer = say_hello(stranger, asking)
        if "Ok" in answer:
            assert "Err" in send_proof(stranger, sign_as_dialler(_OWN, asking, answer["Ok"]))
        assert error_code(stranger.exchange(vote)) != "ok"


def init_on_a_running_cluster(target: Target) -> None:
    """`Init` with the attacker's nodes, and a join token that was never made."""
    for nodes in ([[99, "127.0.0.1:1"]], [[n, a] for n, a in target.cluster.members]):
        with target.stranger() as stranger:
            assert error_code(stranger.exchange({"Init": {"id": "1", "nodes": nodes}})) != "ok"
    for name in ("UseJoinToken", "AddJoinToken", "SetAccess", "Access", "Restore", "HelloResponse"):
        with target.stranger() as stranger:
            body = {"id": "1", "token": "x", "name": "x", "key": _OWN.public}
            assert error_code(stranger.exchange({name: body})) != "ok"


ATTACKS = (
    peer_messages_without_hello,
    hello_without_proof,
    stolen_id_with_another_key,
    reply_of_one_node_shown_to_another,
    challenge_of_another_connection,
    downgraded_hello,
    hello_with_odd_fields,
    handshake_in_the_wrong_order,
    init_on_a_running_cluster,
)
