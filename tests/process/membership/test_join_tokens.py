"""Join tokens with real nodes: one token adds one node, and a node that waits with a token joins its cluster only."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from qcore.client import SyncClient
from qcore.client.client import Client
from qcore.errors import AccessRefused, ChangeRefused, NotCaughtUp, QcoreError
from qcore.node.peers.join_token_file import JOIN_TOKEN_VARIABLE
from qcore.node.peers.node_key_file import load_key
from qcore.processes import NodeProcess, ProcessCluster, wait_for
from qcore.security.keys.join_token import PREFIX, HeldJoinToken
from qcore.security.keys.node_key import NodeKey, to_base64url
from tests.process.conftest import ARGUMENTS, assert_no_traceback
from tests.process.support.member_changes import client_of, initialised_cluster, wait_configs
from tests.process.support.raw_peer import connect_as, hello_of, say_hello
from tests.process.support.wire_client import WireClient

pytestmark = pytest.mark.process

STRANGER = NodeKey(b"a stranger's seed, 32 bytes long")

TRACE = "trace.jsonl"

_T = TypeVar("_T")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    """A cluster of node 1, and nodes that are not started. A test adds nodes that no other test uses."""
    directory = tmp_path_factory.mktemp("cluster")
    made = initialised_cluster(directory, size=6, arguments=["--trace", str(directory / TRACE)])
    with made:
        yield made
    assert_no_traceback(made)


def ask(cluster: ProcessCluster, work: Callable[[Client], Awaitable[_T]]) -> _T:
    async def run() -> _T:
        async with client_of(cluster) as client:
            return await work(client)

    return asyncio.run(run())


def new_token(cluster: ProcessCluster, ttl_s: int | None = None) -> HeldJoinToken:
    return ask(cluster, lambda client: client.create_join_token(ttl_s=ttl_s))


def start_with(node: NodeProcess, token: HeldJoinToken | str) -> Path:
    """Start the node with this token in a file."""
    file = node.data_dir.with_suffix(".token")
    file.write_text(token if isinstance(token, str) else token.text() + "\n")
    file.chmod(0o600)
    node.arguments = [*ARGUMENTS, "--join-token-file", str(file)]
    node.start()
    return file


def add(cluster: ProcessCluster, node: NodeProcess) -> None:
    """Add the node without its key."""
    ask(cluster, lambda client: client.add_learner(node.node_id, node.address))


def ask_briefly(cluster: ProcessCluster, node: NodeProcess) -> None:
    """As `add`, for a node that will not catch up."""

    async def work() -> None:
        async with Client([cluster.nodes[1].address], timeout_s=3, attempt_timeout_s=2) as client:
            await client.add_learner(node.node_id, node.address)

    asyncio.run(work())


def refusal(cluster: ProcessCluster, node: NodeProcess) -> QcoreError:
    """Why the node is not added. Nothing has changed then."""
    before = membership(cluster)
    with pytest.raises((ChangeRefused, AccessRefused)) as caught:
        add(cluster, node)
    assert membership(cluster) == before
    return caught.value


def membership(cluster: ProcessCluster) -> Any:
    status = cluster.nodes[1].status()
    return status["membership_config"]["membership"], status["qcore"]["membership_index"]


def tokens(cluster: ProcessCluster) -> list[str]:
    found = ask(cluster, lambda client: client.list_join_tokens())
    return [each.token_id for each in found]


def drop_tokens(cluster: ProcessCluster) -> None:
    for token_id in tokens(cluster):
        ask(cluster, partial(Client.delete_join_token, token_id=token_id))


def test_a_token_adds_one_node_and_is_used_then(cluster: ProcessCluster) -> None:
    two, three = cluster.nodes[2], cluster.nodes[3]
    token = new_token(cluster)
    assert tokens(cluster) == [token.token_id]
    start_with(two, token)
    add(cluster, two)
    assert tokens(cluster) == []
    assert membership(cluster)[0]["nodes"]["2"]["addr"] == two.address
    assert two.status()["qcore"]["cluster_id"] == token.cluster_id

    start_with(three, token)
    why = str(refusal(cluster, three))
    assert "no valid join token" in why
    assert "--join-token-file" in why
    assert "qcore node key" in why
    new_token(cluster)  # now the node is asked
    error = refusal(cluster, three)
    assert isinstance(error, AccessRefused)
    assert "was used or withdrawn, or has expired" in str(error)
    three.stop()

    two.stop()
    two.start()
    wait_for(lambda: "its join token is ignored" in two.log_text(), 60, "a line about the token")
    assert two.log_text().count("its join token is ignored") == 1
    secrets = (to_base64url(token.seed), token.text().removeprefix(PREFIX)[20:60])
    command = Path(f"/proc/{two.pid}/cmdline").read_bytes()
    one = cluster.nodes[1]
    shown = subprocess.run(
        [sys.executable, "-m", "qcore", "log", "dump", "--data-dir", str(one.data_dir)],
        capture_output=True,
        check=True,
    ).stdout
    assert b"use_join_token" in shown
    files = [*one.data_dir.iterdir(), one.data_dir.parent / TRACE, one.log_path, two.log_path]
    held = [file.read_bytes() for file in files if file.is_file()]
    assert b"use_join_token" in b"".join(held)
    for secret in secrets:
        for content in (command, shown, *held):
            assert secret.encode() not in content


@pytest.mark.long
def test_a_withdrawn_token_adds_no_node(cluster: ProcessCluster) -> None:
    token, node = new_token(cluster), cluster.nodes[4]
    start_with(node, token)
    drop_tokens(cluster)
    assert "no valid join token" in str(refusal(cluster, node))
    new_token(cluster)
    assert "was used or withdrawn" in str(refusal(cluster, node))
    with pytest.raises(AccessRefused, match="there is no join token"):
        ask(cluster, partial(Client.delete_join_token, token_id=token.token_id))
    drop_tokens(cluster)
    node.stop()


@pytest.mark.long
def test_an_expired_token_adds_no_node(cluster: ProcessCluster) -> None:
    token, node = new_token(cluster, ttl_s=1), cluster.nodes[4]
    start_with(node, token)

    def expired() -> bool:
        found = ask(cluster, Client.list_join_tokens)
        return [each.expires_s for each in found] == [0]

    assert not expired()
    wait_for(expired, 60, "the end of the token, by the cluster clock")
    assert re.search("expired|no valid join token", str(refusal(cluster, node)))
    drop_tokens(cluster)
    node.stop()


@pytest.mark.long
def test_a_node_without_a_token_of_this_cluster_is_not_added(
    cluster: ProcessCluster,
) -> None:
    token, node = new_token(cluster), cluster.nodes[4]
    start_with(node, replace(token, cluster_id="another"))
    why = str(refusal(cluster, node))
    assert "has a join token of cluster another" in why
    assert "--join-token-file" in why
    node.stop()
    node.arguments = [*ARGUMENTS]
    node.start()
    assert "has no join token" in str(refusal(cluster, node))
    node.stop()
    for changed in (
        replace(token, seed=bytes(32)),  # one that the cluster knows by another key
        replace(token, token_id="unknown"),
    ):
        start_with(node, changed)
        refusal(cluster, node)
        node.stop()
    drop_tokens(cluster)


def test_a_waiting_node_takes_part_in_no_other_cluster(cluster: ProcessCluster) -> None:
    token, node = new_token(cluster), cluster.nodes[5]
    start_with(node, token)
    member = load_key(cluster.nodes[1].data_dir)
    assert member is not None
    hellos = (
        hello_of(1, "another", member),
        hello_of(1, "another", STRANGER),
        hello_of(1, token.cluster_id, STRANGER),
        hello_of(1, token.cluster_id),
        hello_of(9, token.cluster_id, STRANGER),
        hello_of(9, token.cluster_id, STRANGER, vouchers=[[1, 10**9, "A" * 86]]),
        hello_of(9, "another", STRANGER, role="asking"),
        hello_of(9, "", STRANGER, role="asking"),
    )
    for hello in hellos:
        with WireClient(node.address) as client:
            assert "Err" in connect_as(client, hello, STRANGER), hello
    with WireClient(node.address) as client:
        response = client.ask("Init", nodes=[[5, node.address]])
        assert f"has a join token of cluster {token.cluster_id}" in response["Err"]
    with WireClient(node.address) as client:  # a member asks, and gets a proof
        reply = say_hello(client, hello_of(1, token.cluster_id, member, role="asking"))["Ok"]
        assert reply["join_token"] == token.token_id
    assert node.status()["qcore"]["cluster_id"] is None
    add(cluster, node)
    assert node.status()["qcore"]["cluster_id"] == token.cluster_id


@pytest.mark.long
def test_a_leader_that_the_token_does_not_name_is_vouched_for(tmp_path: Path) -> None:
    """The token names node 1 only. Node 2 has joined since, and leads."""
    with initialised_cluster(tmp_path, size=3) as cluster:
        two, three = cluster.nodes[2], cluster.nodes[3]
        token = new_token(cluster)
        assert [node for node, _ in token.members] == [1]
        start_with(three, token)
        start_with(two, new_token(cluster))
        add(cluster, two)
        ask(cluster, lambda client: client.change_membership([1, 2]))
        wait_configs(cluster, [1, 2])
        ask(cluster, lambda client: client.transfer_leader(2))
        add(cluster, three)
        assert tokens(cluster) == []
        wait_for(lambda: two.status()["state"] == "Leader", 60, "the leadership of node 2")
        ask(cluster, lambda client: client.change_membership([1, 2, 3]))
        wait_configs(cluster, [1, 2, 3])
    assert_no_traceback(cluster)


@pytest.mark.long
def test_a_token_adds_a_node_where_there_are_users(tmp_path: Path) -> None:
    """The leader itself makes the entry that uses the token, so it has no user."""
    password = "correct horse battery"
    with initialised_cluster(tmp_path, size=2) as cluster:
        one, two = cluster.nodes[1], cluster.nodes[2]
        with SyncClient([one.address], timeout_s=20) as client:
            client.set_user("root", password=password, roles=["admin"])
        with SyncClient([one.address], timeout_s=20, user="root", password=password) as root:
            start_with(two, root.create_join_token())
            root.add_learner(2, two.address)
            assert root.list_join_tokens() == []
    assert_no_traceback(cluster)


@pytest.mark.long
def test_a_wiped_member_needs_its_removal_and_a_new_token(tmp_path: Path) -> None:
    with initialised_cluster(tmp_path, size=2) as cluster:
        node = cluster.nodes[2]
        start_with(node, new_token(cluster))
        add(cluster, node)
        node.stop()
        shutil.rmtree(node.data_dir)
        token = new_token(cluster)
        start_with(node, token)
        with pytest.raises(NotCaughtUp):  # its key stays the old one
            ask_briefly(cluster, node)
        assert tokens(cluster) == [token.token_id]
        ask(cluster, lambda client: client.change_membership([1], learners=[]))
        add(cluster, node)
        assert tokens(cluster) == []
    assert_no_traceback(cluster)


@pytest.mark.long
def test_a_variable_holds_the_token_and_a_wrong_one_is_refused(
    cluster: ProcessCluster,
) -> None:
    token, node = new_token(cluster), cluster.nodes[6]
    file = start_with(node, token)
    node.stop()
    file.write_text("nothing")
    given = ["--id", "6", "--data-dir", str(node.data_dir), "--join-token-file", str(file)]
    ended = subprocess.run(
        [sys.executable, "-m", "qcore", "node", "start", *given],
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 2
    assert b"no join token" in ended.stderr

    node.arguments, node.environment = [*ARGUMENTS], {JOIN_TOKEN_VARIABLE: token.text()}
    node.start()
    add(cluster, node)
