"""The client library: sends requests to a cluster, chooses the node, retries, and keeps sessions.

    async with Client(["127.0.0.1:8080"]) as client:
        await client.execute("a command of the state machine")

docs/reference/api.md explains which requests the client repeats, and which errors a caller must expect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.lazy_names import lazy_names

if TYPE_CHECKING:
    from qcore.client.client import Client, EntityId, Value
    from qcore.client.session import ClientSession
    from qcore.client.snapshot_download import save_snapshot
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "qcore.client.client": (
                "Client",
                "EntityId",
                "Value",
            ),
            "qcore.client.session": ("ClientSession",),
            "qcore.client.snapshot_download": ("save_snapshot",),
        },
    )

__all__ = [
    "Client",
    "ClientSession",
    "EntityId",
    "Value",
    "save_snapshot",
]
