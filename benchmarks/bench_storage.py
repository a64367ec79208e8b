"""The speed of durable writes: `SqliteStorage` and `GroupCommitWriter`, compared to a raw append and fdatasync.

Each figure of the storage is compared to a raw append of the same bytes (the data and 40 bytes more for each entry)
with one sync, on the same file system. The two are measured alternately, because other users of the disk then affect
both. Only the ratio is comparable between machines.

    python -m benchmarks.bench_storage [--directory DIR] [--scale 1.0] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from qcore.core.effects import AppendLog
from qcore.core.entry import Entry
from qcore.storage.group_commit import GroupCommitWriter
from qcore.storage.interface import LogStorage
from qcore.storage.memory import MemoryStorage
from qcore.storage.sqlite.sqlite_storage import SqliteStorage

DATA = "x" * 140
ROUNDS = 4
ENTRY_BYTES = len(DATA) + 40


@dataclass(slots=True, frozen=True)
class Figure:
    """One row: the time of one commit of `batch` entries, in seconds."""

    name: str
    batch: int
    p50: float
    p99: float
    entries_per_s: float
    raw_p50: float

    @property
    def ratio(self) -> float:
        """The time of one commit divided by the time of the raw append of the same bytes."""
        return self.p50 / self.raw_p50


def entries(first: int, count: int) -> list[Entry]:
    return [
        Entry(i, 0, "command", DATA, 1_700_000_000_000_000) for i in range(first, first + count)
    ]


def raw_appends(directory: Path, batch: int) -> Callable[[], None]:
    file = os.open(directory / f"raw-{batch}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    content = bytes(ENTRY_BYTES * batch)

    def append() -> None:
        os.write(file, content)
        os.fdatasync(file)

    return append


def commits(storage: LogStorage, batch: int, first: Iterator[int]) -> Callable[[], None]:
    def commit() -> None:
        index = next(first)
        storage.write([AppendLog(index, entries(index, batch))], commit=index - 1)

    return commit


def steps(first: int, by: int) -> Iterator[int]:
    while True:
        yield first
        first += by


def timed(action: Callable[[], None], count: int) -> list[float]:
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        action()
        times.append(time.perf_counter() - begin)
    return times


def measure_batches(directory: Path, batch: int, count: int) -> Figure:
    """Measure commits and raw appends alternately."""
    path = directory / f"sqlite-{batch}"
    storage = SqliteStorage.open(path, 1)
    storage.load()
    commit, append = commits(storage, batch, steps(1, batch)), raw_appends(directory, batch)
    took: list[float] = []
    raw: list[float] = []
    for _ in range(ROUNDS):
        took += timed(commit, count)
        raw += timed(append, count)
    storage.close()
    return figure("SqliteStorage.write", batch, took, raw)


def figure(name: str, batch: int, took: list[float], raw: list[float]) -> Figure:
    return Figure(
        name,
        batch,
        statistics.median(took),
        statistics.quantiles(took, n=100)[98],
        batch * len(took) / sum(took),
        statistics.median(raw),
    )


async def write_through(storage: LogStorage, count: int, first: int) -> list[float]:
    """Submit writes to a `GroupCommitWriter` and await each before the next, on an asyncio loop."""
    loop = asyncio.get_running_loop()
    waiting: dict[int, asyncio.Future[None]] = {}
    writer = GroupCommitWriter(
        storage,
        loop.call_soon_threadsafe,
        on_durable=lambda write_id: waiting.pop(write_id).set_result(None),
        on_error=lambda error: waiting.popitem()[1].set_exception(error),
        on_disk_full=lambda _full: None,
    )
    writer.start()
    times = []
    for index in range(first, first + count):
        done = waiting[index] = loop.create_future()
        begin = time.perf_counter()
        writer.submit([AppendLog(index, entries(index, 1))])
        await done
        times.append(time.perf_counter() - begin)
    writer.close()
    return times


def measure_writer(directory: Path, count: int) -> list[Figure]:
    """Measure one write at a time through the thread and back: on disk, and in memory for the hand-off alone."""
    storage, memory = SqliteStorage.open(directory / "writer", 1), MemoryStorage(1)
    storage.load()
    append = raw_appends(directory, 1)
    on_disk: list[float] = []
    in_memory: list[float] = []
    raw: list[float] = []
    for turn in range(ROUNDS):
        on_disk += asyncio.run(write_through(storage, count, 1 + turn * count))
        in_memory += asyncio.run(write_through(memory, count, 1 + turn * count))
        raw += timed(append, count)
    storage.close()
    return [
        figure("GroupCommitWriter on disk", 1, on_disk, raw),
        figure("GroupCommitWriter in memory", 1, in_memory, raw),
    ]


def measure_start(directory: Path, count: int) -> tuple[float, float]:
    """The seconds to open a log of `count` entries, and to load and verify it."""
    path = directory / "start"
    storage = SqliteStorage.open(path, 1)
    for first in range(1, count, 1000):
        storage.write([AppendLog(first, entries(first, 1000))])
    storage.close()
    begin = time.perf_counter()
    storage = SqliteStorage.open(path, 1)
    opened = time.perf_counter()
    storage.load()
    loaded = time.perf_counter()
    storage.close()
    return opened - begin, loaded - opened


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--directory", type=Path, help="where to write (default: the temp directory)"
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help="factor for the number of measurements"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    scale: float = arguments.scale
    with tempfile.TemporaryDirectory(prefix="qcore-bench-", dir=arguments.directory) as name:
        directory = Path(name)
        figures = [
            measure_batches(directory, batch, max(3, int(count * scale)))
            for batch, count in ((1, 500), (64, 100), (256, 50), (1000, 20))
        ]
        figures += measure_writer(directory, max(3, int(300 * scale)))
        size = max(1, int(100 * scale)) * 1000
        opened, loaded = measure_start(directory, size)
    report(figures, size, opened, loaded, as_json=arguments.json)


def report(
    figures: list[Figure], size: int, opened: float, loaded: float, *, as_json: bool
) -> None:
    if as_json:
        rows = [{**asdict(row), "ratio": row.ratio} for row in figures]
        start = {"entries": size, "open_s": opened, "load_s": loaded}
        print(json.dumps({"commits": rows, "start": start}))
        return
    print(f"{'':30} entries  p50 µs  p99 µs  entries/s  raw µs  times raw")
    for row in figures:
        print(
            f"{row.name:30} {row.batch:7} {row.p50 * 1e6:7.0f} {row.p99 * 1e6:7.0f} "
            f"{row.entries_per_s:10,.0f} {row.raw_p50 * 1e6:7.0f} {row.ratio:10.2f}"
        )
    print(f"start with {size:,} entries: open {opened * 1e3:.0f} ms, load {loaded * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
