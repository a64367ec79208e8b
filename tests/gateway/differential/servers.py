"""Starts the two sides: a real etcd, and a gateway in front of a cluster of qcore."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from benchmarks.cluster.etcd_cluster import etcd_cluster, find_etcd, leader_of

#: The program, if it is installed.
ETCD: Final = find_etcd(None)


@contextmanager
def etcd_server() -> Iterator[str]:
    """The address of a new etcd, which serves."""
    assert ETCD is not None, "etcd is not installed"
    with etcd_cluster(ETCD, 1) as cluster:
        yield leader_of(cluster.endpoints)
