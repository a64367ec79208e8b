"""The kinds of records of a trace with their fields, and `TraceRecord`, one record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from qcore.trace.record_details import DETAIL_FIELDS, ColumnType

#: The version of the kinds and their fields. It is in the header of each trace, whatever the format of the file.
SCHEMA_VERSION: Final = 1

#: The fields of each kind after `t_us`, `kind` and `node`, in order, and how the compact format stores them.
COLUMNS: Final[Mapping[str, Mapping[str, ColumnType]]] = {
    "run": {"schema": "int", "name": "text", "seed": "int", "nodes": "json"},
    "up": {"term": "int", "commit": "int", "last_index": "int"},
    "down": {"why": "name"},
    "role": {"role": "name", "term": "int", "leader": "json"},
    "vote": {"term": "int", "candidate": "int"},
    "config": {"index": "int", "voters": "json", "voters_outgoing": "json", "learners": "json"},
    "commit": {"index": "int"},
    "apply": {"index": "int", "term": "int", "entry": "name"},
    "send": {"to": "int", "id": "text", "message": "name", "term": "int", "note": "text"},
    "recv": {"from": "int", "id": "text", "message": "name"},
    "drop": {"from": "int", "id": "text", "message": "name", "note": "name"},
    "fault": {"phase": "name", "fault": "name", "nodes": "json", "links": "json", "note": "name"},
    "op": {
        "phase": "name",
        "client": "int",
        "op_id": "int",
        "op": "name",
        "key": "name",
        "value": "json",
        "note": "name",
    },
    "watch": {
        "phase": "name",
        "client": "int",
        "topic": "name",
        "index": "int",
        "sequence": "int",
        "note": "name",
    },
    "bad": {"from": "int", "message": "name", "note": "name"},
    "violation": {"check": "name", "note": "text"},
}

#: The keys of each kind after `t_us`, `kind` and `node`, in order.
RECORD_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    kind: tuple(columns) for kind, columns in COLUMNS.items()
}

#: The fields of records and of details.
ALL_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {**RECORD_FIELDS, **DETAIL_FIELDS}

#: The kinds in the order of `RECORD_FIELDS`. The place of a kind is its number in the compact format.
KINDS: Final = tuple(RECORD_FIELDS)

#: The field of a kind that may hold a long text.
LONG_FIELDS: Final[Mapping[str, str]] = {
    "fault": "note",
    "op": "value",
    "watch": "note",
    "bad": "note",
    "violation": "note",
}

#: The fault name of a record that stands in the place of missing records.
RECORDS_MISSING_FAULT: Final = "trace"
#: The note of such a record in the place of a truncated line, or at the end of a file that was cut short.
TRUNCATED_NOTE: Final = (
    "records are missing here: the trace was cut short, by a kill or a full disk"
)


class _Cells(NamedTuple):
    t_us: int
    kind: str
    node: int
    values: tuple[Any, ...]  # the JSON types depend on the kind


class TraceRecord(_Cells):
    """One record of a trace, or one of its details.

    It is a tuple, because a reader can make tuples ten times faster than objects with a dict.

    Attributes:
        t_us: the time, in microseconds.
        kind: a key of `RECORD_FIELDS`, or of `DETAIL_FIELDS`.
        node: the node that the record concerns; 0 if it concerns no single node.
        values: the values of the fields, in the order of those fields.
    """

    __slots__ = ()

    def __new__(cls, t_us: int, kind: str, node: int, fields: Mapping[str, Any]) -> TraceRecord:
        """Make a record.

        Raises:
            KeyError: the kind does not exist, or a field is missing.
        """
        values = tuple([fields[key] for key in ALL_FIELDS[kind]])
        return tuple.__new__(cls, (t_us, kind, node, values))

    def __getnewargs__(self) -> tuple[Any, ...]:  # the arguments of `__new__`
        return (self.t_us, self.kind, self.node, self.fields)

    def __repr__(self) -> str:
        return f"TraceRecord({self.t_us}, {self.kind!r}, {self.node}, {self.fields!r})"

    @property
    def fields(self) -> dict[str, Any]:
        """The values by the names of their fields: a new dict for each call."""
        return dict(zip(ALL_FIELDS[self.kind], self.values, strict=True))


def is_cut_note(record: TraceRecord) -> bool:
    """Whether the record stands in the place of records that were cut off: see `cut_note`."""
    return record.kind == "fault" and record.fields["note"] == TRUNCATED_NOTE


def cut_note(t_us: int) -> TraceRecord:
    """The record that stands in the place of records that were cut off after the time `t_us`."""
    fields = {
        "phase": "act",
        "fault": RECORDS_MISSING_FAULT,
        "nodes": [],
        "links": [],
        "note": TRUNCATED_NOTE,
    }
    return TraceRecord(t_us, "fault", 0, fields)
