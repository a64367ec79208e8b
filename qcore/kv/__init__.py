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
from qcore.kv.txn_parts import Condition, Delete, Operation, Put, Range, Txn

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
    "Operation",
    "Page",
    "Put",
    "Range",
    "Txn",
    "TxnResult",
]
