"""Stale reads on real nodes with default settings, after the nodes that know of a write were killed."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from qcore.processes import NodeProcess, ProcessCluster, wait_for
from tests.process.conftest import assert_no_traceback, initialise
from tests.process.reads.test_lease_reads import Entity, make_entity, read, value_of
from tests.process.support.wire_client import WireClient, write_field

pytestmark = pytest.mark.process

#: The staleness bound of the reads, and the time during which the cluster has no majority.
BOUND_MS = 800
OUTAGE_S = 1.5
#: Followers learn of a commit by the next heartbeat, at most 100 ms after the write.
KILLED_AFTER_S = 0.018


class Reader(threading.Thread):
    """Reads from one node continuously, even while it is down, and counts the answers."""

    def __init__(self, node: NodeProcess, entity: Entity) -> None:
        super().__init__()
        self._node = node
        self._entity = entity
        self.values: Counter[str] = Counter()
        self.enough = threading.Event()

    def run(self) -> None:
        while not self.enough.is_set():
            try:
                with WireClient(self._node.address) as client:
                    self._read(client)
            except (OSError, ConnectionClosed, TimeoutError):
                time.sleep(0.01)

    def _read(self, client: WireClient) -> None:
        number = 0
        while not self.enough.is_set():
            number += 1
            _, reply = client.exchange(read(self._entity, str(number), {"stale": BOUND_MS}))
            self.values[value_of(reply) or "refused"] += 1


def test_a_stale_read_never_misses_a_write_older_than_its_bound(tmp_path: Path) -> None:
    """The leader acknowledges a write, and is killed together with one follower. The follower returns much later."""
    with ProcessCluster(tmp_path, size=3) as cluster:
        cluster.start()
        initialise(cluster)
        leader = cluster.wait_leader()
        entity = make_entity(leader)
        cluster.wait_converged()
        one, other = (node for node in cluster.nodes.values() if node is not leader)
        with WireClient(leader.address) as client:
            write = write_field(entity, "Text", {"String": "new"})
            assert client.perform("UpdateEntity", request=[write])["error"] is None
        time.sleep(KILLED_AFTER_S)
        leader.kill()
        one.kill()
        time.sleep(OUTAGE_S)
        readers = [Reader(one, entity), Reader(other, entity)]
        for reader in readers:
            reader.start()
        try:
            one.start()
            wait_for(
                lambda: all(reader.values["new"] for reader in readers),
                30,
                "both to know the write",
            )
        finally:
            for reader in readers:
                reader.enough.set()
            for reader in readers:
                reader.join(10)
        assert [reader.values["old"] for reader in readers] == [0, 0], [r.values for r in readers]
        assert readers[1].values["refused"], "the remaining node knew that its state was too old"
    assert_no_traceback(cluster)
