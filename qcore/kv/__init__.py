"""Keys, transactions, leases and watches of a cluster that runs the machine `kv`.

    async with Client(["127.0.0.1:8080"]) as client:
        kv = KeyValue(client)
        revision = await kv.put("config/colour", "blue")
        async with kv.watch(prefix="config/", from_revision=revision) as changes:
            async for change in changes:
                print(change.kind, change.kv.key, change.kv.value)

Keys and values are bytes. A text given for one is its UTF-8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.lazy_names import lazy_names

if TYPE_CHECKING:
    from qcore.kv.key_values import (
        Deleted,
        KeyChange,
        KeyVersion,
        LeaseInfo,
        MachineStatus,
        Page,
        TxnResult,
    )
    from qcore.kv.key_watches import KeyWatch
    from qcore.kv.kv_client import KeyValue
    from qcore.kv.sync_kv import SyncKeyValue, SyncKeyWatch
    from qcore.kv.txn_parts import Condition, Delete, Put, Range, Txn, TxnOperation
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "qcore.kv.key_values": (
                "Deleted",
                "KeyChange",
                "KeyVersion",
                "LeaseInfo",
                "MachineStatus",
                "Page",
                "TxnResult",
            ),
            "qcore.kv.key_watches": ("KeyWatch",),
            "qcore.kv.kv_client": ("KeyValue",),
            "qcore.kv.sync_kv": ("SyncKeyValue", "SyncKeyWatch"),
            "qcore.kv.txn_parts": ("Condition", "Delete", "TxnOperation", "Put", "Range", "Txn"),
        },
    )

__all__ = [
    "Condition",
    "Delete",
    "Deleted",
    "KeyChange",
    "KeyValue",
    "KeyVersion",
    "KeyWatch",
    "LeaseInfo",
    "MachineStatus",
    "Page",
    "Put",
    "Range",
    "SyncKeyValue",
    "SyncKeyWatch",
    "Txn",
    "TxnOperation",
    "TxnResult",
]
