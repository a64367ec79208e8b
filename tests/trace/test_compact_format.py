"""A compact trace holds exactly the records that were written, and its hash does not depend on where they went."""

from __future__ import annotations

import copy
import pickle
from io import BytesIO, StringIO

import pytest
from hypothesis import given, settings

from qcore.errors import ConfigError
from qcore.trace import (
    RECORD_FIELDS,
    CompactTrace,
    TraceRecord,
    TraceWriter,
    block_codec,
    hash_of,
    parse_trace,
)
from tests.trace.some_records import TRACES, compact, json_lines, messages


@given(TRACES)
def test_both_formats_return_the_records_written(records: list[TraceRecord]) -> None:
    trace = CompactTrace(compact(records))
    assert trace.records() == records
    assert list(trace.iterate()) == records
    assert list(parse_trace(json_lines(records))) == records
    assert len(trace) == len(records)


@given(TRACES)
def test_the_hash_is_the_same_wherever_records_go(records: list[TraceRecord]) -> None:
    writers = [
        TraceWriter(),
        TraceWriter(keep=True),
        TraceWriter(StringIO()),
        TraceWriter(compact=BytesIO()),
        TraceWriter(StringIO(), compact=BytesIO(), keep=True),
    ]
    for number, record in enumerate(records):
        for writer in writers:
            writer.record(record)
        if number % 7 == 0:
            writers[2].flush()
            writers[1].sha256()
    hashes = {writer.sha256() for writer in writers}
    trace = CompactTrace(compact(records))
    assert hashes == {trace.stored_sha256}
    assert hashes == {trace.compute_sha256()}
    assert hashes == {hash_of(parse_trace(json_lines(records)))}


@settings(max_examples=30)
@given(TRACES, TRACES)
def test_different_records_have_different_hashes(
    one: list[TraceRecord], two: list[TraceRecord]
) -> None:
    assert (hash_of(one) == hash_of(two)) == (one == two)


@given(TRACES)
def test_some_kinds_are_those_of_all_records(records: list[TraceRecord]) -> None:
    trace = CompactTrace(compact(records))
    for kinds in ({"op"}, {"send", "recv"}, set(RECORD_FIELDS) - {"run"}, set[str]()):
        assert trace.records(kinds) == [record for record in records if record.kind in kinds]
    for kind, fields in RECORD_FIELDS.items():
        names = ("node", *fields, "t_us")
        rows = [row for part in trace.columns(kind, *names) for row in zip(*part, strict=True)]
        assert rows == [
            (record.node, *record.values, record.t_us) for record in records if record.kind == kind
        ]
        assert trace.counts[kind] == len(rows)


def test_a_trace_of_several_blocks_is_whole() -> None:
    records = messages(3000)
    assert len(records) > 2 * block_codec.BLOCK_RECORDS
    trace = CompactTrace(compact(records))
    assert trace.records() == records
    assert trace.records({"commit"}) == [record for record in records if record.kind == "commit"]
    assert trace.is_complete
    assert trace.stored_sha256 == hash_of(records) == trace.compute_sha256()


def test_the_hash_of_known_records_stays_the_same() -> None:
    """If this changes, the hash of every run does: see `docs/reference/compatibility.md`."""
    assert hash_of([]) == "b5095bbe3dca396a6a238b5c6054bec8b5697e3f50621359b4969b6bea533097"
    assert (
        hash_of(messages(5000))
        == "d30badcfd39944af3522846203fa93d320abc6b798590c3a02da160f06d342ff"
    )


def test_lines_are_those_that_a_stream_gets() -> None:
    stream = StringIO()
    writer = TraceWriter(stream, keep=True)
    for record in messages(1500):
        writer.record(record)
    writer.flush()
    assert writer.lines() == stream.getvalue().split("\n")[:-1]
    assert len(writer.lines()) == 4501


def test_a_writer_keeps_records_only_if_asked() -> None:
    writer = TraceWriter()
    writer.commit(1, 2, 3)
    assert writer.lines() == []
    assert writer.trace().records() == []


def test_a_file_grows_block_by_block_during_the_run() -> None:
    """Otherwise a long run would need memory for all of its records, and a kill would lose them."""
    file = BytesIO()
    writer = TraceWriter(compact=file)
    written: list[int] = []
    for n in range(3 * block_codec.BLOCK_RECORDS):
        writer.commit(n, 1, n)
        if n % 2048 == 2047:
            written.append(len(CompactTrace(file.getvalue())))
    assert written == [0, 4096, 4096, 8192, 8192, 12288]


def test_long_values_make_shorter_blocks() -> None:
    """A block of four thousand values of a megabyte would need gigabytes."""
    file = BytesIO()
    writer = TraceWriter(compact=file)
    value = "v" * 1_000_000
    for n in range(20):
        writer.op(n, 1, "invoke", 1, n, "write", "k", value)
    trace = CompactTrace(file.getvalue())
    assert [len(values) for (values,) in trace.columns("op", "value")] == [5, 5, 5, 5]


def test_a_record_is_a_value() -> None:
    record = TraceRecord(
        5,
        "fault",
        0,
        {
            "links": [[1, 2]],
            "nodes": [],
            "note": "",
            "fault": "cut",
            "phase": "begin",
        },
    )
    assert record.values == ("begin", "cut", [], [[1, 2]], "")
    assert pickle.loads(pickle.dumps(record)) == record
    assert copy.deepcopy(record) == record
    assert repr(record).startswith("TraceRecord(5, 'fault', 0, {'phase': 'begin'")
    with pytest.raises(KeyError):
        TraceRecord(5, "commit", 1, {})


def test_bytes_that_are_no_trace_are_an_error() -> None:
    with pytest.raises(ConfigError, match="x is not a compact trace"):
        CompactTrace(b"SQLite format 3\0", "x")
