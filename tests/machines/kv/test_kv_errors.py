"""Requests that the key-value machine rejects: each has a code, and changes nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from qcore.errors import StoreError, to_wire
from qcore.machines.kv.leases import MAX_LEASE_KEYS, MAX_TTL_MS
from qcore.machines.kv.requests import MAX_KEY_BYTES, MAX_TXN_DEPTH, MAX_TXN_PARTS
from qcore.machines.limits import MAX_OPERATIONS, MAX_VALUE_BYTES, MAX_WRITE_RESPONSE_BYTES
from tests.machines.kv.lone_machine import LoneMachine

LONGEST_KEY = "k" * MAX_KEY_BYTES


def put(key: object, value: object = "x", **more: object) -> dict[str, object]:
    return {"op": "put", "key": key, "value": value, **more}


def txn(*then: object, **more: object) -> dict[str, Any]:
    return {"op": "txn", "then": [*then], **more}


def nested(depth: int) -> dict[str, Any]:
    return txn(*([nested(depth - 1)] if depth > 1 else []))


@pytest.mark.parametrize(
    ("command", "code", "text"),
    [
        (put(""), "KeyTooLong", "key has 0 bytes; a key has 1 to 4096"),
        (put(LONGEST_KEY + "k"), "KeyTooLong", "key has 4097 bytes"),
        (put("a", "x" * (MAX_VALUE_BYTES + 1)), "ValueTooLarge", "value has 1048577 bytes"),
        (txn(put("")), "KeyTooLong", "then[0].key has 0 bytes"),
        (put("a", lease=9), "LeaseNotFound", "lease 9 does not exist"),
        (txn(put("a"), put("b", lease=9)), "LeaseNotFound", "lease 9"),
        (txn(put("a"), put("a")), "DuplicateKey", "at most once"),
        (txn(put("a"), {"op": "delete", "prefix": ""}), "DuplicateKey", "at most once"),
        (txn({"op": "delete", "prefix": ""}, txn(put("a"))), "DuplicateKey", "at most once"),
        (nested(MAX_TXN_DEPTH + 1), "TooManyOperations", "at most 8 deep"),
        (txn(*[put(f"k{n}") for n in range(MAX_TXN_PARTS)]), "TooManyOperations", "at most 1000"),
        ({"op": "keep", "id": 9}, "LeaseNotFound", "lease 9"),
        ({"op": "revoke", "id": 9}, "LeaseNotFound", "lease 9"),
        ({"op": "lease", "id": 9}, "LeaseNotFound", "lease 9"),
        ({"op": "grant", "ttl_ms": 1000, "id": 7}, "LeaseExists", "lease 7 exists already"),
        ({"op": "compact", "revision": 2}, "RevisionCompacted", "revision 2 is compacted"),
        ({"op": "compact", "revision": 99}, "RevisionInFuture", "the newest is 3"),
        ({"op": "range", "key": "a", "revision": 1}, "RevisionCompacted", "the oldest"),
        ({"op": "range", "key": "a", "revision": 99}, "RevisionInFuture", "the newest is 3"),
        (txn({"op": "range", "key": "a", "revision": 1}), "RevisionCompacted", "the oldest"),
        ({"op": "put", "key": "new", "keep_value": True}, None, "the key does not exist"),
        ({"op": "put", "key": "new", "value": "x", "keep_lease": True}, None, "does not exist"),
        ({"op": "grant", "ttl_ms": 99}, None, "ttl_ms must be an integer from 100"),
        ({"op": "grant", "ttl_ms": MAX_TTL_MS + 1}, None, "ttl_ms must be an integer"),
        ({"op": "grant", "ttl_ms": 1000.0}, None, "ttl_ms must be an integer"),
        ({"op": "grant", "ttl_ms": True}, None, "ttl_ms must be an integer"),
        ({"op": "grant", "ttl_ms": 1000, "id": 0}, None, "id must be an integer from 1"),
        ({"op": "set", "key": "a", "value": 1}, None, "op must be one of put, delete"),
        ({"key": "a"}, None, "op is missing"),
        ({"op": "put", "key": "a"}, None, "value is missing"),
        ({"op": "put", "key": 7, "value": "x"}, None, "key must be text, or"),
        (put("a", {"base64": "?"}), None, "value: not base64"),
        (put("a", {"base64": "AA==", "x": 1}), None, "value must be text, or"),
        (put("a", ttl=1), None, "unknown fields: ttl"),
        (put("a", prev=1), None, "prev must be true or false"),
        (txn({"op": "grant", "ttl_ms": 1000}), None, "then[0].op must be one of put"),
        (txn(put("a", colour=1)), None, "unknown fields: then[0].colour"),
        (txn(**{"if": [{"key": "a"}]}), None, "if[0].a comparison has one of value"),
        (txn(**{"if": [{"key": "a", "is": "=="}]}), None, "a comparison has one of"),
        (txn(**{"if": [{"key": "a", "is": "<=", "version": 1}]}), None, "if[0].is must be one of"),
        (txn(**{"if": {}}), None, "if must be a list"),
        (txn(7), None, "then[0] must be a JSON object"),
        ({"op": "delete", "prefix": "a", "end": "b"}, None, "unknown fields: end"),
        ({"op": "range", "prefix": "a", "sort_by": "lease"}, None, "sort_by must be one of"),
        ({"op": "history", "max_changes": -1, "max_bytes": 0}, None, "max_changes must be"),
    ],
)
def test_an_error_has_a_code_and_changes_nothing(
    command: dict[str, Any], code: str | None, text: str
) -> None:
    lone = LoneMachine()
    lone.send(op="grant", ttl_ms=1000, id=7)
    lone.put("a")
    lone.put("b")
    assert lone.send(op="compact", revision=2)["ok"]
    result = lone.send(**command)
    assert not result["ok"]
    assert text in result["error"]
    assert result["detail"]["code"] == (code or "StoreError")


@pytest.mark.parametrize("text", ["", "[]", "7", "{", '{"op":"put","key":"\\ud800","value":""}'])
def test_what_is_no_request_is_rejected(text: str) -> None:
    lone = LoneMachine()
    assert not lone.machine.recognises(text)
    with pytest.raises(StoreError):
        lone.machine.query(text)


def test_the_largest_key_and_value_are_taken() -> None:
    lone = LoneMachine()
    assert lone.send(**put(LONGEST_KEY, "x" * MAX_VALUE_BYTES))["ok"]
    assert lone.send(**nested(MAX_TXN_DEPTH))["ok"]
    parts = [put(f"k{number}") for number in range(MAX_TXN_PARTS - 1)]
    assert lone.send(**txn(*parts))["ok"]
    assert lone.ask(op="status")["keys"] == MAX_TXN_PARTS


def test_comparisons_count_as_parts_too() -> None:
    checks = [{"key": "a", "exists": False}] * MAX_TXN_PARTS
    result = LoneMachine().send(**txn(**{"if": checks}))
    assert result["detail"]["code"] == "TooManyOperations"


def test_a_lease_has_a_bounded_number_of_keys() -> None:
    lone = LoneMachine()
    lone.send(op="grant", ttl_ms=1000, id=7)
    for first in range(0, MAX_LEASE_KEYS, 500):
        puts = [put(f"{number:05}", lease=7) for number in range(first, first + 500)]
        assert lone.send(**txn(*puts))["ok"]
    assert "as many as it may" in lone.send(**put("one more", lease=7))["error"]
    assert lone.send(**put("00000", "again", lease=7))["ok"], "it has this key already"
    assert lone.send(**put("00000", "off"))["ok"]
    assert lone.send(**put("one more", lease=7))["ok"]
    assert lone.send(op="revoke", id=7)["deleted"] == MAX_LEASE_KEYS
    assert lone.keys() == ["00000"]


def test_a_request_looks_at_a_bounded_number_of_keys() -> None:
    lone = LoneMachine()
    for first in range(0, MAX_OPERATIONS + 500, 500):
        lone.send(**txn(*[put(f"{number:05}") for number in range(first, first + 500)]))
    whole = {"prefix": ""}
    for command in (
        {"op": "delete", **whole},
        {"op": "range", **whole, "sort_by": "value", "limit": 1},
        txn(**{"if": [{**whole, "version": 1}]}),
    ):
        assert lone.send(**command)["detail"]["code"] == "TooManyOperations"
    assert lone.ask(op="range", **whole, count_only=True)["count"] == MAX_OPERATIONS + 500
    assert lone.send(op="delete", key="00000", end="10000")["deleted"] == 10_000
    assert lone.ask(op="status")["keys"] == MAX_OPERATIONS + 500 - 10_000


def test_the_values_before_a_write_are_bounded() -> None:
    lone = LoneMachine()
    for key in "abc":
        lone.put(key, "x" * (MAX_WRITE_RESPONSE_BYTES // 3))
    rejected = lone.send(op="delete", prefix="", prev=True)
    assert "leave out `prev`" in rejected["error"]
    assert lone.send(op="delete", key="a", end="c", prev=True)["deleted"] == 2


def test_a_query_does_not_write() -> None:
    lone = LoneMachine()
    for request in (put("a"), txn(put("a")), {"op": "expire"}, {"op": "grant", "ttl_ms": 1000}):
        with pytest.raises(StoreError, match="send it as a command"):
            lone.machine.query(json.dumps(request))
    assert lone.ask(**txn({"op": "range", "key": "a"}))["succeeded"]


def test_an_error_of_a_query_has_a_code() -> None:
    lone = LoneMachine()
    lone.put("a")
    with pytest.raises(StoreError) as caught:
        lone.ask(op="range", key="a", revision=5)
    assert to_wire(caught.value)[1] == {
        "code": "RevisionInFuture",
        "revision": 1,
        "retryable": False,
    }
