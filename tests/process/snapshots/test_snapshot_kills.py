"""kill -9 hits nodes during the transfer of a snapshot, and the tests prove that it did.

A snapshot of several megabytes is sent in dozens of chunks, one at a time. The test pauses the receiver or the sender
with SIGSTOP, checks in the metrics of the other side that the transfer is neither at its beginning nor complete, and
only then kills the node.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qcore.core.config import RaftConfig
from qcore.core.log.durable_state import last_index
from qcore.processes import NodeProcess, ProcessCluster, wait_for
from tests.process.conftest import assert_no_traceback
from tests.process.support.load import Load
from tests.process.support.member_changes import initialised_cluster, on_disk
from tests.process.support.wire_client import WireClient, string_schema, write_field

pytestmark = pytest.mark.process

#: Characters of one chunk on real nodes.
CHUNK = RaftConfig(node_id=1).max_snapshot_chunk
#: A node takes a snapshot after this many bytes. The small writes of the load hardly count.
SNAPSHOT_BYTES = 8_000_000
POLICY = ("--snapshot-entries", "0", "--snapshot-bytes", str(SNAPSHOT_BYTES), "--keep-entries", "5")
#: The size of one write.
TEXT = 500_000


def make_big(cluster: ProcessCluster) -> list[dict[str, Any]]:
    """Create the entities to which `write_megabytes` writes."""
    with WireClient(cluster.wait_leader().address) as client:
        client.perform("SetSchema", entity_schema=string_schema("Big", "Name", "Text"))
        made = [
            client.perform("CreateEntity", entity_type="Big", parent_id=None, name=f"big{n}")
            for n in range(SNAPSHOT_BYTES // TEXT + 2)
        ]
    return [answer["response"] for answer in made]


def write_megabytes(cluster: ProcessCluster, big: list[dict[str, Any]], letter: str) -> None:
    """Write so much that every running node takes a snapshot."""
    with WireClient(cluster.wait_leader().address) as client:
        for number, entity in enumerate(big):
            # All values differ: a snapshot holds a value that several entities share only once.
            text = f"{number} ".ljust(TEXT, letter)
            write = write_field(entity, "Text", {"String": text})
            assert client.perform("UpdateEntity", request=[write])["error"] is None


def snapshot_index(node: NodeProcess) -> int:
    """The last index that the node's newest snapshot covers; 0 without one."""
    log_id = node.status().get("snapshot")
    return 0 if log_id is None else int(log_id["index"])


def wait_compacted(nodes: list[NodeProcess], beyond: int) -> None:
    """Wait until these nodes have compacted their logs up to `beyond`, so that a node behind needs a snapshot."""

    def compacted() -> bool:
        return all(
            node.status().get("qcore", {}).get("first_log_index", 0) > beyond + 1 for node in nodes
        )

    wait_for(compacted, 30, f"the log to be compacted up to {beyond}")


def wait_installed(node: NodeProcess, beyond: int) -> None:
    """Wait until the node has a snapshot beyond this index."""
    wait_for(lambda: snapshot_index(node) > beyond, 60, "the snapshot to be installed")


def snapshot_on_disk(node: NodeProcess) -> int:
    """The last index of the dead node's snapshot. Loading it verifies every checksum."""
    snapshot = on_disk(node).snapshot
    return 0 if snapshot is None else snapshot.meta.last_included_index


def receiving(node: NodeProcess) -> dict[str, int] | None:
    """The snapshot that the node receives."""
    transfers = node.status().get("qcore", {}).get("snapshot_transfers", {})
    held: dict[str, int] | None = transfers.get("receiving")
    return held


def sending(node: NodeProcess, to: NodeProcess) -> dict[str, int] | None:
    """The snapshot that this leader sends to the other node."""
    transfers = node.status().get("qcore", {}).get("snapshot_transfers", {})
    held: dict[str, int] | None = transfers.get("sending", {}).get(str(to.node_id))
    return held


def freeze_receiver(
    leader: NodeProcess, node: NodeProcess, share: float, had: int
) -> dict[str, int] | None:
    """Pause the node, whose log ended at `had`, when it has received at least `share` of a snapshot but not all.

    Returns:
        the transfer as the leader sees it, with the node paused; None if the transfer completed too soon.
    """
    seen: dict[str, int] | None = None
    deadline = time.monotonic() + 30
    while seen is None:  # no pause: on a fast machine a chunk takes only milliseconds
        status = node.status()
        log_id = status.get("snapshot")
        if log_id is not None and log_id["index"] > had:
            return None
        transfers = status.get("qcore", {}).get("snapshot_transfers", {})
        held = transfers.get("receiving")
        if held is not None and held["offset"] >= max(1, share * held["total"]):
            seen = held
        assert time.monotonic() < deadline, f"the node did not receive {share:.0%} of a snapshot"
    node.pause()
    held = sending(leader, node)
    # One chunk may be in flight. The progress that the leader knows cannot grow any more.
    if held is None or held["index"] != seen["index"] or held["offset"] + CHUNK >= held["total"]:
        return None
    return held


def kill_receiver(leader: NodeProcess, node: NodeProcess, share: float) -> bool:
    """Start the node and kill it between two chunks, at `share` or slightly later. Its disk must not hold any chunk.

    Returns:
        False if the snapshot was complete before the node could be paused. It is killed nevertheless.
    """
    before = on_disk(node)
    node.start()
    transfer = freeze_receiver(leader, node, share, last_index(before))
    node.kill()
    if transfer is not None:
        after = on_disk(node)
        assert after.snapshot == before.snapshot, "a part of a snapshot reached the disk"
        assert after.entries == before.entries
    return transfer is not None


def kill_sender(leader: NodeProcess, node: NodeProcess, had: int) -> bool:
    """Start the node, whose log ended at `had`, and kill the leader while the node has only a part of the snapshot.

    Returns:
        False if the snapshot was complete before the leader could be paused; then the leader continues.
    """
    node.start()
    wait_for(lambda: receiving(node) or snapshot_index(node) > had, 30, "a first chunk to arrive")
    leader.pause()
    seen: list[dict[str, int] | None] = [None, receiving(node)]
    while seen[0] != seen[1]:  # chunks in flight arrive
        time.sleep(0.05)
        seen = [seen[1], receiving(node)]
    held = seen[0]
    if held is None or not 0 < held["offset"] < held["total"]:
        leader.resume()
        return False
    leader.kill()
    return True


class Lagging:
    """A cluster of three in which one node repeatedly dies and falls behind the compacted log."""

    def __init__(self, cluster: ProcessCluster) -> None:
        self.cluster = cluster
        self._big = make_big(cluster)
        self._letters = iter("abcdefghijklmnop")
        cluster.wait_converged()
        leader = cluster.wait_leader()
        self.node = next(node for node in cluster.running() if node is not leader)
        self.node.kill()

    def fall_behind(self) -> int:
        """While the node is dead, make the others compact the entries that it lacks. Return the end of its log."""
        state = on_disk(self.node)
        had = last_index(state)
        write_megabytes(self.cluster, self._big, next(self._letters))
        wait_compacted(self.cluster.running(), had)
        return had


def test_killing_a_receiver_between_chunks_does_no_harm(tmp_path: Path) -> None:
    with initialised_cluster(tmp_path, size=3, voters=3, arguments=POLICY) as cluster:
        lagging = Lagging(cluster)
        others = cluster.running()
        with Load([node.address for node in others], clients=3, pause_s=0.01) as load:
            shares = [0.0, 0.6]
            had = lagging.fall_behind()
            for _ in range(10):
                leader = cluster.wait_leader()
                if kill_receiver(leader, lagging.node, shares[0]):
                    del shares[0]
                else:
                    had = lagging.fall_behind()
                if not shares:
                    break
            assert not shares, "the kills did not hit the transfers"
            lagging.node.start()
            wait_installed(lagging.node, had)
            load.wait_acknowledged(20)
        load.read_all()
        load.check()
        cluster.wait_converged()
    assert_no_traceback(cluster)


@pytest.mark.long  # the simulator kills leaders during installations
def test_the_next_leader_finishes_an_interrupted_installation(
    tmp_path: Path,
) -> None:
    with initialised_cluster(tmp_path, size=3, voters=3, arguments=POLICY) as cluster:
        lagging = Lagging(cluster)
        with Load(cluster.endpoints, clients=3, pause_s=0.01) as load:
            for _ in range(5):
                had = lagging.fall_behind()
                leader = cluster.wait_leader()
                if kill_sender(leader, lagging.node, had):
                    break
                lagging.node.kill()
            assert not leader.running, "the kill did not hit the transfer"
            load.wait_acknowledged(20)
            wait_installed(lagging.node, had)
            leader.start()
            load.wait_acknowledged(20)
        load.read_all()
        load.check()
        cluster.wait_converged()
    assert_no_traceback(cluster)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(3))
def test_random_kills_during_installations_do_no_harm(
    tmp_path: Path, seed: int, record_property: Callable[[str, object], None]
) -> None:
    """The receiver or the sender dies at a random moment, possibly while the receiver stores the snapshot.

    At every moment the receiver's disk holds the old state or the new one.
    """
    rng = random.Random(seed)
    died: Counter[str] = Counter()
    with initialised_cluster(tmp_path, size=3, voters=3, arguments=POLICY) as cluster:
        lagging = Lagging(cluster)
        with Load(cluster.endpoints, clients=2, pause_s=0.02) as load:
            for round_number in range(1, 9):
                had = lagging.fall_behind()
                while snapshot_on_disk(lagging.node) <= had and died.total() < 3 * round_number:
                    died[kill_somewhere(cluster, lagging.node, rng)] += 1
                lagging.node.start()
                wait_installed(lagging.node, had)
                load.wait_acknowledged(20)
                lagging.node.kill()
            lagging.node.start()
        load.read_all()
        load.check()
        cluster.wait_converged()
    assert_no_traceback(cluster)
    record_property("died", dict(died))
    assert died["receiver, old state"] >= 4, died
    assert died["sender, old state"] >= 1, died


def kill_somewhere(cluster: ProcessCluster, away: NodeProcess, rng: random.Random) -> str:
    """Start the node that needs a snapshot, and kill it or its leader. Return which, and the state on its disk."""
    before = snapshot_on_disk(away)
    away.start()
    leader = cluster.wait_leader()
    wait_for(lambda: receiving(away) or snapshot_index(away) > before, 30, "a first chunk")
    kills_sender = rng.random() < 0.4
    at_the_end = not kills_sender and rng.random() < 0.5
    while at_the_end:
        held = sending(leader, away)
        if held is None or held["offset"] + CHUNK >= held["total"]:
            break
    time.sleep(rng.random() * (0.3 if not (at_the_end or kills_sender) else 0.1))  # a random moment
    if kills_sender:
        leader.kill()
        in_time = snapshot_index(away) <= before
        away.kill()
        leader.start()
        who = "sender"
    else:
        away.kill()
        in_time = snapshot_on_disk(away) <= before
        who = "receiver"
    assert snapshot_on_disk(away) >= before
    return f"{who}, {'old' if in_time else 'new'} state"
