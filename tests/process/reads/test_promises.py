"""A promise of real nodes is durable, and binds them even after a restart without lease reads."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from qcore.processes import ProcessCluster, wait_for
from tests.process.conftest import assert_no_traceback, initialise
from tests.process.support.member_changes import on_disk, start_together

pytestmark = pytest.mark.process

PROMISED_S = 2.0
LEASED = (
    "--lease-reads",
    *("--election-timeout-min-ms", "2000", "--election-timeout-max-ms", "2800"),
)
#: Settings with which the restarted nodes would elect another leader immediately.
QUICK = ("--election-timeout-min-ms", "300", "--election-timeout-max-ms", "600")


def test_a_lease_promise_survives_a_restart_without_lease_reads(
    tmp_path: Path,
) -> None:
    """The leader is paused meanwhile. When it resumes, it could serve a read by the promised lease."""
    with ProcessCluster(tmp_path, size=3, arguments=LEASED) as cluster:
        cluster.start()
        initialise(cluster)
        leader = cluster.wait_leader()
        followers = [node for node in cluster.nodes.values() if node is not leader]
        for node in followers:
            node.kill()
            assert on_disk(node).hard_state.promise_ms == PROMISED_S * 1000
            node.arguments = list(QUICK)
        leader.pause()
        try:
            since = time.monotonic()
            start_together(followers)
            wait_for(
                lambda: any(node.status().get("state") == "Leader" for node in followers),
                30,
                "one of the followers to lead",
            )
            assert time.monotonic() - since >= PROMISED_S
        finally:
            leader.resume()
        cluster.wait_converged()
        for node in followers:
            node.kill()
            assert on_disk(node).hard_state.promise_ms == 0, "the promise has expired"
    assert_no_traceback(cluster)
