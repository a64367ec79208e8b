"""A member whose state differs is found while clients write: by `cluster health`, a metric and the log."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from qcore.cli.demo.processes import LocalCluster, NodeProcess, wait_for
from qcore.cli.main import app
from qcore.client.client import QcoreClient
from qcore.replica.apply.state_digests import DIGEST_INTERVAL
from tests.process.conftest import ARGUMENTS, assert_no_traceback

pytestmark = pytest.mark.process
MACHINE = Path(__file__).parents[1] / "programs" / "odd_machine.py"


def qcore(cluster: LocalCluster, *arguments: str, stdin: str = "") -> tuple[int, str]:
    """Exit code and output of a command, in this process: the nodes are what is slow enough."""
    done = CliRunner().invoke(app, [*arguments, "--endpoints", ",".join(cluster.endpoints)], stdin)
    return done.exit_code, done.output


def asked(cluster: LocalCluster, *arguments: str) -> tuple[int, Any]:
    """Exit code and answer of a command that prints JSON."""
    code, output = qcore(cluster, *arguments, "-o", "json")
    return code, json.loads(output)


@contextmanager
def writers(cluster: LocalCluster) -> Iterator[None]:
    """Clients that write without a pause, so that no two members are seen at one index."""
    stop = threading.Event()

    async def write() -> None:
        async with QcoreClient(cluster.endpoints) as client:

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
    with LocalCluster(tmp_path, 3, arguments) as cluster:
        cluster.nodes[3].environment = {"ODD": "yes"}
        cluster.start()
        nodes = ",".join(f"{node}={address}" for node, address in cluster.members)
        qcore(cluster, "cluster", "init", "--nodes", nodes)
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
            code, said = asked(cluster, "cluster", "health")
            assert (code, said["problems"], said["warnings"]) == (0, [], [])
            code, said = asked(cluster, "cluster", "hash")
            assert (code, said["equal"]) == (0, True)

            _, answer = qcore(cluster, "execute", "-", stdin="drift\n")
            drifted_at = int(answer)  # as many commands; the index is a few more
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
            code, said = asked(cluster, "cluster", "health")
            assert code == 5
            assert any(
                "the states of the members differ at index" in text for text in said["problems"]
            )
            assert any(cluster.nodes[3].address in text for text in said["problems"])
            code, said = asked(cluster, "cluster", "hash")
            assert (code, said["equal"]) == (5, False)

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
        assert len(lines) == 1  # and not one each time
        assert "index=" in lines[0]
        assert all(f"node_{node}=" in lines[0] for node in (1, 2, 3))
    assert_no_traceback(cluster)
