"""`HeldJoinToken`: what a new node needs so that a cluster adds it, and so that it joins no other cluster.

    qcore-join-1:...

The rest of the text is base64url of 8 bytes of the SHA-256 of a JSON object, and of that object. The cluster keeps only
the public key of the token, which the seed gives. So no log and no message ever holds the secret.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Final

from qcore.core.entry import is_public_key
from qcore.security.keys.node_key import SEED_BYTES, NodeKey, from_base64url, to_base64url

PREFIX: Final = "qcore-join-1:"
_ANY_PREFIX: Final = "qcore-join-"
_CHECK_BYTES: Final = 8
#: The longest text of a token, characters. One of a cluster of 255 members has a quarter of it.
MAX_CHARS: Final = 64 * 1024


@dataclass(slots=True, frozen=True)
class HeldJoinToken:
    """A join token, as the new node holds it.

    Attributes:
        cluster_id: the cluster that the node joins.
        token_id: names the token there.
        members: id and public key of the members when the token was made: the node believes them, and those that they
            vouch for.
        seed: of the token's key pair. It is the secret.
    """

    cluster_id: str
    token_id: str
    members: tuple[tuple[int, str], ...]
    seed: bytes = field(repr=False)

    @property
    def key(self) -> NodeKey:
        """The key pair of the token."""
        return NodeKey(self.seed)

    def text(self) -> str:
        """The secret text: for a file that only its owner may read, or a variable of the environment."""
        body = json.dumps(
            {
                "cluster": self.cluster_id,
                "id": self.token_id,
                "members": self.members,
                "seed": to_base64url(self.seed),
            },
            separators=(",", ":"),
        ).encode()
        return PREFIX + to_base64url(_check(body) + body)


def read_join_token(text: str) -> HeldJoinToken:
    """Inverse of `HeldJoinToken.text`.

    Raises:
        ValueError: the text is no join token. The error does not quote it.
    """
    if not text.startswith(PREFIX):
        if text.startswith(_ANY_PREFIX):
            raise ValueError(
                "it is a join token in a form that this version of qcore does not know"
            )
        raise ValueError(f"it is no join token, which begins with {PREFIX}")
    if len(text) > MAX_CHARS:
        raise ValueError(f"it has more than {MAX_CHARS} characters")
    damaged = ValueError("it is damaged: a part is missing or changed")
    try:
        content = from_base64url(text.removeprefix(PREFIX))
        check, body = content[:_CHECK_BYTES], content[_CHECK_BYTES:]
        if check != _check(body):
            raise damaged
        return _token_of(json.loads(body))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise damaged from None


def _token_of(found: Any) -> HeldJoinToken:  # Any: any JSON value
    """The token that the JSON object describes.

    Raises:
        ValueError, KeyError, TypeError: it describes none.
    """
    cluster_id, token_id, seed = found["cluster"], found["id"], from_base64url(found["seed"])
    members = tuple((node, key) for node, key in found["members"])
    if not (type(cluster_id) is type(token_id) is str and cluster_id and len(seed) == SEED_BYTES):
        raise ValueError("no token")
    if not members or not all(type(node) is int and is_public_key(key) for node, key in members):
        raise ValueError("no members")
    return HeldJoinToken(cluster_id, token_id, members, seed)


def _check(body: bytes) -> bytes:
    """Shows that the text was copied whole."""
    return hashlib.sha256(body).digest()[:_CHECK_BYTES]
