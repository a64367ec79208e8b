"""A real cluster takes and restores snapshots, also those that are too large for one command or message."""

from __future__ import annotations

import json
from typing import Any

import pytest

from qcore.processes import ProcessCluster
from tests.process.support.restores import EMPTY, TYPE, response, restore
from tests.process.support.wire_client import WireClient, string_schema, write_field

pytestmark = pytest.mark.process


def ask(client: WireClient, name: str, **fields: object) -> Any:
    client.send(json.dumps({name: {"id": "1", **fields}}))
    (seen,) = client.receive_all(1)
    return seen[f"{name}Response"]["response"]


def test_a_snapshot_larger_than_one_command_is_restored(shared_cluster: ProcessCluster) -> None:
    leader = shared_cluster.wait_leader()
    (follower, *_) = (node for node in shared_cluster.nodes.values() if node is not leader)
    with WireClient(follower.address) as client:
        assert ask(client, "StoreRestoreSnapshot", snapshot=EMPTY) == {"Ok": None}
        client.perform("SetSchema", entity_schema=string_schema("Large", "Name", "Text"))
        for number in range(3):
            made = client.perform("CreateEntity", entity_type="Large", parent_id=None, name="x")
            text = {"String": str(number) * 500_000}
            client.perform("UpdateEntity", request=[write_field(made["response"], "Text", text)])
        taken = ask(client, "TakeSnapshot")
        assert len(json.dumps(taken)) > 1 << 20  # the largest command
        assert ask(client, "RestoreSnapshot", snapshot=EMPTY) == {"Ok": None}
        assert ask(client, "StoreTakeSnapshot")["entities"] == {}
        assert ask(client, "RestoreSnapshot", snapshot=taken) == {"Ok": None}
        assert ask(client, "StoreTakeSnapshot") == taken
        taken["fields"].popitem()
        assert "snapshot.checksum" in ask(client, "RestoreSnapshot", snapshot=taken)["Err"]
    shared_cluster.wait_converged()


def test_a_wrong_snapshot_is_rejected_and_ids_never_fall(
    shared_cluster: ProcessCluster,
) -> None:
    leader = shared_cluster.wait_leader()
    with WireClient(leader.address) as client:
        restore(client, "a")
        assert response(client)["response"] == {"Ok": None}
        created = client.ask("StoreCreateEntity", entity_type="Large", parent_id=None, name="")
        last = created["Ok"]["entity_id"]["id"]
        taken = client.ask("StoreTakeSnapshot")
        wrong = (
            ({**taken, "checksum": "0" * 64}, "snapshot.checksum is"),
            (
                {**taken, "version": 2},
                "snapshot.version: the snapshot was written by a newer qcore: format 2",
            ),
            ({**taken, "types": []}, "is not in snapshot.types"),
            ({**taken, "fields": {}}, "snapshot.fields"),
        )
        for each, reason in wrong:
            without = {key: value for key, value in each.items() if key != "checksum"}
            sent = each if "checksum" in reason else without
            client.send({"StoreRestoreSnapshot": {"id": "w", "snapshot": sent}})
            rejected = response(client)
            assert rejected["detail"] == {"code": "SnapshotInvalid", "retryable": False}
            assert reason in rejected["response"]["Err"]
            assert client.ask("StoreTakeSnapshot") == taken
        client.send({"StoreRestoreSnapshot": {"id": "e", "snapshot": {**EMPTY, "types": 7}}})
        (error,) = client.receive_all(1)
        assert error["Error"]["detail"]["field"] == "StoreRestoreSnapshot.snapshot.types"
        assert client.ask("StoreRestoreSnapshot", snapshot=EMPTY) == {"Ok": None}
        assert client.ask("StoreSetEntitySchema", schema=TYPE) == {"Ok": None}
        again = client.ask("StoreCreateEntity", entity_type="Large", parent_id=None, name="")
        assert again["Ok"]["entity_id"]["id"] > last


def test_a_state_that_is_too_large_is_saved_as_the_error_says(
    shared_cluster: ProcessCluster,
) -> None:
    """The error's own words lead to the whole state."""
    follower = next(
        node for node in shared_cluster.nodes.values() if node is not shared_cluster.wait_leader()
    )
    with WireClient(follower.address) as client:
        for letter in "ab":
            restore(client, letter)
            assert response(client)["response"] == {"Ok": None}
        requests = [
            {"CreateEntity": {"entity_type": "Large", "parent_id": None, "name": "x"}}
        ] * 900
        for _ in range(3):
            bulk = client.ask("StoreBulk", requests=requests)
            assert "Ok" in bulk, bulk
        name, error = client.exchange({"StoreTakeSnapshot": {"id": "t"}})
        assert (name, error["detail"]["code"]) == ("Error", "TooLarge")
        assert "SaveSnapshot and ReadSnapshot" in error["error"]
        assert "qcore snapshot save" in error["error"]
        saved = client.ask("SaveSnapshot")["Ok"]
        text = ""
        while len(text) < saved["characters"]:
            part = client.ask(
                "ReadSnapshot",
                last_included_index=saved["last_included_index"],
                offset=len(text),
            )["Ok"]
            assert part["offset"] == len(text)
            text += part["data"]
        assert len(text.encode()) == saved["size"]
        assert json.loads(text.split("\n", 1)[0]) == {"sessions": 0}
        assert "b" * 4000 in text
        assert client.ask("StoreRestoreSnapshot", snapshot=EMPTY) == {"Ok": None}
