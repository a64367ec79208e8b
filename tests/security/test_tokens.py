"""Tokens and passwords: which tokens a cluster accepts, and what guessing costs."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from qcore.errors import QcoreError, Refused, Unauthenticated
from qcore.node.access.failed_logins import (
    ADDRESS_FAILURES,
    FORGET_S,
    USER_FAILURES,
    FailedLogins,
    source_of,
)
from qcore.node.access.message_needs import MESSAGE_NEEDS
from qcore.security.keys.node_key import NodeKey
from qcore.security.users.password import check_new_password, hash_password, is_password_of
from qcore.security.users.token import TokenClaims, read_token, sign_token
from qcore.store_api.message_table import STORE_MESSAGES
from qcore.transport.wire import PEER_REQUESTS, PEER_RESPONSES, REGISTRY

KEY, OTHER = NodeKey(b"k" * 32), NodeKey(b"o" * 32)
MEMBERS = {1: KEY.public, 2: OTHER.public}
CLAIMS = TokenClaims("ada", 7, 1, "id", 1_000_000, 9_000_000)
TOKEN = sign_token(KEY, "cluster", CLAIMS)
BODY: dict[str, Any] = {
    "sub": "ada",
    "aud": "cluster",
    "iss": "1",
    "jti": "id",
    "iat": 1,
    "exp": 9,
    "epoch": 7,
}
HEADER = {"typ": "qcore-token+jwt"}


def read(token: str, cluster_id: str = "cluster") -> TokenClaims:
    return read_token(token, cluster_id, MEMBERS.get)


def signed(body: dict[str, Any], headers: dict[str, Any] | None = None, key: NodeKey = KEY) -> str:
    private = Ed25519PrivateKey.from_private_bytes(key.seed)
    return jwt.encode(body, private, "EdDSA", headers=HEADER if headers is None else headers)


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def test_a_token_says_what_was_signed() -> None:
    assert read(TOKEN) == CLAIMS
    assert read(signed(BODY)) == CLAIMS  # so that the refusals below have one reason each


@pytest.mark.parametrize(
    "change",
    [
        {"aud": "another"},
        {"aud": ["cluster"]},
        {"aud": None},
        {"iss": "3"},
        {"iss": "2"},
        {"iss": "-1"},
        {"iss": "١"},
        {"sub": ""},
        {"sub": 1},
        {"sub": None},
        {"epoch": "7"},
        {"epoch": -1},
        {"epoch": True},
        {"epoch": None},
        {"exp": "9"},
        {"exp": 9.5},
        {"exp": None},
        {"iat": None},
        {"jti": None},
        {"recovery": True, "exp": 3602},
        {"exp": 400 * 24 * 3600 + 3},
        {"exp": 10**400},
        {"iat": 10**400, "exp": 10**400},
        {"iat": 10},
    ],
    ids=str,
)
def test_tokens_with_other_claims_are_refused(change: dict[str, Any]) -> None:
    body = {key: value for key, value in {**BODY, **change}.items() if value is not None}
    with pytest.raises(Unauthenticated):
        read(signed(body))


def test_tokens_with_other_signatures_are_refused() -> None:
    head, body, signature = TOKEN.split(".")
    more = part({**BODY, "sub": "root"})
    none = part({"alg": "none", "typ": "qcore-token+jwt"})
    public = MEMBERS[1].removeprefix("ed25519:")
    raw = base64.urlsafe_b64decode(public + "=")
    symmetric = part({"alg": "HS256", "typ": "qcore-token+jwt"})
    forged = [
        f"{head}.{more}.{signature}",
        f"{none}.{body}.",
        f"{none}.{body}.{signature}",
        f"{head}.{body}.",
        f"{head}.{body}",
        "",
        "...",
        "x" * 5000,
        signed(BODY, key=OTHER),
        signed(BODY, {"typ": "JWT"}),
        signed({**BODY, "iss": "2"}),
        *(
            f"{symmetric}.{body}.{_hmac(secret, f'{symmetric}.{body}')}"
            for secret in (raw, public.encode(), MEMBERS[1].encode(), b"")
        ),
    ]
    for token in forged:
        with pytest.raises(Unauthenticated) as refusal:
            read(token)
        assert len(str(refusal.value)) < 200


def _hmac(secret: bytes, text: str) -> str:
    import hashlib
    import hmac

    digest = hmac.new(secret, text.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


@given(st.integers(0, len(TOKEN) - 1), st.characters(codec="ascii"))
def test_a_changed_token_is_refused(at: int, letter: str) -> None:
    changed = TOKEN[:at] + letter + TOKEN[at + 1 :]
    with contextlib.suppress(Unauthenticated):
        assert read(changed) == CLAIMS  # base64 has unused bits at its end


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with pytest.raises(Unauthenticated):
        read(text)


def test_a_recovery_token_is_short_lived() -> None:
    claims = TokenClaims("", 0, 1, "id", 0, 3600_000_000, is_recovery=True)
    assert read(sign_token(KEY, "cluster", claims)) == claims


def test_passwords_match_their_hash_only() -> None:
    hashed = hash_password("a long secret", b"s" * 16)
    assert hashed.startswith("$argon2id$")
    assert "secret" not in hashed
    assert is_password_of(hashed, "a long secret")
    assert not is_password_of(hashed, "a long secrets")
    assert not is_password_of("", "")
    assert not is_password_of("nonsense", "a long secret")
    assert hash_password("a long secret", b"t" * 16) != hashed


@pytest.mark.parametrize("password", ["", "short", "x" * 1025])
def test_bad_passwords_are_refused(password: str) -> None:
    with pytest.raises(Refused) as refusal:
        check_new_password(password)
    assert not password or password not in str(refusal.value)


def test_an_address_that_guesses_has_to_wait() -> None:
    failures = FailedLogins()
    for _ in range(ADDRESS_FAILURES):
        assert failures.wait_s("a", "root", 0.0) == 0
        failures.failed("a", "root", 0.0)
    assert failures.wait_s("a", "root", 0.0) == FORGET_S
    assert failures.wait_s("a", "ada", 0.0) == FORGET_S
    assert failures.wait_s("a", "root", FORGET_S) == 0


def test_guesses_of_others_lock_no_user_out() -> None:
    failures = FailedLogins()
    for number in range(10 * USER_FAILURES):
        failures.failed(f"address {number}", "root", 0.0)
    assert failures.wait_s("address 3", "root", 0.0) > FORGET_S
    assert failures.wait_s("an honest address", "root", 0.0) == 0
    failures.failed("an honest address", "root", 0.0)  # a typing error
    assert failures.wait_s("an honest address", "root", FORGET_S) == 0


def test_failures_are_counted_by_host_or_network() -> None:
    assert source_of("10.0.0.1:5000") == "10.0.0.1"
    assert source_of("[2001:db8::1]:1") == source_of("[2001:db8::ffff]:2")
    assert source_of("[::ffff:10.0.0.1]:1") == "10.0.0.1"


def test_every_message_of_a_client_has_a_row() -> None:
    """A message without a row is refused, so this test also keeps new messages usable."""
    from qcore.store_api import watch_messages

    not_of_clients = {each.__name__ for each in (*PEER_REQUESTS, *PEER_RESPONSES)}
    not_of_clients |= {"Error", "Hello", "HelloProof"}
    names = {*REGISTRY, *STORE_MESSAGES, "Perform"} - not_of_clients
    names |= {
        name
        for name in vars(watch_messages)
        if f"{name}Response" in vars(watch_messages) or name in MESSAGE_NEEDS
    }
    requests = {name for name in names if not name.endswith("Response")}
    assert requests == set(MESSAGE_NEEDS)


def test_errors_of_credentials_show_no_secret() -> None:
    from qcore.client.login.credentials import Credentials

    assert "secret" not in repr(Credentials(token="secret"))
    assert "secret" not in repr(Credentials(user="ada", password="secret"))
    with pytest.raises(QcoreError):
        Credentials(token="t", user="ada", password="secret")
