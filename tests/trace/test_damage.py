"""A compact trace that was cut, changed or written by another version: a clear error, or the records before the cut."""

from __future__ import annotations

import random
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qcore.errors import ConfigError
from qcore.trace import (
    CompactTrace,
    TraceRecord,
    block_codec,
    compact_trace,
    parse_trace,
    read_trace,
)
from qcore.trace.trace_record import KINDS, TRUNCATED_NOTE
from tests.trace.some_records import TRACES, compact, messages

RECORDS = messages(3000)
FILE = compact(RECORDS)


def use(data: bytes) -> list[TraceRecord]:
    """Everything that a reader does with a trace."""
    trace = CompactTrace(data, "run.qtrace")
    trace.compute_sha256()
    trace.records({"commit", "fault"})
    list(trace.columns("send", "note"))
    return trace.records()


def error_of(data: bytes) -> str:
    try:
        use(data)
    except ConfigError as error:
        return str(error)
    return ""


def cut_of(records: list[TraceRecord]) -> list[TraceRecord]:
    """The records before the cut; the last one says that records are missing."""
    *before, last = records
    assert last.fields["note"] == TRUNCATED_NOTE
    assert last.t_us == before[-1].t_us
    return before


@given(st.integers(0, len(FILE) - 1), st.integers(1, 255))
@example(len(FILE) - 1, 1)
def test_a_changed_byte_is_found(place: int, change: int) -> None:
    data = bytearray(FILE)
    data[place] ^= change
    with pytest.raises(ConfigError, match=r"^run\.qtrace") as raised:
        use(bytes(data))
    if place >= len(block_codec.MAGIC):
        assert "at offset" in str(raised.value)


@pytest.mark.pure_only("it replaces a compiled constant")
def test_without_checksums_a_changed_byte_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(FILE)
    data[-1] ^= 1
    monkeypatch.setattr(compact_trace, "_checksum", lambda _data: _Equal())
    assert use(bytes(data)) == RECORDS


class _Equal(int):
    def __eq__(self, _other: object) -> bool:
        return True

    def __ne__(self, _other: object) -> bool:
        return False

    __hash__ = int.__hash__


@given(st.integers(len(block_codec.MAGIC), len(FILE) - 1), st.sampled_from([0, 40, 5000]))
@example(len(FILE) - 41, 0)
@example(len(FILE) - 41 - 16, 0)
def test_a_cut_file_has_the_records_before_the_cut(length: int, zeros: int) -> None:
    """A kill leaves a part of the last block; a power loss may also leave zeros."""
    trace = CompactTrace(FILE[:length] + bytes(zeros))
    assert not trace.is_complete
    assert trace.stored_sha256 is None
    found = trace.records()
    if not len(trace):
        assert found == []
        return
    before = cut_of(found)
    assert before == RECORDS[: len(before)]
    assert len(before) in (4096, 8192, len(RECORDS))
    assert trace.records({"run"}) == RECORDS[:1]
    assert [record.kind for record in trace.records({"run", "fault"})] == ["run", "fault"]


def test_a_cut_is_noted_between_blocks_too() -> None:
    unfinished = compact(RECORDS, complete=False)
    assert cut_of(CompactTrace(unfinished).records()) == RECORDS


def test_an_unknown_version_says_what_to_do(tmp_path: Path) -> None:
    begin = block_codec.MAGIC + struct.pack("<I", 7)
    path = tmp_path / "run.qtrace"
    path.write_bytes(begin + struct.pack("<I", zlib.crc32(begin)) + b"something else")
    with pytest.raises(ConfigError) as raised:
        read_trace(path)
    assert str(raised.value) == (
        f"{path}: the trace was written by a newer qcore: format 7, this program reads up to 2; "
        "read it with the qcore that wrote it, or convert it with that one to JSON lines: "
        "qcore sim trace FILE --json-lines"
    )


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        (
            b'{"schema":2,"kinds":[]}',
            "the schema of the trace was written by a newer qcore: format 2, this program",
        ),
        (
            b'{"schema":1,"kinds":[["gossip","to"]]}',
            "kinds or fields that this qcore does not know",
        ),
        (b'{"schema":1', "damaged at offset 16"),
        (b"[]", "damaged at offset 16"),
        (b"[" * 100_000, "damaged at offset 16"),
    ],
)
def test_an_unknown_schema_says_what_to_do(schema: bytes, says: str) -> None:
    data = FILE[:16] + block_codec.block(b"S", schema)
    with pytest.raises(ConfigError, match=says):
        CompactTrace(data, "run.qtrace")


@given(TRACES.filter(bool), st.integers(0, 2**32), st.integers(1, 4))
def test_a_body_that_fits_its_checksum_may_hold_anything(
    records: list[TraceRecord], seed: int, changes: int
) -> None:
    """A program with a fault could write such a block. No reader may stop with another error."""
    rng = random.Random(seed)
    parts = block_codec.encode_parts(*cells_of(records))
    changed = []
    for part in parts:
        content = bytearray(part.content)
        for _ in range(rng.randrange(changes + 1)):
            content[rng.randrange(len(content))] = rng.choice(
                (0, 1, 66, 78, 255, rng.randrange(256))
            )
        count = part.count + (rng.random() < 0.1)
        changed.append(block_codec.Part(part.kind, count, bytes(content)))
    body = bytearray(block_codec.records_block(changed)[17:])
    if rng.random() < 0.3:
        body[rng.randrange(len(body))] = rng.randrange(256)
    data = block_codec.head() + block_codec.block(b"R", bytes(body))
    assert "run.qtrace: the trace is damaged at offset" in error_of(data) or use(data)


def cells_of(records: list[TraceRecord]) -> tuple[bytes, list[list[object]]]:
    cells: list[list[object]] = [[] for _ in KINDS]
    order = bytes(KINDS.index(record.kind) for record in records)
    for kind, record in zip(order, records, strict=True):
        cells[kind] += (record.t_us, record.node, *record.values)
    return order, cells


@pytest.mark.parametrize(
    "frames",
    [
        [(b"R", b"\0")],
        [(b"S", None), (b"S", None)],
        [(b"S", None), (b"X", b"abc")],
        [(b"S", None), (b"E", b"abc")],
        [(b"S", None), (b"E", struct.pack("<Q32s", 5, b""))],
        [(b"S", None), (b"E", struct.pack("<Q32s", 0, b"")), (b"R", b"\0")],
        [(b"S", None), (b"R", b"")],
        [(b"S", None), (b"R", b"\0")],
        [(b"S", None), (b"R", b"\xff\0")],
    ],
)
def test_blocks_in_a_wrong_order_are_damage(frames: list[tuple[bytes, bytes | None]]) -> None:
    data = FILE[:16] + b"".join(
        block_codec.block(kind, block_codec.schema_body() if body is None else body)
        for kind, body in frames
    )
    with pytest.raises(ConfigError, match="damaged at offset"):
        use(data)


def test_a_part_may_not_expand_without_bound() -> None:
    """A few bytes that claim to be gigabytes are damage, and not a reason to use all memory."""
    part = block_codec.PART_ROW.pack(block_codec.ORDER, 1, 1 << 40, 9) + zlib.compress(b"a")
    data = block_codec.head() + block_codec.block(b"R", b"\1" + part)
    with pytest.raises(ConfigError, match="a part is too long"):
        use(data)


def test_a_file_that_is_no_trace_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "run.qtrace"
    path.write_bytes(b"\x7fELF\0\0\0\n")
    with pytest.raises(ConfigError, match=r"run\.qtrace: trace line 1 is not JSON"):
        read_trace(path)
    path.write_bytes(b"")
    assert read_trace(path) == list(parse_trace([])) == []


@pytest.mark.parametrize("more", [b"x", b"\0x", FILE])
def test_whatever_follows_the_end_is_damage(more: bytes) -> None:
    assert "there is more after the end of the trace" in error_of(FILE + more)
    assert error_of(FILE + b"\0" * 100) == "", "the zeros of a power loss"
