"""The kinds of details of a trace with their fields: what explains its records, and is not part of the trace hash.

| kind, phase | written when | fields |
|---|---|---|
| log append | a node appends entries; one detail for each run of one term | first index, term, number of entries |
| log cut | it removes entries from its end | index: the first removed |
| log snapshot | it stores a snapshot | index and term of its last entry; count: the index through which entries go |
| log durable | a write is durable | index: the last durable entry |
| request take | a client's request reaches a node | client, op_id, request: the node's number of it |
| request end | the node responds | those, and index and term of the entry; 0 for a read or an error |
| request forward | the node sends a `Forward` | client, op_id, request: the `forward_id`, message: its id |
| request answer | the leader sends the `ForwardResponse` | request: the `forward_id`, message: its id, and index |
| request stale | a client program begins a read that may be stale; node 0 | client, op_id |
| clock | a simulated node starts, or a fault changes its clock | how far the wall clock is ahead, and its drift |

The index of an answer is that of the entry, or the one that a read saw. A field that means nothing in a phase, or is
not known, is 0 or empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

#: How the compact format stores a field: integers; a text with few different values; any text; any JSON value.
ColumnType = Literal["int", "name", "text", "json"]

#: The version of the kinds of details and their fields.
DETAIL_VERSION: Final = 1

#: The fields of each kind after `t_us`, `kind` and `node`, in order, and how the compact format stores them.
DETAIL_COLUMNS: Final[Mapping[str, Mapping[str, ColumnType]]] = {
    "log": {"phase": "name", "index": "int", "term": "int", "count": "int"},
    "request": {
        "phase": "name",
        "client": "int",
        "op_id": "int",
        "request": "int",
        "index": "int",
        "term": "int",
        "message": "text",
    },
    "clock": {"offset_us": "int", "drift_ppm": "int"},
}

#: The keys of each kind after `t_us`, `kind` and `node`, in order.
DETAIL_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    kind: tuple(columns) for kind, columns in DETAIL_COLUMNS.items()
}

#: The kinds in the order of `DETAIL_FIELDS`.
DETAIL_KINDS: Final = tuple(DETAIL_FIELDS)

#: The kind of the line before the first detail in JSON lines. It names the version of the details.
DETAILS_MARK: Final = "details"
