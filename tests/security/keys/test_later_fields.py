"""Fields that a later version adds to the handshake: older nodes sign them, so none can be changed or removed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.security.keys.handshake_proof import (
    acceptor_signed,
    dialler_signed,
    sign_as_acceptor,
    sign_as_dialler,
)
from qcore.security.keys.node_key import NodeKey
from qcore.transport.codec.codec import Codec, Malformed
from qcore.transport.wire import (
    REGISTRY,
    Hello,
    HelloProof,
    HelloReply,
    HelloResponse,
    Ok,
    signed_fields,
)

CODEC = Codec(REGISTRY)
DIALLER, ACCEPTOR = NodeKey(bytes(32)), NodeKey(bytes(31) + b"\1")
HELLO = Hello("h-1", 1, "red", 2, nonce="n", public_key=DIALLER.public, vouchers=[(3, 7, "v")])
REPLY = HelloReply(1, "red", 1, nonce="m", public_key=ACCEPTOR.public)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
#: What a later version could add; no field of this version.
LATER = st.dictionaries(st.text(min_size=1).map("later-{}".format), JSON, min_size=1, max_size=3)


def sent(message: Hello | HelloReply | HelloProof, later: dict[str, Any]) -> dict[str, Any]:
    """The fields that a later version sends."""
    return {**signed_fields(message), **later}


def received(name: str, fields: dict[str, Any], *, from_peer: bool) -> Any:
    """The message as a node of this version reads it."""
    text = json.dumps({name: fields})
    (message,) = CODEC.decode(text.encode(), from_peer=from_peer)
    assert not isinstance(message, Malformed), message
    return message


@settings(max_examples=30)
@given(later=LATER)
def test_an_acceptor_signs_what_a_later_dialler_added(later: dict[str, Any]) -> None:
    hello = sent(HELLO, later)
    here = received("Hello", hello, from_peer=False)
    assert here == HELLO
    reply = signed_fields(REPLY)
    signature = sign_as_acceptor(ACCEPTOR, signed_fields(here), reply)
    assert acceptor_signed(ACCEPTOR.public, signature, hello, reply)
    removed = received("Hello", signed_fields(HELLO), from_peer=False)
    signature = sign_as_acceptor(ACCEPTOR, signed_fields(removed), reply)
    assert not acceptor_signed(ACCEPTOR.public, signature, hello, reply)


@settings(max_examples=30)
@given(later=LATER)
def test_a_dialler_signs_what_a_later_acceptor_added(later: dict[str, Any]) -> None:
    hello, reply = signed_fields(HELLO), sent(REPLY, later)
    for shown, accepted in ((reply, True), (signed_fields(REPLY), False)):
        response = {"id": "h-1", "response": {"Ok": {**shown, "signature": "s"}}}
        here = received("HelloResponse", response, from_peer=True).response.value
        assert here == replace(REPLY, signature="s")
        proof = sign_as_dialler(DIALLER, hello, signed_fields(here))
        assert dialler_signed(DIALLER.public, proof, hello, reply) == accepted


@settings(max_examples=30)
@given(later=LATER)
def test_a_proof_covers_what_a_later_dialler_adds_to_it(later: dict[str, Any]) -> None:
    hello, reply = signed_fields(HELLO), signed_fields(REPLY)
    proof = sent(HelloProof("p", "", "v"), later)
    proof["signature"] = sign_as_dialler(DIALLER, hello, reply, proof)
    here = received("HelloProof", proof, from_peer=False)
    signed = signed_fields(here)
    assert dialler_signed(DIALLER.public, here.signature, hello, reply, signed)
    assert not dialler_signed(
        DIALLER.public, here.signature, hello, reply, signed_fields(HelloProof("p", "", "v"))
    )


def test_what_is_signed_is_what_is_sent() -> None:
    """Also defaults: a node that does not know a field cannot sign its default."""
    for message in (HELLO, Hello("h", 1, "", 1), HelloProof("p", "s", "v")):
        ((_, fields),) = json.loads(CODEC.encode(message)).items()
        assert signed_fields(message) == fields
    reply = json.loads(CODEC.encode(HelloResponse("h", Ok(REPLY))))["HelloResponse"]["response"]
    assert signed_fields(REPLY) == reply["Ok"]
    short = {"id": "h", "protocol": 1, "cluster_id": "", "node_id": 1}
    assert signed_fields(received("Hello", short, from_peer=False)) == short


@pytest.mark.parametrize(
    "later",
    [
        b'"later":%s' % (b"9" * 100_000),
        b'"later":%s%s' % (b"[" * 50_000, b"]" * 50_000),
        b'"later":"\\ud800"',
        b'"later":1,"later":2',
        b'"node_id":3',
        b'"later":"%s"' % (b"x" * 40_000),
        b'"later":[%s0]' % (b"[]," * 20_000),
    ],
)
def test_odd_fields_are_malformed_and_not_signed(later: bytes) -> None:
    frame = b'{"Hello":{"id":"h","protocol":1,"cluster_id":"c","node_id":2,%s}}' % later
    (message,) = CODEC.decode(frame)
    assert isinstance(message, Malformed)


def test_a_repeated_field_is_signed_as_it_is_understood() -> None:
    frame = b'{"HelloResponse":{"id":"h","response":{"Ok":{"protocol":1,"cluster_id":"c","node_id":2,"node_id":3}}}}'
    (message,) = CODEC.decode(frame, from_peer=True)
    assert isinstance(message, HelloResponse)
    assert isinstance(message.response, Ok)
    reply = message.response.value
    assert reply.node_id == signed_fields(reply)["node_id"] == 3
