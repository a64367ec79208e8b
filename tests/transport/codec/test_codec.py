"""Round trips of every message, and the error for each kind of invalid frame."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from qcore.core.entry import Entry
from qcore.core.messages import AppendEntries, RequestVote
from qcore.errors import LocalProtocolError, NotLeader
from qcore.transport.codec.codec import MAX_ENVELOPES, Codec, Malformed, encode_response
from qcore.transport.wire import (
    PEER_REQUESTS,
    PEER_RESPONSES,
    REGISTRY,
    RESPONSE_MESSAGES,
    GetMetrics,
    GetMetricsResponse,
    Hello,
    Init,
    InitResponse,
    Ok,
    RaftAppend,
    RaftVote,
    failure,
    wrap_request,
    wrap_response,
)
from tests.transport.support.endpoints import CODEC, Perform
from tests.transport.support.strategies import strategy_for

APPEND = RaftAppend(
    "12", AppendEntries(3, 1, 10, 3, 9, [Entry(11, 3, "command", '{"a":1}', 17)], 7)
)


def only(data: bytes | str, codec: Codec = CODEC) -> Malformed:
    """Decode a frame that holds only one invalid envelope."""
    decoded = codec.decode(data.encode() if isinstance(data, str) else data)
    assert len(decoded) == 1
    assert isinstance(decoded[0], Malformed), decoded
    return decoded[0]


# --- round trips ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*CODEC.registry])
@given(data=st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_every_message_survives_a_round_trip(name: str, data: st.DataObject) -> None:
    message = data.draw(strategy_for(CODEC.registry[name]))
    encoded = CODEC.encode(message)
    assert [*json.loads(encoded)] == [name]
    for from_peer in (False, True):
        assert CODEC.decode(encoded, from_peer=from_peer) == [message]


@given(
    messages=st.lists(
        st.one_of([strategy_for(cls) for cls in CODEC.registry.values()]), min_size=1, max_size=5
    )
)
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
def test_an_array_is_decoded_in_order(messages: list[object]) -> None:
    frame = b"[" + b",".join(map(CODEC.encode, messages)) + b"]"
    assert CODEC.decode(frame) == messages


@given(message=st.one_of([strategy_for(cls) for cls in CODEC.registry.values()]))
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
def test_peer_messages_are_wrapped(message: Any) -> None:
    if type(message) in PEER_REQUESTS:
        request = wrap_request("7", message.request)
        assert type(request) is type(message)
        assert request.request is message.request
        assert type(message.request) not in RESPONSE_MESSAGES
    elif type(message) in PEER_RESPONSES and isinstance(message.response, Ok):
        response = wrap_response("7", message.response.value)
        assert type(response) is type(message)
        assert response.response == message.response
        assert type(message.response.value) in RESPONSE_MESSAGES


def test_the_shapes_on_the_wire_are_those_of_the_protocol() -> None:
    refused = failure(NotLeader(2, "h:1"))
    shapes: list[tuple[object, object]] = [
        (GetMetrics("req-1"), {"GetMetrics": {"id": "req-1"}}),
        (Init("1", [(1, "a:1")]), {"Init": {"id": "1", "nodes": [[1, "a:1"]]}}),
        (
            Init("1", [(1, "a:1")], "red"),
            {"Init": {"id": "1", "nodes": [[1, "a:1"]], "token": "red"}},
        ),
        (InitResponse("1", Ok(None)), {"InitResponse": {"id": "1", "response": {"Ok": None}}}),
        (
            InitResponse("1", *refused),
            {
                "InitResponse": {
                    "id": "1",
                    "response": {"Err": refused[0].text},
                    "detail": {
                        "code": "NotLeader",
                        "retryable": True,
                        "leader_id": 2,
                        "leader_addr": "h:1",
                    },
                }
            },
        ),
        (
            GetMetricsResponse("1", {"id": 1}),
            {"GetMetricsResponse": {"id": "1", "response": {"id": 1}}},
        ),
    ]
    for message, shape in shapes:
        assert json.loads(CODEC.encode(message)) == shape


def test_response_around_encoded_json_is_an_envelope() -> None:
    encoded = encode_response("PerformResponse", 'a"b', '{"SetSchema":{"error":null}}')
    assert json.loads(encoded) == {
        "PerformResponse": {"id": 'a"b', "response": {"SetSchema": {"error": None}}}
    }


def test_hello_of_a_later_protocol_is_still_understood() -> None:
    text = (
        b'{"Hello":{"id":"1","protocol":9,"cluster_id":"c","node_id":2,"role":"peer","shard":[1]}}'
    )
    assert CODEC.decode(text) == [Hello("1", 9, "c", 2)]


# --- invalid envelopes ----------------------------------------------------------------------------


def changed(**fields: object) -> str:
    """A `RaftAppend` with fields of its request replaced or added."""
    envelope: dict[str, Any] = json.loads(CODEC.encode(APPEND))
    envelope["RaftAppend"]["request"].update(fields)
    return json.dumps(envelope)


def entry(**fields: object) -> str:
    """A `RaftAppend` with fields of its first entry replaced or added."""
    value: dict[str, Any] = json.loads(CODEC.encode(APPEND))
    value["RaftAppend"]["request"]["entries"][0].update(fields)
    return json.dumps(value)


@pytest.mark.parametrize(
    ("frame", "field", "reason"),
    [
        (changed(term=-1), "RaftAppend.request.term", "greater than or equal to 0"),
        (changed(term=2**63), "RaftAppend.request.term", "less than"),
        (changed(term=10**4000), "RaftAppend.request.term", "less than"),
        (changed(term=True), "RaftAppend.request.term", "integer"),
        (changed(term=3.0), "RaftAppend.request.term", "integer"),
        (changed(term="3"), "RaftAppend.request.term", "integer"),
        (changed(term=float("nan")), "RaftAppend.request.term", "integer"),
        (changed(term=float("inf")), "RaftAppend.request.term", "integer"),
        (changed(term=None), "RaftAppend.request.term", "integer"),
        (changed(entries={}), "RaftAppend.request.entries", "array"),
        (changed(leader=1), "RaftAppend.request.leader", "unknown field"),
        (entry(index=-1), "RaftAppend.request.entries.0.index", "greater than"),
        (entry(kind="other"), "RaftAppend.request.entries.0.kind", "'command'"),
        (entry(data=5), "RaftAppend.request.entries.0.data", "string"),
        ('{"RaftAppend":{"id":"12"}}', "RaftAppend.request", "missing"),
        ('{"RaftAppend":{"id":"12","request":5}}', "RaftAppend.request", "object"),
        ('{"Init":{"id":"12","nodes":[[0,"a:1"]]}}', "Init.nodes.0.0", "greater than"),
        ('{"Init":{"id":"12","nodes":[[1]]}}', "Init.nodes.0.1", "missing"),
        ('{"Init":{"id":"12","nodes":null}}', "Init.nodes", "array"),
        ('{"ChangeMembership":{"id":"12","members":["1"]}}', "ChangeMembership.members.0", "int"),
        ('{"GetMetrics":{"id":"12","x":{}}}', "GetMetrics.x", "unknown field"),
        ('{"Nothing":{"id":"12"}}', "Nothing", "unknown message type"),
        ('{"GetMetrics":{"id":"12"},"Init":{"id":"b","nodes":[]}}', "", "exactly one key"),
        ('{"GetMetrics":{"id":"12"},"Nothing":{}}', "Nothing", "unknown message type"),
        ('{"GetMetrics":{"id":"12","id":"12"}}', "id", "occurs twice"),
        ('{"GetMetrics":{"id":"12"},"GetMetrics":{"id":"12"}}', "GetMetrics", "occurs twice"),
        (changed().replace('"term": 3', '"term": 3, "term": 4', 1), "term", "occurs twice"),
        ('{"InitResponse":{"id":"12","response":{}}}', "InitResponse.response.Ok", "missing"),
        ('{"InitResponse":{"id":"12","response":{"Err":1}}}', "InitResponse.response.Err", "str"),
    ],
)
def test_a_bad_field_is_named_and_the_senders_id_echoed(
    frame: str, field: str, reason: str
) -> None:
    reply = only(frame).reply
    assert reply.id == "12"
    assert reason in reply.error
    assert reply.error.startswith(field)
    assert reply.detail == {"code": "RemoteProtocolError", "retryable": False, "field": field}


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("", "not valid JSON"),
        ("  ", "not valid JSON"),
        ("nonsense", "not valid JSON"),
        ('{"GetMetrics":{"id":"1"}', "not valid JSON"),
        ('{"GetMetrics":{"id":"1"}}}', "not valid JSON"),
        ("null", "must be an object"),
        ("5", "must be an object"),
        ('"GetMetrics"', "must be an object"),
        ("NaN", "must be an object"),
        ("{}", "exactly one key"),
        ("[]", "at least one envelope"),
        (" [ ] ", "at least one envelope"),
        ("[[]]", "must be an object"),
        ('[[{"GetMetrics":{"id":"1"}}]]', "must be an object"),
        ("[" * 50_000, "recursion limit"),
        ("[" * 50_000 + "]" * 50_000, "recursion limit"),
        ('{"a":' * 50_000 + "1" + "}" * 50_000, "unknown message type"),
        ('{"Init":' * 50_000 + "1" + "}" * 50_000, "recursion limit"),
        ('{"GetMetrics":{"id":' + "[" * 300 + "]" * 300 + "}}", "recursion limit"),
        ("1" * 100_000, "out of range"),
        ('{"GetMetrics":{"id":' + "9" * 100_000 + "}}", "out of range"),
        ('{"GetMetrics":{"id":"\\ud800"}}', "not valid JSON"),
        ('{"GetMetrics":{"id":"\\udc00\\ud800"}}', "not valid JSON"),
        ('{"GetMetrics":{"id":5}}', "GetMetrics.id: must be a valid string"),
        ('{"GetMetrics":{"id":null}}', "GetMetrics.id"),
        ('{"GetMetrics":{}}', "GetMetrics.id: the field is missing"),
        ('{"GetMetrics":null}', "GetMetrics: must be an object"),
        ('{"GetMetrics":[]}', "GetMetrics: must be an object"),
        ('{"GetMetrics":{"id":"' + "x" * 2000 + '"}}', "at most 1024 characters"),
        ("\ufeff{}", "not valid JSON"),
        ("{" + '"' + "k" * 100_000 + '":1}', "unknown message type"),
    ],
)
def test_error_without_a_readable_id_gets_a_new_one(frame: str, reason: str) -> None:
    malformed = only(frame)
    assert not malformed.has_id
    reply = malformed.reply_with_id(lambda: "12-34")
    assert reason in reply.error
    assert reply.id == "1234"
    assert len(reply.error) < 500


def test_error_with_an_empty_id_keeps_it() -> None:
    malformed = only('{"GetMetrics":{"id":"","x":1}}')
    assert malformed.has_id
    assert malformed.reply_with_id(lambda: "12").id == ""


@pytest.mark.parametrize("frame", [b"\xff\xfe\x00", b'{"GetMetrics":{"id":"\xff"}}', b"\x00"])
def test_invalid_utf8_is_named(frame: bytes) -> None:
    assert "not valid JSON" in only(frame).reply.error


def test_an_invalid_element_does_not_affect_the_others() -> None:
    good = '{"GetMetrics":{"id":"%s"}}'
    frame = ",".join(
        [
            good % "a",
            '{"GetMetrics":{"id":"b","x":1}}',
            good % "c",
            "5",
            "{}",
            '{"Nothing":{"id":"d"}}',
            '{"GetMetrics":{"id":"e","id":"f"}}',
            "[" * 100 + "]" * 100,
            good % "g",
        ]
    )
    decoded = CODEC.decode(f"[{frame}]".encode())
    seen = [each.reply if isinstance(each, Malformed) else each for each in decoded]
    assert [each for each in decoded if not isinstance(each, Malformed)] == [
        GetMetrics("a"),
        GetMetrics("c"),
        GetMetrics("g"),
    ]
    assert len(seen) == 9
    ids = [getattr(each, "id", None) for each in seen]
    assert ids[:3] == ["a", "b", "c"]
    assert ids[5] == "d"
    assert "GetMetrics.x" in only('{"GetMetrics":{"id":"b","x":1}}').reply.error


def test_an_array_may_not_hold_more_envelopes_than_the_limit() -> None:
    one = b'{"GetMetrics":{"id":"1"}}'
    assert len(CODEC.decode(b"[" + b",".join([one] * MAX_ENVELOPES) + b"]")) == MAX_ENVELOPES
    reply = only(b"[" + b",".join([one] * (MAX_ENVELOPES + 1)) + b"]").reply
    assert str(MAX_ENVELOPES) in reply.error
    assert len(CODEC.decode(b"[" + b"5," * 500_000 + b"5]")) == 1


@pytest.mark.parametrize(
    ("frame", "item", "field"),
    [
        (b'{"RaftAppend":{"id":"1","request":{"entries":[%b]}}}', b"1", "entries.0"),
        (b'{"RaftAppend":{"id":"1","request":{"entries":[%b]}}}', b"{}", "entries.0.index"),
        (b'{"Init":{"id":"1","nodes":[%b]}}', b"[0]", "nodes.0.0"),
        (b'{"ChangeMembership":{"id":"1","members":[%b]}}', b'"1"', "members.0"),
        (b'{"Perform":{"id":"1","request":{%b}}}', b'"x%x":0', "request.x0"),
        (b'{"Perform":{"id":"1","request":{"x":{%b}}}}', b'"x%x":[]', "request.x.x0"),
    ],
)
def test_thousands_of_wrong_elements_cost_one_error(frame: bytes, item: bytes, field: str) -> None:
    items = [item % number if b"%" in item else item for number in range(20_000)]
    data = frame % b",".join(items)
    (from_peer,) = CODEC.decode(data, from_peer=True)
    assert isinstance(from_peer, Malformed)
    assert f".{field}" in from_peer.reply.error
    with pytest.raises(ValidationError) as raised:
        CODEC._validators.one.validate_json(data)
    assert raised.value.error_count() < 20


def test_malformed_envelope_of_a_known_type_is_named() -> None:
    assert only('{"RaftVote":{"id":"1","request":{"term":-1}}}').type_name == "RaftVote"
    assert only('{"Nothing":{"id":"1"}}').type_name is None


def test_a_binary_frame_is_answered_with_its_senders_id() -> None:
    malformed = CODEC.decode_binary(b'{"GetMetrics":{"id":"12"}}')
    assert malformed.reply.id == "12"
    assert "binary" in malformed.reply.error
    assert not CODEC.decode_binary(b"\x00\xff").has_id


def test_application_messages_are_validated_strictly() -> None:
    good = b'{"Perform":{"id":"1","request":{"GetSchema":{"entity_type":"User","x":null,"n":-5}}}}'
    assert CODEC.decode(good) == [
        Perform("1", {"GetSchema": {"entity_type": "User", "x": None, "n": -5}})
    ]
    for bad in (b"true", b"1.5", b"NaN", b"9223372036854775808", b"-9223372036854775809"):
        assert "Perform.request.GetSchema.n" in only(good.replace(b"-5", bad)).reply.error


# --- encoding -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        GetMetrics("\ud800"),
        GetMetrics(5),  # type: ignore[arg-type]  # the point of the test
        object(),
        {"GetMetrics": {"id": "1"}},
    ],
)
def test_unsendable_message_is_a_local_error(message: object) -> None:
    with pytest.raises(LocalProtocolError):
        CODEC.encode(message)


def test_a_wrong_type_inside_a_message_is_an_error() -> None:
    with pytest.raises((LocalProtocolError, TypeError)):  # TypeError: of the compiled constructor
        CODEC.encode(RaftVote("1", RequestVote("x", 1, 2, 3)))  # type: ignore[arg-type]  # the point of the test


def test_registry_of_classes_without_an_id_is_rejected() -> None:
    with pytest.raises(TypeError, match="no field `id`"):
        Codec({**REGISTRY, "Vote": RequestVote})
    with pytest.raises(TypeError, match="twice"):
        Codec({"GetMetrics": GetMetrics, "Again": GetMetrics})
