"""Durable log and snapshots: SQLite, memory, and the interface that both implement.

A real node uses `SqliteStorage.open(data_dir, node_id)`. Tests and volatile nodes use `MemoryStorage(node_id)`.
A custom storage implements `LogStorage`; `LogOutline`, `apply_write` and `last_index` help it. Test it with
`qcore.testing.StorageConformance`. `HasIncarnation`, `SupportsIdleWork` and `SupportsSnapshotParts` are methods that a
storage may also have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.lazy_names import lazy_names

if TYPE_CHECKING:
    from qcore.core.log.durable_state import apply_write, last_index
    from qcore.storage.interface import HasIncarnation, Identity, LogStorage
    from qcore.storage.log_outline import LogOutline
    from qcore.storage.memory import MemoryStorage
    from qcore.storage.optional_work import SupportsIdleWork, SupportsSnapshotParts
    from qcore.storage.sqlite.sqlite_storage import SqliteStorage
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "qcore.core.log.durable_state": (
                "apply_write",
                "last_index",
            ),
            "qcore.storage.interface": (
                "HasIncarnation",
                "Identity",
                "LogStorage",
            ),
            "qcore.storage.log_outline": ("LogOutline",),
            "qcore.storage.memory": ("MemoryStorage",),
            "qcore.storage.optional_work": ("SupportsIdleWork", "SupportsSnapshotParts"),
            "qcore.storage.sqlite.sqlite_storage": ("SqliteStorage",),
        },
    )

__all__ = [
    "HasIncarnation",
    "Identity",
    "LogOutline",
    "LogStorage",
    "MemoryStorage",
    "SqliteStorage",
    "SupportsIdleWork",
    "SupportsSnapshotParts",
    "apply_write",
    "last_index",
]
