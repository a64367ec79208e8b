"""Join tokens: their text, and what a node proves with one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.errors import ConfigError
from qcore.node.peers.join_token_file import JOIN_TOKEN_VARIABLE, load_join_token
from qcore.security.keys.handshake_proof import has_join_token, sign_as_acceptor, sign_join
from qcore.security.keys.join_token import PREFIX, HeldJoinToken, read_join_token
from qcore.security.keys.node_key import NodeKey, to_base64url
from qcore.transport.wire import Hello, HelloReply, signed_fields

ASKER, NODE = NodeKey(bytes(32)), NodeKey(bytes(31) + b"\1")
TOKEN = HeldJoinToken("red", "abc", ((1, ASKER.public), (7, NODE.public)), b"seed" * 8)
HELLO = signed_fields(Hello("h-1", 1, "red", 1, "asking", nonce="n", public_key=ASKER.public))
REPLY = signed_fields(
    HelloReply(1, "", 4, nonce="m", public_key=NODE.public, join_token=TOKEN.token_id)
)
PROOF = sign_join(TOKEN.key, HELLO, REPLY)

SEEDS = st.binary(min_size=32, max_size=32)
MEMBERS = st.lists(
    st.tuples(st.integers(1, 2**60), SEEDS.map(lambda seed: NodeKey(seed).public)),
    min_size=1,
    max_size=3,
).map(tuple)


@settings(max_examples=30)
@given(
    cluster=st.text(min_size=1), name=st.text(min_size=1, max_size=64), members=MEMBERS, seed=SEEDS
)
def test_the_text_of_a_token_holds_all_of_it(
    cluster: str, name: str, members: tuple[tuple[int, str], ...], seed: bytes
) -> None:
    token = HeldJoinToken(cluster, name, members, seed)
    text = token.text()
    assert read_join_token(text) == token
    assert re.fullmatch(r"[\x21-\x7e]+", text)
    assert to_base64url(seed) not in repr(token)
    assert repr(seed) not in repr(token)


@given(at=st.integers(len(PREFIX), len(TOKEN.text()) - 1), char=st.characters())
def test_a_damaged_token_is_refused_and_not_quoted(at: int, char: str) -> None:
    text = TOKEN.text()
    for damaged in (text[:at], text[:at] + char + text[at + 1 :], text + char):
        if damaged != text:
            with pytest.raises(ValueError, match="damaged") as caught:
                read_join_token(damaged)
            assert text[20:30] not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b"1", b"[" * 9000, b'{"cluster":"c","id":"i","members":[],"seed":""}'],
)
def test_a_text_with_a_right_check_and_a_wrong_body_is_damaged(body: bytes) -> None:
    from hashlib import sha256

    text = PREFIX + to_base64url(sha256(body).digest()[:8] + body)
    with pytest.raises(ValueError, match="damaged"):
        read_join_token(text)


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        (TOKEN.text(), 0o644, "chmod 600"),
        (TOKEN.text(), 0o660, "chmod 600"),
        (TOKEN.text()[:-1], 0o600, "damaged"),
        (TOKEN.text().replace("join-1", "join-2"), 0o600, "does not know"),
        (NODE.public, 0o600, "no join token"),
        ("", 0o600, "no join token"),
        (PREFIX + "A" * 100_000, 0o600, "more than 65536 characters"),
        ("\udcff", 0o600, "no join token"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, content: str, mode: int, why: str) -> None:
    file = tmp_path / "token"
    file.write_text(content, errors="surrogateescape")
    file.chmod(mode)
    with pytest.raises(ConfigError, match=why) as caught:
        load_join_token(file, {})
    assert str(file) in str(caught.value)
    assert TOKEN.text()[20:30] not in str(caught.value)


def test_a_token_comes_from_a_file_or_a_variable(tmp_path: Path) -> None:
    file, variable = tmp_path / "token", {JOIN_TOKEN_VARIABLE: f" {TOKEN.text()}\n"}
    file.write_text(TOKEN.text() + "\r\n")
    file.chmod(0o400)
    assert load_join_token(file, {}) == load_join_token(None, variable) == TOKEN
    assert load_join_token(None, {}) is None
    assert load_join_token(None, {JOIN_TOKEN_VARIABLE: ""}) is None
    with pytest.raises(ConfigError, match="give one of them"):
        load_join_token(file, variable)
    with pytest.raises(ConfigError, match="No such file"):
        load_join_token(tmp_path / "none", {})
    with pytest.raises(ConfigError, match="directory"):
        load_join_token(tmp_path, {})
    with pytest.raises(ConfigError, match=JOIN_TOKEN_VARIABLE):
        load_join_token(None, {JOIN_TOKEN_VARIABLE: "x"})


def other(value: Any) -> st.SearchStrategy[Any]:
    same: st.SearchStrategy[Any] = st.text() if isinstance(value, str) else st.integers(0, 2**63)
    return same.filter(lambda made: made != value)


@settings(max_examples=300)
@given(data=st.data())
def test_a_proof_is_for_one_key_and_one_challenge(data: st.DataObject) -> None:
    """Nonces, ids, clusters, keys and everything else; but not the two signatures themselves."""
    hello, reply = dict(HELLO), dict(REPLY)
    names = [(each, name) for each in (hello, reply) for name in each if name != "signature"]
    message, name = data.draw(st.sampled_from(names))
    assert has_join_token(TOKEN.key.public, PROOF, hello, reply)
    if isinstance(message[name], str | int) and data.draw(st.booleans()):
        message[name] = data.draw(other(message[name]))
    elif data.draw(st.booleans()):
        del message[name]
    else:
        message["later"] = data.draw(st.text())
    assert not has_join_token(TOKEN.key.public, PROOF, hello, reply)


@given(at=st.integers(0, 63), bit=st.integers(0, 7), seed=SEEDS)
def test_a_changed_proof_or_another_token_proves_nothing(at: int, bit: int, seed: bytes) -> None:
    from qcore.security.keys.node_key import from_base64url

    changed = bytearray(from_base64url(PROOF))
    changed[at] ^= 1 << bit
    assert not has_join_token(TOKEN.key.public, to_base64url(bytes(changed)), HELLO, REPLY)
    if seed != TOKEN.seed:
        assert not has_join_token(NodeKey(seed).public, PROOF, HELLO, REPLY)
        assert not has_join_token(
            TOKEN.key.public, sign_join(NodeKey(seed), HELLO, REPLY), HELLO, REPLY
        )


def test_a_proof_of_a_key_is_none_of_a_token() -> None:
    """Even if one key signs both, as with a node whose seed is the token's."""
    signed = sign_as_acceptor(TOKEN.key, HELLO, REPLY)
    assert not has_join_token(TOKEN.key.public, signed, HELLO, REPLY)
