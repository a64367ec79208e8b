"""What a long log costs: in the core, on disk, and at a start. By processor time, in a new process for each length."""

from __future__ import annotations

import gc
import tempfile
import time
from pathlib import Path

from benchmarks.bench_growth import resident_bytes
from benchmarks.loops.core_cluster import CoreCluster, one_at_a_time, pipelined
from qcore.core.effects import AppendLog
from qcore.core.entry import Entry
from qcore.storage.sqlite.sqlite_storage import SqliteStorage

DATA = "x" * 100
#: Entries are made and written in groups of this size.
GROUP = 1000
COMMANDS = 3000


def log_figures(length: int) -> dict[str, float]:
    """The figures for a log of this many entries."""
    gc.disable()  # a node lets the collector look at little of what exists
    return _in_the_core(length) | _on_disk(length)


def _in_the_core(length: int) -> dict[str, float]:
    """Three servers that have replicated this many entries replicate one more, again and again."""
    before = resident_bytes()
    cluster = CoreCluster()
    while cluster.committed < length:
        pipelined(cluster)
    gc.collect()
    held = resident_bytes() - before
    began = time.process_time()
    for _ in range(COMMANDS):
        one_at_a_time(cluster)
    took = (time.process_time() - began) / COMMANDS
    return {
        "a command in the core, µs": 1e6 * took,
        "memory of three cores for each entry, bytes": held / length,
    }


def _entries(first: int, count: int) -> list[Entry]:
    return [Entry(place, 0, "command", DATA, 0) for place in range(first, first + count)]


def _on_disk(length: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "log"
        storage = SqliteStorage.open(path, 1)
        storage.load()
        for first in range(1, length + 1, GROUP):
            storage.write([AppendLog(first, _entries(first, min(GROUP, length + 1 - first)))])
        times: list[float] = []
        for place in range(length + 1, length + 201):
            entries = _entries(place, 1)
            began = time.process_time()
            storage.write([AppendLog(place, entries)], commit=place - 1)
            times.append(time.process_time() - began)
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        storage.close()
        began = time.process_time()
        storage = SqliteStorage.open(path, 1)
        storage.load()
        loaded = time.process_time() - began
        storage.close()
    return {
        "append of one entry, CPU µs": 1e6 * sorted(times)[len(times) // 2],
        "files on disk, MB": size / 1e6,
        "a start loads the log in, ms": 1e3 * loaded,
    }
