"""A real node under a stream of large writes: the log on disk, which a restart loads, stays small."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qcore.processes import NodeProcess, ProcessCluster, wait_for
from tests.process.conftest import assert_no_traceback
from tests.process.support.member_changes import initialised_cluster, on_disk
from tests.process.support.wire_client import WireClient, string_schema, write_field

pytestmark = pytest.mark.process

SNAPSHOT_BYTES, KEEP_BYTES = 1_000_000, 200_000
POLICY = ("--snapshot-bytes", str(SNAPSHOT_BYTES), "--keep-bytes", str(KEEP_BYTES))
#: Four entities, each with a large value: their snapshot is stored in parts.
VALUE, ENTITIES, ROUNDS = 400_000, 4, 30
STATE = ENTITIES * VALUE
#: The bound of `docs/reference/limits.md`, plus one transaction.
BOUND = KEEP_BYTES + 4 * max(SNAPSHOT_BYTES, STATE) + 4_000_000


def metrics(node: NodeProcess) -> dict[str, float]:
    """The metrics without labels."""
    status, body = node.get("/metrics")
    assert status == 200
    return {name: float(value) for name, value in re.findall(r"^(\w+) (\S+)$", body, re.MULTILINE)}


def write_concurrently(cluster: ProcessCluster) -> list[float]:
    """Write to all entities concurrently, each over a separate connection. Return the sizes of the log meanwhile."""
    node = cluster.wait_leader()
    with WireClient(node.address) as client:
        client.perform("SetSchema", entity_schema=string_schema("Big", "Name", "Text"))
        made = [
            client.perform("CreateEntity", entity_type="Big", parent_id=None, name=f"big{number}")
            for number in range(ENTITIES)
        ]

    def write(number: int) -> list[float]:
        seen: list[float] = []
        with WireClient(node.address) as client:
            for _ in range(ROUNDS):
                text = {"String": f"{number}" * VALUE}
                request = [write_field(made[number]["response"], "Text", text)]
                assert client.perform("UpdateEntity", request=request)["error"] is None
                seen.append(metrics(node)["qcore_log_bytes"])
        return seen

    with ThreadPoolExecutor(ENTITIES) as pool:
        return [size for seen in pool.map(write, range(ENTITIES)) for size in seen]


def test_large_writes_keep_the_log_of_a_node_bounded(
    tmp_path: Path,
) -> None:
    written = ENTITIES * ROUNDS * VALUE
    assert written / 4 > BOUND, "otherwise the test proves nothing"
    with initialised_cluster(tmp_path, size=1, arguments=POLICY) as cluster:
        node = cluster.nodes[1]
        sizes = write_concurrently(cluster)
        assert max(sizes) <= BOUND
        seen = metrics(node)
        assert 0 < seen["qcore_snapshot_stored_index"] <= seen["qcore_snapshot_captured_index"]
        assert seen["qcore_snapshots_stored_total"] >= 3
        assert seen["qcore_snapshot_stored_timestamp_seconds"] > 1_700_000_000
        stored = node.status()["qcore"]["stored"]
        assert stored["log_bytes"] <= BOUND
        assert (node.data_dir / "log.db").stat().st_size <= BOUND + 3 * STATE

        node.kill()
        state = on_disk(node)
        assert state.snapshot is not None
        assert sum(entry.size_bytes() for entry in state.entries) <= BOUND
        assert len(state.entries) <= BOUND // VALUE + 5
        node.start()
        cluster.wait_leader()
        covered = state.snapshot.meta.last_included_index
        again = metrics(node)
        assert again["qcore_snapshot_stored_index"] >= covered, "the metric is known from the start"
        wait_for(lambda: metrics(node)["qcore_log_bytes"] <= BOUND, 60, "a bounded log")
    assert_no_traceback(cluster)
