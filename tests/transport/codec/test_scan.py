"""The scan of a frame before parsing counts exactly what a parser would, however the frame is written."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from qcore.core.config import MAX_BATCH_BYTES
from qcore.core.entry import Entry, Membership
from qcore.core.log.raft_log import RaftLog
from qcore.core.messages import AppendEntries, InstallSnapshot
from qcore.machines.entity.requests.perform_requests import parse_request
from qcore.node.application import EntityPerform
from qcore.replica import messages as replica_messages
from qcore.transport.codec import diagnosis, frame_bounds
from qcore.transport.codec.codec import Codec, Malformed
from qcore.transport.codec.frame_bounds import Excess, FrameBounds, envelope_head, find_excess
from qcore.transport.codec.validators import MAX_ENVELOPES, MAX_UNKNOWN_FIELDS
from qcore.transport.connection.framing import BATCH_MESSAGES
from qcore.transport.limits import KIB, MIB, TransportLimits, frame_bytes_for
from qcore.transport.wire import REGISTRY, Forward, RaftAppend, RaftSnapshot
from tests.checkout import CHECKOUT
from tests.process.attacks import heavy_frames
from tests.transport.support.endpoints import CODEC, Perform
from tests.transport.support.strategies import JSON_VALUES

TOGETHER = "values, keys and texts together"
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_AMPLE = FrameBounds(*[10**9] * 6)
_NAMES = [each.name for each in fields(FrameBounds)]
#: Texts with content that looks like structure.
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
class ReferenceCounter:
    """Counts with the parser of the standard library."""

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
        texts = len(_TEXT.findall(text))
        total = self.values + 3 * self.containers + self.keys + 2 * texts
        return FrameBounds(self.values, self.containers, self.keys, escapes, self.digits, total)

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
    """An object in which a key may occur twice."""


@given(_VALUES, _WAYS)
def test_scan_counts_what_a_parser_counts(value: JsonValue, way: dict[str, object]) -> None:
    text = json.dumps(value, **way)  # type: ignore[arg-type]  # the keywords of `_WAYS`
    data = text.encode()
    exact = ReferenceCounter().count(text)
    with pytest.MonkeyPatch.context() as patch:
        # So small that every position is a border between parts once.
        patch.setattr(frame_bounds, "_PART_BYTES", 5)
        assert find_excess(data, exact) is None, "exactly at the bound"
        for name in _NAMES:
            count = getattr(exact, name)
            if count:
                excess = find_excess(data, replace(_AMPLE, **{name: count - 1}))
                assert excess is not None, f"{name}: one more than the bound"
                assert excess.limit == count - 1


@given(_VALUES, _WAYS)
def test_frame_too_small_to_be_scanned_exceeds_no_bound(
    value: JsonValue, way: dict[str, object]
) -> None:
    text = json.dumps(value, **way)  # type: ignore[arg-type]  # the keywords of `_WAYS`
    exact = ReferenceCounter().count(text)
    for name in _NAMES:
        size = len(text.encode())
        bounds = replace(_AMPLE, **{name: max(0, getattr(exact, name) - 1)})
        assert getattr(exact, name) == 0 or size > bounds.harmless_bytes


@given(st.binary(max_size=200) | st.text(alphabet='"\\[]{},:0 ', max_size=60).map(str.encode))
def test_invalid_json_does_not_make_the_scan_fail(data: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frame_bounds, "_PART_BYTES", 3)
        find_excess(data, FrameBounds(*[0] * 6))
        find_excess(data, FrameBounds(*[3] * 6))
        envelope_head(data)


def test_invalid_json_is_counted_up_to_the_error() -> None:
    bounds = FrameBounds(*[10] * 6)
    assert find_excess(b"[" + b"{}," * 20 + b"nonsense", bounds) == Excess("objects and lists", 10)
    assert find_excess(b"[" + b"0," * 20 + b'"', bounds) == Excess("values", 10)
    short = replace(_AMPLE, total=10)
    assert find_excess(b'["","","",""' + b"nonsense", short) == Excess(TOGETHER, 10)
    # A parser stops at the second of these quotes; the rest must not take long.
    assert find_excess(b'"' * MIB + b"," * 20, replace(bounds, total=MIB)) is None


def test_json_strings_do_not_count_as_structure() -> None:
    bounds = FrameBounds.for_commands(MIB)
    inner = json.dumps([{"a": 0}] * 60_000)
    text = json.dumps({"Perform": {"id": "1", "request": {"Write": f"x {inner}"}}}).encode()
    assert text.count(b"{") > 60_000
    assert find_excess(text, bounds) is None


def repeated(begin: str, item: str, end: str, size: int) -> str:
    return begin + ",".join([item] * ((size - len(begin) - len(end)) // (len(item) + 1))) + end


@pytest.mark.parametrize("size", [1, KIB, 64 * KIB, MIB, 4 * MIB])
def test_the_largest_command_of_every_shape_passes(size: int) -> None:
    """For each shape: the request of the store that needs most of it, as the node itself writes it."""
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
        if size <= MIB:  # they are similar
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
def test_the_head_is_read_if_it_has_no_escapes(
    frame: bytes, head: tuple[str, str | None] | None
) -> None:
    assert envelope_head(frame) == head


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
        (b"[" + b'"x",' * 380_000 + b'"x"]', TOGETHER),
        (b"[" + b"[]," * 60_000 + b'{"":"","":""},' * 14_000 + b"0," * 400_000 + b"0]", TOGETHER),
    ],
)
def test_a_frame_that_holds_too_much_is_not_parsed(
    body: bytes, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CODEC, "_validators", None)  # parsing would fail
    reply = only(b'{"Perform":{"id":"12","request":' + body + b"}}").reply
    assert reply.id == "12"
    assert what in reply.error
    assert reply.detail is not None
    assert (reply.detail["code"], reply.detail["what"]) == ("RemoteProtocolError", what)
    assert reply.detail["limit"] > 70_000  # type: ignore[operator]  # a JSON value
    binary = CODEC.decode_binary(b'{"Perform":{"id":"12","request":' + body + b"}}").reply
    assert (binary.id, "binary" in binary.error) == ("12", True)


@pytest.mark.parametrize(
    ("frame", "what"),
    [
        (b"[" + b"{}," * 140_000 + b"{}]", "values"),
        (b"[" * 140_000 + b"]" * 140_000, "objects and lists"),
        (b'{"RaftVote":{"id":"12","x":[' + b"0," * 140_000 + b"0]}}", "values"),
        (
            b'{"RaftAppend":{"id":"12","request":{"entries":[' + b"{}," * 140_000 + b"{}]}}}",
            "values",
        ),
        (
            b'{"RaftVote":{"id":"12","x":[' + b'{"":{"":{"":0}}},' * 30_000 + b"0]}}",
            TOGETHER,
        ),
        (b'{"RaftVote":{"id":"12",' + b'"":0,' * 140_000 + b'"":0}}', "values"),
        (b'{"RaftVote":{"id":"12","x":' + b"9" * 900_000 + b"}}", "digits of numbers"),
    ],
)
def test_a_peers_frame_that_holds_too_much_is_not_parsed(
    frame: bytes, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CODEC, "_validators", None)
    monkeypatch.setattr(CODEC, "_one", None)
    monkeypatch.setattr(CODEC, "_many", None)
    (malformed,) = CODEC.decode(frame, from_peer=True)
    assert isinstance(malformed, Malformed)
    assert what in malformed.reply.error
    assert malformed.reply.id == "12" or frame.startswith(b"[")


def appended(entries: list[Entry]) -> RaftAppend:
    big = 2**63 - 1
    return RaftAppend(
        "i" * 99, AppendEntries(big, big, big, big, big, entries, big, big, True, big)
    )


def test_fullest_peer_frames_use_half_of_their_bounds() -> None:
    """This includes frames of 0.1.0, and of a newer node that adds fields."""
    big, bounds = 2**63 - 1, FrameBounds.for_peers()
    half = FrameBounds(*[getattr(bounds, name) // 2 for name in _NAMES])
    log = RaftLog()
    log.append([Entry(index, big, "noop", "", big, big) for index in range(1, 7_001)])
    empty = log.batch(1, MAX_BATCH_BYTES)
    assert 5_000 < len(empty) < 7_000, "an append is bounded by its bytes"
    command = json.dumps({"UpdateEntity": {"request": [{"a": ['"', "\\"]}] * 6}})
    small = Entry(1, big, "command", command, big, big)
    ids = tuple(range(big - 255, big))
    members = Membership(
        ids,
        ids,
        (),
        ids,
        tuple((each, "h" * 253 + ":65535") for each in ids),
        "c" * 64,
        ((big, big),) * 255,
    )
    topology = Entry(1, big, "command", json.dumps([{"a": "b"}] * 400_000), big, big)
    frames = {
        "empty entries": CODEC.encode(appended(empty)),
        "small entries": CODEC.encode(appended([small] * (MAX_BATCH_BYTES // small.size_bytes()))),
        "one large entry": CODEC.encode(appended([topology])),
        "an array": b"[%b]" % b",".join([CODEC.encode(appended([small]))] * BATCH_MESSAGES),
        "a piece of a snapshot": CODEC.encode(
            RaftSnapshot(
                "1",
                InstallSnapshot(big, 1, big, big, big, members, big, big, big, command * 4_000),
            )
        ),
        "a request": CODEC.encode(
            Forward("1", replica_messages.Forward(big, "write", topology.data, big))
        ),
    }
    for name, frame in frames.items():
        assert find_excess(frame, half) is None, name
    for name in ("empty entries", "small entries", "a piece of a snapshot"):
        (message,) = CODEC.decode(frames[name], from_peer=True)
        assert not isinstance(message, Malformed), name


@pytest.mark.long
def test_attacks_at_the_bounds_do_not_exceed_them() -> None:
    """Otherwise the process tests that send them would prove nothing."""
    for name, frame in heavy_frames.at_the_bounds().items():
        assert find_excess(frame, FrameBounds.for_commands(MIB)) is None, name


def test_many_small_commands_pass_together() -> None:
    request = b'{"GetSchema":{"entity_type":"T"}}'
    for size, body in ((1, b""), (KIB, b""), (MIB, b',"request":%b' % request)):
        name = b"Perform" if body else b"GetMetrics"
        envelope = b'{"%b":{"id":"%b"%b}}' % (name, b"i" * 36, body)
        frame = b"[%b]" % b",".join([envelope] * MAX_ENVELOPES)
        assert find_excess(frame, FrameBounds.for_commands(size)) is None


def test_large_invalid_frame_is_not_parsed_again_for_its_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frame = b'{"GetMetrics":{"id":"12","x":"%b"}}' % (b"x" * 100_000)
    validators = replace(CODEC._validators, id_of_one=None)  # type: ignore[arg-type]  # parsing would fail
    monkeypatch.setattr(CODEC, "_validators", validators)
    reply = only(frame).reply
    assert (reply.id, reply.error) == ("12", "GetMetrics.x: unknown field")


def test_a_large_frame_of_an_unknown_type_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CODEC, "_validators", None)
    reply = only(b'{"Fetch":{"id":"12","x":"' + b"x" * 500_000 + b'"}}').reply
    assert (reply.id, reply.error) == ("12", "Fetch: unknown message type")


def test_valid_envelopes_of_a_large_array_are_accepted() -> None:
    good = b'{"Perform":{"id":"1","request":{"a":{"b":"%b"}}}}' % (b"x" * 300_000)
    bad = b'{"Fetch":{"id":"2"}}'
    reply = b'{"InitResponse":{"id":"3","response":{"Ok":null}}}'
    first, second, third = CODEC.decode(b"[%b,%b,%b]" % (good, bad, reply))
    assert first == Perform("1", {"a": {"b": "x" * 300_000}})
    assert isinstance(second, Malformed)
    assert second.reply.id == "2"
    assert isinstance(third, Malformed), "clients send no replies, and certainly no large ones"
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
    assert "too many problems" in reply.error
    assert (
        "unknown command"
        in only(b'{"Perform":{"id":"1","request":{"X":0}}}', ENTITY_CODEC).reply.error
    ), "each frame has a separate count"


def test_many_problems_are_not_described(monkeypatch: pytest.MonkeyPatch) -> None:
    """The validation of a plain dataclass cannot stop early; listing its errors costs more than finding them."""
    monkeypatch.setattr(diagnosis, "_most_informative", None)  # choosing among them would fail
    reply = only(b'{"Perform":{"id":"12","request":null,%b}}' % KEYS, ENTITY_CODEC).reply
    assert (reply.id, "too many problems" in reply.error) == ("12", True)


def test_the_bounds_are_documented() -> None:
    document = (CHECKOUT / "docs" / "reference" / "limits.md").read_text()
    none, much = FrameBounds.for_commands(0), FrameBounds.for_commands(144 * MIB)
    for name, share, line in (
        ("values", 2, "`--max-command-bytes` / 2 + 64 Ki"),
        ("containers", 18, "/ 18 + 16 Ki"),
        ("keys", 9, "/ 9 + 16 Ki"),
        ("escapes", 1, "`--max-command-bytes` + 64 Ki each"),
        ("digits", 1, "`--max-command-bytes` + 64 Ki each"),
    ):
        fixed = getattr(none, name)
        assert f"| {line} |" in document
        assert f"+ {fixed // KIB} Ki" in line
        assert getattr(much, name) - fixed == 144 * MIB // share
    assert (none.total, much.total - none.total) == (96 * KIB, 144 * MIB * 3 // 4)
    assert "| `--max-command-bytes` × 3/4 + 96 Ki |" in document
    peers = FrameBounds.for_peers()
    assert peers.values == peers.containers == peers.keys == peers.total // 4 == 131_064
    assert peers.digits == 873_760
    assert "| 131,064 each; 524,256; 873,760 |" in document
    faults = f"| {MAX_UNKNOWN_FIELDS:,}; {diagnosis.MAX_PROBLEMS:,} |"
    assert faults in document
    limits = TransportLimits()
    assert limits.max_client_frame_bytes == frame_bytes_for(MIB) == 6 * MIB + 64 * KIB
    assert "| 6 MiB + 64 KiB | closed with 1009 |" in document
