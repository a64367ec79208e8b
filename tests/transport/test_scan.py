"""What is counted in a frame before it is parsed: exactly what a parser would count, however it is written."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from qcore.node.application import EntityPerform
from qcore.store.requests import parse_request
from qcore.transport import diagnosis, scan
from qcore.transport.codec import Codec, Malformed
from qcore.transport.limits import KIB, MIB, TransportLimits, frame_bytes_for
from qcore.transport.scan import Excess, FrameBounds, find_excess, head_of
from qcore.transport.schema import MAX_UNKNOWN_FIELDS
from qcore.transport.wire import REGISTRY
from tests.documents import CHECKOUT
from tests.transport.strategies import JSON_VALUES
from tests.transport.support import CODEC, Perform

_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_AMPLE = FrameBounds(10**9, 10**9, 10**9, 10**9, 10**9)
#: Texts with what could be taken for something else.
_TRICKY = st.text(alphabet='a"\\[]{},:0é\n', max_size=12)
_VALUES = st.recursive(
    JSON_VALUES | _TRICKY | st.integers(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TRICKY, inner, max_size=4),
    max_leaves=20,
)
_WAYS = st.sampled_from(
    [
        {"separators": (",", ":")},
        {"indent": 2},
        {"ensure_ascii": False},
        {"ensure_ascii": False, "separators": (" , ", "\t:\n")},
    ]
)


@dataclass
class SlowCounter:
    """Counts while the standard library parses."""

    values: int = 0
    containers: int = 0
    keys: int = 0
    digits: int = 0

    def count(self, text: str) -> FrameBounds:
        def number(digits: str) -> float:
            self.digits += sum(each in "0123456789" for each in digits)
            return 0.0

        value = json.loads(
            text, object_pairs_hook=self._object, parse_int=number, parse_float=number
        )
        self._lists(value)
        escapes = sum(match.group().count("\\") for match in _TEXT.finditer(text))
        return FrameBounds(self.values, self.containers, self.keys, escapes, self.digits)

    def _object(self, pairs: list[tuple[str, JsonValue]]) -> list[tuple[str, JsonValue]]:
        self.containers += 1
        self.keys += len(pairs)
        self.values += 1 + max(0, len(pairs) - 1)
        return _Pairs(pairs)

    def _lists(self, value: object) -> None:
        if isinstance(value, _Pairs):
            for _, inner in value:
                self._lists(inner)
        elif isinstance(value, list):
            self.containers += 1
            self.values += 1 + max(0, len(value) - 1)
            for inner in value:
                self._lists(inner)


class _Pairs(list[tuple[str, JsonValue]]):
    """An object, so that a key may stand twice."""


@given(_VALUES, _WAYS)
def test_it_counts_what_a_parser_counts(value: JsonValue, way: dict[str, object]) -> None:
    text = json.dumps(value, **way)  # type: ignore[arg-type]  # the keywords of `_WAYS`
    data = text.encode()
    exact = SlowCounter().count(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "_PART_BYTES", 5)  # every place is a border between parts once
        assert find_excess(data, exact) is None, "exactly what is allowed"
        for name in ("values", "containers", "keys", "escapes", "digits"):
            count = getattr(exact, name)
            if count:
                excess = find_excess(data, replace(_AMPLE, **{name: count - 1}))
                assert excess is not None, f"one of the {name} too many"
                assert excess.limit == count - 1


@given(_VALUES, _WAYS)
def test_a_frame_that_is_too_small_to_be_looked_at_exceeds_nothing(
    value: JsonValue, way: dict[str, object]
) -> None:
    text = json.dumps(value, **way)  # type: ignore[arg-type]  # the keywords of `_WAYS`
    exact = SlowCounter().count(text)
    for name in ("values", "containers", "keys", "escapes", "digits"):
        size = len(text.encode())
        bounds = replace(_AMPLE, **{name: max(0, getattr(exact, name) - 1)})
        assert getattr(exact, name) == 0 or size > bounds.harmless_bytes


@given(st.binary(max_size=200) | st.text(alphabet='"\\[]{},:0 ', max_size=60).map(str.encode))
def test_nothing_that_is_no_json_makes_it_fail(data: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "_PART_BYTES", 3)
        find_excess(data, FrameBounds(0, 0, 0, 0, 0))
        find_excess(data, FrameBounds(3, 3, 3, 3, 3))
        head_of(data)


def test_what_stops_being_json_is_counted_up_to_there() -> None:
    bounds = FrameBounds(10, 10, 10, 10, 10)
    assert find_excess(b"[" + b"{}," * 20 + b"nonsense", bounds) == Excess("objects and lists", 10)
    assert find_excess(b"[" + b"0," * 20 + b'"', bounds) == Excess("values", 10)
    # A parser stops at the second of these quotes; the rest must not take long.
    assert find_excess(b'"' * MIB + b"," * 20, FrameBounds(*[10] * 5)) is None


def test_no_json_text_is_taken_for_structure() -> None:
    bounds = FrameBounds.for_commands(MIB)
    inner = json.dumps([{"a": 0}] * 60_000)
    text = json.dumps({"Perform": {"id": "1", "request": {"Write": f"x {inner}"}}}).encode()
    assert text.count(b"{") > 60_000
    assert find_excess(text, bounds) is None


def repeated(begin: str, item: str, end: str, size: int) -> str:
    return begin + ",".join([item] * ((size - len(begin) - len(end)) // (len(item) + 1))) + end


@pytest.mark.parametrize("size", [1, KIB, 64 * KIB, MIB, 4 * MIB])
def test_the_largest_command_of_every_shape_passes(size: int) -> None:
    """Each is what the store's requests need most of, as the node itself writes it."""
    bounds, limit = FrameBounds.for_commands(size), frame_bytes_for(size)
    entity = '{"typ":"T","id":1}'
    write = (
        f'{{"UpdateEntity":{{"request":[{{"Write":{{"entity_id":{entity},"field_type":"F","value":'
    )
    end = (
        ',"push_condition":"Always","adjust_behavior":"Set","write_time":null,"writer_id":null}}]}}'
    )
    read = (
        '{"Read":{"entity_id":%s,"field_type":"F","value":null,"write_time":null,"writer_id":null}}'
    )
    shapes = {
        "blob": repeated(write + '{"Blob":[', "0", "]}" + end, size),
        "list": repeated(write + '{"EntityList":[', entity, "]}" + end, size),
        "steps": repeated('{"UpdateEntity":{"request":[', read % entity, "]}}", size),
        "text": write + '{"String":"%s"}' % ("\\u0041" * (size - 300)) + end,
    }
    for name, request in shapes.items():
        if size <= MIB:  # they are alike
            assert len(parse_request(request)[1]) <= max(size, 400), name
        frame = b'{"Perform":{"id":"%b","request":%b}}' % (b"i" * 1000, request.encode())
        assert len(frame) <= limit, name
        assert find_excess(frame, bounds) is None, name


@pytest.mark.parametrize(
    ("frame", "head"),
    [
        (b'{"Perform":{"id":"12","request":', ("Perform", "12")),
        (b' [ { "Perform" : { "id" : "12"', ("Perform", "12")),
        (b'{"Perform":{"request":{},"id":"12"}}', ("Perform", None)),
        (b'{"Perform":[', ("Perform", None)),
        (b'{"Perform":{"id":"' + b"x" * 1025 + b'"', ("Perform", None)),
        (b'{"Perf\\u006frm":{"id":"12"', None),
        (b'{"Perform":{"id":"\\u0041"', ("Perform", None)),
        (b'{"\xff":{"id":"12"', None),
        (b"[[[[", None),
        (b"", None),
    ],
)
def test_the_head_is_read_if_it_is_written_plainly(
    frame: bytes, head: tuple[str, str | None] | None
) -> None:
    assert head_of(frame) == head


def only(frame: bytes, codec: Codec = CODEC) -> Malformed:
    (malformed,) = codec.decode(frame)
    assert isinstance(malformed, Malformed)
    return malformed


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"[" + b"0," * 600_000 + b"0]", "values"),
        (b"[" + b"[]," * 200_000 + b"0]", "objects and lists"),
        (b"[" * 200_000 + b"]" * 200_000, "objects and lists"),
        (b"{" + b'"a":0,' * 200_000 + b'"a":0}', "keys"),
        (b'"' + b"\\n" * 1_200_000 + b'"', "escapes in texts"),
        (b"9" * 1_200_000, "digits of numbers"),
    ],
)
def test_a_frame_that_holds_too_much_is_not_parsed(
    body: bytes, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CODEC, "_validators", None)  # to parse would fail
    reply = only(b'{"Perform":{"id":"12","request":' + body + b"}}").reply
    assert reply.id == "12"
    assert what in reply.error
    assert reply.detail is not None
    assert (reply.detail["code"], reply.detail["what"]) == ("RemoteProtocolError", what)
    assert reply.detail["limit"] > 90_000  # type: ignore[operator]  # a JSON value
    binary = CODEC.decode_binary(b'{"Perform":{"id":"12","request":' + body + b"}}").reply
    assert (binary.id, "binary" in binary.error) == ("12", True)


def test_a_large_frame_of_an_unknown_type_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CODEC, "_validators", None)
    reply = only(b'{"Fetch":{"id":"12","x":"' + b"x" * 500_000 + b'"}}').reply
    assert (reply.id, reply.error) == ("12", "Fetch: unknown message type")


def test_in_a_large_array_the_envelopes_that_are_understood_are_taken() -> None:
    good = b'{"Perform":{"id":"1","request":{"a":{"b":"%b"}}}}' % (b"x" * 300_000)
    bad = b'{"Fetch":{"id":"2"}}'
    reply = b'{"InitResponse":{"id":"3","response":{"Ok":null}}}'
    first, second, third = CODEC.decode(b"[%b,%b,%b]" % (good, bad, reply))
    assert first == Perform("1", {"a": {"b": "x" * 300_000}})
    assert isinstance(second, Malformed)
    assert second.reply.id == "2"
    assert isinstance(third, Malformed), "a client has no replies to send, least of all large ones"
    assert third.type_name == "InitResponse"


ENTITY_CODEC = Codec({**REGISTRY, "Perform": EntityPerform})
KEYS = b",".join(b'"k%x":0' % number for number in range(30_000))


@pytest.mark.parametrize(
    "frame",
    [
        b'{"Perform":{"id":"12","request":{"CreateEntity":{%b}}}}',
        b'{"Perform":{"id":"12","request":{%b}}}',
        b'{"Perform":{"id":"12","request":{"GetSchema":{"entity_type":"T"}},"consistency":{%b}}}',
        b'[{"Perform":{"id":"12","request":{"GetSchema":{%b}}}}]',
    ],
)
def test_many_unknown_fields_stop_the_validation(frame: bytes) -> None:
    reply = only(frame % KEYS, ENTITY_CODEC).reply
    assert reply.id == "12" or frame.startswith(b"[")
    assert ENTITY_CODEC._unknown.seen == MAX_UNKNOWN_FIELDS + 1
    assert "too many faults" in reply.error
    assert (
        "unknown command"
        in only(b'{"Perform":{"id":"1","request":{"X":0}}}', ENTITY_CODEC).reply.error
    ), "each frame is counted by itself"


def test_of_many_faults_none_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dataclass alone has no place to stop; to list its errors costs more than to find them."""
    monkeypatch.setattr(diagnosis, "_most_telling", None)  # to choose among them would fail
    reply = only(b'{"Perform":{"id":"12","request":null,%b}}' % KEYS, ENTITY_CODEC).reply
    assert (reply.id, "too many faults" in reply.error) == ("12", True)


def test_the_bounds_are_documented() -> None:
    document = (CHECKOUT / "docs" / "limits.md").read_text()
    none, much = FrameBounds.for_commands(0), FrameBounds.for_commands(144 * MIB)
    for name, share, line in (
        ("values", 2, "`--max-command-bytes` / 2 + 64 Ki"),
        ("containers", 16, "/ 16 + 32 Ki"),
        ("keys", 9, "/ 9 + 16 Ki"),
        ("escapes", 1, "`--max-command-bytes` + 64 Ki each"),
        ("digits", 1, "`--max-command-bytes` + 64 Ki each"),
    ):
        fixed = getattr(none, name)
        assert f"| {line} |" in document
        assert f"+ {fixed // KIB} Ki" in line
        assert getattr(much, name) - fixed == 144 * MIB // share
    faults = f"| {MAX_UNKNOWN_FIELDS:,}; {diagnosis.MAX_FAULTS:,} |"
    assert faults in document
    limits = TransportLimits()
    assert limits.max_client_frame_bytes == frame_bytes_for(MIB) == 6 * MIB + 64 * KIB
    assert "| 6 MiB + 64 KiB | closed with 1009 |" in document
