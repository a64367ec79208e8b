"""`PeerKeys`: what a node signs and demands when a connection between it and a peer begins.

| the peer | must prove |
|---|---|
| has a public key in the newest or in the committed configuration | one of these |
| is a member without one | nothing under apply rules below 5; refused from rules 5 on |
| is no member, and the members have keys | a key that a member vouches for, in a newer configuration |
| is a founder, while this node executes an `Init` | the key that the new configuration will have |
| connects to a node that knows no cluster | that it owns the key that it shows; nothing if it shows none |
| connects to such a node that has a join token | the key of a member in the token, or one that these vouch for |

A node that has a key, and shows it, always proves that it owns it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from qcore.core.raft import RaftCore
from qcore.core.version import KEYS_SINCE_RULES
from qcore.errors import RemoteProtocolError
from qcore.security.keys.handshake_proof import (
    NONCE_BYTES,
    acceptor_signed,
    dialler_signed,
    is_nonce,
    is_vouched,
    nonce_text,
    sign_as_acceptor,
    sign_as_dialler,
    sign_join,
    sign_voucher,
)
from qcore.security.keys.join_token import HeldJoinToken
from qcore.security.keys.node_key import NodeKey
from qcore.transport.wire import (
    ASKING_ROLE,
    MAX_VOUCHERS,
    Hello,
    HelloProof,
    HelloReply,
    signed_fields,
)

_MAX_EARLY_VOUCHERS: Final = 255

#: Part of each refusal of a peer that has not proved who it is.
NOT_PROVED: Final = "has not proved that it is node"
#: Part of the refusal of a founder that shows another key than the one that the `Init` gives it.
OTHER_FOUNDER_KEY: Final = "another public key than the one that this Init gives it"


class PeerKeys:
    """The keys of one node and of its peers.

    Args:
        key: of this node.
        core: read for the configuration and the active rules.
        random_bytes: see `qcore.runtime.interface.Runtime`.
        join_token: of this node, or None. It counts until the node is a member.

    Attributes:
        founders: by id, the keys of the nodes of an `Init` in progress at this node.
    """

    def __init__(
        self,
        key: NodeKey,
        core: RaftCore,
        random_bytes: Callable[[int], bytes],
        join_token: HeldJoinToken | None = None,
    ) -> None:
        self._key = key
        self._join_token = join_token
        self._core = core
        self._random_bytes = random_bytes
        self.founders: Mapping[int, str] = {}
        #: By member, its newest statement about the key of this node: log index and signature.
        self._vouchers: dict[int, tuple[int, str]] = {}

    @property
    def public(self) -> str:
        """The public key of this node."""
        return self._key.public

    @property
    def join_token(self) -> HeldJoinToken | None:
        """The join token with which this node waits to be added; None if there is none, or once it is a member."""
        return self._join_token if self._core.membership.is_empty else None

    @property
    def token_note(self) -> str:
        """What the log says about the join token of this node; empty if it has none."""
        if self._join_token is None:
            return ""
        if (token := self.join_token) is None:
            return "this node is a member already: its join token is ignored"
        return f"waiting with the join token {token.token_id} to be added to cluster {token.cluster_id}"

    # -- this node opens a connection --------------------------------------------------------------

    def complete_hello(self, hello: Hello) -> Hello:
        """Add what a `Hello` of this node says about keys."""
        hello.nonce = nonce_text(self._random_bytes(NONCE_BYTES))
        hello.public_key = self._key.public
        newest = sorted(self._vouchers.items(), key=lambda item: item[1][0], reverse=True)
        hello.vouchers = [
            (member, index, signature) for member, (index, signature) in newest[:MAX_VOUCHERS]
        ]
        return hello

    def prove(self, hello: Hello, reply: HelloReply) -> HelloProof | None:
        """Check the reply of a peer; returns this node's proof, or None if the peer has no keys.

        Raises:
            RemoteProtocolError: the peer has not proved who it is.
        """
        self._check_reply(hello, reply)
        self.require(reply.node_id, reply.cluster_id, reply.public_key if reply.signature else "")
        if not reply.signature:
            return None
        self._note_voucher(reply.node_id, reply.membership_index, reply.voucher)
        voucher = self._voucher_for(reply.node_id, hello.cluster_id, hello.membership_index)
        proof = HelloProof("", "", voucher)
        proof.signature = sign_as_dialler(
            self._key, signed_fields(hello), signed_fields(reply), signed_fields(proof)
        )
        return proof

    def check_asked(self, hello: Hello, reply: HelloReply) -> None:
        """Check the reply of a node that was only asked for its key.

        Raises:
            RemoteProtocolError: it has not proved that it owns the key that it shows, or it has none.
        """
        self._check_reply(hello, reply)
        if not reply.signature:
            raise RemoteProtocolError(f"node {reply.node_id} has no public key: its qcore is older")

    def _check_reply(self, hello: Hello, reply: HelloReply) -> None:
        if reply.signature and not (
            is_nonce(reply.nonce)
            and acceptor_signed(
                reply.public_key, reply.signature, signed_fields(hello), signed_fields(reply)
            )
        ):
            raise _not_proved(reply.node_id, "its signature is wrong")

    # -- a peer opens a connection -----------------------------------------------------------------

    def complete_reply(self, hello: Hello, reply: HelloReply) -> HelloReply:
        """Add this node's proof to its reply, if the peer can check it.

        Raises:
            RemoteProtocolError: the nonce of the peer is malformed; or it only asks, from outside of the cluster for
                which this node has a join token.
        """
        token = self.join_token if hello.role == ASKING_ROLE else None
        if token is not None and hello.cluster_id != token.cluster_id:
            raise _waits_for(token, f"node {hello.node_id} {_of_cluster(hello.cluster_id)}")
        if not hello.nonce and not hello.public_key:
            return reply
        if not is_nonce(hello.nonce):
            raise RemoteProtocolError(f"the nonce of node {hello.node_id} is malformed")
        reply.nonce = nonce_text(self._random_bytes(NONCE_BYTES))
        reply.public_key = self._key.public
        reply.voucher = self._voucher_for(hello.node_id, reply.cluster_id, reply.membership_index)
        if token is not None:
            reply.join_token = token.token_id
            reply.join_proof = sign_join(token.key, signed_fields(hello), signed_fields(reply))
        reply.signature = sign_as_acceptor(self._key, signed_fields(hello), signed_fields(reply))
        return reply

    def check_proof(self, hello: Hello, reply: HelloReply, proof: HelloProof) -> None:
        """Check the proof of a peer.

        Raises:
            RemoteProtocolError: the peer has not proved who it is.
        """
        if not dialler_signed(
            hello.public_key,
            proof.signature,
            signed_fields(hello),
            signed_fields(reply),
            signed_fields(proof),
        ):
            raise _not_proved(hello.node_id, "its signature is wrong")
        self.require(hello.node_id, hello.cluster_id, hello.public_key, hello.vouchers)
        self._note_voucher(hello.node_id, hello.membership_index, proof.voucher)

    # -- rules -------------------------------------------------------------------------------------

    def require(
        self,
        node_id: int,
        cluster_id: str,
        key: str,
        vouchers: Sequence[tuple[int, int, str]] = (),
    ) -> None:
        """Check that a peer may have this key; empty for none.

        Raises:
            RemoteProtocolError: it may not; the text states the reason.
        """
        token = self.join_token
        if token is not None and cluster_id != token.cluster_id:
            raise _waits_for(token, f"node {node_id} {_of_cluster(cluster_id)}")
        if token is not None and not _believes(token, node_id, key, vouchers):
            raise _not_proved(
                node_id,
                "no member in the join token of this node has its public key or vouches for it",
            )
        if not self.fits(node_id, key):
            if not self._configured(node_id):
                raise RemoteProtocolError(
                    f"it shows {OTHER_FOUNDER_KEY}: {key or 'none'}, and not {self.founders[node_id]}"
                )
            why = "its public key is not the one in the configuration"
            raise _not_proved(node_id, why if key else "it has shown no public key")
        membership = self._core.membership
        if membership.is_empty or self._configured(node_id):
            return
        if node_id in membership.members():
            if self._core.newest_version.rules >= KEYS_SINCE_RULES:
                raise _not_proved(node_id, "the configuration has no public key for it")
        elif membership.keys and not self._is_vouched(node_id, cluster_id, key, vouchers):
            raise _not_proved(
                node_id, "it is no member here, and no member that is known here vouches for it"
            )

    def fits(self, node_id: int, key: str) -> bool:
        """Whether the key is not another one than the node has in the configuration, or in the `Init` in progress."""
        allowed = self._configured(node_id)
        if not allowed and node_id in self.founders:
            allowed = (self.founders[node_id],)
        return not allowed or key in allowed

    def _configured(self, node_id: int) -> tuple[str, ...]:
        """The keys that the node has in the newest and in the committed configuration."""
        newest = self._core.membership.key_of(node_id)
        committed = self._core.committed_membership[1].key_of(node_id)
        return tuple(key for key in (newest, committed) if key is not None)

    def _is_vouched(
        self, node_id: int, cluster_id: str, key: str, vouchers: Sequence[tuple[int, int, str]]
    ) -> bool:
        """Whether a known member vouches for the key, in a configuration that this node does not have yet."""
        core = self._core
        newer = [each for each in vouchers if each[1] > core.membership_index]
        return _vouched_by(core.membership.key_of, newer, cluster_id, node_id, key)

    def _voucher_for(self, node_id: int, cluster_id: str, index: int) -> str:
        """This node's statement about the key of a member; empty if it cannot make one."""
        key = self._core.membership.key_of(node_id)
        if key is None or index != self._core.membership_index:
            return ""
        return sign_voucher(self._key, cluster_id, index, node_id, key)

    def _note_voucher(self, member: int, index: int, signature: str) -> None:
        membership = self._core.membership
        if signature:
            self._vouchers[member] = index, signature
        if not membership.is_empty:  # a new node gets vouchers before the configuration
            for gone in sorted(self._vouchers.keys() - {*membership.members()}):
                del self._vouchers[gone]
        elif len(self._vouchers) > _MAX_EARLY_VOUCHERS:
            del self._vouchers[next(iter(self._vouchers))]


def _believes(
    token: HeldJoinToken, node_id: int, key: str, vouchers: Sequence[tuple[int, int, str]]
) -> bool:
    """Whether a node with this join token believes that this is the key of the member."""
    members = dict(token.members)
    if members.get(node_id) == key:
        return True
    return _vouched_by(members.get, vouchers, token.cluster_id, node_id, key)


def _vouched_by(
    key_of: Callable[[int], str | None],
    vouchers: Sequence[tuple[int, int, str]],
    cluster_id: str,
    node_id: int,
    key: str,
) -> bool:
    """Whether a member with a known key vouches for this one."""
    return any(
        (by := key_of(member)) is not None
        and is_vouched(by, signature, cluster_id, index, node_id, key)
        for member, index, signature in vouchers
    )


def _of_cluster(cluster_id: str) -> str:
    return f"of cluster {cluster_id}" if cluster_id else "of no cluster"


def _waits_for(token: HeldJoinToken, other: str) -> RemoteProtocolError:
    return RemoteProtocolError(
        f"this node has a join token of cluster {token.cluster_id}, and takes no part in another one: refused {other}"
    )


def _not_proved(node_id: int, why: str) -> RemoteProtocolError:
    return RemoteProtocolError(
        f"the peer {NOT_PROVED} {node_id}: {why}; a member whose data was lost has another key: remove it, and add it "
        "again"
    )
