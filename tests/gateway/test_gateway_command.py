"""The command `qcore gateway etcd`: start and stop, options, TLS, and a cluster that cannot answer."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from qcore.processes import wait_for
from qcore.testing import LocalCluster
from tests.gateway.etcd_client import EtcdClient, b64
from tests.gateway.gateway_process import GatewayProcess
from tests.gateway.started_gateway import started
from tests.process.support.commands import run_here
from tests.security.certificates import Authority

pytestmark = pytest.mark.process

#: Runs the command in a process in which uvicorn cannot be found.
WITHOUT_EXTRA = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "uvicorn" else find(name, *rest)
from qcore.cli.main import main
sys.argv = ["qcore", "gateway", "etcd"]
main()
"""


def error_of(code: int, text: str) -> dict[str, object]:
    """An error as etcd's gateway has it."""
    return {"error": text, "message": text, "code": code}


def test_pages_of_the_gateway(etcd: EtcdClient) -> None:
    version = etcd.get("/version")
    assert version == (200, {"etcdserver": "3.4.0", "etcdcluster": "3.4.0"})
    assert etcd.get("/health") == (200, '{"health":"true"}')
    assert etcd.get("/v3/kv/range") == (405, "Method Not Allowed\n")
    assert etcd.get("/v3/watch") == (405, "Method Not Allowed\n")
    assert etcd.post("/v3/kv/nothing", {}) == (404, "Not Found\n")
    assert etcd.post("/v3/kv/range/", {}) == (404, "Not Found\n")
    assert etcd.post("/nothing", {}) == (404, "404 page not found\n")
    text = "etcdserver: authentication is not enabled"
    for body in ({}, {"name": "ada", "password": "x"}):
        assert etcd.post("/v3/auth/authenticate", body) == (412, error_of(9, text))
    metrics = etcd.get("/metrics").body
    assert 'qcore_gateway_requests_total{path="/v3/auth/authenticate",status="412"} ' in metrics


def test_the_gateways_are_the_members(etcd: EtcdClient) -> None:
    etcd.put("a")
    status = etcd.post("/v3/maintenance/status", {}).body
    assert status["leader"] == status["header"]["member_id"]
    assert int(status["dbSize"]) > 0
    (alone,) = etcd.ok("/v3/cluster/member/list")["members"]
    url = f"http://{etcd.address}"
    assert alone == {
        "ID": status["leader"],
        "name": etcd.address,
        "peerURLs": [url],
        "clientURLs": [url],
    }


def test_several_gateways_agree_about_the_members(tmp_path: Path) -> None:
    found = []
    for first, second in (
        ("10.0.0.1:2379", "https://b.example:2379"),
        ("https://b.example:2379", "10.0.0.1:2379"),
    ):
        options = ("--advertise", first, "--advertise", second)
        with started(tmp_path, ["127.0.0.1:1"], "--timeout", "0.3", *options) as gateway:
            answer = EtcdClient(gateway.address).post("/v3/cluster/member/list", {}).body
            found.append(answer["members"])
            own = [
                each for each in answer["members"] if each["ID"] == answer["header"]["member_id"]
            ]
            assert first.rpartition("/")[2] == own[0]["name"]
    assert found[0] == found[1]
    assert {each["clientURLs"][0] for each in found[0]} == {
        "http://10.0.0.1:2379",
        "https://b.example:2379",
    }


def test_without_a_leader_requests_fail_and_no_write_is_reported(tmp_path: Path) -> None:
    with LocalCluster(3, machine="kv") as cluster:  # noqa: SIM117 - the next line needs what this one makes
        with started(tmp_path, cluster.endpoints, "--timeout", "1") as gateway:
            etcd = EtcdClient(gateway.address)
            etcd.put("a", "1")
            for node_id in (1, 2):
                cluster.pause(node_id)
            cluster.kill(3)
            put = etcd.post("/v3/kv/put", {"key": b64("a"), "value": b64("2")})
            assert (put.status, put.body["code"]) == (503, 14)
            assert put.body["message"] == put.body["error"]
            assert etcd.post("/v3/kv/range", {"key": b64("a")}).status == 503
            assert etcd.get("/health") == (503, '{"health":"false"}')
            watch = etcd.post("/v3/watch", {"create_request": {"key": b64("a")}})
            assert (watch.status, watch.body["code"]) == (503, 14)
            assert gateway.text.count("the cluster does not answer") == 1
            for node_id in (1, 2):
                cluster.resume(node_id)
            cluster.wait_leader()
            wait_for(lambda: etcd.get("/health").status == 200 or None, 30, "a healthy gateway")
            assert "the cluster answers again" in gateway.text
            values = etcd.ok("/v3/kv/range", key=b64("a"))["kvs"]
            assert values[0]["value"] in (b64("1"), b64("2")), "it may have taken effect later"
            cluster.stop(cluster.wait_leader())
            serializable = etcd.ok("/v3/kv/range", key=b64("a"), serializable=True)
            assert serializable["count"] == "1", "one node without a leader serves it"


def test_a_stopped_gateway_ends_its_streams(kv_cluster: LocalCluster, tmp_path: Path) -> None:
    with started(tmp_path, kv_cluster.endpoints) as gateway:
        etcd = EtcdClient(gateway.address)
        with etcd.stream("/v3/watch", {"create_request": {"key": b64("a")}}) as stream:
            assert stream.result() == {"created": True}
            assert gateway.stop() == 0
            assert stream.rest() == b"", "the response is complete"


def test_tls_with_certificates_of_clients(kv_cluster: LocalCluster, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server, client = authority.issue("server"), authority.issue("client")
    options = ["--listen-tls-cert", str(server.cert), "--listen-tls-key", str(server.key)]
    with started(
        tmp_path, kv_cluster.endpoints, *options, "--listen-tls-ca", str(authority.path)
    ) as gateway:
        assert f"listens on https://{gateway.address}" in gateway.text
        context = ssl.create_default_context(cafile=str(authority.path))
        with pytest.raises(OSError):
            EtcdClient(gateway.address, tls=context).get("/version")
        assert client.cert is not None
        context.load_cert_chain(client.cert, client.key)
        etcd = EtcdClient(gateway.address, tls=context)
        assert etcd.get("/health").status == 200
        (member,) = etcd.ok("/v3/cluster/member/list")["members"]
        assert member["clientURLs"] == [f"https://{gateway.address}"]
        with etcd.stream("/v3/watch", {"create_request": {"key": b64("a")}}) as stream:
            assert stream.result() == {"created": True}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--listen", "nothing"], "--listen"),
        (["--listen", "0.0.0.0:0"], "--advertise: clients cannot connect to 0.0.0.0"),
        (["--advertise", "ftp://a:1"], "--advertise: 'ftp://a:1'"),
        (["--advertise", "a:1,a:1"], "--advertise: an address is given twice"),
        (["--listen-tls-key", "key.pem"], "without --listen-tls-cert"),
        (["--listen-tls-cert", "/nothing.pem"], "/nothing.pem"),
    ],
)
def test_wrong_options_are_named(options: list[str], text: str) -> None:
    ended = run_here("gateway", "etcd", *options)
    assert ended.code != 0
    assert text in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_an_address_in_use_is_named(shared_gateway: GatewayProcess) -> None:
    ended = run_here("gateway", "etcd", "--listen", shared_gateway.address)
    assert ended.stderr == (
        f"error: --listen {shared_gateway.address}: cannot bind the address: it is in use: give another one\n"
    )


def test_a_missing_extra_is_named() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRA],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode != 0
    assert ended.stderr == "error: uvicorn is not installed: pip install 'qcore-raft[gateway]'\n"


def test_a_watch_that_no_node_accepts_is_cancelled(tmp_path: Path) -> None:
    with (
        LocalCluster(1, machine="kv", settings={"max_client_watches": 1}) as cluster,
        started(tmp_path, cluster.endpoints) as gateway,
    ):
        client = EtcdClient(gateway.address)
        watch = {"create_request": {"key": b64("a")}}
        with client.stream("/v3/watch", watch, watch) as stream:
            assert [stream.result() for _ in range(2)] == [
                {"created": True},
                {"watch_id": "1", "created": True},
            ]
            reason = "etcdserver: too many requests"
            assert stream.result() == {"watch_id": "1", "canceled": True, "cancel_reason": reason}
            client.put("a")
            assert "watch_id" not in stream.result()


def test_web_pages_are_no_clients(etcd: EtcdClient) -> None:
    connection = http.client.HTTPConnection(etcd.address, timeout=30)
    body = json.dumps({"key": b64("page"), "value": b64("x")})
    headers = {"Origin": "http://example.org", "Content-Type": "text/plain"}
    connection.request("POST", "/v3/kv/put", body, headers)
    response = connection.getresponse()
    assert (response.status, response.read()) == (403, b"The gateway does not serve web pages.\n")
    connection.close()
    assert "kvs" not in etcd.ok("/v3/kv/range", key=b64("page"))


def test_texts_without_utf_8_are_errors(etcd: EtcdClient) -> None:
    for path in ("/v3/kv/put", "/v3/watch", "/v3/lease/keepalive"):
        body = '{"key": "YQ==", "ID": "\\ud800", "lease": "\\ud800"}'
        if path == "/v3/watch":
            body = '{"create_request": {"start_revision": "\\ud800"}}'
        answer = etcd.post(path, body)
        assert answer.body["code"] == (3 if path == "/v3/kv/put" else 2), answer


def test_another_machine_is_named(tmp_path: Path) -> None:
    with (
        LocalCluster(1, machine="register") as cluster,
        started(tmp_path, cluster.endpoints) as gateway,
    ):
        with cluster.sync_client() as register:
            register.execute('{"op": "set", "key": "a", "value": 1}')
            answer = EtcdClient(gateway.address).post("/v3/kv/deleterange", {"key": b64("a")})
            assert answer.status == 503
            found = register.execute('{"op": "get", "key": "a"}', read=True)
            assert json.loads(found)["value"] == 1
        answer = EtcdClient(gateway.address).post("/v3/kv/range", {"key": b64("a")})
        assert answer.status == 503
        assert "start the nodes with --machine kv" in json.dumps(answer.body)
