"""Leases through the gateway."""

from __future__ import annotations

import pytest

from qcore.processes import wait_for
from tests.gateway.etcd_client import EtcdClient, b64

pytestmark = pytest.mark.process


def test_a_lease_is_granted_kept_and_revoked(etcd: EtcdClient) -> None:
    granted = etcd.ok("/v3/lease/grant", TTL="60")
    lease = granted["ID"]
    assert granted == {"ID": lease, "TTL": "60"}
    assert int(lease) > 2**32, (
        "numbers are drawn, as in etcd, so that clients may choose small ones"
    )
    etcd.put("a", lease=lease)
    etcd.put("b", lease=lease)
    with etcd.stream("/v3/lease/keepalive", {"ID": lease}) as stream:
        assert stream.result() == {"ID": lease, "TTL": "60"}
        assert stream.rest() == b"", "the response ends with the request"
    left = etcd.ok("/v3/lease/timetolive", ID=lease, keys=True)
    assert left.pop("TTL") in ("58", "59", "60")
    assert left == {"ID": lease, "grantedTTL": "60", "keys": [b64("a"), b64("b")]}
    assert etcd.ok("/v3/lease/leases") == {"leases": [{"ID": lease}]}
    assert etcd.ok("/v3/lease/revoke", ID=lease) == {}
    assert etcd.ok("/v3/kv/range", key=b64("a")) == {}


def test_what_etcd_says_of_a_lease_that_is_not_there(etcd: EtcdClient) -> None:
    for number in ("7", "-7", "0"):
        shown = {} if number == "0" else {"ID": number}
        assert etcd.ok("/v3/lease/timetolive", ID=number) == {**shown, "TTL": "-1"}
        with etcd.stream("/v3/lease/keepalive", {"ID": number}) as stream:
            assert (stream.status, stream.result()) == (200, shown)


def test_both_paths_of_leases_are_served(etcd: EtcdClient) -> None:
    etcd.ok("/v3beta/lease/grant", ID=8001, TTL=60)
    assert etcd.ok("/v3/kv/lease/leases") == {"leases": [{"ID": "8001"}]}
    assert etcd.ok("/v3/kv/lease/timetolive", ID=8001)["grantedTTL"] == "60"
    assert etcd.post("/v3/kv/lease/keepalive", {"ID": 8001}).status == 200
    assert etcd.ok("/v3/kv/lease/revoke", ID=8001) == {}


def test_times_to_live_have_the_bounds_of_etcd(etcd: EtcdClient) -> None:
    assert etcd.ok("/v3/lease/grant", ID=8002) == {"ID": "8002", "TTL": "2"}
    text = "etcdserver: too large lease TTL"
    expected = (400, {"error": text, "message": text, "code": 11})
    assert etcd.post("/v3/lease/grant", {"TTL": "9000000001"}) == expected
    text = "etcdserver: lease already exists"
    expected = (412, {"error": text, "message": text, "code": 9})
    assert etcd.post("/v3/lease/grant", {"ID": 8002, "TTL": 60}) == expected


def test_one_stream_keeps_several_leases(etcd: EtcdClient) -> None:
    for number in (8003, 8004):
        etcd.ok("/v3/lease/grant", ID=number, TTL=60)
    messages = [{"ID": 8003}, {"ID": "8004"}, {"ID": 8005}, {"ID": "x"}]
    with etcd.stream("/v3/lease/keepalive", *messages) as stream:
        assert [stream.result() for _ in range(3)] == [
            {"ID": "8003", "TTL": "60"},
            {"ID": "8004", "TTL": "60"},
            {"ID": "8005"},
        ]
        error = stream.next()["error"]
        assert (error["grpc_code"], error["message"][:17]) == (2, "invalid character")
        assert stream.rest() == b""


def test_the_first_message_of_a_stream_may_be_wrong(etcd: EtcdClient) -> None:
    text = "illegal base64 data at input byte 0"
    expected = (500, {"error": text, "message": text, "code": 2})
    assert etcd.post("/v3/watch", {"create_request": {"key": "!"}}) == expected
    assert etcd.post("/v3/lease/keepalive", "{").body["message"] == "unexpected EOF"
    assert etcd.post("/v3/lease/keepalive", "x").status == 500


def test_a_lease_that_ends_deletes_its_keys(etcd: EtcdClient) -> None:
    etcd.ok("/v3/lease/grant", ID=8006, TTL=1)
    etcd.put("a", lease=8006)
    with etcd.stream("/v3/watch", {"create_request": {"key": b64("a")}}) as stream:
        assert stream.result()["created"]
        (event,) = stream.result()["events"]
        assert (event["type"], event["kv"]["key"]) == ("DELETE", b64("a"))
    wait_for(lambda: not etcd.ok("/v3/lease/leases") or None, 10, "no lease")
