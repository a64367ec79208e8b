"""The numbers of sessions and reads are bounded where a client's frame is decoded, before they reach the log."""

from __future__ import annotations

import json

import pytest

from qcore.node.application import TextPerform
from qcore.transport.codec.codec import Codec, Malformed
from qcore.transport.wire import INT_LIMIT


@pytest.mark.parametrize(
    ("field", "value", "accepted"),
    [
        ("session", {"id": 1, "sequence": 1, "acknowledged": INT_LIMIT - 1}, True),
        ("session", {"id": 1, "sequence": 1, "acknowledged": INT_LIMIT}, False),
        ("session", {"id": 1, "sequence": 1, "acknowledged": -1}, False),
        ("session", {"id": 1, "sequence": INT_LIMIT}, False),
        ("session", {"id": 10**400, "sequence": 1}, False),
        ("consistency", {"stale": INT_LIMIT - 1}, True),
        ("consistency", {"stale": INT_LIMIT}, False),
        ("consistency", {"stale": -1}, False),
    ],
)
def test_number_beyond_64_bits_is_rejected_at_the_edge(
    field: str, value: object, accepted: bool
) -> None:
    body = {"id": "1", "request": {"Write": "x"}, field: value}
    codec = Codec({"Perform": TextPerform})
    (message,) = codec.decode(json.dumps({"Perform": body}).encode())
    assert isinstance(message, TextPerform if accepted else Malformed), message
    if isinstance(message, Malformed):
        assert message.reply.detail is not None
        assert f"Perform.{field}." in str(message.reply.detail["field"])


def test_number_of_a_million_digits_is_rejected_immediately() -> None:
    frame = b'{"Perform":{"id":"1","request":{"Write":"x"},"session":{"id":1,"sequence":%b}}}'
    (message,) = Codec({"Perform": TextPerform}).decode(frame % (b"9" * 1_000_000))
    assert isinstance(message, Malformed)
