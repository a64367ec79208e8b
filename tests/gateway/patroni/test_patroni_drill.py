"""Patroni with PostgreSQL runs on qcore through the gateway of etcd's API, and on etcd, under faults."""

from __future__ import annotations

import shutil

import pytest

from tests.gateway.patroni.patroni_checks import acknowledged, violations
from tests.gateway.patroni.patroni_drill import drill_directory, run_patroni_drill
from tests.gateway.patroni.patroni_faults import FAULTS
from tests.gateway.patroni.patroni_instance import missing

pytestmark = [
    pytest.mark.process,
    pytest.mark.long,
    pytest.mark.timeout(1800),
]


@pytest.fixture(autouse=True, scope="module")
def _postgresql() -> None:
    """Skip the tests where no PostgreSQL can run. Patroni is one of the pinned development tools."""
    if reason := missing():
        pytest.skip(reason)


def test_patroni_on_qcore() -> None:
    """Each fault, three times: no acknowledged row is lost, and there are never two primaries that accept writes."""
    directory = drill_directory()  # kept if the test fails
    records = run_patroni_drill("qcore", directory, rounds=3)
    assert violations(records) == []
    assert len(records.faults) == 3 * len(FAULTS)
    shutil.rmtree(directory)


@pytest.mark.skipif(shutil.which("etcd") is None, reason="etcd is not installed")
def test_patroni_on_etcd() -> None:
    """The drill itself is sound: Patroni passes it with the store for which it was written."""
    directory = drill_directory()  # kept if the test fails
    records = run_patroni_drill("etcd", directory, rounds=1)
    assert violations(records) == []
    assert len(records.faults) == len(FAULTS)
    shutil.rmtree(directory)


def test_asynchronous_replication_is_noticed() -> None:
    """Without synchronous mode a primary whose Patroni is stopped accepts rows beside the new one, and loses them."""
    directory = drill_directory()  # kept if the test fails
    records = run_patroni_drill(
        "qcore", directory, rounds=1, kinds=["pause_patroni"], synchronous=False
    )
    found = {text.partition(":")[0] for text in violations(records)}
    assert {"lost_rows", "split_writes"} <= found
    assert acknowledged(records)
    shutil.rmtree(directory)
