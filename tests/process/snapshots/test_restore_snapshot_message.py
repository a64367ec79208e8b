"""A real cluster restores a snapshot that is larger than one command of the log, and its watches end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from qcore.cli.demo.processes import LocalCluster
from tests.process.support.wire_client import WireClient, string_schema, write_field

pytestmark = pytest.mark.process


def ask(client: WireClient, name: str, **fields: object) -> Any:
    client.send(json.dumps({name: {"id": "1", **fields}}))
    (seen,) = client.receive_all(1)
    return seen[f"{name}Response"]["response"]


def test_a_snapshot_larger_than_one_command_is_restored(ready_cluster: LocalCluster) -> None:
    leader = ready_cluster.wait_leader()
    (follower, *_) = (node for node in ready_cluster.nodes.values() if node is not leader)
    with WireClient(follower.address) as client:
        empty: dict[str, object] = {"types": [], "schemas": {}, "entities": {}, "fields": {}}
        assert ask(client, "StoreRestoreSnapshot", snapshot=empty) == {"Ok": None}
        client.perform("SetSchema", entity_schema=string_schema("Large", "Name", "Text"))
        for number in range(3):
            made = client.perform("CreateEntity", entity_type="Large", parent_id=None, name="x")
            text = {"String": str(number) * 500_000}
            client.perform("UpdateEntity", request=[write_field(made["response"], "Text", text)])
        taken = ask(client, "TakeSnapshot")
        assert len(json.dumps(taken)) > 1 << 20  # the largest command
        assert ask(client, "RestoreSnapshot", snapshot=empty) == {"Ok": None}
        assert ask(client, "StoreTakeSnapshot")["entities"] == {}
        assert ask(client, "RestoreSnapshot", snapshot=taken) == {"Ok": None}
        assert ask(client, "StoreTakeSnapshot") == taken
        taken["fields"].popitem()
        assert "snapshot.checksum" in ask(client, "RestoreSnapshot", snapshot=taken)["Err"]
    ready_cluster.wait_converged()
