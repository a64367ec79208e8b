"""The quick readers and writers give what the validators and the serializer give, for any message and any frame."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.errors import LocalProtocolError
from qcore.node.application import EntityPerform, node_codec
from qcore.replica.messages import ForwardResponse as Outcome
from qcore.transport.codec.codec import Codec
from qcore.transport.codec.quick_readers import PEER_READERS
from qcore.transport.codec.quick_writers import quick_writers
from qcore.transport.wire import REGISTRY, ForwardResponse, Ok
from tests.transport.codec.test_codec_fuzz import mutate
from tests.transport.support.strategies import strategy_for

QUICK = node_codec(EntityPerform, 1 << 20)
#: The same without quick readers and writers.
GENERAL = node_codec(EntityPerform, 1 << 20)
GENERAL._writers = {}
GENERAL._quick_names = frozenset()

NAMES = sorted(PEER_READERS)
ENTITY = {"typ": "Item", "id": 7}
READ = {
    "entity_id": ENTITY,
    "field_type": "Text",
    "value": None,
    "write_time": None,
    "writer_id": None,
}
WRITE = {
    "entity_id": ENTITY,
    "field_type": "Text",
    "value": {"String": "a"},
    "push_condition": "Always",
    "adjust_behavior": "Set",
    "write_time": None,
    "writer_id": None,
}
VALUES: list[object] = [
    *({"Int": 1}, {"Int": -(2**63)}, {"Int": 2**63}, {"Int": True}, {"Bool": True}, {"Bool": 1}),
    *({"Float": 1.5}, {"Float": 1}, {"Float": 1e300}, {"String": "ü"}, {"String": 1}, {}, None),
    *({"String": "a", "Int": 1}, {"Blob": [1]}, {"Nothing": 1}, [], "a"),
]


def performs() -> list[dict[str, Any]]:
    """Requests of clients, valid and not."""
    items: list[dict[str, Any]] = [{"Write": {**WRITE, "value": each}} for each in VALUES]
    items += [{"Read": {**READ, "value": value}} for value in VALUES]
    changes: list[dict[str, Any]] = [
        *({"writer_id": ENTITY}, {"writer_id": {"id": 7, "typ": "Item"}}, {"writer_id": 1}),
        *({"entity_id": {"typ": "I", "id": 2**64}}, {"entity_id": {"typ": 1, "id": 1}}),
        *({"entity_id": {"typ": "I", "id": -1}}, {"entity_id": None}, {"field_type": 1}),
        *({"push_condition": "Never"}, {"push_condition": ["Always"]}, {"adjust_behavior": "Add"}),
        *({"write_time": {"secs_since_epoch": 1, "nanos_since_epoch": 0}}, {"more": 1}),
    ]
    items += [{"Write": {**WRITE, **change}} for change in changes]
    items += [{"Read": {**READ, **change}} for change in changes]
    items += [{"Write": dict(reversed(WRITE.items()))}, {"Read": dict(reversed(READ.items()))}]
    items += [{"Write": None}, {"Read": READ, "Write": WRITE}, {}, {"Write": {}}]
    lists: list[object] = [[], [{"Write": WRITE}, {"Read": READ}], *([item] for item in items), {}]
    requests: list[dict[str, Any]] = [{"UpdateEntity": {"request": each}} for each in lists]
    creates: list[object] = [
        *({"entity_type": "I", "parent_id": parent, "name": "n"} for parent in (None, ENTITY, 1)),
        *({"entity_type": kind, "parent_id": None, "name": "n"} for kind in (1, None)),
        *({"entity_type": "I", "name": "n", "parent_id": None}, {"entity_type": "I"}, None),
    ]
    requests += [{"CreateEntity": each} for each in creates]
    requests += [{"DeleteEntity": {"entity_id": ENTITY}}, {"GetSchema": {"entity_type": "I"}}]
    plain = {"UpdateEntity": {"request": [{"Write": WRITE}]}}
    options: list[dict[str, Any]] = [
        *({"session": {"id": 1, "sequence": 2, "acknowledged": number}} for number in (0, 1, -1)),
        *({"session": {"id": number, "sequence": 2, "acknowledged": 0}} for number in (0, True)),
        *({"session": {"id": 1, "sequence": 2}}, {"session": None}, {"consistency": "lease"}),
        *({"consistency": "none"}, {"consistency": {"stale": 5}}, {"consistency": ["lease"]}),
        *({"requests": None}, {"id": 1}, {"id": "x" * 1024}, {"id": "x" * 1025}, {"id": 'a"\n'}),
    ]
    contents = [{"id": "1", "request": request} for request in requests]
    contents += [{"id": "1", "request": plain, **option} for option in options]
    contents += [{"request": plain, "id": "1"}, {"id": "1"}, {"id": "1", "request": {}}]
    stored: list[dict[str, Any]] = [{"id": "1", "requests": each} for each in lists]
    stored += [{"id": "1", "requests": [{"Write": WRITE}], **option} for option in options]
    stored += [{"requests": [], "id": "1"}, {"id": "1"}, {"id": "1", "requests": None}]
    return [
        *({"Perform": content} for content in contents),
        *({"StorePerform": content} for content in stored),
    ]


PERFORMS = performs()


def outcome(codec: Codec, data: bytes, *, from_peer: bool) -> str:
    """What a codec makes of a frame, with the order of keys and the types of all values."""
    return repr(codec.decode(data, from_peer=from_peer))


def check(data: bytes) -> None:
    for from_peer in (False, True):
        quick = outcome(QUICK, data, from_peer=from_peer)
        assert quick == outcome(GENERAL, data, from_peer=from_peer)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=300)
@given(data=st.data())
def test_a_message_is_written_as_the_serializer_does(name: str, data: st.DataObject) -> None:
    message = data.draw(strategy_for(REGISTRY[name]))
    written = GENERAL.encode(message)
    assert QUICK.encode(message) == written
    assert QUICK.encode(message) == written, "entries that were written before"
    check(written)
    check(b"[" + written + b"," + written + b"]")


def test_each_quick_message_has_a_reader_and_a_writer() -> None:
    assert {cls.__name__ for cls in quick_writers()} == set(NAMES)
    assert all(get_type_hints(REGISTRY[name]) for name in NAMES)


@pytest.mark.parametrize("text", ["\ud800", "a" * 5000 + "\ud800"])
def test_a_text_that_cannot_be_sent_is_refused(text: str) -> None:
    message = ForwardResponse("1", Ok(Outcome(1, text)))
    with pytest.raises(LocalProtocolError) as quick:
        QUICK.encode(message)
    with pytest.raises(LocalProtocolError) as general:
        GENERAL.encode(message)
    assert str(quick.value) == str(general.value)


@pytest.mark.parametrize("size", [2047, 2048, 100_000])
def test_a_long_text_is_written_as_the_serializer_does(size: int) -> None:
    message = ForwardResponse("1", Ok(Outcome(1, ('ä"\x7f\x01\n\\' * size)[:size])))
    assert QUICK.encode(message) == GENERAL.encode(message)


@pytest.mark.parametrize("indent", [None, 1])
def test_a_request_is_read_as_the_validators_do(indent: int | None) -> None:
    for each in PERFORMS:
        check(json.dumps(each, indent=indent).encode())
        check(json.dumps(each, indent=indent, ensure_ascii=False).encode())
    check(json.dumps(PERFORMS[:2]).encode())
    check(json.dumps(PERFORMS).encode())


def test_common_requests_are_read_quickly() -> None:
    in_other_order = dict(reversed(WRITE.items()))
    items = [{"Write": WRITE}, {"Read": READ}, {"Write": in_other_order}]
    update = {"UpdateEntity": {"request": items}}
    create = {"CreateEntity": {"entity_type": "Item", "parent_id": ENTITY, "name": "n"}}
    session = {"id": 1, "sequence": 2, "acknowledged": 1}
    options: list[dict[str, Any]] = [{}, {"session": session}, {"consistency": "follower"}]
    for request, option in itertools.product([update, create], options):
        envelope = {"Perform": {"id": "1", "request": request, **option}}
        store = {"StorePerform": {"id": "1", "requests": [{"Write": WRITE}], **option}}
        for data in (json.dumps(envelope).encode(), json.dumps(store).encode()):
            assert QUICK._read_quickly(data, from_peer=False) is not None
            assert QUICK._read_quickly(b"[" + data + b"]", from_peer=False) is not None


@pytest.mark.parametrize(
    "twice", ['"typ":"Item"', '"field_type":"Text"', '"push_condition":"Always"', '"id":"1"']
)
def test_a_key_that_occurs_twice_is_refused(twice: str) -> None:
    request = {"UpdateEntity": {"request": [{"Write": WRITE}]}}
    envelope = {"Perform": {"id": "1", "request": request}}
    text = json.dumps(envelope, separators=(",", ":"))
    assert twice in text
    data = text.replace(twice, f"{twice},{twice}", 1).encode()
    assert "occurs twice" in outcome(QUICK, data, from_peer=False)
    check(data)


@given(st.integers(0, 2**32), st.sampled_from(range(len(PERFORMS))))
def test_any_changed_request_is_read_as_the_validators_do(seed: int, number: int) -> None:
    rng = random.Random(seed)
    data = json.dumps(PERFORMS[number], separators=(",", ":")).encode()
    for _ in range(rng.randint(1, 3)):
        data = mutate(rng, data)
    check(data)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_any_changed_message_is_read_as_the_validators_do(name: str, data: st.DataObject) -> None:
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    written = QUICK.encode(data.draw(strategy_for(REGISTRY[name])))
    for _ in range(rng.randint(1, 3)):
        written = mutate(rng, written)
    check(written)
