"""A node that waits with a join token: which peers it believes, and to whom it proves the token."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace
from typing import Any, cast

import pytest

from qcore.core.entry import Membership
from qcore.core.raft import RaftCore
from qcore.errors import RemoteProtocolError
from qcore.node.peers.peer_keys import PeerKeys
from qcore.security.keys.handshake_proof import has_join_token, sign_voucher
from qcore.security.keys.join_token import HeldJoinToken
from qcore.security.keys.node_key import NodeKey
from qcore.transport.codec.codec import Codec
from qcore.transport.wire import (
    ASKING_ROLE,
    REGISTRY,
    Hello,
    HelloReply,
    HelloResponse,
    Ok,
    signed_fields,
)

CODEC = Codec(REGISTRY)
KEYS = {node: NodeKey(bytes([node]) * 32) for node in range(1, 10)}
TOKEN = HeldJoinToken("red", "abc", ((1, KEYS[1].public), (2, KEYS[2].public)), b"seed" * 8)


def keys_of(node: int, membership: Membership | None = None, **more: Any) -> PeerKeys:
    """The keys of a node with this configuration."""
    held = membership or Membership(())
    core = SimpleNamespace(
        membership=held,
        membership_index=0 if membership is None else 7,
        committed_membership=(0, held),
        newest_version=SimpleNamespace(rules=5),
    )
    return PeerKeys(KEYS[node], cast(RaftCore, core), os.urandom, **more)


def over_the_wire(message: Any) -> Any:
    return CODEC.decode(CODEC.encode(message))[0]


def members(*nodes: int) -> Membership:
    addresses = tuple((node, f"h:{node}") for node in nodes)
    keys = tuple((node, KEYS[node].public) for node in nodes)
    return Membership(nodes, addresses=addresses, cluster_id="red", keys=keys)


def ask(dialler: PeerKeys, acceptor: PeerKeys, cluster_id: str = "red") -> tuple[Hello, HelloReply]:
    """One node asks the other for its key; returns what both have sent, as the dialler sees it."""
    hello = dialler.complete_hello(Hello("h", 1, cluster_id, 1, ASKING_ROLE))
    reply = acceptor.complete_reply(over_the_wire(hello), HelloReply(1, "", 9))
    received = over_the_wire(HelloResponse("h", Ok(reply))).response.value
    dialler.check_asked(hello, received)
    return hello, received


def test_a_waiting_node_proves_its_token_to_its_cluster_only() -> None:
    member, node = keys_of(1, members(1, 2)), keys_of(9, join_token=TOKEN)
    hello, reply = ask(member, node)
    assert reply.join_token == "abc"
    fields = signed_fields(hello), signed_fields(reply)
    assert has_join_token(TOKEN.key.public, reply.join_proof, *fields)
    for cluster_id in ("", "blue"):
        with pytest.raises(RemoteProtocolError, match="has a join token of cluster red"):
            ask(member, node, cluster_id)


def test_a_proof_is_not_written_by_a_node_without_a_token() -> None:
    for node in (keys_of(9), keys_of(9, members(1, 2, 9), join_token=TOKEN)):
        _, reply = ask(keys_of(1, members(1, 2)), node)
        assert "join_token" not in json.loads(CODEC.encode(HelloResponse("h", Ok(reply)))).values()
        assert not {"join_token", "join_proof"} & signed_fields(reply).keys()


def vouch(by: int, node: int, cluster_id: str = "red") -> tuple[int, int, str]:
    return by, 7, sign_voucher(KEYS[by], cluster_id, 7, node, KEYS[node].public)


@pytest.mark.parametrize(
    ("node", "key", "vouchers", "accepted"),
    [
        (1, 1, [], True),
        (2, 2, [], True),
        (1, 2, [], False),
        (3, 1, [], False),
        (3, 3, [], False),
        (3, 3, [vouch(2, 3)], True),
        (1, 3, [vouch(2, 3)], False),
        (3, 4, [vouch(2, 3)], False),
        (3, 3, [vouch(4, 3)], False),
        (3, 3, [(2, *vouch(4, 3)[1:])], False),
        (3, 3, [vouch(2, 3, "blue")], False),
    ],
)
def test_a_waiting_node_believes_members_and_whom_they_vouch_for(
    node: int, key: int, vouchers: list[tuple[int, int, str]], accepted: bool
) -> None:
    waiting = keys_of(9, join_token=TOKEN)
    if accepted:
        waiting.require(node, "red", KEYS[key].public, vouchers)
        with pytest.raises(RemoteProtocolError, match="has a join token of cluster red"):
            waiting.require(node, "blue", KEYS[key].public, vouchers)
    else:
        with pytest.raises(RemoteProtocolError, match="has not proved that it is node"):
            waiting.require(node, "red", KEYS[key].public, vouchers)


def test_a_node_without_a_token_believes_its_first_peer() -> None:
    keys_of(9).require(3, "blue", KEYS[3].public)


def test_a_member_uses_its_configuration_and_not_its_token() -> None:
    member = keys_of(9, members(4, 9), join_token=TOKEN)
    assert member.join_token is None
    assert "ignored" in member.token_note
    member.require(4, "red", KEYS[4].public)
    with pytest.raises(RemoteProtocolError, match="no member that is known here"):
        member.require(1, "red", KEYS[1].public)
