"""For any JSON value and any bytes, a node's codec returns messages or errors that can be sent, and never raises."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.transport.codec.codec import Malformed
from tests.process.fuzz.hostile_frames import ALWAYS_INVALID, FrameGenerator
from tests.process.fuzz.valid_messages import NODE_CODEC, valid_envelope

#: Also numbers that no message may hold, and texts with half of a surrogate pair.
ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
NAMES = sorted(NODE_CODEC.registry)


def check(data: bytes) -> None:
    for decoded in (
        NODE_CODEC.decode(data),
        NODE_CODEC.decode(data, from_peer=True),
        [NODE_CODEC.decode_binary(data)],
    ):
        assert decoded
        for each in decoded:
            if isinstance(each, Malformed):
                reply = json.loads(NODE_CODEC.encode(each.reply))["Error"]
                assert isinstance(reply["id"], str)
                assert reply["error"]
            else:
                assert type(each) in NODE_CODEC.registry.values()
                # Not compared as objects: an infinite number in free JSON, as in metrics, is sent as null.
                sent = NODE_CODEC.encode(each)
                (again,) = NODE_CODEC.decode(sent, from_peer=True)
                assert NODE_CODEC.encode(again) == sent


@given(st.binary(max_size=300))
@settings(max_examples=200)
def test_any_bytes(data: bytes) -> None:
    check(data)


@given(ANY_JSON)
@settings(max_examples=100)
def test_any_json(value: object) -> None:
    check(json.dumps(value).encode())


@given(st.sampled_from(NAMES), st.integers(0, 2**32), st.data())
@settings(max_examples=200)
def test_any_json_in_the_place_of_a_field(name: str, seed: int, data: st.DataObject) -> None:
    envelope: dict[str, Any] = valid_envelope(random.Random(seed), name)
    body = envelope[name]
    body[data.draw(st.sampled_from([*sorted(body), "extra"]))] = data.draw(ANY_JSON)
    other = data.draw(ANY_JSON)
    for frame in (envelope, [envelope, other], [other, envelope, envelope]):
        check(json.dumps(frame).encode())


def test_hostile_frames() -> None:
    generator = FrameGenerator(3)
    seen = set()
    for _ in range(1_000):
        kind, data = generator.payload()
        check(data)
        if kind in ALWAYS_INVALID:
            seen.add(kind)
            assert all(isinstance(each, Malformed) for each in NODE_CODEC.decode(data)), data
    assert seen == {*ALWAYS_INVALID}
