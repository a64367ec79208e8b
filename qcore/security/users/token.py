"""Tokens of users: JWT (RFC 7519), signed with the key of the node that issues them (EdDSA, RFC 8037).

No secret is shared: every node verifies a token with the issuer's public key, which is part of the configuration. The
tokens of a member end when it is removed.

| claim | meaning |
|---|---|
| `sub` | the user; empty in a recovery token: the oldest user with the role `admin` |
| `aud` | the cluster id |
| `iss` | the id of the issuing node |
| `jti` | random text, for audit logs |
| `iat`, `exp` | seconds of the cluster clock; in a recovery token, Unix time |
| `epoch` | that of the user: a new password, a revocation or more rights raise it, and so end older tokens |
| `recovery` | `true` in a token that `qcore token recover` made without a cluster; it has no `epoch` |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from qcore.core.entry import KEY_PREFIX
from qcore.errors import Unauthenticated
from qcore.security.keys.node_key import NodeKey, from_base64url

#: A longer text is no token, characters.
MAX_TOKEN_CHARS: Final = 4096
#: The longest life of a token, and of a recovery token, seconds.
MAX_TTL_S: Final = 400 * 24 * 3600
MAX_RECOVERY_S: Final = 3600
#: The type in the header, so that no other signature of a node is taken for a token.
_TYPE: Final = "qcore-token+jwt"
_ALGORITHM: Final = "EdDSA"
_US: Final = 1_000_000


@dataclass(slots=True, frozen=True)
class TokenClaims:
    """What a token says.

    Attributes:
        user: the user; empty in a recovery token without one.
        epoch: the user's epoch when the token was made; 0 in a recovery token.
        issuer: the node that signed it.
        token_id: random text.
        issued_us, expires_us: by the cluster clock, or by the wall clock for a recovery token; whole seconds.
        is_recovery: whether it was made without a cluster.
    """

    user: str
    epoch: int
    issuer: int
    token_id: str
    issued_us: int
    expires_us: int
    is_recovery: bool = False


def sign_token(key: NodeKey, cluster_id: str, claims: TokenClaims) -> str:
    """The token with these claims, signed with the key of the issuing node."""
    import jwt
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    body: dict[str, Any] = {
        "sub": claims.user,
        "aud": cluster_id,
        "iss": str(claims.issuer),
        "jti": claims.token_id,
        "iat": claims.issued_us // _US,
        "exp": claims.expires_us // _US,
    }
    body |= {"recovery": True} if claims.is_recovery else {"epoch": claims.epoch}
    private = Ed25519PrivateKey.from_private_bytes(key.seed)
    return jwt.encode(body, private, _ALGORITHM, headers={"typ": _TYPE})


def read_token(text: str, cluster_id: str, key_of: Callable[[int], str | None]) -> TokenClaims:
    """The claims of a token, after its signature and its cluster were verified. The caller checks time and user.

    Args:
        text: the token.
        cluster_id: the cluster that it must be for.
        key_of: returns the public key of a member; None if the node is not a member.

    Raises:
        Unauthenticated: it is no token of this cluster. The text never quotes it.
    """
    import jwt
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if len(text) > MAX_TOKEN_CHARS:
        raise Unauthenticated("the token is too long to be one of this cluster")
    try:
        # Only to choose the key: nothing of this is believed before the signature is verified.
        issuer = _issuer(jwt.decode(text, options={"verify_signature": False}))
        public = key_of(issuer)
        if public is None or not public.startswith(KEY_PREFIX):
            raise Unauthenticated(
                f"the token was issued by node {issuer}, which is not a member of this cluster: is it the token of "
                "another cluster, or of a node that was removed?"
            )
        key = Ed25519PublicKey.from_public_bytes(from_base64url(public.removeprefix(KEY_PREFIX)))
        # The list of algorithms is fixed: the header of a token must not choose one.
        options: Any = {
            "require": ["sub", "aud", "iss", "jti", "iat", "exp"],
            "verify_exp": False,  # by the cluster clock instead
            "verify_iat": False,
            "verify_nbf": False,
        }
        found = jwt.decode_complete(
            text, key, [_ALGORITHM], options=options, audience=cluster_id, issuer=str(issuer)
        )
        if found["header"].get("typ") != _TYPE:
            raise ValueError("another type")
        return _claims(found["payload"], issuer)
    except jwt.InvalidAudienceError:
        raise Unauthenticated("the token is for another cluster") from None
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, RecursionError):
        raise Unauthenticated(
            "this is not a token that a node of this cluster signed: is it complete, and of this cluster?"
        ) from None


def _issuer(body: dict[str, Any]) -> int:
    text = body["iss"]
    if not (isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 20):
        raise ValueError("not a node id")
    return int(text)


def _claims(body: dict[str, Any], issuer: int) -> TokenClaims:
    is_recovery = body.get("recovery") is True
    epoch = 0 if is_recovery else body["epoch"]
    numbers = (epoch, body["iat"], body["exp"])
    if any(type(number) is not int or not 0 <= number < 2**63 for number in numbers):
        raise ValueError("not a number")
    if not (isinstance(body["sub"], str) and isinstance(body["jti"], str)):
        raise ValueError("not a text")
    if body["aud"] is None or isinstance(body["aud"], list):
        raise ValueError("not one cluster")
    # The issuer rounds the beginning down and the end up.
    if not 0 <= body["exp"] - body["iat"] <= (MAX_RECOVERY_S if is_recovery else MAX_TTL_S + 1):
        raise ValueError("a token with a long life")
    if not is_recovery and not body["sub"]:
        raise ValueError("no user")
    return TokenClaims(
        body["sub"],
        epoch,
        issuer,
        body["jti"],
        body["iat"] * _US,
        body["exp"] * _US,
        is_recovery,
    )
