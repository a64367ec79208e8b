"""`etcd3gw`, a client of etcd's gateway that others wrote, runs its examples and its tests on qcore's gateway.

Both are unchanged. The examples connect to the default port of etcd, and `tests.gateway.redirected` lets them reach the
gateway.
"""

from __future__ import annotations

import queue
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
from etcd3gw.client import Etcd3Client
from etcd3gw.exceptions import Etcd3Exception
from etcd3gw.lock import Lock
from etcd3gw.types import Event

from qcore.processes import wait_for
from qcore.testing import LocalCluster
from tests.gateway.etcd_client import b64
from tests.gateway.gateway_process import GatewayProcess

pytestmark = pytest.mark.process

#: Seconds that anything may take on a busy machine.
PATIENCE_S = 60


def client_of(gateway: GatewayProcess) -> Etcd3Client:
    host, _, port = gateway.address.rpartition(":")
    return Etcd3Client(host=host, port=int(port), timeout=PATIENCE_S)


def command(gateway: GatewayProcess, *module: str) -> list[str]:
    return [sys.executable, "-m", "tests.gateway.redirected", gateway.address, *module]


@pytest.fixture
def client(shared_gateway: GatewayProcess) -> Etcd3Client:
    """A client. Other tests use the same keys, so each one uses another."""
    return client_of(shared_gateway)


@pytest.fixture
def name() -> str:
    """A key that no other test uses."""
    return f"etcd3gw/{uuid4()}"


# -- its examples and tests --------------------------------------------------------------------------


def test_its_example_of_leases_and_locks_runs(shared_gateway: GatewayProcess) -> None:
    run = subprocess.run(
        command(shared_gateway, "etcd3gw.examples.etcd"),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert run.returncode == 0, run.stderr
    lines = dict(re.findall(r"^([^:\n]+?) : (.*)$", run.stdout, re.MULTILINE))
    assert shared_gateway.address in lines.pop("first member info")
    assert lines.pop("cluster id").strip("'").isdecimal()
    assert lines.pop("Lease id").isdecimal()
    assert 0 < int(lines.pop("Lease ttl")) <= 30
    assert lines == {
        "Lease refresh": "30",
        "Key put foo2": "True",
        "Key put foo3": "True",
        "Lease Keys": "[b'foo2', b'foo3']",
        "Lease Revoke": "True",
        "Key get foox": "[]",
        "Key put foo": "True",
        "Key get foo": "[b'bar']",
        "Key delete foo": "True",
        "Key delete foo-unknown": "False",
        "acquire": "True",
        "refresh": "10000",
        "is_acquired": "False",
        "release": "True",
    }


def test_its_example_of_a_watch_prints_events(
    shared_gateway: GatewayProcess, client: Etcd3Client, tmp_path: Path
) -> None:
    printed = tmp_path / "printed"
    with printed.open("wb") as out:
        watcher = subprocess.Popen(
            [sys.executable, "-u", *command(shared_gateway, "etcd3gw.examples.watcher")[1:]],
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        put = 0

        def seen() -> bool | None:
            # It does not say when it begins to watch.
            nonlocal put
            put += 1
            client.put("foo", f"value {put}")
            assert watcher.poll() is None, printed.read_text()
            return ">>>> event" in printed.read_text() or None

        wait_for(seen, PATIENCE_S, "an event")
        last = put

        def later() -> bool | None:
            return f"b'value {last}'" in printed.read_text() or None

        wait_for(later, PATIENCE_S, "the last event")
    finally:
        watcher.kill()
        watcher.wait()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_its_own_tests_pass(
    shared_gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tests sleep for about 25 s. None of them may be skipped, as they are if nothing answers."""
    monkeypatch.setenv("TOOZ_TEST_HTTP_URL", f"http://{shared_gateway.address}")
    monkeypatch.setenv("TOOZ_TEST_ETCD_PORT", shared_gateway.address.rpartition(":")[2])
    modules = ("etcd3gw.tests.test_etcd3gw", "etcd3gw.tests.test_client")
    run = subprocess.run(
        command(shared_gateway, "unittest", *modules), capture_output=True, text=True, timeout=240
    )
    assert run.returncode == 0, run.stderr[-4000:]
    assert re.search(r"Ran \d\d tests", run.stderr), run.stderr[-4000:]
    assert "skipped" not in run.stderr


# -- what its documentation shows ---------------------------------------------------------------------


def test_keys_and_leases_as_its_usage_page_has_them(client: Etcd3Client, name: str) -> None:
    assert client.put(key=name, value="bar")
    assert client.get(key=name) == [b"bar"]
    assert b"bar" in [value for value, _ in client.get_all()]
    lease = client.lease(ttl=100)
    assert client.put(key=name, value="held", lease=lease)
    assert lease.keys() == [name.encode()]
    assert lease.refresh() == 100
    assert 0 < lease.ttl() <= 100
    ((value, metadata),) = client.get(name, metadata=True)
    assert (value, metadata["version"], int(metadata["lease"])) == (b"held", "2", lease.id)
    assert lease.revoke()
    assert client.get(name) == []
    assert lease.refresh() == -1
    assert lease.ttl() == -1


def test_its_transactions(client: Etcd3Client, name: str) -> None:
    assert client.create(name, "one")
    assert not client.create(name, "other")
    assert client.replace(name, "one", "two")
    assert not client.replace(name, "one", "three")
    assert client.get(name) == [b"two"]
    result = client.transaction(
        {
            "compare": [{"key": b64(name), "target": "VERSION", "version": 9}],
            "success": [{"request_put": {"key": b64(name), "value": b64("x")}}],
            "failure": [{"request_range": {"key": b64(name)}}],
        }
    )
    assert "succeeded" not in result
    assert result["responses"][0]["response_range"]["kvs"][0]["value"] == b64("two")


def test_its_watch_sees_changes_and_deletions(client: Etcd3Client, name: str) -> None:
    events: queue.Queue[Event] = queue.Queue()
    found, cancel = client.watch_prefix(name)

    def read() -> None:
        for event in found:
            events.put(event)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    client.put(f"{name}/a", "1")
    client.put(f"{name}/b", "2")
    client.delete(f"{name}/a")
    first, second, third = (events.get(timeout=PATIENCE_S) for _ in range(3))
    assert (first["kv"]["key"], first["kv"]["value"]) == (f"{name}/a".encode(), b"1")
    assert (second["kv"]["key"], second["kv"]["value"]) == (f"{name}/b".encode(), b"2")
    assert third["type"] == "DELETE"
    cancel()
    reader.join(PATIENCE_S)
    assert not reader.is_alive()


def test_its_lock_has_one_holder(shared_gateway: GatewayProcess, name: str) -> None:
    one, other = (client_of(shared_gateway).lock(name, ttl=60) for _ in range(2))
    with one:
        assert one.is_acquired()
        assert 0 < one.refresh() <= 60
        assert not other.acquire()
    assert not one.is_acquired()
    assert other.acquire()
    assert not one.release()
    assert other.release()


def test_its_lock_is_free_when_its_lease_ends(shared_gateway: GatewayProcess, name: str) -> None:
    dead, other = (client_of(shared_gateway).lock(name, ttl=ttl) for ttl in (2, 60))
    assert dead.acquire()
    wait_for(lambda: other.acquire() or None, PATIENCE_S, "the end of the lease")
    assert not dead.is_acquired()
    assert dead.refresh() == -1


# -- killed gateways and leaders ----------------------------------------------------------------------


@pytest.fixture
def three_nodes() -> Iterator[LocalCluster]:
    """A cluster of three nodes."""
    with LocalCluster(3, machine="kv") as cluster:
        yield cluster


def holds_again(lock: Lock) -> None:
    """Wait until the lock can be refreshed and is seen again. Errors are those of an outage."""

    def refreshed() -> bool | None:
        with suppress(Etcd3Exception):
            assert lock.refresh() > 0, "the lease has ended"
            return lock.is_acquired() or None
        return None

    wait_for(refreshed, PATIENCE_S, "the lock")


@pytest.mark.long
def test_a_lock_outlives_gateway_and_leader(
    three_nodes: LocalCluster, tmp_path: Path, name: str
) -> None:
    """A client that holds a lock sees errors while its gateway or the leader is dead, and holds the lock after that."""
    endpoints = list(three_nodes.endpoints)
    with (
        GatewayProcess(endpoints, tmp_path / "first.log") as first,
        GatewayProcess(endpoints, tmp_path / "second.log") as second,
    ):
        holder, other = client_of(first).lock(name, ttl=120), client_of(second).lock(name, ttl=120)
        assert holder.acquire()
        for _ in range(3):
            first.kill()
            with pytest.raises(Etcd3Exception):
                holder.refresh()
            assert not other.acquire(), "two holders"
            first.start()
            holds_again(holder)
            leader = three_nodes.wait_leader()
            three_nodes.kill(leader)
            holds_again(holder)
            assert not other.acquire(), "two holders"
            three_nodes.restart(leader)
        assert holder.release()
        assert other.acquire()
