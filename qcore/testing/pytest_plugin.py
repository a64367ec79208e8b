"""The plugin for pytest: fixtures that run clusters of real nodes, and scenarios. Load it in `conftest.py`:

    pytest_plugins = ["qcore.testing.pytest_plugin"]

A test that takes `local_cluster` gets a cluster of three nodes for itself. A cluster starts in about a second, so tests
that leave it intact can share one. `local_clusters` starts clusters with any arguments, in fixtures of any scope:

    @pytest.fixture(scope="module")
    def cluster(local_clusters):
        with local_clusters(size=1, machine="register") as cluster:
            yield cluster

If a test fails, the report has the end of the logs of the nodes that it used.

`simulate` runs a scenario and asserts that it passes; `@qcore.scenario` makes a test of a scenario and many seeds:

    def test_isolation(simulate):
        run = simulate("leader_isolated", seed=3)
        assert run.metrics["leader_changes"] == 1

A failure reports values, violations and the command that replays the run. The run is kept, with its trace and a
picture, in the directory that `--qcore-artifacts` names: by default `qcore-failures` in the root directory of pytest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from qcore.testing.local_cluster import LocalCluster

try:
    import pytest
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        "qcore.testing.pytest_plugin needs pytest: pip install 'qcore-raft[testing]'", name="pytest"
    ) from None

if TYPE_CHECKING:
    from qcore.testing.scenario_tests.scenario_runs import ScenarioRuns

#: Where failed runs are kept by default.
_ARTIFACTS = "qcore-failures"
#: The most characters of the name of a test in that of its directory.
_MAX_NAME = 60
#: How many lines of each log a report has.
_LINES = 50


class ClusterOptions(TypedDict, total=False):
    """The arguments of `LocalCluster`."""

    size: int
    machine: str
    settings: dict[str, object]
    directory: Path | str | None
    timeout_s: float


class ClusterFactory:
    """Starts clusters, and ends those that still run at the end of the session. See `LocalCluster` for the arguments.

    `with` ends a cluster earlier: at the end of a test, or of a fixture of a module.
    """

    def __init__(self) -> None:
        self._clusters: list[LocalCluster] = []

    def __call__(self, **options: Unpack[ClusterOptions]) -> LocalCluster:
        """Start a cluster."""
        cluster = LocalCluster(**options).start()
        self._clusters.append(cluster)
        return cluster

    @property
    def clusters(self) -> list[LocalCluster]:
        """The clusters that run, and those that ended during this test."""
        return list(self._clusters)

    def forget_ended(self) -> None:
        """Forget the clusters that have ended."""
        self._clusters = [cluster for cluster in self._clusters if cluster.is_started]

    def close(self) -> None:
        """End all clusters."""
        for cluster in self._clusters:
            cluster.close()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for the directory of failed runs."""
    parser.getgroup("qcore").addoption(
        "--qcore-artifacts",
        metavar="DIR",
        help=f"where failed runs of scenarios are kept; default: {_ARTIFACTS}, in the root directory of pytest",
    )


@pytest.fixture
def simulate(request: pytest.FixtureRequest) -> ScenarioRuns:
    """Call it to run a scenario and to assert that it passes: `simulate("leader_isolated", seed=3)`."""
    # A late import: tests of clusters must not load SimPy.
    from qcore.testing.scenario_tests.scenario_runs import ScenarioRuns

    chosen = request.config.getoption("--qcore-artifacts")
    root = request.config.rootpath / _ARTIFACTS if chosen is None else Path(chosen)
    return ScenarioRuns(request.path.parent, root / _file_name(request.node.nodeid))


def _file_name(nodeid: str) -> str:
    """The name of a test as that of a directory. Two tests never share one."""
    path, _, test = nodeid.partition("::")
    shown = f"{path.rpartition('/')[2]}::{test}"
    name = "".join(letter if letter.isalnum() or letter in "_.-" else "-" for letter in shown)
    is_unique = path == path.rpartition("/")[2] and test.isidentifier()
    if is_unique and len(name) <= _MAX_NAME:
        return name
    return f"{name[:_MAX_NAME]}-{hashlib.sha256(nodeid.encode()).hexdigest()[:6]}"


@pytest.fixture(scope="session")
def local_clusters() -> Iterator[ClusterFactory]:
    """Call it with the arguments of `LocalCluster` to start a cluster: `local_clusters(size=1)`.

    The cluster runs until its `with` block ends, or else until the end of the session.
    """
    factory = ClusterFactory()
    yield factory
    factory.close()


@pytest.fixture
def local_cluster(local_clusters: ClusterFactory) -> Iterator[LocalCluster]:
    """A cluster of three nodes with a leader, for one test."""
    with local_clusters() as cluster:
        yield cluster


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the logs of the nodes to the report of a failed test."""
    report = yield
    used: dict[str, object] = getattr(item, "funcargs", {})
    factory = used.get("local_clusters")
    clusters = [value for value in used.values() if isinstance(value, LocalCluster)]
    if not clusters and isinstance(factory, ClusterFactory):
        clusters = factory.clusters
    if report.failed:
        for cluster in clusters:
            for node_id in cluster.ids:
                lines = cluster.log(node_id).splitlines()[-_LINES:]
                report.sections.append((f"log of node {node_id}", "\n".join(lines)))
    if report.when == "teardown" and isinstance(factory, ClusterFactory):
        factory.forget_ended()
    return report
