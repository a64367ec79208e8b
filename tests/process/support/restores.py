"""Sends snapshots that need many commands if those are small."""

from __future__ import annotations

from typing import Any

from tests.machines.entity.harness import field, schema
from tests.process.support.wire_client import WireClient

ENTITIES = 250
TYPE = schema("Large", None, field("String", "Text", ""))
TYPE["_marker"] = None
EMPTY: dict[str, Any] = {"types": [], "schemas": {}, "entities": {}, "fields": {}}


def snapshot(letter: str) -> dict[str, Any]:
    """A snapshot of 1 MB. All its texts have this letter."""
    ids = [{"typ": "Large", "id": number} for number in range(1, ENTITIES + 1)]
    text = {
        "field_type": "Text",
        "value": {"String": letter * 4000},
        "write_time": {"secs_since_epoch": 1, "nanos_since_epoch": 0},
        "writer_id": None,
    }
    return {
        "types": ["Large"],
        "schemas": {"Large": TYPE},
        "entities": {"Large": ids},
        "fields": {f"Large${each['id']}": {"Text": text} for each in ids},
    }


def restore(client: WireClient, letter: str, request_id: str = "r") -> None:
    client.send({"StoreRestoreSnapshot": {"id": request_id, "snapshot": snapshot(letter)}})


def response(client: WireClient) -> dict[str, Any]:
    (envelope,) = client.receive_all(1)
    found: dict[str, Any] = envelope["StoreRestoreSnapshotResponse"]
    return found
