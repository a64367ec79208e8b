"""Watches of keys and prefixes: what they receive, and from which revision on."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.errors import StoreError
from qcore.machines.interface import ApplyContext
from qcore.machines.kv.key_changes import ALL, key_watch
from qcore.machines.kv.kv_machine import KeyValueMachine
from tests.driver.replicas import ReplicaDriver
from tests.machines.kv.kv_clusters import KeyValueCluster, keys
from tests.replica.watches.watchers import Watcher

ALL_KEYS = '{"prefix":""}'


def watched(watcher: Watcher) -> list[str]:
    """The keys of the changes that a watch received."""
    return [json.loads(notice.body)["kv"]["key"] for notice in watcher.notices]


def snapshot_index(node: ReplicaDriver) -> int:
    snapshot = node.replica.core.snapshot
    return 0 if snapshot is None else snapshot.meta.last_included_index


def test_a_watch_receives_the_changes_of_its_keys_only() -> None:
    cluster = KeyValueCluster()
    requests = ['{"key":"a/b"}', '{"prefix":"a/"}', '{"prefix":"a"}', '{"key":"a","end":"a/b"}']
    watchers = [
        Watcher(cluster.drivers[2], number, request)
        for number, request in enumerate(requests, start=1)
    ]
    cluster.pass_time(200)
    cluster.put("a", "a/b", "a/b/c", "b", "ab")
    assert [watched(watcher) for watcher in watchers] == [
        ["a/b"],
        ["a/b", "a/b/c"],
        ["a", "a/b", "a/b/c", "ab"],
        ["a"],
    ]


def test_changes_of_a_transaction_share_a_revision() -> None:
    cluster = KeyValueCluster()
    watcher = Watcher(cluster.drivers[1], 1, '{"prefix":"","prev":true}')
    cluster.put("b", "a")
    puts = [{"op": "delete", "key": "b"}, {"op": "put", "key": "a", "value": "y"}]
    result = cluster.send(cluster.drivers[1], op="txn", then=puts)
    events = [json.loads(notice.body) for notice in watcher.notices][-2:]
    assert [event["type"] for event in events] == ["delete", "put"]
    assert {event["kv"]["mod_revision"] for event in events} == {result["revision"]}
    assert [event["prev"]["value"] for event in events] == ["x", "x"]


@pytest.mark.parametrize(
    ("request_text", "more"),
    [
        ('{"prefix":""}', [True, True, False]),
        ('{"prefix":"","types":["put"]}', [True, False]),
        ('{"prefix":"c"}', [False]),
    ],
)
def test_a_change_says_whether_more_of_its_revision_follow(
    request_text: str, more: list[bool]
) -> None:
    cluster = KeyValueCluster()
    live = Watcher(cluster.drivers[1], 1, request_text)
    cluster.put("b")
    first = {"op": "delete", "key": "b"}
    puts = [{"op": "put", "key": key, "value": "y"} for key in ("a", "c")]
    result = cluster.send(cluster.drivers[1], op="txn", then=[first, *puts])
    late = Watcher(cluster.drivers[2], 2, request_text, after=(result["revision"] - 1, 0))
    cluster.pass_time(200)
    for watcher in (live, late):
        events = [json.loads(notice.body) for notice in watcher.notices][-len(more) :]
        assert [event.get("more", False) for event in events] == more


def test_types_choose_among_puts_and_deletes() -> None:
    cluster = KeyValueCluster()
    deletes = Watcher(cluster.drivers[1], 1, '{"prefix":"","types":["delete"]}')
    cluster.put("a", "b")
    cluster.send(cluster.drivers[1], op="delete", prefix="")
    assert watched(deletes) == ["a", "b"]


def test_a_restarted_node_serves_an_earlier_revision() -> None:
    cluster = KeyValueCluster(snapshot_entries=5)
    first = cluster.put("a")
    cluster.put(*(f"k{number}" for number in range(12)))
    node = cluster.drivers[3]
    assert snapshot_index(node) > first, "the log no longer has the entry"
    node.crash()
    cluster.restart(3)
    watcher = Watcher(node, 1, ALL_KEYS, after=(first, -1))
    cluster.pass_time(100)
    assert watched(watcher) == ["a", *(f"k{number}" for number in range(12))]


def test_a_live_watch_goes_on_through_a_snapshot() -> None:
    cluster = KeyValueCluster(snapshot_entries=5)
    node = cluster.drivers[3]
    watcher = Watcher(node, 1, ALL_KEYS)
    cluster.pass_time(100)
    first = cluster.put("before")
    cluster.isolate(3)
    cluster.put(*(f"k{number}" for number in range(20)))
    cluster.heal()
    cluster.pass_time(1_000)
    cluster.put("after")
    assert snapshot_index(node) > first + 1, "the node got a snapshot"
    assert watcher.ended == []
    assert watched(watcher) == ["before", *(f"k{number}" for number in range(20)), "after"]


@pytest.mark.parametrize("before", range(15, 20))
def test_a_snapshot_brings_no_change_before_the_watch(before: int) -> None:
    """Also if the node has applied no change since its start: one of these numbers fills a snapshot."""
    cluster = KeyValueCluster(snapshot_entries=5)
    node = cluster.drivers[3]
    cluster.isolate(3)
    cluster.put(*(f"before {number}" for number in range(before)))
    cluster.heal()
    cluster.pass_time(1_000)
    watcher = Watcher(node, 1, ALL_KEYS)
    cluster.pass_time(200)
    cluster.isolate(3)
    cluster.put(*(f"k{number}" for number in range(20)))
    cluster.heal()
    cluster.pass_time(1_000)
    assert watched(watcher) == [f"k{number}" for number in range(20)]


def test_a_compacted_revision_is_an_error() -> None:
    cluster = KeyValueCluster()
    first = cluster.put("a")
    second = cluster.put("b")
    assert cluster.send(cluster.drivers[1], op="compact", revision=second)["ok"]
    cluster.pass_time(60)
    late = Watcher(cluster.drivers[2], 1, ALL_KEYS, after=(first, -1))
    in_time = Watcher(cluster.drivers[2], 2, ALL_KEYS, after=(second, -1))
    assert late.compacted
    assert watched(in_time) == ["b"]


@pytest.mark.parametrize(
    ("request_text", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "a JSON object"),
        ("{}", "key is missing"),
        ('{"key":""}', "key has 0 bytes"),
        ('{"key":"a","types":["get"]}', "types must be a list of put or delete"),
        ('{"key":"a","from":3}', "unknown fields: from"),
    ],
)
def test_a_bad_request_names_what_is_wrong(request_text: str, reason: str) -> None:
    with pytest.raises(StoreError, match=reason):
        key_watch(request_text)


KEYS = st.text(alphabet="ab/", min_size=1, max_size=24)


@given(KEYS, st.text(alphabet="ab/", max_size=20))
def test_a_watch_has_a_topic_of_each_of_its_changes(key: str, prefix: str) -> None:
    machine = KeyValueMachine()
    machine.apply(json.dumps({"op": "put", "key": key, "value": ""}), ApplyContext(1, 0))
    (change,) = machine.last_changes()
    for request in ({"prefix": prefix}, {"key": prefix or "a"}):
        watch = key_watch(json.dumps(request))
        receives = key.startswith(prefix) if "prefix" in request else key == request["key"]
        assert (watch.notice(change, live=True) is not None) == receives
        if receives:
            assert watch.topic in change.topics


def test_a_watch_of_a_directory_is_not_asked_about_others() -> None:
    assert key_watch('{"prefix":"config/"}').topic != ALL


def test_the_shortest_history_keeps_the_newest_transaction() -> None:
    cluster = KeyValueCluster()
    leader: ReplicaDriver = cluster.drivers[1]
    cluster.send(leader, op="history", max_changes=0, max_bytes=0)
    last = cluster.put("a", "b", "a")
    watcher = Watcher(leader, 1, ALL_KEYS, after=(last, -1))
    assert watched(watcher) == ["a"]
    assert keys(leader) == ["a", "b"]
