"""Frames that a node must answer with an error, refuse by closing, or answer without a change of its state.

Each begins as a valid message of some type and is then broken. What the codec still accepts is sent only if it reads.
So every frame has an exact expectation, and a node's state must be equal before and after all of them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from qcore.errors import QcoreError
from qcore.node.application import EntityApplication, EntityPerform
from qcore.store_api.message_table import STORE_MESSAGES
from qcore.store_api.watch_messages import WATCH_MESSAGES
from qcore.transport.codec.codec import MAX_ENVELOPES, Malformed
from qcore.transport.wire import PEER_REQUESTS, Error, GetMetrics, Hello, ReadSnapshot
from qcore.transport.wire.peers import PEER_RESPONSES
from tests.process.fuzz.valid_messages import NODE_CODEC, valid_envelopes

_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10
_PEER_ONLY: Final = (*PEER_REQUESTS, *PEER_RESPONSES)
_PEER_NAMES: Final = frozenset({cls.__name__ for cls in _PEER_ONLY})
_WATCHES: Final = tuple(WATCH_MESSAGES.values())
#: Stands for a value until the JSON text is made.
_HERE: Final = "@HERE@"

_NUMBERS: Final = (
    *(
        "1e999",
        "-1e999",
        "9" * 400,
        "-" + "9" * 5000,
        "1" + "0" * 20 + ".0",
        "18446744073709551616",
    ),
    *("9223372036854775808", "-9223372036854775809", "1e-999", "0.1e1", "NaN", "-Infinity", "01"),
)
_SURROGATES: Final = (
    *(r'"\ud800"', r'"\udfff"', r'"\udc00\ud800"', r'"a\ud83dz"', r'"\ud83d\ud83d"', r'"\u00"'),
)
#: Kinds that are always invalid. So a fault of the codec cannot hide in `expectation`, which uses the codec.
ALWAYS_INVALID: Final = ("truncated", "duplicate key", "surrogate escape", "unknown type")
_WRONG: Final = ("null", "true", "-1", "1.5", '""', '"T"', "[]", "{}", "[[]]", '{"":0}', "[null]")
_NOISE: Final = (
    *(bytes((byte,)) for byte in b'{}[],:"\\0-9eE. '),
    *(b"\x00", b"\xff", b"\xed\xa0\x80", b"\xe2\x82", b"\xc0\x80", b"\xef\xbb\xbf", b"[" * 200),
    *(b"null", b"//", b'"id"', b"\\u0000", b'{"GetMetrics":{"id":"1"}}'),
)


@dataclass(slots=True, frozen=True)
class Expected:
    """What a node must do with a frame.

    Attributes:
        closes: it closes the connection. If so, the numbers do not count.
        replies: the number of envelopes in answer.
        errors: how many of them at least are an `Error`.
    """

    closes: bool = False
    replies: int = 0
    errors: int = 0


CLOSES: Final = Expected(closes=True)


@dataclass(slots=True, frozen=True)
class HostileFrame:
    """One frame, or the fragments of one.

    Attributes:
        kind: how it was made, for messages about failures.
        wire: the bytes to send.
        expected: what the node must do.
    """

    kind: str
    wire: bytes
    expected: Expected


def frame(payload: bytes, opcode: int = _TEXT, *, fin: bool = True, masked: bool = True) -> bytes:
    """The bytes of one WebSocket frame. A mask of zeros leaves the payload as it is."""
    size = len(payload)
    mask = 0x80 if masked else 0
    head = bytes((0x80 * fin | opcode,))
    if size < 126:
        head += bytes((mask | size,))
    elif size < 1 << 16:
        head += bytes((mask | 126,)) + size.to_bytes(2)
    else:
        head += bytes((mask | 127,)) + size.to_bytes(8)
    return head + bytes(4 * masked) + payload


def expectation(payload: bytes, *, binary: bool = False) -> Expected | None:
    """What a node must do with a message. None if the message may change its state or wait: do not send that."""
    decoded = [NODE_CODEC.decode_binary(payload)] if binary else NODE_CODEC.decode(payload)
    replies = errors = 0
    for message in decoded:
        if isinstance(message, Malformed):
            if message.type_name in _PEER_NAMES:
                return CLOSES
            errors += 1
        elif isinstance(message, _PEER_ONLY):
            return CLOSES
        elif isinstance(message, Hello):
            return CLOSES if message.cluster_id else None  # another cluster's node
        elif isinstance(message, Error):
            continue  # an answer could be answered, and so on
        elif type(message).__name__.endswith("Response"):
            errors += 1
        elif _reads(message):
            replies += 1
        else:
            return None
    return Expected(replies=replies + errors, errors=errors)


def _reads(message: object) -> bool:
    if isinstance(message, EntityPerform):
        if message.request is None or message.requests is not None:
            return False
        try:
            return EntityApplication().operation(message.request).kind == "read"
        except QcoreError:
            return True  # answered with an error
    entry = STORE_MESSAGES.get(type(message).__name__)
    if entry is not None:
        restores = entry.request == "StoreRestoreSnapshot"  # several commands
        return not restores and entry.payload(message)[0] == "read"
    if isinstance(message, _WATCHES):
        return getattr(message, "after", None) is None  # a watch may wait for an index
    return isinstance(message, GetMetrics | ReadSnapshot)


class FrameGenerator:
    """An endless sequence of hostile frames.

    Args:
        seed: equal seeds give equal frames.
    """

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._envelopes = valid_envelopes(self._rng, per_type=6)
        # A message of a peer costs a connection: send fewer of them.
        self._weights = [
            0.3 if next(iter(envelope)) in _PEER_NAMES else 1.0 for envelope in self._envelopes
        ]
        self._changes: list[tuple[float, str, Callable[[], bytes]]] = [
            (3, "as it is", self._valid),
            (6, "truncated", self._truncated),
            (6, "deeply nested", self._nested),
            (6, "huge number", lambda: self._put(self._rng.choice(_NUMBERS))),
            (6, "wrong kind", lambda: self._put(self._rng.choice(_WRONG))),
            (4, "surrogate escape", lambda: self._put(self._rng.choice(_SURROGATES))),
            (4, "duplicate key", self._duplicate_key),
            (3, "unknown type", self._unknown_type),
            (3, "unknown field", self._unknown_field),
            (3, "missing field", self._missing_field),
            (6, "noise", self._noise),
            (3, "array", self._array),
            (0.1, "array of thousands", self._long_array),
        ]

    def __iter__(self) -> Iterator[HostileFrame]:
        rng = self._rng
        while True:
            if rng.random() < 0.02:
                yield self._broken_framing()
                continue
            kind, payload = self.payload()
            binary = rng.random() < 0.05
            expected = expectation(payload, binary=binary)
            if expected is None:
                continue
            if rng.random() < 0.15 and len(payload) > 1:
                yield HostileFrame(f"{kind}, fragments", self._fragments(payload, binary), expected)
            else:
                wire = frame(payload, _BINARY if binary else _TEXT)
                yield HostileFrame(f"{kind}{', binary' * binary}", wire, expected)

    def payload(self) -> tuple[str, bytes]:
        """The kind and the bytes of the next message. It may be valid, and may write."""
        weights = [weight for weight, _, _ in self._changes]
        ((_, kind, change),) = self._rng.choices(self._changes, weights)
        return kind, change()

    # --- the bytes of a message -------------------------------------------------------------------

    def _envelope(self) -> dict[str, dict[str, Any]]:
        """A copy of a valid envelope."""
        (envelope,) = self._rng.choices(self._envelopes, self._weights)
        copy: dict[str, dict[str, Any]] = json.loads(json.dumps(envelope))
        return copy

    def _valid(self) -> bytes:
        return json.dumps(self._envelope(), ensure_ascii=self._rng.random() < 0.5).encode()

    def _truncated(self) -> bytes:
        data = self._valid()
        return data[: self._rng.randrange(len(data))]

    def _places(self, value: Any) -> Iterator[tuple[Any, Any]]:
        """Each object or list inside a value, with each of its keys or positions."""
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, each in inner:
            yield value, key
            if isinstance(each, dict | list):
                yield from self._places(each)

    def _put(self, text: str) -> bytes:
        """A message with this JSON text in the place of one value."""
        envelope = self._envelope()
        holder, key = self._rng.choice(list(self._places(envelope)))
        holder[key] = _HERE
        return json.dumps(envelope).replace(f'"{_HERE}"', text).encode()

    def _nested(self) -> bytes:
        depth = self._rng.choice((50, 150, 200, 500, 5_000, 50_000))
        begin, end = self._rng.choice((("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")))
        closed = end * depth if self._rng.random() < 0.7 else ""
        return self._put(f"{begin * depth}0{closed}")

    def _duplicate_key(self) -> bytes:
        envelope = self._envelope()
        objects = [(h, k) for h, k in self._places(envelope) if isinstance(h, dict)]
        holder, key = self._rng.choice(objects)
        kept = json.dumps(holder[key])
        holder[key] = _HERE
        second = self._rng.choice((kept, "null", '"x"'))
        return (
            json.dumps(envelope)
            .replace(f'"{_HERE}"', f"{kept},{json.dumps(key)}:{second}")
            .encode()
        )

    def _unknown_type(self) -> bytes:
        ((name, body),) = self._envelope().items()
        names = (name.lower(), f"{name}2", f"Store{name}", "", "\0", "__class__", name[:-1])
        unknown = [each for each in names if each not in NODE_CODEC.registry]
        return json.dumps({self._rng.choice(unknown): body}).encode()

    def _unknown_field(self) -> bytes:
        envelope = self._envelope()
        objects = [h for h, _ in self._places(envelope) if isinstance(h, dict)]
        extra = self._rng.choice(("extra", "", "__init__", "Id", "\ud800", "x" * 5000))
        self._rng.choice(objects)[extra] = self._rng.choice((None, 1, {}, [[]]))
        return json.dumps(envelope).encode()

    def _missing_field(self) -> bytes:
        envelope = self._envelope()
        holder, key = self._rng.choice(list(self._places(envelope)))
        del holder[key]
        return json.dumps(envelope).encode()

    def _noise(self) -> bytes:
        rng = self._rng
        data = bytearray(self._valid())
        for _ in range(rng.choice((1, 1, 2, 5))):
            at = rng.randrange(len(data) + 1)
            match rng.randrange(4):
                case 0:
                    data[at : at + 1] = rng.randbytes(1)
                case 1:
                    data[at:at] = rng.choice(_NOISE)
                case 2:
                    del data[at : at + rng.randrange(1, 12)]
                case _:
                    data[at:at] = data[at : at + rng.randrange(1, 40)]
        return bytes(data)

    def _array(self) -> bytes:
        parts = (self._valid, self._unknown_field, self._missing_field, self._unknown_type)
        texts = [self._rng.choice(parts)() for _ in range(self._rng.randrange(6))]
        texts += [self._rng.choice(_WRONG).encode() for _ in range(self._rng.randrange(3))]
        self._rng.shuffle(texts)
        return b"[%b]" % b",".join(texts)

    def _long_array(self) -> bytes:
        items = (
            b"{}",
            b"0",
            b"[]",
            b'{"X":{}}',
            b'{"GetMetrics":{"id":1}}',
            b'{"Init":{"id":"1"}}',
        )
        count = self._rng.choice((2000, MAX_ENVELOPES, MAX_ENVELOPES + 1, 10_000))
        return b"[%b]" % b",".join([self._rng.choice(items)] * count)

    # --- frames -----------------------------------------------------------------------------------

    def _fragments(self, payload: bytes, binary: bool) -> bytes:
        """The frames of one message in parts, some empty, with pings and pongs between them."""
        rng = self._rng
        cuts = sorted(rng.randrange(len(payload) + 1) for _ in range(rng.choice((1, 2, 3, 20))))
        wire = bytearray()
        opcode = _BINARY if binary else _TEXT
        for start, end in zip([0, *cuts], [*cuts, len(payload)], strict=True):
            wire += frame(payload[start:end], opcode, fin=False)
            opcode = 0
            if rng.random() < 0.2:
                wire += frame(rng.randbytes(rng.randrange(126)), rng.choice((_PING, _PONG)))
        return bytes(wire + frame(b"", 0))

    def _broken_framing(self) -> HostileFrame:
        """Frames that WebSocket forbids. A node must close."""
        request = self._truncated()
        cases = {
            "unmasked": frame(request, masked=False),
            "reserved bit": bytes((0xC1,)) + frame(request)[1:],
            "reserved opcode": frame(request, self._rng.choice((3, 7, 11, 15))),
            "continuation of nothing": frame(request, 0),
            "a second beginning": frame(request, fin=False) + frame(request),
            "long ping": frame(b"x" * 126, _PING),
            "ping in fragments": frame(b"x", _PING, fin=False),
            "too large": bytes((0x81, 0xFF)) + (1 << 40).to_bytes(8) + bytes(4),
            "larger than any": bytes((0x81, 0xFF)) + b"\xff" * 8 + bytes(4),
            "close of one byte": frame(b"x", _CLOSE),
            "close with a bad code": frame((1005).to_bytes(2), _CLOSE),
            "close with a bad text": frame((1000).to_bytes(2) + b"\xff", _CLOSE),
        }
        kind = self._rng.choice(list(cases))
        return HostileFrame(kind, cases[kind], CLOSES)
