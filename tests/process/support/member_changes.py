"""Helpers for tests of membership changes: clusters that grow and shrink."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qcore.client.client import Client
from qcore.core.entry import DurableState, Membership
from qcore.processes import NodeProcess, ProcessCluster, wait_for
from qcore.storage.sqlite.sqlite_storage import SqliteStorage
from tests.process.conftest import ARGUMENTS
from tests.process.support.wire_client import WireClient

#: Long enough for two busy cores.
CHANGE_TIMEOUT_S = 30.0


def initialised_cluster(
    directory: Path,
    size: int,
    voters: int = 1,
    arguments: Sequence[str] = (),
    *,
    start_all: bool = False,
) -> ProcessCluster:
    """A cluster object of `size` nodes, of which the first `voters` are running and initialised.

    With `start_all` the other nodes run too, without a cluster.
    """
    cluster = ProcessCluster(directory, size=size, arguments=[*ARGUMENTS, *arguments])
    last = size if start_all else voters
    start_together([cluster.nodes[node_id] for node_id in range(1, last + 1)])
    with WireClient(cluster.nodes[1].address) as client:
        pairs = [[node_id, address] for node_id, address in cluster.members[:voters]]
        assert client.ask("Init", nodes=pairs) == {"Ok": None}
    cluster.wait_leader()
    return cluster


def wait_removed(node: NodeProcess) -> None:
    """Wait until the node knows that it was removed. This takes a while, because it first misses the leader."""
    wait_for(lambda: node.status()["qcore"]["removed"], 30, f"the removal of node {node.node_id}")


def start_together(nodes: Sequence[NodeProcess]) -> None:
    """Start these nodes at the same time, and wait until all of them listen."""
    for node in nodes:
        node.spawn()
    for node in nodes:
        node.wait_live()


def add_learner(cluster: ProcessCluster, node: NodeProcess) -> None:
    """Start the node if necessary, add it, and wait until it has caught up."""
    if not node.running:
        node.start()

    async def work() -> None:
        async with client_of(cluster) as client:
            await client.add_learner(node.node_id, node.address, node.public_key())

    asyncio.run(work())


def change(cluster: ProcessCluster, voters: Sequence[int], **options: Any) -> None:
    """Change the voters and wait until the change is committed."""

    async def work() -> None:
        async with client_of(cluster) as client:
            await client.change_membership(voters, **options)

    asyncio.run(work())


def client_of(cluster: ProcessCluster) -> Client:
    """A client with timeouts that are long enough for membership changes."""
    endpoints = [node.address for node in cluster.running()]
    return Client(endpoints, timeout_s=CHANGE_TIMEOUT_S, attempt_timeout_s=CHANGE_TIMEOUT_S / 2)


def configs_of(node: NodeProcess) -> list[list[int]]:
    """The voters of the node's effective configuration: two lists if it is joint."""
    status = node.status()
    configs: list[list[int]] = (
        status["membership_config"]["membership"]["configs"] if status else []
    )
    return configs


def wait_configs(cluster: ProcessCluster, voters: Sequence[int]) -> None:
    """Wait until these voters all have the configuration of exactly these voters, not joint."""
    nodes = [cluster.nodes[node_id] for node_id in voters]
    wait_for(
        lambda: all(configs_of(node) == [list(voters)] for node in nodes),
        CHANGE_TIMEOUT_S,
        f"all of {list(voters)} to have the configuration {list(voters)}",
    )


def on_disk(node: NodeProcess) -> DurableState:
    """The durable state of a stopped node."""
    assert not node.running, f"node {node.node_id} is running"
    storage = SqliteStorage.open(node.data_dir, node.node_id)
    try:
        return storage.load()
    finally:
        storage.close()


def configuration_on_disk(node: NodeProcess) -> Membership:
    """The newest configuration in the log or snapshot of a stopped node."""
    state = on_disk(node)
    for entry in reversed(state.entries):
        if entry.kind == "membership":
            return Membership.from_json(entry.data)
    assert state.snapshot is not None, "neither log nor snapshot holds a configuration"
    return state.snapshot.meta.membership


def last_role(node: NodeProcess) -> str:
    """The role in the last log line of the node."""
    words = [word for word in node.log_text().split() if word.startswith("role=")]
    return words[-1].removeprefix("role=")
