"""Ranges in pages, and keys and values that are no text."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from qcore.machines.limits import MAX_OPERATIONS, MAX_PAGE_BYTES, MAX_PAGE_ITEMS
from tests.machines.kv.lone_machine import LoneMachine


def pages(lone: LoneMachine, **query: object) -> list[dict[str, Any]]:
    """All pages of a range, read at the revision of the first, while a key is written before each."""
    found: list[dict[str, Any]] = []
    while not found or found[-1]["more"]:
        if found:
            last = found[-1]
            after = last["next"] if "next" in last else last["kvs"][-1]["key"]
            query = {"revision": found[0]["revision"], **query, "after": after}
        found.append(lone.ask(op="range", **query))
        lone.put(f"k/{len(found):05}/new")
        lone.send(op="delete", key="k/00007")
    return found


def filled(keys: int) -> LoneMachine:
    lone = LoneMachine()
    for first in range(0, keys, 500):
        numbers = range(first, min(first + 500, keys))
        puts = [{"op": "put", "key": f"k/{number:05}", "value": "x"} for number in numbers]
        lone.send(op="txn", then=puts)
    return lone


@pytest.mark.parametrize("limit", [1, 4, 10, 11])
def test_pages_at_one_revision_are_complete(limit: int) -> None:
    lone = filled(10)
    found = pages(lone, prefix="k/", limit=limit)
    assert [kv["key"] for page in found for kv in page["kvs"]] == [f"k/{n:05}" for n in range(10)]
    assert [len(page["kvs"]) for page in found[:-1]] == [limit] * (len(found) - 1)
    # A later page counts the keys behind `after`.
    assert found[0]["count"] == 10


def test_a_page_has_a_bounded_number_of_keys() -> None:
    lone = filled(MAX_PAGE_ITEMS + 5)
    first, second = pages(lone, prefix="k/")
    assert [len(first["kvs"]), len(second["kvs"])] == [MAX_PAGE_ITEMS, 5]


def test_a_long_range_at_an_earlier_revision_has_pages() -> None:
    """More keys than one request looks at, and most of them are deleted or did not exist then."""
    size = MAX_OPERATIONS // 2 + 500
    lone = filled(size)
    kept = lone.ask(op="status")["revision"]
    for first in range(0, size, 500):
        numbers = range(first, first + 500)
        later = [{"op": "put", "key": f"a/{number:05}", "value": "x"} for number in numbers]
        lone.send(op="txn", then=later)
    lone.send(op="delete", key="k/", end="k/09000")
    found = pages(lone, prefix="", revision=kept)
    assert "next" in found[0]
    assert [kv["key"] for page in found for kv in page["kvs"]] == [
        f"k/{number:05}" for number in range(size)
    ]
    backwards = lone.ask(op="range", prefix="", revision=kept, descending=True, limit=2)
    assert [kv["key"] for kv in backwards["kvs"]] == [f"k/{size - 1:05}", f"k/{size - 2:05}"]


def test_a_page_has_a_bounded_size() -> None:
    lone = LoneMachine()
    size = MAX_PAGE_BYTES // 4
    for number in range(10):
        lone.put(f"k/{number:05}", "x" * size)
    found = pages(lone, prefix="k/")
    assert sum(len(page["kvs"]) for page in found) == 10
    assert all(len(page["kvs"]) <= 4 for page in found)
    keys_only = lone.ask(op="range", prefix="k/", keys_only=True)
    assert not keys_only["more"]
    assert "value" not in keys_only["kvs"][0]


def test_a_value_larger_than_a_page_is_a_page() -> None:
    lone = LoneMachine()
    lone.put("a", {"base64": base64.b64encode(b"\xff" * MAX_PAGE_BYTES).decode()})
    lone.put("b")
    page = lone.ask(op="range", prefix="")
    assert (len(page["kvs"]), page["more"]) == (1, True)


def test_reads_in_a_transaction_share_a_size() -> None:
    lone = LoneMachine()
    for key in "abcd":
        lone.put(key, "x" * (MAX_PAGE_BYTES - 1000))
    reads = [{"op": "range", "key": key} for key in "abcd"]
    answers = lone.send(op="txn", then=reads)["responses"]
    assert [answer["more"] for answer in answers] == [False, False, False, True]


def test_text_and_base64_name_the_same_key() -> None:
    lone = LoneMachine()
    lone.put({"base64": base64.b64encode("é".encode()).decode()}, {"base64": "eA=="})
    assert lone.ask(op="range", key="é")["kvs"][0]["value"] == "x"
    assert lone.put("é", "y") == 2
    assert lone.ask(op="range", key="é")["kvs"][0]["version"] == 2


def test_bytes_that_are_no_text_are_base64() -> None:
    lone = LoneMachine()
    raw = {"base64": "/wA="}
    revision = lone.put(raw, {"base64": "gA=="})
    (kv,) = lone.ask(op="range", prefix={"base64": "/w=="})["kvs"]
    assert kv == {
        "key": raw,
        "value": {"base64": "gA=="},
        "create_revision": revision,
        "mod_revision": revision,
        "version": 1,
    }
    condition = {"key": raw, "is": "<", "value": {"base64": "gQ=="}}
    assert lone.send(op="txn", **{"if": [condition]})["succeeded"]
    copy = LoneMachine()
    copy.machine.restore(lone.machine.snapshot())
    assert copy.machine.state_hash() == lone.machine.state_hash()
    assert copy.send(op="delete", key=raw)["deleted"] == 1


def test_keys_are_in_the_order_of_their_bytes() -> None:
    lone = LoneMachine()
    shuffled = ["b", {"base64": "/w=="}, "a", "é", "", "\U0001f600", "a/b"]
    for key in shuffled:
        if key:
            lone.put(key)
    assert lone.keys() == ["a", "a/b", "b", "é", "\U0001f600", {"base64": "/w=="}]
    assert lone.keys(key="b", end={"base64": "/w=="}) == ["b", "é", "\U0001f600"]
    assert lone.keys(key="é", end=None) == ["é", "\U0001f600", {"base64": "/w=="}]
    assert lone.keys(key="b", end="a") == []


def test_equals_stay_in_the_order_of_their_keys() -> None:
    lone = LoneMachine()
    for key in ("a", "b", "c", "a"):
        lone.put(key)
    for descending, order in ((False, "bca"), (True, "abc")):
        page = lone.ask(op="range", prefix="", sort_by="version", descending=descending)
        assert "".join(kv["key"] for kv in page["kvs"]) == order
