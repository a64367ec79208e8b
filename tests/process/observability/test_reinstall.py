"""Reinstalling members of a real cluster while clients write: killed in the middle, and the leader."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from qcore.processes import ProcessCluster, wait_for
from tests.process.conftest import ARGUMENTS, assert_no_traceback, initialise
from tests.process.observability.test_divergence import MACHINE, gauges, writers
from tests.process.support.commands import run_qcore, run_qcore_json

pytestmark = [pytest.mark.process, pytest.mark.long]


def begin_reinstall(cluster: ProcessCluster, node: int) -> subprocess.Popen[bytes]:
    """The command, in a separate process."""
    endpoints = ("--endpoints", ",".join(cluster.endpoints))
    return subprocess.Popen(
        [sys.executable, "-m", "qcore", "member", "reinstall", str(node), *endpoints],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_a_reinstall_survives_kills_of_the_member(tmp_path: Path) -> None:
    arguments = [*ARGUMENTS, "--machine", f"{MACHINE}:DivergingMachine"]
    with ProcessCluster(tmp_path, 3, arguments) as cluster:
        cluster.nodes[3].environment = {"ODD": "yes"}
        cluster.start()
        initialise(cluster)
        endpoints = cluster.endpoints
        odd = cluster.nodes[3]
        with writers(cluster):
            assert run_qcore("execute", "-", endpoints=endpoints, stdin="drift\n").returncode == 0
            wait_for(lambda: gauges(odd).get("qcore_state_diverged") == 1, 30, "the metric")
            for pause_s in (0.0, 0.3):
                command = begin_reinstall(cluster, 3)
                time.sleep(pause_s)  # anywhere in the middle: what follows holds at any moment
                odd.kill()
                odd.start()
                command.kill()
                command.wait()
            cluster.wait_leader()
            done = run_qcore_json("member", "reinstall", "3", endpoints=endpoints)
            assert done["node"] == 3
            wait_for(lambda: gauges(odd).get("qcore_state_diverged") == 0, 30, "node 3 serves")
            assert not (odd.data_dir / "diverged.json").exists()

            leader = cluster.wait_leader().node_id
            assert (
                run_qcore_json("member", "reinstall", str(leader), endpoints=endpoints)["node"]
                == leader
            )
            assert cluster.wait_leader().node_id != leader, "it handed over first"
        cluster.wait_converged()
        wait_for(
            lambda: run_qcore("cluster", "health", endpoints=endpoints).returncode == 0,
            30,
            "a healthy cluster",
        )
        assert run_qcore_json("cluster", "hash", endpoints=endpoints)["equal"] is True
    assert_no_traceback(cluster)
