"""Traces as input: from a file, from lines or from records, one or several, whole or only some kinds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import Final

from qcore.errors import ConfigError
from qcore.trace import FIELDS, TraceRecord, parse_trace

#: A trace file's path, the lines of a trace, or its records.
TraceSource = Path | str | Iterable[str] | Iterable[TraceRecord]

#: What tells who led when, and under which faults: a small part of a trace.
LEADERSHIP_KINDS: Final = frozenset({"run", "up", "down", "role", "config", "fault", "violation"})

_KIND_KEY: Final = '"kind":"'


def load(source: TraceSource, *, kinds: Collection[str] | None = None) -> list[TraceRecord]:
    """The records of a trace, in time.

    Args:
        source: a path, lines (as `TraceWriter.lines()` gives them), or records.
        kinds: keep these kinds only. Other lines are not even parsed: of a simulated run
            nine tenths are messages, so this is much faster.

    Raises:
        ConfigError: the file cannot be read, a line is not a record, or a kind does not exist.
    """
    if kinds is not None:
        unknown = sorted(set(kinds) - set(FIELDS))
        if unknown:
            raise ConfigError(f"no such kind of trace record: {', '.join(unknown)}")
    if isinstance(source, Path | str):
        try:
            with open(source, encoding="utf-8") as stream:
                return list(parse_trace(_of_kinds(stream, kinds)))
        except OSError as error:
            raise ConfigError(f"cannot read the trace {source}: {error.strerror}") from None
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from None
    items = list(source)
    records = [item for item in items if isinstance(item, TraceRecord)]
    lines = [item for item in items if isinstance(item, str)]
    records += parse_trace(_of_kinds(lines, kinds))
    if kinds is None:
        return records
    return [record for record in records if record.kind in kinds]


def merge(*sources: TraceSource, kinds: Collection[str] | None = None) -> list[TraceRecord]:
    """One trace from several, for example one a node, in the order of time."""
    records = [record for source in sources for record in load(source, kinds=kinds)]
    return sorted(records, key=attrgetter("t_us"))


def _of_kinds(lines: Iterable[str], kinds: Collection[str] | None) -> Iterator[str]:
    """Lines of other kinds become empty, which the parser skips, so that line numbers stay right."""
    if kinds is None:
        yield from lines
        return
    for line in lines:
        start = line.find(_KIND_KEY)
        kind = line[start + len(_KIND_KEY) : start + 24].partition('"')[0]
        # A line without the key, or with a kind that does not exist, is for the parser to refuse.
        yield line if start < 0 or kind in kinds or kind not in FIELDS else ""
