"""Starts a real etcd."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from benchmarks.cluster.etcd_cluster import etcd_cluster, find_etcd, leader_of

#: The program, if it is installed.
ETCD: Final = find_etcd(None)


def installed_version() -> str:
    """The version of the program, such as 3.4.23."""
    assert ETCD is not None, "etcd is not installed"
    run = subprocess.run([ETCD, "--version"], capture_output=True, text=True, check=True)
    return run.stdout.splitlines()[0].removeprefix("etcd Version: ")


@contextmanager
def etcd_server() -> Iterator[str]:
    """The address of a new etcd, which serves."""
    assert ETCD is not None, "etcd is not installed"
    with etcd_cluster(ETCD, 1) as cluster:
        yield leader_of(cluster.endpoints)
