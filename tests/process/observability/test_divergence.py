"""A divergent member is reported while clients write: by `cluster health`, a metric and a log line."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qcore.client.client import Client
from qcore.processes import NodeProcess, ProcessCluster, wait_for
from qcore.replica.apply.state_digests import DIGEST_INTERVAL
from tests.process.conftest import ARGUMENTS, assert_no_traceback
from tests.process.support.commands import run_qcore, run_qcore_json

pytestmark = pytest.mark.process
MACHINE = Path(__file__).parents[1] / "programs" / "odd_machine.py"


@contextmanager
def writers(cluster: ProcessCluster) -> Iterator[None]:
    """Clients that write without a pause, so no two members are seen at the same index."""
    stop = threading.Event()

    async def write() -> None:
        async with Client(cluster.endpoints) as client:

            async def one() -> None:
                while not stop.is_set():
                    await client.execute("x")

            await asyncio.gather(*(one() for _ in range(32)))

    thread = threading.Thread(target=lambda: asyncio.run(write()))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def gauges(node: NodeProcess) -> dict[str, float]:
    lines = [line.split() for line in node.get("/metrics")[1].splitlines()]
    return {line[0]: float(line[1]) for line in lines if line[0].startswith("qcore_state_")}


def test_a_member_that_diverged_is_found_under_load(tmp_path: Path) -> None:
    arguments = [*ARGUMENTS, "--machine", f"{MACHINE}:DivergingMachine"]
    with ProcessCluster(tmp_path, 3, arguments) as cluster:
        cluster.nodes[3].environment = {"ODD": "yes"}
        cluster.start()
        nodes = ",".join(f"{node}={address}" for node, address in cluster.members)
        endpoints = cluster.endpoints
        run_qcore_json("cluster", "init", "--nodes", nodes, endpoints=endpoints)
        cluster.wait_leader()
        cluster.wait_converged()
        with writers(cluster):
            wait_for(
                lambda: (
                    min(node.status()["qcore"]["applied_index"] for node in cluster.running())
                    > DIGEST_INTERVAL
                ),
                30,
                "a record of digests",
            )
            health = run_qcore_json("cluster", "health", endpoints=endpoints)
            assert (health["problems"], health["warnings"]) == ([], [])
            assert run_qcore_json("cluster", "hash", endpoints=endpoints)["equal"] is True

            done = run_qcore("execute", "-", endpoints=endpoints, stdin="drift\n")
            drifted_at = int(done.stdout)  # the number of commands; the index is slightly higher
            wait_for(
                lambda: all(
                    any(
                        int(at) > drifted_at + 100 for at in node.status()["qcore"]["state_digests"]
                    )
                    for node in cluster.running()
                ),
                30,
                "a newer digest",
            )
            health = run_qcore_json("cluster", "health", endpoints=endpoints, expected_code=5)
            problems = health["problems"]
            assert any("the states of the members differ at index" in text for text in problems)
            assert any(cluster.nodes[3].address in text for text in problems)
            hashes = run_qcore_json("cluster", "hash", endpoints=endpoints, expected_code=5)
            assert hashes["equal"] is False

            leader = cluster.wait_leader()
            wait_for(
                lambda: gauges(leader).get("qcore_state_different_members") == 1, 30, "the metric"
            )
            assert gauges(leader)["qcore_state_difference_index"] > drifted_at
            found = leader.status()["qcore"]["state_comparison"]
            assert set(found["digests"]) == {"1", "2", "3"}
            assert found["digests"]["1"] == found["digests"]["2"] != found["digests"]["3"]
            for node in cluster.running():
                if node is not leader:
                    assert node.status()["qcore"]["state_comparison"] is None
                    assert not gauges(node)
        lines = [line for line in leader.log_text().splitlines() if "members differ" in line]
        assert len(lines) == 1  # not one for each comparison
        assert "index=" in lines[0]
        # The line appears with the first difference. One of the equal members may not have reported its digest yet.
        named = {node for node in (1, 2, 3) if f"node_{node}=" in lines[0]}
        assert 3 in named
        assert len(named) >= 2
    assert_no_traceback(cluster)
