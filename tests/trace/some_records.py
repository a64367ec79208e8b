"""Records for tests: drawn ones, and the bytes of a small compact trace."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO, StringIO
from typing import Any

from hypothesis import strategies as st

from qcore.trace import (
    DETAIL_FIELDS,
    RECORD_FIELDS,
    SCHEMA_VERSION,
    TraceRecord,
    TraceWriter,
)
from qcore.trace.record_details import DETAIL_COLUMNS
from qcore.trace.trace_record import COLUMNS

NUMBERS = st.one_of(
    st.integers(0, 9), st.integers(0, 300), st.integers(-5, 1 << 40), st.integers(1 << 62, 1 << 70)
)
# Newlines, halves of surrogate pairs and control characters too: a note may hold what a user's function raised.
TEXTS = st.one_of(st.sampled_from(["", "x", "no connection"]), st.text(max_size=8))
JSON_VALUES = st.one_of(
    st.none(), NUMBERS, TEXTS, st.lists(st.integers(0, 9), max_size=3), st.just([[1, 2], [2, 1]])
)
_BY_TYPE: dict[str, st.SearchStrategy[Any]] = {  # integers, texts or JSON values
    "int": NUMBERS,
    "name": TEXTS,
    "text": TEXTS,
    "json": JSON_VALUES,
}


def _of_kind(kind: str) -> st.SearchStrategy[TraceRecord]:
    columns = {**COLUMNS, **DETAIL_COLUMNS}[kind]
    fields = {name: _BY_TYPE[column] for name, column in columns.items()}
    if kind == "run":
        fields |= {"schema": st.just(SCHEMA_VERSION), "nodes": st.just([1, 2])}
    if kind == "op":
        fields["value"] = st.one_of(st.none(), NUMBERS, TEXTS)
    for plain in ("message", "op", "phase", "role", "check"):
        if plain in fields:
            fields[plain] = st.sampled_from(["invoke", "ok", "leader"])
    return st.builds(
        TraceRecord, NUMBERS, st.just(kind), st.integers(0, 300), st.fixed_dictionaries(fields)
    )


RECORDS = st.sampled_from(tuple(RECORD_FIELDS)).flatmap(_of_kind)
TRACES = st.lists(RECORDS, max_size=30)
#: Records and details.
DETAILED = st.lists(
    st.sampled_from((*RECORD_FIELDS, *DETAIL_FIELDS, *DETAIL_FIELDS)).flatmap(_of_kind),
    max_size=30,
)


def compact(records: Iterable[TraceRecord], *, complete: bool = True) -> bytes:
    """A compact file with these records."""
    file = BytesIO()
    writer = TraceWriter(compact=file)
    for record in records:
        writer.record(record)
    writer.finish(complete=complete)
    return file.getvalue()


def json_lines(records: Iterable[TraceRecord]) -> list[str]:
    """The JSON lines of these records, as a text stream gets them."""
    stream = StringIO()
    writer = TraceWriter(stream)
    for record in records:
        writer.record(record)
    writer.finish()
    return stream.getvalue().split("\n")[:-1]


def messages(number: int) -> list[TraceRecord]:
    """A trace of three nodes that send messages to each other and commit."""
    writer = TraceWriter(keep=True)
    writer.run(0, "messages", 3, [1, 2, 3])
    for n in range(number):
        node, to = n % 3 + 1, (n + 1) % 3 + 1
        writer.send(10 * n, node, to, f"{node}-{n}", "AppendEntries", 1, f"prev {n}.1 entries 1")
        writer.recv(10 * n + 5, to, node, f"{node}-{n}", "AppendEntries")
        writer.commit(10 * n + 6, to, n)
    return writer.trace().records()
