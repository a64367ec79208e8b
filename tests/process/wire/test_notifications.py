"""Notifications of the entity store over raw connections: through deaths of nodes, each change once and in order."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from qcore.processes import NodeProcess, ProcessCluster
from tests.docs.test_wire_reference import validator
from tests.machines.entity.harness import FOLDER, OBJECT, USER, write
from tests.process.support.wire_client import WireClient

pytestmark = pytest.mark.process


class Watcher:
    """Watches over its own connection, and collects the notifications.

    Args:
        address: the node's.
        config: what to watch.
        after: the position to resume behind.
        spelling: the prefix of the messages: `Store`, or nothing.
    """

    def __init__(
        self, address: str, config: object, after: object = None, spelling: str = "Store"
    ) -> None:
        self.client = WireClient(address)
        self.push = f"{spelling}Notification"
        fields = {"config": config} if after is None else {"config": config, "after": after}
        self.client.send({f"{spelling}RegisterNotification": {"id": "r", **fields}})
        (self.response,) = self.client.receive_all(1)
        assert validator().is_valid(self.response), self.response
        self.response = self.response[f"{spelling}RegisterNotificationResponse"]
        self.position: Any = self.response.get("after")

    def receive(self, number: int) -> list[dict[str, Any]]:
        """The next notifications."""
        envelopes = self.client.receive_all(number)
        for each in envelopes:
            assert validator().is_valid(each), each
        found = [each[self.push]["notification"] for each in envelopes]
        for each in found:
            assert each["token"] == self.response["response"]["Ok"]
            position = [each["index"], each["sequence"]]
            assert position > self.position
            self.position = position
        return found

    def close(self) -> None:
        self.client.close()


def set_age(client: WireClient, user: object, age: int) -> None:
    response = client.ask("StorePerform", requests=[write(user, "Age", {"Int": age})])
    assert "Ok" in response, response


def ages(notifications: list[dict[str, Any]]) -> list[int]:
    return [each["current_value"]["Int"] for each in notifications]


def build(client: WireClient) -> tuple[Any, Any]:
    """The schemas, a folder, and a user in it."""
    for one in (OBJECT, FOLDER, USER):
        assert client.ask("StoreSetEntitySchema", schema=one) == {"Ok": None}
    folder = client.ask("StoreCreateEntity", entity_type="Folder", parent_id=None, name="f")
    folder_id = folder["Ok"]["entity_id"]
    user = client.ask("StoreCreateEntity", entity_type="User", parent_id=folder_id, name="ada")
    return folder_id, user["Ok"]["entity_id"]


def by_entity(
    user: object, *, on_change: bool = False, context: Iterable[str] = ()
) -> dict[str, Any]:
    return {
        "EntityId": {
            "entity_id": user,
            "field_type": "Age",
            "trigger_on_change": on_change,
            "context": list(context),
        }
    }


def other_node(cluster: ProcessCluster, *nodes: NodeProcess) -> NodeProcess:
    return next(node for node in cluster.running() if node not in nodes)


def test_a_watch_goes_on_through_the_deaths_of_nodes(ready_cluster: ProcessCluster) -> None:
    leader = ready_cluster.wait_leader()
    follower = other_node(ready_cluster, leader)
    with WireClient(leader.address) as client:
        folder, user = build(client)
        watcher = Watcher(
            follower.address, by_entity(user, context=["Parent->Name", "Manager->Name"])
        )
        changes_only = Watcher(leader.address, by_entity(user, on_change=True), spelling="")
        of_type = Watcher(
            follower.address,
            {
                "EntityType": {
                    "entity_type": "Object",
                    "field_type": "Name",
                    "trigger_on_change": False,
                    "context": [],
                }
            },
        )
        for age in (20, 20, 21):
            set_age(client, user, age)
        seen = watcher.receive(3)
        assert ages(seen) == [20, 20, 21]
        assert seen[0]["previous_value"] == {"Int": 18}
        assert seen[0]["entity_id"] == user
        assert seen[0]["context"] == {"Parent->Name": {"String": "f"}, "Manager->Name": None}
        assert ages(changes_only.receive(2)) == [20, 21]
        created = client.ask("StoreCreateEntity", entity_type="User", parent_id=folder, name="bob")
        (named,) = of_type.receive(1)
        assert named["entity_id"] == created["Ok"]["entity_id"]
        assert (named["previous_value"], named["current_value"]) == (None, {"String": "bob"})
        of_type.close()

        # A client that received nothing resumes elsewhere with the position that its registration answered.
        third = other_node(ready_cluster, leader, follower)
        silent = Watcher(follower.address, by_entity(user))
        silent.close()
        set_age(client, user, 22)
        assert ages(watcher.receive(1)) == ages(changes_only.receive(1)) == [22]
        late = Watcher(third.address, by_entity(user), silent.position)
        assert late.response["after"] == silent.position
        assert ages(late.receive(1)) == [22]
        late.close()

        # The watched node dies. What happens meanwhile is received at another node.
        follower.kill()
        for age in (30, 31):
            set_age(client, user, age)
        resumed = Watcher(
            third.address, by_entity(user, context=["Parent->Name"]), watcher.position
        )
        assert resumed.position == watcher.position
        seen = resumed.receive(2)
        assert ages(seen) == [30, 31]
        # Null for a change that the node had applied before.
        assert all(each["context"] in (None, {"Parent->Name": {"String": "f"}}) for each in seen)
        follower.start()
        ready_cluster.wait_converged()

    # The leader dies, and with it the watch over it.
    assert ages(changes_only.receive(2)) == [30, 31]
    leader.kill()
    ready_cluster.wait_leader()
    with WireClient(third.address) as client:
        set_age(client, user, 40)
        assert ages(resumed.receive(1)) == [40]
        # The restarted node applied its log again, so it has the old changes, too.
        again = Watcher(follower.address, by_entity(user), changes_only.position, spelling="")
        assert ages(again.receive(1)) == [40]
        response = client.ask("StoreDeleteEntity", entity_id=user)
        assert response == {"Ok": None}
        (gone,) = again.receive(1)
        assert (gone["current_value"], gone["previous_value"]) == (None, {"Int": 40})
        early = Watcher(third.address, by_entity(user), [0, 0])
        assert ages(early.receive(7)) == [20, 20, 21, 22, 30, 31, 40]
        (gone,) = early.receive(1)
        assert (gone["current_value"], gone["previous_value"]) == (None, {"Int": 40})
        early.close()
    leader.start()
    ready_cluster.wait_converged()


def test_a_position_that_is_too_old_names_the_first_index(tmp_path: Path) -> None:
    arguments = ("--snapshot-entries", "40", "--keep-entries", "5")
    with ProcessCluster(tmp_path, size=1, arguments=arguments) as cluster:
        cluster.start()
        node = cluster.nodes[1]
        with WireClient(node.address) as client:
            assert client.ask("Init", nodes=[]) == {"Ok": None}
            _, user = build(client)
            watcher = Watcher(node.address, by_entity(user))
            for age in range(60):
                set_age(client, user, age)
            first = watcher.receive(60)[0]
            cluster.wait_converged()
        node.kill()
        node.start()
        cluster.wait_leader()
        late = Watcher(node.address, by_entity(user), [first["index"], first["sequence"]])
        detail = late.response["detail"]
        assert detail["code"] == "WatchCompacted"
        assert detail["first_index"] > first["index"]
        assert str(detail["first_index"]) in late.response["response"]["Err"]
        ahead = [watcher.position[0] + 4, 0]
        waiting = WireClient(node.address)
        waiting.send(
            {"StoreRegisterNotification": {"id": "w", "config": by_entity(user), "after": ahead}}
        )
        with WireClient(node.address) as client:
            for age in range(100, 108):
                set_age(client, user, age)
        texts = json.dumps(waiting.receive_all(2))
        assert "StoreRegisterNotificationResponse" in texts
        waiting.close()
