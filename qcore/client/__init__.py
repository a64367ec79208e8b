"""The client library: sends requests to a cluster, chooses the node, retries, and keeps sessions.

    async with Client(["127.0.0.1:8080"]) as client:
        await client.execute("a command of the state machine")

docs/reference/api.md explains which requests the client repeats, and which errors a caller must expect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.lazy_names import lazy_names

if TYPE_CHECKING:
    from qcore.client.client import Client
    from qcore.client.entity_values import (
        DEFAULT,
        Choice,
        Entity,
        EntityLike,
        Field,
        Timestamp,
        Value,
        WritableValue,
        parse_id,
    )
    from qcore.client.methods.call_options import Consistency, ReadOptions, WriteOptions
    from qcore.client.methods.entity_methods import BulkResult, EntityPage
    from qcore.client.methods.field_requests import (
        BulkRequest,
        Created,
        CreateEntity,
        DeleteEntity,
        FieldRequest,
        MoveEntity,
        ReadField,
        RenameEntity,
        WriteField,
    )
    from qcore.client.methods.schema_methods import TypePage
    from qcore.client.sessions.session import ClientSession
    from qcore.client.snapshot_download import save_snapshot
    from qcore.client.synchronous.sync_client import SyncClient
    from qcore.client.tracing.otel_tracer import OtelTracer
    from qcore.client.watching.changes import FieldChange, MachineChange, WatchPosition
    from qcore.client.watching.watch import Watch
    from qcore.machines.entity.state.entity_id import EntityId
    from qcore.security.tls import TlsFiles
    from qcore.transport.perform_options import Stale
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "qcore.client.client": ("Client",),
            "qcore.client.methods.entity_methods": ("BulkResult", "EntityPage"),
            "qcore.client.methods.field_requests": (
                "BulkRequest",
                "CreateEntity",
                "Created",
                "DeleteEntity",
                "FieldRequest",
                "MoveEntity",
                "ReadField",
                "RenameEntity",
                "WriteField",
            ),
            "qcore.client.methods.call_options": ("Consistency", "ReadOptions", "WriteOptions"),
            "qcore.client.methods.schema_methods": ("TypePage",),
            "qcore.client.sessions.session": ("ClientSession",),
            "qcore.client.snapshot_download": ("save_snapshot",),
            "qcore.client.synchronous.sync_client": ("SyncClient",),
            "qcore.client.entity_values": (
                "DEFAULT",
                "Choice",
                "Entity",
                "EntityLike",
                "Field",
                "Timestamp",
                "Value",
                "WritableValue",
                "parse_id",
            ),
            "qcore.client.tracing.otel_tracer": ("OtelTracer",),
            "qcore.client.watching.changes": ("FieldChange", "MachineChange", "WatchPosition"),
            "qcore.client.watching.watch": ("Watch",),
            "qcore.machines.entity.state.entity_id": ("EntityId",),
            "qcore.security.tls": ("TlsFiles",),
            "qcore.transport.perform_options": ("Stale",),
        },
    )

__all__ = [
    "DEFAULT",
    "BulkRequest",
    "BulkResult",
    "Choice",
    "Client",
    "ClientSession",
    "Consistency",
    "CreateEntity",
    "Created",
    "DeleteEntity",
    "Entity",
    "EntityId",
    "EntityLike",
    "EntityPage",
    "Field",
    "FieldChange",
    "FieldRequest",
    "MachineChange",
    "MoveEntity",
    "OtelTracer",
    "ReadField",
    "ReadOptions",
    "RenameEntity",
    "Stale",
    "SyncClient",
    "Timestamp",
    "TlsFiles",
    "TypePage",
    "Value",
    "Watch",
    "WatchPosition",
    "WritableValue",
    "WriteField",
    "WriteOptions",
    "parse_id",
    "save_snapshot",
]
