"""A stranger writes as much as it can to a cluster with small quotas (row A7): the disk is bounded, the rest works."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qcore.client import SyncClient
from qcore.errors import QuotaExceeded
from qcore.processes import ProcessCluster
from tests.process.attacks.strangers.attacked_clusters import TIMING
from tests.process.attacks.strangers.stranger import Stranger
from tests.process.conftest import initialise
from tests.process.support.commands import run_here

pytestmark = [pytest.mark.process, pytest.mark.long]

MIB = 1024 * 1024
STATE_QUOTA, LOG_QUOTA = 4 * MIB, 12 * MIB
#: The log, two snapshots, the write-ahead file, what SQLite has not freed yet.
MOST_DISK = LOG_QUOTA + 2 * STATE_QUOTA + 24 * MIB
QUOTAS = (
    *("--state-quota-bytes", str(STATE_QUOTA), "--log-quota-bytes", str(LOG_QUOTA)),
    *("--snapshot-bytes", str(4 * MIB), "--keep-bytes", str(MIB)),
)


def put(key: object, size: int) -> str:
    return json.dumps({"op": "set", "key": str(key), "value": "v" * size})


def disk_use(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def flood(address: str, number: int, size: int) -> list[str]:
    """Write to different registers, over one connection, and return how the writes ended."""
    outcomes = []
    with Stranger(address, None) as stranger:
        for key in range(number):
            write = {"Perform": {"id": str(key), "request": {"Write": put(key, size)}}}
            _, answer = stranger.exchange(write)
            body = answer["response"]["Write"]
            outcomes.append(body["detail"]["code"] if body["error"] else "ok")
    return outcomes


def test_a_stranger_cannot_fill_the_disk(tmp_path: Path) -> None:
    arguments = ("--machine", "register", *TIMING, *QUOTAS)
    with ProcessCluster(tmp_path, 3, arguments) as cluster:
        cluster.start()
        initialise(cluster)
        with SyncClient(cluster.endpoints, timeout_s=10) as honest:
            outcomes = [
                outcome
                for node in cluster.nodes.values()
                for outcome in flood(node.address, 12, MIB - 100)
            ]
            assert outcomes.count("ok") >= 4
            assert outcomes.count("QuotaExceeded") >= 20
            with pytest.raises(QuotaExceeded):
                honest.execute(put("mine", 10))
            health = run_here("cluster", "health", "--endpoints", cluster.endpoints[0])
            assert health.code == 5
            assert "rejects commands that may add to the state" in health.stdout
            assert honest.execute(json.dumps({"op": "get", "key": "0"}), read=True)
            for key in range(12):
                honest.execute(json.dumps({"op": "delete", "key": str(key)}))
            honest.execute(put("mine", 10))
            # The same bytes again and again do not add to the state, and the log is replaced by snapshots.
            for _ in range(30):
                honest.execute(put("again", MIB - 100))
        for node_id in cluster.nodes:
            assert disk_use(cluster.nodes[node_id].data_dir) < MOST_DISK
        health = run_here("cluster", "health", "--endpoints", cluster.endpoints[0])
        assert health.code == 0, health.stdout
