"""Three real nodes agree after a leader's death and a snapshot, and a new cluster has the exported tree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qcore.processes import ProcessCluster, wait_for
from tests.machines.entity.harness import FOLDER, OBJECT, USER, field, schema, write
from tests.process.conftest import ARGUMENTS, assert_no_traceback, initialise
from tests.process.programs import clock_node
from tests.process.support.commands import run_qcore
from tests.process.support.wire_client import WireClient

pytestmark = pytest.mark.process

NAMES = (
    "a/b",
    "a->b",
    "$x$1",
    "",
    " ",
    "é 𝄞\u2028",
    "true",
    "#1: 'x' \"y\" \\",
    "\r\n\t\x00",
    "same",
    "same",
)
#: The type has none of the fields `Name`, `Parent` and `Children`.
PLAIN = schema("Plain", None, field("String", "Text", ""))


def ok(client: WireClient, name: str, /, **fields: object) -> Any:
    response = client.ask(name, **fields)
    assert "Ok" in response, response
    return response["Ok"]


def created(client: WireClient, typ: str, parent: object, name: str) -> Any:
    return ok(client, "StoreCreateEntity", entity_type=typ, parent_id=parent, name=name)[
        "entity_id"
    ]


def change_everything(client: WireClient, name: str) -> list[Any]:
    """One command of each kind. Returns the ids of the created entities."""
    folder = created(client, "Folder", None, name)
    requests = [
        {"CreateEntity": {"entity_type": "User", "parent_id": folder, "name": "ada"}},
        {"CreateEntity": {"entity_type": "User", "parent_id": {"created": 0}, "name": "bob"}},
        {"CreateEntity": {"entity_type": "Plain", "parent_id": None, "name": ""}},
        {"RenameEntity": {"entity_id": {"created": 1}, "name": "eve"}},
    ]
    results = ok(client, "StoreBulk", requests=requests)
    ada, eve, plain = (each["CreateEntity"]["entity_id"] for each in results[:3])
    ok(client, "StoreMoveEntity", entity_id=eve, parent_id=folder)
    ok(client, "StoreRenameEntity", entity_id=ada, name=f"{name}/ada")
    more = field("Int", f"Extra{name}", 7)
    ok(client, "StoreSetEntitySchema", schema={**USER, "fields": {**USER["fields"], **more}})
    ok(
        client,
        "StorePerform",
        requests=[write(eve, f"Extra{name}", {"Int": 1}, adjust_behavior="Add")],
    )
    ok(client, "StoreDeleteEntity", entity_id=ada)
    return [folder, ada, eve, plain]


def state(address: str) -> Any:
    """All that a node has applied, without asking another."""
    with WireClient(address) as client:
        return client.ask("StoreTakeSnapshot", consistency={"stale": 60_000})


def equal_state(cluster: ProcessCluster) -> Any:
    cluster.wait_converged()
    first, *others = (state(node.address) for node in cluster.nodes.values())
    for other in others:
        assert other == first
    return first


def build_odd_tree(client: WireClient) -> None:
    """Odd names, all kinds of values, and references in both directions."""
    root = created(client, "Folder", None, "Root")
    entities = [created(client, "User", root, name) for name in NAMES]
    first, last = entities[0], entities[-1]
    requests = [
        write(first, "Manager", {"EntityReference": last}),
        write(last, "Manager", {"EntityReference": first}),
        write(last, "Friends", {"EntityList": [root, last, first, first]}),
        write(first, "Key", {"Blob": [0, 255]}),
        write(last, "Key", {"Blob": []}),
        write(first, "Email", {"String": ""}),
        write(last, "Email", {"String": "\x85\ufeff\U0010ffff"}),
        write(first, "Role", {"Choice": 1}),
        write(first, "Score", {"Float": -1e-300}),
        write(first, "Age", {"Int": -(2**63)}),
        write(first, "Active", {"Bool": False}),
        write(first, "Joined", {"Timestamp": {"secs_since_epoch": 2**33, "nanos_since_epoch": 1}}),
    ]
    ok(client, "StorePerform", requests=requests)
    guarded = field("EntityReference", "Boss", first, read_permission=last, write_permission=root)
    ok(client, "StoreSetEntitySchema", schema=schema("Guarded", "Object", guarded))
    created(client, "Guarded", entities[3], "guarded")
    # The order of the children is not that of their creation.
    ok(client, "StoreMoveEntity", entity_id=entities[4], parent_id=None)
    ok(client, "StoreMoveEntity", entity_id=entities[4], parent_id=root)


def tree(snapshot: Any) -> Any:
    """A state without times and writers, with the entities numbered in the order of the tree."""
    fields = snapshot["fields"]
    numbers: dict[str, int] = {}

    def visit(entity: str) -> None:
        numbers[entity] = len(numbers)
        for child in fields[entity].get("Children", {"value": {"EntityList": []}})["value"][
            "EntityList"
        ]:
            visit(f"{child['typ']}${child['id']}")

    for entity in sorted(fields, key=lambda text: int(text.rpartition("$")[2])):
        if (
            fields[entity].get("Parent", {"value": {"EntityReference": None}})["value"][
                "EntityReference"
            ]
            is None
        ):
            visit(entity)

    def numbered(value: Any) -> Any:
        if isinstance(value, dict) and value.keys() == {"typ", "id"}:
            return [value["typ"], numbers[f"{value['typ']}${value['id']}"]]
        if isinstance(value, dict):
            return {key: numbered(each) for key, each in value.items()}
        return [numbered(each) for each in value] if isinstance(value, list) else value

    assert len(numbers) == len(fields)
    return {
        "types": snapshot["types"],
        "schemas": numbered(snapshot["schemas"]),
        "entities": [
            [
                entity.partition("$")[0],
                {name: numbered(one["value"]) for name, one in fields[entity].items()},
            ]
            for entity in numbers
        ],
    }


def test_nodes_agree_and_the_export_gives_the_same_tree(
    tmp_path: Path,
) -> None:
    with ProcessCluster(tmp_path, arguments=(*ARGUMENTS, "--keep-entries", "2")) as cluster:
        for node in cluster.nodes.values():
            # Neither the order of sets nor the wall clock of a node may reach the state.
            node.environment = {"PYTHONHASHSEED": str(node.node_id)}
            node.program = (str(clock_node.__file__),)
            ahead = node.data_dir.with_name(node.data_dir.name + ".ahead")
            ahead.write_text(str(20 * (node.node_id - 2)))
        cluster.start()
        initialise(cluster)
        leader = cluster.wait_leader()
        follower = next(node for node in cluster.nodes.values() if node is not leader)
        with WireClient(follower.address) as client:
            for one in (OBJECT, FOLDER, USER, PLAIN):
                ok(client, "StoreSetEntitySchema", schema=one)
            ids = change_everything(client, "A")
            leader.kill()
            cluster.wait_leader()
            ids += change_everything(client, "B")
        numbers = [each["id"] for each in ids]
        assert len(set(numbers)) == len(numbers)
        leader.start()
        before = equal_state(cluster)
        assert {f"{each['typ']}${each['id']}" for each in ids[::2]} <= before["fields"].keys()

        # A node that starts from its snapshot gives the next entities the same ids.
        restarted = next(
            node for node in cluster.nodes.values() if node is not cluster.wait_leader()
        )
        with WireClient(restarted.address) as client:
            covered = ok(client, "SaveSnapshot")["last_included_index"]
        # The reply promises that the snapshot can be read. The disk holds it soon after.
        wait_for(
            lambda: restarted.status()["qcore"]["stored"]["snapshot_index"] == covered,
            20,
            "the snapshot to be stored",
        )
        restarted.kill()
        restarted.start()
        assert restarted.status()["snapshot"]["index"] == covered
        wait_for(lambda: restarted.status().get("current_leader"), 60, "the leader to be known")
        with WireClient(restarted.address) as client:
            change_everything(client, "C")
            build_odd_tree(client)
        original = equal_state(cluster)
        file = tmp_path / "exported.yaml"
        done = run_qcore("export", str(file), endpoints=cluster.endpoints)
        assert done.returncode == 0, done.stderr
    assert_no_traceback(cluster)

    fresh_directory = tmp_path / "fresh"
    fresh_directory.mkdir()
    arguments = (*ARGUMENTS, "--topology", str(file))
    with ProcessCluster(fresh_directory, size=1, arguments=arguments) as fresh:
        fresh.start()
        initialise(fresh)
        wait_for(lambda: state(fresh.endpoints[0])["entities"], 60, "the topology to be loaded")
        loaded = equal_state(fresh)
        assert tree(loaded) == tree(original)
        with WireClient(fresh.endpoints[0]) as client:
            path = ["Root", "a/b"]
            assert ok(client, "StoreFindByPath", path=path)["typ"] == "User"
    assert_no_traceback(fresh)
    assert json.dumps(original) != json.dumps(loaded), "the ids of a new cluster are its own"
