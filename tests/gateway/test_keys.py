"""Keys, ranges and transactions through the gateway: exactly what etcd's clients rely on."""

from __future__ import annotations

from typing import Any  # JSON

import pytest

from tests.gateway.etcd_client import EtcdClient, b64, plain

pytestmark = pytest.mark.process

ALL: dict[str, object] = {"key": "AA==", "range_end": "AA=="}


def keys_of(found: dict[str, Any]) -> list[str]:
    """The keys of a range."""
    return [plain(kv["key"]) for kv in found.get("kvs", ())]


def test_a_key_has_numbers_as_texts_and_no_zeros(etcd: EtcdClient) -> None:
    first = etcd.put("a", "1")
    second = etcd.put("a", "2")
    assert etcd.ok("/v3/kv/range", key=b64("a")) == {
        "kvs": [
            {
                "key": b64("a"),
                "value": b64("2"),
                "create_revision": str(first),
                "mod_revision": str(second),
                "version": "2",
            }
        ],
        "count": "1",
    }
    assert etcd.ok("/v3/kv/range", key=b64("b")) == {}
    assert etcd.ok("/v3/kv/deleterange", key=b64("b")) == {}
    assert etcd.ok("/v3/kv/deleterange", key=b64("a")) == {"deleted": "1"}


def test_names_and_numbers_are_read_in_every_spelling(etcd: EtcdClient) -> None:
    for key in "abc":
        etcd.put(key)
    spellings: list[dict[str, object]] = [
        {"range_end": b64("z"), "sort_order": "DESCEND", "limit": "2", "keys_only": True},
        {"rangeEnd": b64("z"), "sortOrder": 2, "limit": 2, "keysOnly": True, "unknown": [1]},
        {"range_end": b64("z"), "sort_order": 2, "sort_target": None, "limit": 2},
    ]
    for spelling in spellings:
        found = etcd.ok("/v3/kv/range", key=b64("a"), **spelling)
        assert (keys_of(found), found["more"], found["count"]) == (["c", "b"], True, "3")


def test_keys_and_values_may_be_any_bytes(etcd: EtcdClient) -> None:
    key, value = b64(b"\xff\x00\x01"), b64(bytes(range(256)))
    etcd.ok("/v3/kv/put", key=key, value=value)
    (kv,) = etcd.ok("/v3/kv/range", key=key)["kvs"]
    assert (kv["key"], kv["value"]) == (key, value)
    etcd.ok("/v3/kv/put", key=key)
    (kv,) = etcd.ok("/v3/kv/range", key=key)["kvs"]
    assert "value" not in kv


def test_ranges_sort_and_filter(etcd: EtcdClient) -> None:
    revisions = {key: etcd.put(key, value) for key, value in (("b", "1"), ("a", "3"), ("c", "2"))}
    etcd.put("b", "1")
    by_value = etcd.ok("/v3/kv/range", **ALL, sort_target="VALUE")
    assert keys_of(by_value) == ["b", "c", "a"]
    by_mod = etcd.ok("/v3/kv/range", **ALL, sort_target="MOD", sort_order="DESCEND", limit=1)
    assert (keys_of(by_mod), by_mod["more"]) == (["b"], True)
    bounds = {"min_mod_revision": revisions["a"], "max_mod_revision": str(revisions["c"])}
    between = etcd.ok("/v3/kv/range", **ALL, **bounds)
    assert (keys_of(between), between["count"]) == (["a", "c"], "3")
    assert etcd.ok("/v3/kv/range", **ALL, count_only=True) == {"count": "3"}


def test_the_past_can_be_read_until_it_is_compacted(etcd: EtcdClient) -> None:
    first, _ = etcd.put("a", "1"), etcd.put("a", "2")
    (old,) = etcd.ok("/v3/kv/range", key=b64("a"), revision=str(first))["kvs"]
    assert plain(old["value"]) == "1"
    future = etcd.post("/v3/kv/range", {"key": b64("a"), "revision": first + 1000})
    text = "etcdserver: mvcc: required revision is a future revision"
    assert future == (400, {"error": text, "message": text, "code": 11})
    etcd.ok("/v3/kv/compaction", revision=str(first + 1), physical=True)
    text = "etcdserver: mvcc: required revision has been compacted"
    for path, body in (
        ("/v3/kv/range", {"key": b64("a"), "revision": first}),
        ("/v3/kv/compaction", {"revision": first}),
        ("/v3/kv/compaction", {}),
    ):
        assert etcd.post(path, body) == (400, {"error": text, "message": text, "code": 11})


def test_a_range_has_all_keys_although_pages_are_small(etcd: EtcdClient) -> None:
    value = "v" * 100_000
    for number in range(25):
        etcd.put(f"large/{number:02}", value)
    prefix = {"key": b64("large/"), "range_end": b64("large0")}
    found = etcd.ok("/v3/kv/range", **prefix)
    assert (len(found["kvs"]), found["count"], "more" in found) == (25, "25", False)
    assert {plain(kv["value"]) for kv in found["kvs"]} == {value}
    backwards = etcd.ok("/v3/kv/range", **prefix, sort_order="DESCEND", limit=20)
    assert keys_of(backwards) == [f"large/{number:02}" for number in range(24, 4, -1)]
    assert (backwards["count"], backwards["more"]) == ("25", True)
    revision = etcd.revision()
    etcd.ok("/v3/kv/deleterange", **prefix)
    earlier = etcd.ok("/v3/kv/range", **prefix, revision=revision, limit=12)
    assert (len(earlier["kvs"]), earlier["count"], earlier["more"]) == (12, "25", True)


def test_a_put_keeps_the_value_or_the_lease(etcd: EtcdClient) -> None:
    etcd.ok("/v3/lease/grant", ID=7001, TTL=60)
    etcd.put("a", "1", lease="7001")
    etcd.ok("/v3/kv/put", key=b64("a"), value=b64("2"), ignore_lease=True)
    (kv,) = etcd.ok("/v3/kv/range", key=b64("a"))["kvs"]
    assert (plain(kv["value"]), kv["lease"]) == ("2", "7001")
    done = etcd.ok("/v3/kv/put", key=b64("a"), ignore_value=True, prev_kv=True)
    assert done["prev_kv"]["lease"] == "7001"
    (kv,) = etcd.ok("/v3/kv/range", key=b64("a"))["kvs"]
    assert (plain(kv["value"]), "lease" in kv) == ("2", False)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"value": "YQ=="}, "etcdserver: key is not provided"),
        ({"key": "eno=", "ignore_value": True}, "etcdserver: key not found"),
        ({"key": "eno=", "ignore_value": True, "value": "YQ=="}, "etcdserver: value is provided"),
        ({"key": "eno=", "ignore_lease": True, "lease": 1}, "etcdserver: lease is provided"),
        ({"key": "e"}, "illegal base64 data at input byte 0"),
        ({"key": 5}, "json: cannot unmarshal number into Go value of type []uint8"),
        ("{", "unexpected EOF"),
        ("[]", "json: cannot unmarshal array into Go value of type map[string]json.RawMessage"),
        (
            {"key": "YQ==", "lease": 1.5},
            "json: cannot unmarshal number 1.5 into Go value of type int64",
        ),
        ({"key": b64("k" * 5000)}, "etcdserver: key has 5000 bytes; a key has 1 to 4096"),
        ({"key": "YQ==", "value": b64("v" * 1_100_000)}, "etcdserver: request is too large"),
    ],
)
def test_wrong_puts_get_the_errors_of_etcd(etcd: EtcdClient, body: object, text: str) -> None:
    assert etcd.post("/v3/kv/put", body) == (400, {"error": text, "message": text, "code": 3})


def test_an_unknown_lease_is_an_error_that_clients_know(etcd: EtcdClient) -> None:
    text = "etcdserver: requested lease not found"
    expected = (404, {"error": text, "message": text, "code": 5})
    assert etcd.post("/v3/kv/put", {"key": b64("a"), "lease": "12345"}) == expected
    assert etcd.post("/v3/kv/put", {"key": b64("a"), "lease": -5}) == expected
    assert etcd.post("/v3/lease/revoke", {"ID": 12345}) == expected
    assert etcd.ok("/v3/kv/range", key=b64("a")) == {}


def test_transactions_nest_and_compare(etcd: EtcdClient) -> None:
    before = etcd.put("a", "1")
    body: dict[str, object] = {
        "compare": [
            {"key": b64("a"), "target": "VALUE", "value": b64("1")},
            {"key": b64("a"), "target": "MOD", "result": "LESS", "mod_revision": str(before)},
        ],
        "success": [{"request_put": {"key": b64("a"), "value": b64("2")}}],
        "failure": [
            {
                "requestTxn": {
                    "compare": [
                        {"key": b64("b")}
                    ],  # unset target, result and version: it does not exist
                    "success": [
                        {"request_range": {"key": b64("a")}},
                        {"request_put": {"key": b64("b"), "value": b64("3"), "prev_kv": True}},
                        {"request_delete_range": {"key": b64("a"), "prev_kv": True}},
                    ],
                }
            }
        ],
    }
    answer = etcd.post("/v3/kv/txn", body)
    assert answer.status == 200, answer
    revision = answer.body.pop("header")["revision"]
    old = {
        "key": b64("a"),
        "value": b64("1"),
        "create_revision": str(before),
        "mod_revision": str(before),
        "version": "1",
    }
    inner = [
        {
            "response_range": {
                "header": {"revision": str(int(revision) - 1)},
                "kvs": [old],
                "count": "1",
            }
        },
        {"response_put": {"header": {"revision": revision}}},
        {
            "response_delete_range": {
                "header": {"revision": revision},
                "deleted": "1",
                "prev_kvs": [old],
            }
        },
    ]
    assert answer.body == {
        "responses": [{"response_txn": {"header": {}, "succeeded": True, "responses": inner}}]
    }
    assert keys_of(etcd.ok("/v3/kv/range", **ALL)) == ["b"]


@pytest.mark.parametrize(
    ("result", "holds"),
    [("GREATER", True), ("NOT_EQUAL", True), ("LESS", False), (0, False), ("EQUAL", False)],
)
def test_a_number_may_be_compared_with_one_below_0(
    etcd: EtcdClient, result: object, holds: bool
) -> None:
    comparison = {"key": b64("a"), "target": "VERSION", "result": result, "version": "-1"}
    for _ in range(2):  # without the key, and with it
        assert etcd.ok("/v3/kv/txn", compare=[comparison]) == ({"succeeded": True} if holds else {})
        etcd.put("a")


def test_wrong_transactions_change_nothing(etcd: EtcdClient) -> None:
    put = {"request_put": {"key": b64("a"), "value": b64("1")}}
    lease = {"request_put": {"key": b64("b"), "lease": 999}}
    cases = [
        ([put, put], 400, 3, "etcdserver: duplicate key given in txn request"),
        ([put, {}], 400, 3, "etcdserver: key not found"),
        ([put, {"request_range": {}}], 400, 3, "etcdserver: key is not provided"),
        ([put, lease], 404, 5, "etcdserver: requested lease not found"),
    ]
    for operations, status, code, text in cases:
        answer = etcd.post("/v3/kv/txn", {"success": operations})
        assert answer == (status, {"error": text, "message": text, "code": code})
    assert etcd.ok("/v3/kv/range", **ALL) == {}


def test_a_transaction_that_only_reads_has_the_newest_revision(etcd: EtcdClient) -> None:
    revision = etcd.put("a")
    reads = [{"request_range": {"key": b64("a")}}, {"request_txn": {}}]
    answer = etcd.post("/v3/kv/txn", {"success": reads})
    assert answer.body["header"]["revision"] == str(revision)
    assert answer.body["responses"][0]["response_range"]["header"] == {"revision": str(revision)}


def test_large_ranges_in_a_transaction_are_whole_or_an_error(etcd: EtcdClient) -> None:
    value = "v" * 200_000
    for number in range(12):
        etcd.put(f"large/{number:02}", value)
    large = {"request_range": {"key": b64("large/"), "range_end": b64("large0")}}
    puts = [{"request_put": {"key": b64(f"large/{number}")}} for number in ("0", "1")]
    only_reads = etcd.ok("/v3/kv/txn", success=[large, large])
    found = [len(each["response_range"]["kvs"]) for each in only_reads["responses"]]
    assert found == [12, 12]
    around = etcd.ok("/v3/kv/txn", success=[large, puts[0], large])
    first, _, last = [each.get("response_range") for each in around["responses"]]
    assert (len(first["kvs"]), len(last["kvs"])) == (12, 13)
    between = etcd.post("/v3/kv/txn", {"success": [puts[0], large, puts[1]]})
    assert (between.status, between.body["code"]) == (503, 14)
    assert between.body["message"].startswith("etcdserver: the transaction is done, but a range")
    assert etcd.ok("/v3/kv/range", key=b64("large/1"))["count"] == "1"
