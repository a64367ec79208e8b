"""The details of a trace: both formats hold them in their places, and neither the hash nor old readers see them."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO, StringIO

import pytest
from hypothesis import given, settings

from qcore.errors import ConfigError
from qcore.sim import run_scenario
from qcore.trace import (
    DETAIL_FIELDS,
    CompactTrace,
    TraceRecord,
    TraceWriter,
    block_codec,
    hash_of,
    parse_trace,
)
from tests.trace.some_records import DETAILED, compact, json_lines


def is_detail(record: TraceRecord) -> bool:
    return record.kind in DETAIL_FIELDS


@settings(max_examples=40)
@given(DETAILED)
def test_both_formats_hold_details_in_their_places(records: list[TraceRecord]) -> None:
    trace = CompactTrace(compact(records))
    assert trace.records(details=True) == records
    assert list(trace.iterate(details=True)) == records
    assert list(parse_trace(json_lines(records), details=True)) == records
    assert sum(trace.block_events) == len(records)
    blocks = [trace.block_records(number) for number in range(len(trace.block_events))]
    assert [record for block in blocks for record in block] == records


@settings(max_examples=40)
@given(DETAILED)
def test_readers_that_do_not_ask_see_no_details(records: list[TraceRecord]) -> None:
    plain = [record for record in records if not is_detail(record)]
    trace = CompactTrace(compact(records))
    assert trace.records() == list(trace.iterate()) == plain
    assert list(parse_trace(json_lines(records))) == plain
    assert len(trace) == len(plain)
    assert trace.stored_sha256 == trace.compute_sha256() == hash_of(plain) == hash_of(records)
    assert sum(trace.counts.values()) == len(plain)
    assert sum(trace.detail_counts.values()) == len(records) - len(plain)


@settings(max_examples=40)
@given(DETAILED)
def test_columns_give_the_numbers_of_records(records: list[TraceRecord]) -> None:
    trace = CompactTrace(compact(records))
    for kind in ("log", "clock", "commit", "op"):
        rows = [
            row
            for part in trace.columns(kind, "event", "t_us", "node")
            for row in zip(*part, strict=True)
        ]
        assert rows == [
            (number, record.t_us, record.node)
            for number, record in enumerate(records)
            if record.kind == kind
        ]
    some = {"request", "commit", "send"}
    assert trace.records(some) == [record for record in records if record.kind in some]


def written(number: int, writer: TraceWriter) -> TraceWriter:
    """Two details before and one after each of so many records."""
    for n in range(number):
        writer.log(10 * n, 1, "append", n, 2, 1)
        writer.request(10 * n, 1, "take", 3, n, n + 100)
        writer.commit(10 * n + 1, 1, n)
        writer.log(10 * n + 2, 1, "durable", n)
    writer.finish()
    return writer


def test_details_are_written_block_by_block() -> None:
    file, stream = BytesIO(), StringIO()
    kept = written(5000, TraceWriter(stream, compact=file, keep=True))
    trace = CompactTrace(file.getvalue())
    assert trace.format_version == 2
    assert len(trace.block_events) == 2
    everything = trace.records(details=True)
    assert [record.kind for record in everything[:4]] == ["log", "request", "commit", "log"]
    assert everything == kept.trace().records(details=True)
    assert everything == list(parse_trace(stream.getvalue().splitlines(), details=True))
    assert [record.t_us for record in everything] == sorted(record.t_us for record in everything)
    assert kept.lines() == json_lines(trace.records())


@pytest.mark.parametrize("length", [-1, -60, -10_000])
def test_a_cut_file_has_no_details_without_their_records(length: int) -> None:
    file = BytesIO()
    written(6000, TraceWriter(compact=file))
    trace = CompactTrace(file.getvalue()[:length])
    *found, note = trace.records(details=True)
    assert note.kind == "fault"
    assert len(found) % 4 in (0, 3)
    assert trace.detail_counts["request"] == trace.counts["commit"]


def test_version_1_is_still_read() -> None:
    records = written(3, TraceWriter(keep=True)).trace().records()
    data = bytearray(compact(records))
    struct.pack_into("<I", data, 8, 1)
    struct.pack_into("<I", data, 12, zlib.crc32(data[:12]))
    trace = CompactTrace(bytes(data))
    assert trace.format_version == 1
    assert trace.records(details=True) == records


def test_details_of_a_newer_version_are_not_read() -> None:
    lines = ['{"t_us":1,"kind":"details","node":0,"version":9}']
    with pytest.raises(ConfigError, match=r"line 1: the details .* newer qcore: format 9"):
        list(parse_trace(lines))


def test_places_beyond_the_records_are_damage() -> None:
    head = block_codec.head()
    details = block_codec.details_block([7], [2], [[], [], [5, 1, 0, 0]])
    records = block_codec.records_block(
        block_codec.encode_parts(bytes([6]), [[], [], [], [], [], [], [1, 1, 1], *[[]] * 9])
    )
    trace = CompactTrace(head + details + records, "run.qtrace")
    assert len(trace.records()) == 2
    with pytest.raises(ConfigError, match=r"run\.qtrace: .*places of the details"):
        trace.records(details=True)
    with pytest.raises(ConfigError, match="the details have no records"):
        CompactTrace(head + details + details + records)


def test_details_do_not_change_a_run() -> None:
    compact_file, lines = BytesIO(), StringIO()
    writer = TraceWriter(lines, compact=compact_file, keep=True)
    hashes = {run_scenario("figure_8", seed=1, trace=t).trace_sha256 for t in (None, writer)}
    writer.finish()
    assert hashes == {writer.sha256()}
    everything = writer.trace().records(details=True)
    assert everything[0].kind == "run"
    assert DETAIL_FIELDS.keys() <= {record.kind for record in everything}
    assert everything == CompactTrace(compact_file.getvalue()).records(details=True)
    assert everything == list(parse_trace(lines.getvalue().splitlines(), details=True))
