"""The cluster and the gateway that the tests of this directory share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qcore.testing import LocalCluster
from tests.gateway.etcd_client import EtcdClient
from tests.gateway.gateway_process import GatewayProcess


@pytest.fixture(scope="session")
def kv_cluster() -> Iterator[LocalCluster]:
    """One node. Every test must leave it running."""
    with LocalCluster(1, machine="kv") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def shared_gateway(
    kv_cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """A gateway in front of that node. Every test must leave it running."""
    log = tmp_path_factory.mktemp("gateway") / "gateway.log"
    with GatewayProcess(kv_cluster.endpoints, log) as gateway:
        yield gateway


@pytest.fixture
def etcd(shared_gateway: GatewayProcess) -> EtcdClient:
    """A client of a gateway in front of a cluster without keys and leases."""
    client = EtcdClient(shared_gateway.address)
    client.ok("/v3/kv/deleterange", key="AA==", range_end="AA==")
    for lease in client.ok("/v3/lease/leases").get("leases", ()):
        client.ok("/v3/lease/revoke", ID=lease["ID"])
    return client
