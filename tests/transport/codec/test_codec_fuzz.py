"""For any frame the codec returns messages or errors that name the field, and never raises."""

from __future__ import annotations

import json
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.core.entry import Entry, Membership
from qcore.core.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    PreVote,
    RequestVote,
)
from qcore.transport.codec.codec import Malformed
from qcore.transport.wire import (
    ChangeMembership,
    Error,
    GetMetrics,
    Hello,
    Init,
    InitResponse,
    Ok,
    RaftAppend,
    RaftPreVote,
    RaftSnapshot,
    RaftVote,
    wrap_response,
)
from tests.transport.support.endpoints import CODEC, Perform
from tests.transport.support.strategies import JSON_VALUES

SEEDS = [
    CODEC.encode(message)
    for message in (
        GetMetrics("1"),
        Init("2", [(1, "a:1"), (2, "b:2")]),
        InitResponse("3", Ok(None)),
        ChangeMembership("4", [1, 2, 3]),
        Hello("5", 1, "c", 2),
        Error("6", "text", {"code": "X", "retryable": True}),
        RaftVote("7", RequestVote(1, 2, 3, 4)),
        RaftPreVote("8", PreVote(1, 2, 3, 4, 5)),
        RaftAppend("9", AppendEntries(1, 2, 3, 4, 5, [Entry(4, 1, "command", "{}", 6)], 7)),
        wrap_response("10", AppendEntriesResponse(1, True, 2, 3, 4, 5)),
        RaftSnapshot(
            "11", InstallSnapshot(1, 2, 3, 4, 5, Membership((1,), cluster_id="c"), 0, 4, 0, "data")
        ),
        Perform("12", {"GetSchema": {"entity_type": "User"}}),
    )
]
SEEDS.append(b"[" + b",".join(SEEDS) + b"]")
PIECES = [
    *(b'{}[],:"\\\x00\xff0-9eE.' [i : i + 1] for i in range(20)),
    *(b"null", b"true", b"NaN", b"-Infinity", b"1e999", b"18446744073709551616", b'"id"'),
    *(b"\\ud800", b"\xed\xa0\x80", b'{"GetMetrics":{"id":"1"}}', b"[[[[", b'"a":1,', b"\xe2\x82"),
]  # fmt: skip


def check(data: bytes) -> None:
    """Check the property: a list of messages of the registry, or of errors that can be sent back."""
    for from_peer in (False, True):
        decoded = CODEC.decode(data, from_peer=from_peer)
        assert decoded
        for each in decoded:
            if isinstance(each, Malformed):
                answer = json.loads(CODEC.encode(each.reply))["Error"]
                assert isinstance(answer["id"], str)  # empty only if the sender chose that
                assert answer["error"]
            else:
                assert type(each) in CODEC.registry.values()
                assert CODEC.decode(CODEC.encode(each)) == [each]


def mutate(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(5):
            case 0:
                changed[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                changed[at:at] = rng.choice(PIECES)
            case 2:
                del changed[at : at + rng.randrange(1, 12)]
            case 3:
                end = at + rng.randrange(1, 40)
                changed[at:at] = changed[at:end]
            case _:
                other = rng.choice(SEEDS)
                start = rng.randrange(len(other))
                changed[at : at + rng.randrange(20)] = other[start : start + rng.randrange(40)]
    return bytes(changed)


def test_mutated_frames_never_raise() -> None:
    rng = random.Random(20_240_607)
    for _ in range(10_000):
        check(mutate(rng, rng.choice(SEEDS)))


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_arbitrary_bytes_never_raise(data: bytes) -> None:
    check(data)


@given(JSON_VALUES)
@settings(max_examples=300)
def test_arbitrary_json_never_raises(value: object) -> None:
    check(json.dumps(value).encode())


@given(st.sampled_from(sorted(CODEC.registry)), JSON_VALUES, st.booleans())
@settings(max_examples=300)
def test_arbitrary_envelope_values_never_raise(name: str, value: object, in_array: bool) -> None:
    envelope = {name: {"id": "1", "request": value, "response": value, "nodes": value}}
    check(json.dumps([envelope, value] if in_array else envelope).encode())
