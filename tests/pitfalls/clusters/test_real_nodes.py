"""Real processes on real files: an acknowledgement before the sync, a stalled disk, a lost response."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from qcore.processes import NodeProcess, ProcessCluster, ProcessError, wait_for
from tests.process.conftest import ARGUMENTS, assert_no_traceback, initialise
from tests.process.support.load import schema_of_item
from tests.process.support.wire_client import WireClient, read_field, string_schema, write_field

pytestmark = pytest.mark.process

PROGRAM = str(Path(__file__).parents[1] / "support" / "faulty_node.py")

#: Several of the longest election timeouts of `ARGUMENTS`: a leader would have stepped down by then.
SEVERAL_TIMEOUTS_S = 2.0


@contextmanager
def nodes(
    directory: Path, size: int, arguments: Sequence[str] = ARGUMENTS, without: str = ""
) -> Iterator[ProcessCluster]:
    """A cluster of nodes whose disks can be stalled, without some guards."""
    environment = {"QCORE_TEST_WITHOUT": without}
    if without:
        environment["QCORE_PURE"] = "1"  # the program replaces functions
    with ProcessCluster(directory, size, arguments, environment) as cluster:
        for node in cluster.nodes.values():
            node.program = (PROGRAM,)
        cluster.start()
        initialise(cluster)
        yield cluster
    assert_no_traceback(cluster)


def stall(node: NodeProcess) -> Path:
    """Stall the node's disk: no write ends until the returned file is removed."""
    flag = node.data_dir.with_name(node.data_dir.name + ".stall")
    flag.touch()
    return flag


def create(client: WireClient, schema: dict[str, Any]) -> dict[str, Any]:
    """Set the schema of type Item and create an entity of it."""
    client.perform("SetSchema", entity_schema=schema)
    made = client.perform("CreateEntity", entity_type="Item", parent_id=None, name="one")
    entity: dict[str, Any] = made["response"]
    return entity


def write_name(client: WireClient, entity: dict[str, Any], name: str, timeout_s: float) -> bool:
    """Write the entity's field; return whether the write was acknowledged in time."""
    client.timeout_s = timeout_s
    write = write_field(entity, "Name", {"String": name})
    try:
        return bool(client.perform("UpdateEntity", request=[write])["error"] is None)
    except TimeoutError:
        return False


def read(node: NodeProcess, entity: dict[str, Any], field: str, *, stale: bool = False) -> Any:
    """The field, by a linearizable read or by a stale read at this node."""
    consistency = {"stale": 60_000} if stale else "linearizable"
    request = {"UpdateEntity": {"request": [read_field(entity, field)]}}
    with WireClient(node.address) as client:
        reply = client.ask("Perform", request=request, consistency=consistency)
    value = reply["UpdateEntity"]["response"][0]["Read"]["value"]
    return next(iter(value.values())) if value else None


# -- a single node loses power ----------------------------------------------------------------------


def a_single_node_is_killed_before_its_sync(
    directory: Path, wait_s: float, without: str = ""
) -> tuple[bool, bool]:
    """etcd#14370: the write of a single node does not reach its file; a client waits; the node dies.

    Args:
        directory: for the data.
        wait_s: how long the client waits for an acknowledgement that a guarded node never sends.
        without: the guards to remove.

    Returns:
        whether the write was acknowledged, and whether its value is there after the restart.
    """
    with nodes(directory, 1, without=without) as cluster:
        node = cluster.nodes[1]
        with WireClient(node.address) as client:
            entity = create(client, string_schema("Item", "Name"))
            flag = stall(node)
            acknowledged = write_name(client, entity, "new", wait_s)
        node.kill()
        flag.unlink()
        node.start()
        cluster.wait_leader()
        return acknowledged, read(node, entity, "Name") == "new"


def test_real_node_acknowledges_only_what_is_durable(tmp_path: Path) -> None:
    assert a_single_node_is_killed_before_its_sync(tmp_path, 0.7) == (False, False)


def test_without_sync_real_node_loses_acknowledged_command(
    tmp_path: Path,
) -> None:
    seen = a_single_node_is_killed_before_its_sync(tmp_path, 20, "append_durable_before_ack")
    assert seen == (True, False)


# -- a stalled disk --------------------------------------------------------------------------------


def stepped_down(node: NodeProcess) -> bool:
    """True if the node answers that it does not lead; False if it answers nothing."""
    return bool(node.status().get("state", "Leader") != "Leader")


def a_real_leaders_disk_hangs(directory: Path, wait_s: float, without: str = "") -> str:
    """etcd#13527: the leader appends a command, and its write does not end during the test.

    Args:
        directory: for the data.
        wait_s: how long to wait for it to step down.
        without: the guards to remove.

    Returns:
        what the leader does: `steps down` (another node takes over), `stays` or `falls silent`.
    """
    with nodes(directory, 3, without=without) as cluster:
        leader = cluster.wait_leader()
        with WireClient(leader.address) as client:
            entity = create(client, string_schema("Item", "Name"))
            flag = stall(leader)
            write = write_field(entity, "Name", {"String": "stuck"})
            request = {"UpdateEntity": {"request": [write]}}
            client.send({"Perform": {"id": "stuck", "request": request}})
            try:
                wait_for(lambda: stepped_down(leader), wait_s, "it to step down")
            except ProcessError:
                did = "stays" if leader.get("/status", 0.5)[0] == 200 else "falls silent"
            else:
                did = "steps down"
                another_leader_accepts_a_write(cluster, leader, entity)
                assert stepped_down(leader), "it answers although its write is still stuck"
            flag.unlink()
        cluster.wait_converged()
    return did


def another_leader_accepts_a_write(
    cluster: ProcessCluster, away: NodeProcess, entity: dict[str, Any]
) -> None:
    """Another node leads and accepts a write."""
    others = [node for node in cluster.running() if node is not away]

    def written() -> bool:
        leading = [node for node in others if node.status().get("state") == "Leader"]
        if not leading:
            return False
        with WireClient(leading[0].address) as client:
            return write_name(client, entity, "elsewhere", 20)

    wait_for(written, 60, "a write at another leader")


def test_real_leader_with_stalled_disk_steps_down_and_answers(tmp_path: Path) -> None:
    assert a_real_leaders_disk_hangs(tmp_path, 20) == "steps down"


@pytest.mark.long  # shows that the test with the guard can fail
def test_without_disk_watch_real_leader_stays(tmp_path: Path) -> None:
    """Several attempts, because on a busy computer the leader may lose its leadership for another reason."""
    seen: list[str] = []
    while "stays" not in seen and len(seen) < 4:
        directory = tmp_path / str(len(seen))
        directory.mkdir()
        seen.append(a_real_leaders_disk_hangs(directory, SEVERAL_TIMEOUTS_S, "disk_stalled"))
    assert seen[-1] == "stays"


@pytest.mark.long  # shows that the test with the guard can fail
def test_without_disk_thread_real_node_falls_silent(tmp_path: Path) -> None:
    """Without the disk thread a stalled disk stops everything: no heartbeat, no step-down, no response."""
    assert a_real_leaders_disk_hangs(tmp_path, 1.0, "disk_thread") == "falls silent"


def test_cluster_goes_on_while_a_follower_waits_for_its_disk(tmp_path: Path) -> None:
    """A follower waits in its event loop; the others go on. Afterwards it catches up."""
    with nodes(tmp_path, 3) as cluster:
        leader = cluster.wait_leader()
        with WireClient(leader.address) as client:
            entity = create(client, string_schema("Item", "Name"))
            stuck = next(node for node in cluster.running() if node is not leader)
            flag = stall(stuck)
            for number in range(20):
                assert write_name(client, entity, f"number {number}", 60)
            flag.unlink()
            wait_for(lambda: read(stuck, entity, "Name", stale=True) == "number 19", 60, "it")
            assert write_name(client, entity, "last", 60)
        cluster.wait_converged()


def term_of_leader(node: NodeProcess) -> int | None:
    """The term in which the node leads; None if it does not lead."""
    status = node.status()
    return status["current_term"] if status.get("state") == "Leader" else None


def writing_threads(
    cluster: ProcessCluster, entity: dict[str, Any], target: NodeProcess
) -> dict[NodeProcess, set[str]] | None:
    """Let the node lead, and write. Returns the threads that wrote, by node; None if it did not lead all the time."""
    leader = cluster.wait_leader()
    if leader is not target:
        with WireClient(leader.address) as client:
            client.ask("TransferLeader", to=target.node_id)
    term = term_of_leader(target)
    files = [
        (node, node.data_dir.with_name(f"{node.data_dir.name}.writers"))
        for node in cluster.running()
    ]
    with WireClient(target.address) as client:
        if term is None or not write_name(client, entity, "settled", 60):
            return None
        cluster.wait_converged()
        for _, file in files:
            file.write_text("")
        written = [write_name(client, entity, f"number {number}", 60) for number in range(30)]
    cluster.wait_converged()
    seen = {node: set(file.read_text().split()) for node, file in files}
    return seen if all(written) and term_of_leader(target) == term else None


def followers_write_in_their_loop(
    cluster: ProcessCluster, entity: dict[str, Any], target: NodeProcess
) -> bool:
    """Let the node lead, and write. Whether each follower wrote in its loop, which it does if its disk is fast."""
    seen = wait_for(partial(writing_threads, cluster, entity, target), 60, "a calm time")
    assert seen.pop(target) == {"disk"}, "the leader's loop waited for the disk"
    return all("loop" in threads for threads in seen.values())


def test_only_a_node_that_follows_writes_in_its_loop(tmp_path: Path) -> None:
    """Each node leads for a while. A write in the loop of a leader or candidate could silence it."""
    with nodes(tmp_path, 3) as cluster:
        with WireClient(cluster.wait_leader().address) as client:
            entity = create(client, string_schema("Item", "Name"))
        first = cluster.nodes[1]
        for target in [*cluster.nodes.values(), first]:
            wait_for(
                partial(followers_write_in_their_loop, cluster, entity, target), 120, "a fast disk"
            )


# -- a lost reply ----------------------------------------------------------------------------------


def send_again(node: NodeProcess, once: dict[str, Any]) -> None:
    """Send the increment with its sequence number to this node until it responds."""

    def answered() -> bool:
        with WireClient(node.address) as client:
            reply = client.ask("Perform", **once)
        return bool(reply["UpdateEntity"]["error"] is None)

    wait_for(answered, 60, "the increment to be answered")


def has_snapshot(node: NodeProcess) -> bool:
    return node.status().get("snapshot") is not None


def an_increment_is_sent_again_elsewhere(directory: Path, without: str = "") -> int:
    """redisraft#52, etcd#18424: the leader dies after the commit and before the client reads its response.

    The client sends the increment again, with its sequence number, to another node. It sends it once more after every
    node has taken a snapshot, was killed and has restarted.

    Returns:
        the counter, which should be 1.
    """
    policy = ("--snapshot-entries", "8", "--keep-entries", "0")  # and a node's usual timeouts
    with nodes(directory, 3, policy, without) as cluster:
        leader = cluster.wait_leader()
        with WireClient(leader.address) as client:
            entity = create(client, schema_of_item())
            session = client.ask("OpenSession", lifetime_ms=600_000)["Ok"]
            cluster.wait_converged()
            add = write_field(entity, "Count", {"Int": 1})
            add["Write"]["adjust_behavior"] = "Add"
            once = {
                "request": {"UpdateEntity": {"request": [add]}},
                "session": {"id": session, "sequence": 1},
            }
            client.send({"Perform": {"id": "lost", **once}})
            others = [node for node in cluster.running() if node is not leader]
            wait_for(
                lambda: any(read(node, entity, "Count", stale=True) == 1 for node in others),
                20,
                "the increment to be committed",
            )
            leader.kill()
        cluster.wait_leader()
        send_again(others[0], once)
        with WireClient(others[0].address) as client:
            for number in range(10):
                write_name(client, entity, f"fill {number}", 20)
        leader.start()
        cluster.wait_converged()
        for node in cluster.nodes.values():
            wait_for(partial(has_snapshot, node), 60, "a snapshot")
            node.kill()
        cluster.start()
        last = cluster.wait_leader()
        send_again(leader, once)
        counted: int = read(last, entity, "Count")
        return counted


@pytest.mark.long  # `tests/process/sessions` has a test of a lost response in the short run
def test_increment_resent_to_real_nodes_counts_once(
    tmp_path: Path,
) -> None:
    assert an_increment_is_sent_again_elsewhere(tmp_path) == 1


@pytest.mark.long  # shows that the test with the guard can fail
def test_without_recorded_reply_real_nodes_count_each_retry(
    tmp_path: Path,
) -> None:
    assert an_increment_is_sent_again_elsewhere(tmp_path, "recorded_replies") >= 3
