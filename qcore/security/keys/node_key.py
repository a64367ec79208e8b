"""`NodeKey`: the key pair of a node. Its public key is part of the configuration, its seed never leaves the node.

A public key is written as `ed25519:` and its 32 bytes as unpadded base64url, for example in `Membership.keys`.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

from qcore.core.entry import KEY_PREFIX, is_public_key
from qcore.errors import ConfigError

if TYPE_CHECKING:  # imported late, because it takes 50 ms
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SEED_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
FINGERPRINT_CHARS: Final = 16


class NodeKey:
    """An Ed25519 key pair (RFC 8032).

    Args:
        seed: 32 random bytes, from which the pair is made.

    Attributes:
        public: the public key as text.

    Raises:
        ValueError: the seed has another length.
    """

    __slots__ = ("_private", "public", "seed")

    def __init__(self, seed: bytes) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self.seed = seed
        self._private: Ed25519PrivateKey = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = KEY_PREFIX + to_base64url(self._private.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> str:
        """The signature of a message, as base64url."""
        return to_base64url(self._private.sign(message))

    def __repr__(self) -> str:
        return f"NodeKey({self.public})"  # never the seed


def is_signed_by(public_key: str, signature: str, message: bytes) -> bool:
    """Whether the owner of this public key has signed the message. False for a malformed key or signature."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if not is_public_key(public_key):
        return False
    try:
        key = Ed25519PublicKey.from_public_bytes(
            from_base64url(public_key.removeprefix(KEY_PREFIX))
        )
        key.verify(from_base64url(signature), message)
    except (InvalidSignature, ValueError):
        return False
    return True


def checked_public_key(text: str, where: str) -> str:
    """Check the public key that an operator has given.

    Raises:
        ConfigError: it is none; the text begins with `where`.
    """
    if not is_public_key(text):
        raise ConfigError(
            f"{where}: {text!r:.80} is not a public key: give the line that `qcore node key --data-dir DIR` prints, "
            f"{KEY_PREFIX} and 43 characters"
        )
    return text


def fingerprint(public_key: str) -> str:
    """The beginning of a public key, by which people compare keys.

    Its 16 characters after the prefix are 96 bits, so no other key can be made that begins in the same way.
    """
    return public_key[: len(KEY_PREFIX) + FINGERPRINT_CHARS]


def to_base64url(content: bytes) -> str:
    """Unpadded base64url (RFC 4648, section 5)."""
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def from_base64url(text: str) -> bytes:
    """Inverse of `to_base64url`. Each content has one text only.

    Raises:
        ValueError: the text is not one that `to_base64url` makes.
    """
    if not text.isascii():
        raise ValueError("not base64url")
    content = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if to_base64url(content) != text:
        raise ValueError("not base64url as it is written here")
    return content
