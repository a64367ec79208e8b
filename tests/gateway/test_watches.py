"""Watches through the gateway: streams of lines."""

from __future__ import annotations

import json
import socket
import time
from typing import Any  # JSON

import pytest

from qcore.processes import wait_for
from tests.gateway.etcd_client import EtcdClient, b64, plain

pytestmark = pytest.mark.process

DIRECTORY = {"key": b64("d/"), "range_end": b64("d0")}


def create(**fields: object) -> dict[str, object]:
    """A message that begins a watch."""
    return {"create_request": fields}


def changes(answer: dict[str, Any]) -> list[tuple[str, str, int]]:
    """Type, key and revision of each event of an answer."""
    return [
        (each.get("type", "PUT"), plain(each["kv"]["key"]), int(each["kv"]["mod_revision"]))
        for each in answer["events"]
    ]


def test_a_watch_begins_with_the_changes_of_its_revision(etcd: EtcdClient) -> None:
    first, second = etcd.put("d/a", "1"), etcd.put("d/a", "2")
    begin = create(**DIRECTORY, start_revision=str(second), prev_kv=True)
    with etcd.stream("/v3/watch", begin) as stream:
        created = stream.next()["result"]
        assert created == {"header": created["header"], "created": True}
        assert int(created["header"]["revision"]) == second
        (event,) = stream.result()["events"]
        assert plain(event["kv"]["value"]) == "2"
        assert plain(event["prev_kv"]["value"]) == "1"
        etcd.ok("/v3/kv/deleterange", key=b64("d/a"))
        (event,) = stream.result()["events"]
        assert event["type"] == "DELETE"
        assert event["kv"].keys() == {"key", "mod_revision"}
        assert int(event["kv"]["mod_revision"]) > second > first
        assert plain(event["prev_kv"]["value"]) == "2"


def test_the_events_of_a_transaction_are_one_answer(etcd: EtcdClient) -> None:
    puts = [{"request_put": {"key": b64(f"d/{number:03}")}} for number in range(100)]
    with etcd.stream("/v3/watch", create(**DIRECTORY)) as stream:
        assert stream.result()["created"]
        other = {"request_put": {"key": b64("other")}}
        etcd.ok("/v3/kv/txn", success=[puts[0], other, *puts[1:]])
        assert len(stream.result()["events"]) == 100
        etcd.ok("/v3/kv/deleterange", **DIRECTORY)
        deleted = changes(stream.result())
    assert len(deleted) == 100
    assert len({revision for _, _, revision in deleted}) == 1


def test_one_stream_has_several_watches(etcd: EtcdClient) -> None:
    messages = [
        create(key=b64("d/a"), filters=["NODELETE"]),
        create(key=b64("d/a"), filters=[0], watch_id="7"),
        create(key=b64("d/a"), watch_id=7),
        create(key=b64("d/b"), range_end=b64("d/a")),
        {"cancel_request": {"watch_id": 99}},
        create(key=b64("d/b")),
        {"cancel_request": {"watch_id": "1"}},
        {},
    ]
    with etcd.stream("/v3/watch", *messages) as stream:
        refused = {"watch_id": "-1", "created": True, "canceled": True}
        assert [stream.result() for _ in range(6)] == [
            {"created": True},
            {"watch_id": "7", "created": True},
            {**refused, "cancel_reason": "mvcc: duplicate watch ID provided on the WatchStream"},
            {**refused, "cancel_reason": "mvcc: watcher range is empty"},
            {"watch_id": "1", "created": True},
            {"watch_id": "1", "canceled": True},
        ]
        revision = etcd.put("d/a")
        answer = stream.result()
        assert (answer.get("watch_id"), changes(answer)) == (None, [("PUT", "d/a", revision)])
        etcd.put("d/b")  # no watch has it any more
        etcd.ok("/v3/kv/deleterange", key=b64("d/a"))
        answer = stream.result()
        assert (answer["watch_id"], changes(answer)[0][:2]) == ("7", ("DELETE", "d/a"))


def test_a_compacted_watch_is_cancelled(etcd: EtcdClient) -> None:
    first, second = etcd.put("d/a"), etcd.put("d/a")
    etcd.ok("/v3/kv/compaction", revision=second)
    with etcd.stream("/v3/watch", create(key=b64("d/a"), start_revision=first)) as stream:
        assert stream.result() == {"created": True}
        assert stream.result() == {"canceled": True, "compact_revision": str(second)}
    with etcd.stream("/v3/watch", create(key=b64("d/a"), start_revision=second)) as stream:
        assert stream.result() == {"created": True}
        assert changes(stream.result()) == [("PUT", "d/a", second)]


def test_a_watch_may_begin_in_the_future(etcd: EtcdClient) -> None:
    now = etcd.put("d/a")
    start = now + 3
    with etcd.stream("/v3/watch", create(key=b64("d/a"), start_revision=start)) as stream:
        assert stream.result() == {"created": True}
        written = [etcd.put("d/a") for _ in range(6)]
        expected = [revision for revision in written if revision >= start]
        found: list[int] = []
        while len(found) < len(expected):
            found += [revision for _, _, revision in changes(stream.result())]
    assert found == expected


def test_a_request_for_progress_names_what_was_sent(etcd: EtcdClient) -> None:
    before = etcd.put("d/a")
    connection = Open(etcd, create(**DIRECTORY))
    try:
        assert connection.next()["created"]
        connection.send({"progress_request": {}})
        progress = connection.next()
        assert (progress["watch_id"], progress["header"]["revision"]) == ("-1", str(before))
        revision = etcd.put("d/b")
        assert changes(connection.next()) == [("PUT", "d/b", revision)]
        connection.send({"progress_request": {}})
        assert connection.next()["header"]["revision"] == str(revision)
        connection.send(create(key=b64("x")))
        assert connection.next()["watch_id"] == "1"
    finally:
        connection.close()


def test_a_client_that_leaves_frees_its_watches(etcd: EtcdClient) -> None:
    def watches() -> int:
        (line,) = [
            each
            for each in str(etcd.get("/metrics").body).splitlines()
            if each.startswith("qcore_gateway_watches ")
        ]
        return int(float(line.split()[1]))

    streams = [Open(etcd, *[create(key=b64("d/a"))] * 3) for _ in range(2)]
    for stream in streams:
        for _ in range(3):
            assert stream.next()["created"]
    assert watches() == 6
    for stream in streams:
        stream.close()
    wait_for(lambda: watches() == 0 or None, 30, "the end of the watches")


def test_a_slow_reader_misses_nothing(etcd: EtcdClient) -> None:
    """The gateway holds a bounded part of what a client does not read, and sends the rest later."""
    value = "v" * 400_000
    connection = Open(etcd, create(**DIRECTORY))
    try:
        assert connection.next()["created"]
        written = [etcd.put("d/a", value) for _ in range(40)]
        time.sleep(0.1)
        found: list[int] = []
        while len(found) < len(written):
            found += [revision for _, _, revision in changes(connection.next())]
        assert found == written
    finally:
        connection.close()


class Open:
    """A stream whose request goes on: messages may follow. It reads only what `next` asks for."""

    def __init__(self, etcd: EtcdClient, *messages: dict[str, object]) -> None:
        host, _, port = etcd.address.partition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=30)
        head = (
            f"POST /v3/watch HTTP/1.1\r\nHost: {etcd.address}\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        self._socket.sendall(head.encode())
        for each in messages:
            self.send(each)
        self._file = self._socket.makefile("rb")
        while self._file.readline() not in (b"\r\n", b""):
            pass

    def send(self, message: dict[str, object]) -> None:
        """Send a message."""
        text = json.dumps(message).encode()
        self._socket.sendall(b"%x\r\n%s\r\n" % (len(text), text))

    def next(self) -> dict[str, Any]:
        """`result` of the next line."""
        size = int(self._file.readline(), 16)
        assert size, "the stream has ended"
        found: dict[str, Any] = json.loads(self._file.read(size))["result"]
        self._file.readline()
        return found

    def close(self) -> None:
        """Close the connection, although the response has not ended."""
        self._file.close()
        self._socket.close()
