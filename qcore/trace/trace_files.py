"""Reads trace files of either format, which it recognises by the first bytes."""

from __future__ import annotations

import gc
import io
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from qcore.errors import ConfigError
from qcore.trace.block_codec import MAGIC
from qcore.trace.compact_trace import CompactTrace, is_compact
from qcore.trace.json_lines import parse_trace
from qcore.trace.trace_record import TraceRecord

#: Suffixes of files that get JSON lines. Other files get the compact format.
JSON_SUFFIXES: Final = (".jsonl", ".ndjson", ".json")


def is_json_path(path: Path | str) -> bool:
    """Whether a trace that is written to this path has JSON lines."""
    return Path(path).suffix.lower() in JSON_SUFFIXES


@contextmanager
def open_trace(path: Path | str) -> Iterator[CompactTrace | Iterable[str]]:
    """Open a trace file: a compact trace, or the lines of JSON lines.

    Raises:
        ConfigError: the file cannot be read, or is a compact trace that is damaged or of an unknown version. The error
            names the file.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open(path, "rb"))
            data = file.read() if is_compact(file.peek(len(MAGIC))) else None
        except OSError as error:
            raise _unreadable(path, error) from None
        stack.enter_context(pause_collection())
        yield _lines(file, path) if data is None else CompactTrace(data, str(path))


def _lines(file: BinaryIO, path: Path | str) -> Iterator[str]:
    # Text that is not UTF-8 is not a record either: the parser reports its line.
    try:
        yield from io.TextIOWrapper(file, encoding="utf-8", errors="replace")
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path | str, error: OSError) -> ConfigError:
    return ConfigError(f"cannot read the trace {path}: {error.strerror}")


def read_trace(path: Path | str) -> list[TraceRecord]:
    """Return all records of a trace file, of either format.

    For a large compact trace, `open_trace` and the functions of `qcore.analysis` need less time and memory: they decode
    only what they need.

    Raises:
        ConfigError: the file cannot be read, is damaged or holds a bad line. The message names the file and the line or
            the offset.
    """
    with open_trace(path) as source:
        if isinstance(source, CompactTrace):
            return source.records()
        return parse_lines(source, path)


def parse_lines(lines: Iterable[str], path: Path | str) -> list[TraceRecord]:
    """Parse the lines of a file.

    Raises:
        ConfigError: a line is bad. The message names the file and the line.
    """
    try:
        return list(parse_trace(lines))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


@contextmanager
def pause_collection() -> Iterator[None]:
    """Pause the cycle collector. It would traverse the records again and again, and they have no cycles."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
