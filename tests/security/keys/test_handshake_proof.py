"""What a handshake proves: every field of both messages is signed, and a signature fits one side of one handshake."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.errors import ConfigError
from qcore.security.keys.handshake_proof import (
    acceptor_signed,
    dialler_signed,
    is_nonce,
    is_vouched,
    nonce_text,
    sign_as_acceptor,
    sign_as_dialler,
    sign_voucher,
)
from qcore.security.keys.node_key import (
    NodeKey,
    checked_public_key,
    from_base64url,
    is_signed_by,
    to_base64url,
)
from qcore.transport.wire import Hello, HelloProof, HelloReply, signed_fields

DIALLER, ACCEPTOR = NodeKey(bytes(32)), NodeKey(bytes(31) + b"\1")
HELLO = signed_fields(
    Hello(
        "h-1", 1, "red", 2, "peer", "0.2.0", "i", 5, (1, 5), "register", (1, 2), "n", DIALLER.public
    )
)
REPLY = signed_fields(
    HelloReply(1, "red", 1, "0.2.0", "j", 5, (1, 5), "register", (1, 2), "m", ACCEPTOR.public)
)
SIGNED = [*(("hello", name) for name in HELLO), *(("reply", name) for name in REPLY)]


def other(value: object) -> st.SearchStrategy[Any]:
    """Other values of the same type."""
    values: dict[type, st.SearchStrategy[Any]] = {
        str: st.text(),
        int: st.integers(0, 2**63 - 1),
        tuple: st.tuples(st.integers(1, 9), st.integers(1, 9)),
        list: st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9), st.text())),
    }
    return values[type(value)].filter(lambda made: made != value)


@pytest.mark.parametrize(("where", "name"), [item for item in SIGNED if item[1] != "signature"])
@settings(max_examples=10)
@given(data=st.data())
def test_a_signature_covers_every_field(where: str, name: str, data: st.DataObject) -> None:
    hello, reply = dict(HELLO), dict(REPLY)
    changed = {"hello": hello, "reply": reply}[where]
    changed[name] = data.draw(other(changed[name]))
    assert not dialler_signed(DIALLER.public, sign_as_dialler(DIALLER, HELLO, REPLY), hello, reply)
    assert not acceptor_signed(
        ACCEPTOR.public, sign_as_acceptor(ACCEPTOR, HELLO, REPLY), hello, reply
    )


def test_each_side_accepts_the_proof_of_the_other() -> None:
    proof = sign_as_acceptor(ACCEPTOR, HELLO, REPLY)
    answered = REPLY | {"signature": proof}
    assert acceptor_signed(ACCEPTOR.public, proof, HELLO, answered)
    assert dialler_signed(
        DIALLER.public, sign_as_dialler(DIALLER, HELLO, answered), HELLO, answered
    )


def test_a_signature_of_one_side_is_none_of_the_other() -> None:
    """Even if one key signs on both sides: a reflected proof proves nothing."""
    assert not dialler_signed(
        ACCEPTOR.public, sign_as_acceptor(ACCEPTOR, HELLO, REPLY), HELLO, REPLY
    )
    assert not acceptor_signed(DIALLER.public, sign_as_dialler(DIALLER, HELLO, REPLY), HELLO, REPLY)


@given(cluster=st.text(), index=st.integers(0, 2**63), node=st.integers(1, 2**63), key=st.text())
def test_a_voucher_is_a_statement_about_one_node_and_key(
    cluster: str, index: int, node: int, key: str
) -> None:
    signature = sign_voucher(ACCEPTOR, "red", 7, 4, DIALLER.public)
    assert is_vouched(ACCEPTOR.public, signature, "red", 7, 4, DIALLER.public)
    same = (cluster, index, node, key) == ("red", 7, 4, DIALLER.public)
    assert is_vouched(ACCEPTOR.public, signature, cluster, index, node, key) == same
    assert not is_vouched(DIALLER.public, signature, "red", 7, 4, DIALLER.public)


@given(st.binary(max_size=80))
def test_no_bytes_have_two_texts(content: bytes) -> None:
    text = to_base64url(content)
    assert from_base64url(text) == content
    for variant in (text + "=", text + "\n", " " + text):
        with pytest.raises(ValueError, match=r"base64|padding|characters"):
            from_base64url(variant)
    assert is_nonce(nonce_text(content)) == (len(content) == 32)


def test_a_proof_covers_the_voucher_in_it() -> None:
    proof = signed_fields(HelloProof("p-1", "", "v"))
    signature = sign_as_dialler(DIALLER, HELLO, REPLY, proof)
    assert dialler_signed(DIALLER.public, signature, HELLO, REPLY, proof | {"id": "p-2"})
    assert not dialler_signed(DIALLER.public, signature, HELLO, REPLY, proof | {"voucher": ""})


@given(signature=st.text(max_size=100), key=st.text(max_size=60))
def test_malformed_keys_and_signatures_prove_nothing(signature: str, key: str) -> None:
    assert not is_signed_by(ACCEPTOR.public, signature, b"")
    assert not is_signed_by(key, ACCEPTOR.sign(b""), b"")


def test_a_key_never_shows_its_seed() -> None:
    key = NodeKey(b"seed" * 8)
    assert "seed" not in repr(key)
    assert to_base64url(key.seed) not in repr(key)
    assert checked_public_key(key.public, "key") == key.public
    for wrong in (
        key.public[:-1],
        key.public + "A",
        key.public[:-1] + "B",
        "ed25519:",
        "x" * 10**6,
    ):
        with pytest.raises(ConfigError, match="qcore node key") as caught:
            checked_public_key(wrong, "key")
        assert len(str(caught.value)) < 300
