"""Lines that a separate thread writes: in order, without blocking the caller, and counted when they are lost."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from qcore.errors import ConfigError
from qcore.node.node_files import open_trace_writer
from qcore.node.observability.line_writer import LineWriter
from qcore.node.observability.logs import NodeLog
from qcore.node.observability.tracing import NodeTrace, trace_lines
from qcore.runtime.real import REAL
from qcore.trace import parse_trace

#: Capacity of the queue in these tests, bytes.
ROOM = 10_000
#: Capacity of a pipe, bytes.
PIPE_BYTES = 65536
WAIT_S = 10.0


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:  # the test closed it
            continue


def missing(number: int) -> str:
    return f"{number} missing"


def read_until(end: int, last: bytes) -> list[str]:
    """Read lines from a pipe until one contains `last`."""
    data = b""
    while last not in data or not data.endswith(b"\n"):
        data += os.read(end, 65536)
    return data.decode().splitlines()


def test_lines_are_written_whole_and_in_order(pipe: tuple[int, int]) -> None:
    source, target = pipe
    writer = LineWriter(target, ROOM, missing)
    stream = writer.stream()
    for number in range(100):
        writer.put(f"put {number}\n".encode())
        print("printed", number, file=stream)
    assert writer.flush(WAIT_S)
    lines = read_until(source, b"printed 99")
    assert lines == [f"{how} {number}" for number in range(100) for how in ("put", "printed")]
    assert writer.dropped == 0


def test_a_stuck_reader_blocks_nothing_and_losses_are_counted(
    pipe: tuple[int, int],
) -> None:
    source, target = pipe
    os.write(target, b"\n" * PIPE_BYTES)  # full
    writer = LineWriter(target, ROOM, missing)
    line = b"x" * 99 + b"\n"
    for _ in range(300):
        writer.put(line)
    assert not writer.flush(0.01)
    assert writer.dropped == 300 - ROOM // len(line)
    lines = [line for line in read_until(source, b"missing") if line]
    assert lines == [*["x" * 99] * (ROOM // len(line)), f"{writer.dropped} missing"]
    writer.put(b"after\n")
    assert read_until(source, b"after") == ["after"]
    assert writer.dropped == 200


def test_a_non_blocking_pipe_gets_every_line(
    pipe: tuple[int, int],
) -> None:
    source, target = pipe
    os.set_blocking(target, False)
    writer = LineWriter(target, 10**6, missing)
    for number in range(2000):
        writer.put(b"%099d\n" % number)
    lines = read_until(source, b"%099d" % 1999)
    assert [int(line) for line in lines] == list(range(2000))


def test_without_a_reader_lines_are_dropped_and_writing_goes_on(pipe: tuple[int, int]) -> None:
    source, target = pipe
    os.close(source)
    writer = LineWriter(target, ROOM, missing)
    writer.put(b"a\nb\n")
    assert writer.flush(WAIT_S)
    assert writer.dropped == 2
    source, fresh = os.pipe()
    os.dup2(fresh, target)  # a new reader
    writer.put(b"c\n")
    assert read_until(source, b"c") == ["2 missing", "c"]
    os.close(source)
    os.close(fresh)


def test_a_trace_counts_its_missing_records(pipe: tuple[int, int]) -> None:
    source, target = pipe
    os.write(target, b"\n" * PIPE_BYTES)  # full
    errors: list[OSError] = []
    writer = trace_lines(target, errors.append, ROOM, nodes=[1])
    trace = NodeTrace(writer.stream(), 1, REAL.wall_us)
    for _ in range(10_000):  # 600 kB
        trace.stopped("x")
    assert writer.dropped > 0
    *records, last = parse_trace(read_until(source, b'"fault"'))
    assert {record.kind for record in records} == {"down"}
    assert last.fields["fault"] == "trace"
    assert last.fields["nodes"] == [1]
    assert last.fields["note"].startswith(f"{writer.dropped} records are missing")
    assert not errors


def test_a_trace_on_a_full_disk_ends_with_a_reason() -> None:
    errors: list[OSError] = []
    full = os.open("/dev/full", os.O_WRONLY)
    writer = trace_lines(full, errors.append)
    NodeTrace(writer.stream(), 1, REAL.wall_us).stopped("first")
    assert writer.flush(WAIT_S)
    NodeTrace(writer.stream(), 1, REAL.wall_us).stopped("second")
    assert writer.dropped == 2
    while not errors:
        time.sleep(0.001)
    assert [error.strerror for error in errors] == ["No space left on device"]
    os.close(full)


def test_a_trace_that_cannot_be_opened_names_its_option(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--trace .*missing/trace"):
        open_trace_writer(tmp_path / "missing" / "trace", NodeLog(1))


def test_a_torn_trace_is_continued_on_a_new_line(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    contents = []
    for torn in (b'{"t_us":1,"kind":"up","no', b""):
        writer = open_trace_writer(path, NodeLog(1))
        NodeTrace(writer.stream(), 1, REAL.wall_us).stopped("x")
        writer.close(WAIT_S)
        os.close(writer.fileno())
        with path.open("ab") as file:
            file.write(torn)
        contents.append(path.read_bytes())
    first, second = contents
    assert second.startswith(first + b"\n{")
    assert b"\n\n" not in second
    assert [record.kind for record in parse_trace(second.decode().splitlines())] == [
        "down",
        "fault",
        "down",
    ]


def test_another_file_takes_exactly_the_later_lines(tmp_path: Path) -> None:
    """Also while lines come without a pause, and each new file begins with its first line."""
    paths = [tmp_path / str(number) for number in range(5)]

    def opened(path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    writer = LineWriter(opened(paths[0]), 1_000_000, missing)
    for number, path in enumerate(paths):
        if number:
            writer.reopen(partial(opened, path), b"first\n")
        for line in range(200):
            writer.put(f"{number}.{line}\n".encode())
    assert writer.flush(WAIT_S)
    for number, path in enumerate(paths):
        lines = path.read_text().splitlines()
        assert lines == ["first"] * (number > 0) + [f"{number}.{line}" for line in range(200)]
    assert writer.dropped == 0

    # A file that has content already gets no first line, and one that cannot be opened changes nothing.
    writer.reopen(partial(opened, paths[0]), b"first\n")
    writer.reopen(lambda: None, b"first\n")
    writer.put(b"end\n")
    assert writer.close(WAIT_S)
    assert paths[0].read_text().splitlines()[199:] == ["0.199", "end"]
    os.close(writer.fileno())


def test_a_full_queue_still_changes_the_file(pipe: tuple[int, int], tmp_path: Path) -> None:
    """A reader that is too slow must not keep the node in the old file for ever."""
    source, target = pipe
    old = os.dup(target)
    writer = LineWriter(old, 100, missing)
    for number in range(10_000):
        writer.put(f"{number:>30}\n".encode())
    assert writer.dropped
    path = tmp_path / "new"
    writer.reopen(lambda: os.open(path, os.O_WRONLY | os.O_CREAT))
    while not path.exists():
        if select.select([source], [], [], 0.01)[0]:  # all may be read before the file changes
            os.read(source, 65536)
    assert writer.flush(WAIT_S)
    writer.put(b"end\n")
    assert writer.close(WAIT_S)
    lines = path.read_text().splitlines()
    assert lines[-1] == "end"
    assert all(line.endswith("missing") for line in lines[:-1])
    os.close(writer.fileno())
