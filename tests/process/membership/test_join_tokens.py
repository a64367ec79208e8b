"""Join tokens with real nodes: one token adds one node, and a node that waits with a token joins its cluster only."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from qcore.client.client import Client
from qcore.errors import AccessRefused, ChangeRefused, QcoreError
from qcore.node.peers.node_key_file import load_key
from qcore.processes import NodeProcess, ProcessCluster, wait_for
from qcore.security.keys.join_token import HeldJoinToken
from qcore.security.keys.node_key import NodeKey, to_base64url
from tests.process.conftest import ARGUMENTS, assert_no_traceback, initialise
from tests.process.support.member_changes import client_of, initialised_cluster
from tests.process.support.raw_peer import connect_as, hello_of, say_hello
from tests.process.support.wire_client import WireClient

pytestmark = pytest.mark.process

STRANGER = NodeKey(b"a stranger's seed, 32 bytes long")

_T = TypeVar("_T")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    """A cluster of node 1, and nodes that are not started. A test adds nodes that no other test uses."""
    made = initialised_cluster(tmp_path_factory.mktemp("cluster"), size=6)
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
    assert "no valid join token" in str(refusal(cluster, three))
    other = new_token(cluster)  # now the node is asked
    error = refusal(cluster, three)
    assert isinstance(error, AccessRefused)
    assert "was used or withdrawn, or has expired" in str(error)
    ask(cluster, lambda client: client.delete_join_token(other.token_id))

    two.stop()
    two.start()
    wait_for(lambda: "its join token is ignored" in two.log_text(), 5, "a line about the token")
    secret = to_base64url(token.seed)
    for node in cluster.running():
        assert secret not in node.log_text()
        assert token.text() not in node.log_text()
    text = cluster.nodes[1].data_dir.glob("*")
    assert not any(secret.encode() in file.read_bytes() for file in text if file.is_file())
