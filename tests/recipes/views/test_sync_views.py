"""`ConfigWatch` and `ServiceRegistry` for programs without asyncio."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pydoc import render_doc

import pytest

from qcore.client import SyncClient
from qcore.errors import ConfigError
from qcore.kv import SyncKeyValue
from qcore.recipes import (
    ConfigChange,
    InstancesChange,
    NotAcquired,
    NotAvailable,
    SyncConfigWatch,
    SyncLeaderElection,
    SyncServiceRegistry,
)
from qcore.testing import LocalCluster

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Three nodes."""
    with LocalCluster(machine="kv") as started:
        yield started


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[SyncClient]:
    """A client of three nodes."""
    with cluster.sync_client() as started:
        yield started


def test_a_config_without_asyncio(client: SyncClient) -> None:
    kv = SyncKeyValue(client)
    with SyncConfigWatch(client, "n", int) as config:
        with pytest.raises(NotAvailable, match="does not exist"):
            _ = config.value
        called: list[ConfigChange[int]] = []
        threads: list[int] = []
        config.on_change(called.append)
        config.on_change(lambda change: threads.append(threading.get_ident()))
        with config.changes() as changes:
            first = config.set(1)
            assert config.wait_for(lambda number: number == 1, timeout_s=60) == 1
            assert config.update(lambda number: number + 1) == 2
            assert config.sync() == config.value == 2
            kv.put("n", "x")
            taken = [next(changes) for _ in range(3)]
        assert [each.value for each in taken] == [1, 2, 2]
        assert taken[0].revision == first
        assert taken == called
        assert threading.get_ident() not in threads
        invalid = config.invalid
        assert invalid is not None
        assert taken[2].invalid == invalid
        assert config.delete(timeout_s=60) > invalid.revision
        with pytest.raises(NotAvailable):
            config.sync()
        assert config.is_served
        assert config.age_s() < 60
        assert config.failure is None
        iterator = iter(config.changes())
        assert config.revision > first
    assert list(iterator) == []


def test_help_shows_what_the_methods_return() -> None:
    assert "SyncRegistration" in render_doc(SyncServiceRegistry.register)
    assert "SyncServiceView" in render_doc(SyncServiceRegistry.watch)
    observed = render_doc(SyncLeaderElection.observe)
    assert "Iterator" in observed
    assert "AsyncIterator" not in observed


def test_services_without_asyncio(client: SyncClient) -> None:
    registry = SyncServiceRegistry(client)
    with registry.watch("web") as view:
        called: list[InstancesChange] = []
        view.on_change(called.append)
        with pytest.raises(NotAcquired):
            view.wait_for(timeout_s=0.01)
        with registry.register("web", address="a:1", instance="one") as one:
            assert (one.service, one.instance, one.is_registered) == ("web", "one", True)
            (instance,) = view.wait_for(timeout_s=60)
            assert view.choose() == instance
            with view.changes() as changes:
                assert next(changes).added == changes.instances == (instance,)
                one.update(metadata={"x": 1}, timeout_s=60)
                assert view.sync() == next(changes).changed
            assert view.instances == tuple(registry.instances("web"))
            with pytest.raises(NotAcquired, match="at a:1"):
                registry.register("web", address="b", instance="one", timeout_s=0.05).open()
            one.wait_registered(timeout_s=60)
        assert one.failure is None
        assert view.sync() == ()
        assert [len(each.added) for each in called] == [1, 0, 0]
        assert view.invalid == {}
        assert view.is_served
        assert view.failure is None
        assert view.age_s() < 60
        later = iter(view)
        assert view.revision > 0
    assert list(later) == []
    with pytest.raises(ConfigError, match="empty part"):
        registry.watch("a//b")


def test_a_client_closes_quietly_under_open_views(
    cluster: LocalCluster, caplog: pytest.LogCaptureFixture
) -> None:
    with cluster.sync_client() as client:
        config = SyncConfigWatch(client, "quiet", int, default=0)
        config.open()
        registry = SyncServiceRegistry(client)
        view = registry.watch("quiet")
        view.open()
        one = registry.register("quiet", address="a:1")
        one.open()
    for each in (config, view, one):
        assert isinstance(each.failure, ConfigError)
    assert [record for record in caplog.records if record.name == "asyncio"] == []


def test_a_callback_cannot_use_its_own_client(client: SyncClient) -> None:
    kv = SyncKeyValue(client)
    errors: list[ConfigError] = []
    with SyncConfigWatch(client, "own", int, default=0) as config:

        def call(_: object) -> int:
            with pytest.raises(ConfigError) as raised:
                kv.get("own")
            errors.append(raised.value)
            return 1

        config.on_change(call)
        assert config.update(call) == config.sync() == 1
    assert len(errors) == 2
    for error in errors:
        assert "from the thread of this SyncClient" in str(error)
        assert "to another thread" in str(error)
