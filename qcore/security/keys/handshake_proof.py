"""What two nodes sign when one opens a connection to the other: both have then proved that they own their keys.

| message | from | holds |
|---|---|---|
| `Hello` | dialler | its nonce and its public key |
| `HelloReply` | acceptor | its nonce, its public key and its signature |
| `HelloProof` | dialler | its signature |

Each side signs a label with its side, and the SHA-256 of the messages until then without the signatures: nonces, ids,
roles, cluster ids, versions and keys. So nothing in them can be changed. A signature of one side is never one of the
other (no reflection), nor one of another connection, because each side draws its nonce for one connection (no replay).

The hash is that of the JSON objects that were sent, with all their fields and no others, also those that one of the
nodes does not know. So later versions may add fields, and no field can be removed on the way.

A proof says who has opened the connection. It does not protect what is sent on it afterwards: see `docs/security.md`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Final

from qcore.security.keys.node_key import NodeKey, from_base64url, is_signed_by, to_base64url

#: Random bytes that each side draws for one connection.
NONCE_BYTES: Final = 32
#: The field of `HelloReply` and `HelloProof` that holds the signature itself.
SIGNATURE_FIELD: Final = "signature"
#: The field of `HelloReply` that holds the signature of a join token. The node signs it, too.
JOIN_FIELD: Final = "join_proof"

_LABEL: Final = "qcore handshake 1"
_ACCEPTOR: Final = f"{_LABEL} acceptor\n".encode()
_DIALLER: Final = f"{_LABEL} dialler\n".encode()
_JOIN: Final = b"qcore join 1\n"
_VOUCHER: Final = b"qcore voucher 1\n"

#: The fields of a message of the handshake, as JSON values.
Fields = Mapping[str, object]
_NONE: Final[Fields] = {}


def nonce_text(random: bytes) -> str:
    """The text of a nonce."""
    return to_base64url(random)


def is_nonce(text: str) -> bool:
    """Whether the text is a nonce."""
    try:
        return len(from_base64url(text)) == NONCE_BYTES
    except ValueError:
        return False


def sign_as_acceptor(key: NodeKey, hello: Fields, reply: Fields) -> str:
    """The signature of the node that was dialled."""
    return key.sign(_ACCEPTOR + _transcript(hello, reply))


def sign_as_dialler(key: NodeKey, hello: Fields, reply: Fields, proof: Fields = _NONE) -> str:
    """The signature of the node that opened the connection; `proof` are the other fields of its message."""
    return key.sign(_DIALLER + _transcript(hello, reply, _without(proof, "id")))


def acceptor_signed(public_key: str, signature: str, hello: Fields, reply: Fields) -> bool:
    """Whether the acceptor owns this key, and has seen the same messages."""
    return is_signed_by(public_key, signature, _ACCEPTOR + _transcript(hello, reply))


def dialler_signed(
    public_key: str, signature: str, hello: Fields, reply: Fields, proof: Fields = _NONE
) -> bool:
    """Whether the dialler owns this key, and has seen the same messages."""
    signed = _DIALLER + _transcript(hello, reply, _without(proof, "id"))
    return is_signed_by(public_key, signature, signed)


def sign_join(token: NodeKey, hello: Fields, reply: Fields) -> str:
    """The signature of a join token: the node that sends this reply, with the public key in it, has the token."""
    return token.sign(_JOIN + _transcript(hello, _without(reply, JOIN_FIELD)))


def has_join_token(token_key: str, signature: str, hello: Fields, reply: Fields) -> bool:
    """Whether the node that sent this reply has the join token with this public key."""
    signed = _JOIN + _transcript(hello, _without(reply, JOIN_FIELD))
    return is_signed_by(token_key, signature, signed)


def sign_voucher(key: NodeKey, cluster_id: str, index: int, node_id: int, public_key: str) -> str:
    """The statement of a member: in the configuration at this log index the node has this public key.

    A node that lags behind accepts a member that it does not know yet if a member that it knows vouches for it.
    """
    return key.sign(_voucher(cluster_id, index, node_id, public_key))


def is_vouched(
    by: str, signature: str, cluster_id: str, index: int, node_id: int, public_key: str
) -> bool:
    """Whether the owner of the key `by` has made this statement."""
    return is_signed_by(by, signature, _voucher(cluster_id, index, node_id, public_key))


def _transcript(*messages: Fields) -> bytes:
    unsigned = [_without(message, SIGNATURE_FIELD) for message in messages]
    return hashlib.sha256(_canonical(unsigned)).digest()


def _without(message: Fields, *names: str) -> Fields:
    return {name: value for name, value in message.items() if name not in names}


def _voucher(cluster_id: str, index: int, node_id: int, public_key: str) -> bytes:
    return _VOUCHER + hashlib.sha256(_canonical([cluster_id, index, node_id, public_key])).digest()


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
