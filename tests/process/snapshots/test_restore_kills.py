"""A restore in many parts meets kill -9 and other restores. The state is the old one or the new one, as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qcore.processes import NodeProcess, ProcessCluster, wait_for
from tests.process.conftest import ARGUMENTS, assert_no_traceback, initialise
from tests.process.support.restores import ENTITIES, response, restore
from tests.process.support.wire_client import WireClient

pytestmark = pytest.mark.process

#: A small bound makes many parts.
ARGUMENTS_SMALL = (*ARGUMENTS, "--max-command-bytes", "16384")


@pytest.fixture
def small_commands(tmp_path: Path) -> Iterator[ProcessCluster]:
    """Three nodes with a leader, whose commands are small."""
    with ProcessCluster(tmp_path, arguments=ARGUMENTS_SMALL) as cluster:
        cluster.start()
        initialise(cluster)
        yield cluster
    assert_no_traceback(cluster)


def content(taken: Any) -> str:
    """The letter of a state, or nothing if it is empty. Fails if the state is a mixture."""
    if not taken["entities"]:
        assert taken["schemas"] == {}
        return ""
    assert len(taken["fields"]) == ENTITIES
    letters = {fields["Text"]["value"]["String"][0] for fields in taken["fields"].values()}
    letter: str
    (letter,) = letters
    return letter


def seen(node: NodeProcess) -> str:
    """What a linearizable read at the node finds."""

    def read() -> Any:
        with WireClient(node.address) as client:
            _, value = client.exchange({"StoreTakeSnapshot": {"id": "t"}})
            return value.get("response")  # not while there is no leader

    return content(wait_for(read, 30, "a leader that serves reads"))


def log_end(node: NodeProcess) -> int:
    return int(node.status().get("last_log_index", 0))


def wait_parts(node: NodeProcess, beyond: int) -> None:
    """Wait until the node's log has several parts of a restore, and not all."""
    wait_for(lambda: log_end(node) > beyond + 5, 30, "several parts in the log")


def test_the_leader_dies_during_a_restore_and_watches_end(small_commands: ProcessCluster) -> None:
    leader = small_commands.wait_leader()
    follower, other = (node for node in small_commands.nodes.values() if node is not leader)
    config = {
        "EntityType": {
            "entity_type": "Large",
            "field_type": "Text",
            "trigger_on_change": False,
            "context": [],
        }
    }
    with WireClient(follower.address) as client:
        restore(client, "a")
        assert response(client)["response"] == {"Ok": None}
        begin = log_end(leader)
        restore(client, "b")
        wait_parts(leader, begin)
        leader.kill()
        outcome = response(client)
        letter = seen(other)
        assert letter in ("a", "b")
        if "Ok" in outcome["response"]:
            assert letter == "b"
        elif outcome["detail"]["retryable"]:
            assert letter == "a"
        leader.start()
        wait_for(lambda: leader.status().get("current_leader"), 60, "the leader to be known")
        watchers = [WireClient(node.address) for node in small_commands.nodes.values()]
        for watcher in watchers:
            watcher.ask("StoreRegisterNotification", config=config)
        restore(client, "c")
        assert response(client)["response"] == {"Ok": None}
        for watcher in watchers:
            (ended,) = watcher.receive_all(1)
            assert ended["Error"]["detail"]["code"] == "WatchCompacted"
            watcher.close()
        for node in small_commands.nodes.values():
            assert seen(node) == "c"
    small_commands.wait_converged()


@pytest.mark.long
def test_two_concurrent_restores(small_commands: ProcessCluster) -> None:
    """At one node the second waits its turn. At two nodes, one of them fails or both succeed one after the other."""
    first, second, _ = small_commands.nodes.values()
    with WireClient(first.address) as one, WireClient(first.address) as two:
        restore(one, "a")
        restore(two, "b")
        rejected = response(two)
        assert rejected["detail"]["code"] == "Overloaded"
        assert rejected["detail"]["retry_after_ms"] > 0
        assert response(one)["response"] == {"Ok": None}
        assert seen(second) == "a"
    for _ in range(4):
        with WireClient(first.address) as one, WireClient(second.address) as two:
            restore(one, "b")
            restore(two, "c")
            outcomes = {"b": response(one), "c": response(two)}
            succeeded = [each for each, found in outcomes.items() if "Ok" in found["response"]]
            assert succeeded
            assert seen(first) in succeeded
            for each in outcomes.keys() - succeeded:
                assert outcomes[each]["detail"]["code"] == "SnapshotInvalid"
                assert "restore it again" in outcomes[each]["response"]["Err"]
    small_commands.wait_converged()


@pytest.mark.long
def test_the_node_that_restores_dies_again_and_again(small_commands: ProcessCluster) -> None:
    """What a dead node leaves staged is dropped by the next restore."""
    current = ""
    for round_number in range(6):
        leader = small_commands.wait_leader()
        node = list(small_commands.nodes.values())[round_number % 3]
        others = [each for each in small_commands.nodes.values() if each is not node]
        begin = log_end(leader)
        letter = "abcdef"[round_number]
        with WireClient(node.address) as client:
            restore(client, letter)
            wait_parts(others[0], begin)
            node.kill()
        found = seen(others[0])
        assert found in (current, letter)
        current = found
        node.start()
        small_commands.wait_converged()
    staged = small_commands.wait_converged()
    with WireClient(others[0].address) as client:
        restore(client, current or "z")
        assert response(client)["response"] == {"Ok": None}
    assert seen(node) == (current or "z")
    assert small_commands.wait_converged() != staged
