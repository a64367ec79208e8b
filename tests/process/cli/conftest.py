"""One cluster for all tests of the commands of the entity store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from qcore.processes import ProcessCluster
from tests.process.conftest import ARGUMENTS, assert_no_traceback
from tests.process.support.commands import Ended, run_here

#: What the tests call: a command without `qcore` and without `--endpoints`.
Command = Callable[..., Ended]


@pytest.fixture(scope="session")
def store_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    """A cluster of one node without types and entities."""
    directory = tmp_path_factory.mktemp("store")
    with ProcessCluster(directory, size=1, arguments=ARGUMENTS) as nodes:
        nodes.start()
        assert run_here("cluster", "init", "--endpoints", nodes.endpoints[0]).code == 0
        nodes.wait_leader()
        yield nodes
    assert_no_traceback(nodes)


@pytest.fixture
def store(store_cluster: ProcessCluster, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs commands of the store. Each test begins without entities."""
    monkeypatch.setenv("QCORE_ENDPOINTS", store_cluster.endpoints[0])
    clear()
    return run_here


def clear() -> None:
    """Delete all entities of the cluster at `QCORE_ENDPOINTS`."""
    for line in run_here("entity", "tree", "--depth", "0", "-o", "csv").stdout.splitlines()[1:]:
        assert run_here("entity", "delete", line.split(",")[1], "--yes").code == 0
