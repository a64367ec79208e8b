"""Reads the records of traces: from files, lines or records; one trace or several merged; all kinds or only some."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

from qcore.errors import ConfigError
from qcore.trace import (
    ALL_FIELDS,
    DETAIL_FIELDS,
    RECORD_FIELDS,
    RECORDS_MISSING_FAULT,
    TRUNCATED_NOTE,
    CompactTrace,
    TraceRecord,
    TraceWriter,
    next_record_start,
    open_trace,
    parse_trace,
    pause_collection,
)

#: A trace file's path, the lines of a trace, its records, a compact trace, or a writer that keeps its records.
TraceSource = Path | str | Iterable[str] | Iterable[TraceRecord] | CompactTrace | TraceWriter

#: The kinds of records that show leaders and faults over time: a small part of a trace.
LEADERSHIP_KINDS: Final = frozenset({"run", "up", "down", "role", "config", "fault", "violation"})

_KIND_KEY: Final = '"kind":"'
#: The possible characters before the closing brace of a record: the last one of a text, a list, a number or `null`.
_LAST: Final = frozenset('"]l0123456789')
_TIME: Final = re.compile(r'\{"t_us":(\d+),')


def load(
    source: TraceSource, *, kinds: Collection[str] | None = None, details: bool = False
) -> list[TraceRecord]:
    """The records of a trace, in the order of time.

    Records can be missing because the file was too slow or a line was truncated. There a fault
    `RECORDS_MISSING_FAULT` begins at the last record before the gap and ends at the first one after it.

    Args:
        source: a path, lines (as returned by `TraceWriter.lines()`), records, a compact trace, or a writer that keeps
            its records.
        kinds: keep only these kinds. Others are not parsed or decoded. Nine tenths of a simulated run are messages, so
            this is much faster.
        details: without `kinds`, the details too. Kinds of details in `kinds` are read in any case.

    Raises:
        ConfigError: the file cannot be read or is damaged, a line is not a record, or a kind does not exist.
    """
    content = opened(source, kinds, details=details)
    if isinstance(content, CompactTrace):
        return compact_records(content, kinds, details=details)
    return content


def opened(
    source: TraceSource, kinds: Collection[str] | None, *, details: bool = False
) -> CompactTrace | list[TraceRecord]:
    """A compact trace, of which nothing is decoded yet, or the records of any other source.

    Args:
        source, kinds, details: see `load`.

    Raises:
        ConfigError: see `load`.
    """
    check_kinds(kinds)
    wanted = _wanted(kinds, details=details)
    if isinstance(source, TraceWriter):
        source = source.trace()
    if isinstance(source, CompactTrace):
        return source
    if isinstance(source, Path | str):
        with open_trace(source) as content:
            if isinstance(content, CompactTrace):
                return content
            return _load_lines(content, source, wanted)
    items = list(source)
    records = [item for item in items if isinstance(item, TraceRecord)]
    records = list(_with_gaps(records))
    records += _parse([item for item in items if isinstance(item, str)], wanted)
    return _of_kinds(records, wanted)


def check_kinds(kinds: Collection[str] | None) -> None:
    """Check names of kinds.

    Raises:
        ConfigError: a kind does not exist.
    """
    unknown = sorted(set(kinds or ()) - set(ALL_FIELDS))
    if unknown:
        raise ConfigError(f"no such kind of trace record: {', '.join(unknown)}")


def _wanted(kinds: Collection[str] | None, *, details: bool) -> Collection[str] | None:
    """The kinds to read; None means all records and details."""
    if kinds is not None or details:
        return kinds
    return RECORD_FIELDS.keys()


def _load_lines(
    lines: Iterable[str], path: Path | str, kinds: Collection[str] | None
) -> list[TraceRecord]:
    try:
        return _of_kinds(_parse(lines, kinds), kinds)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def compact_records(
    trace: CompactTrace, kinds: Collection[str] | None, *, details: bool = False
) -> list[TraceRecord]:
    """The records of these kinds in a compact trace; see `load`."""
    with pause_collection():
        records = trace.records(kinds, details=details)
        return list(_with_gaps(records)) if has_gaps(trace) else records


def has_gaps(trace: CompactTrace) -> bool:
    """Whether records are missing in a compact trace."""
    return not trace.is_complete or any(
        RECORDS_MISSING_FAULT in names for (names,) in trace.columns("fault", "fault")
    )


def _of_kinds(records: list[TraceRecord], kinds: Collection[str] | None) -> list[TraceRecord]:
    """Remove records of other kinds: the parser reports records that are missing, whatever the kinds."""
    return records if kinds is None else [record for record in records if record.kind in kinds]


def merge(*sources: TraceSource, kinds: Collection[str] | None = None) -> list[TraceRecord]:
    """Merge several traces, for example one from each node, in the order of time."""
    records = [record for source in sources for record in load(source, kinds=kinds)]
    return sorted(records, key=attrgetter("t_us"))


def _parse(lines: Iterable[str], kinds: Collection[str] | None) -> list[TraceRecord]:
    chosen = _Lines(lines, kinds)
    details = kinds is None or not DETAIL_FIELDS.keys().isdisjoint(kinds)
    return list(_with_gaps(parse_trace(chosen, details=details), chosen.time_before))


def _with_gaps(
    records: Iterable[TraceRecord], time_before: Callable[[], int | None] = lambda: None
) -> Iterator[TraceRecord]:
    """Replace each note that records are missing by the start and end of a fault.

    Args:
        records: the records of one trace, in its order.
        time_before: returns the time of the line before the record just read; that line may be of a kind that is not
            read.
    """
    last_us: int | None = None
    nodes: list[int] = []  # the node that wrote the trace, if it is a real one
    unended: TraceRecord | None = None
    for record in records:
        kind = record.kind
        if unended is not None:
            yield TraceRecord(record.t_us, "fault", 0, unended.fields)
            unended = None
        if kind == "run":
            nodes = record.fields["nodes"] if len(record.fields["nodes"]) == 1 else []
        if kind != "fault" or not _is_gap_note(record.fields):
            last_us = record.t_us
            yield record
            continue
        cells = record.fields
        cells["nodes"] = cells["nodes"] or nodes
        is_cut = cells["note"] == TRUNCATED_NOTE
        # The time of a cut is that of the last record before it, which may be of a kind that is not read.
        times = (record.t_us, last_us) if is_cut else (last_us, record.t_us)
        before_us = next(us for us in (time_before(), *times) if us is not None)
        begin_us = before_us if is_cut else min(before_us, record.t_us)
        yield TraceRecord(begin_us, "fault", 0, {**cells, "phase": "begin"})
        end = TraceRecord(record.t_us, "fault", 0, {**cells, "phase": "end"})
        if is_cut:
            unended = end  # no record shows its time; it ends at the next record
        else:
            yield end


def _is_gap_note(cells: Mapping[str, Any]) -> bool:
    return (cells["fault"], cells["phase"]) == (RECORDS_MISSING_FAULT, "act")


class _Lines:
    """The lines for the parser. Lines of other kinds become empty: it skips those, and line numbers stay correct.

    Args:
        lines: the lines of a trace.
        kinds: the kinds to read; None means all.
    """

    def __init__(self, lines: Iterable[str], kinds: Collection[str] | None) -> None:
        self._lines = lines
        self._kinds = kinds
        self._before = self._now = ""

    def time_before(self) -> int | None:
        """The time in the line before the line read last; None if it has no time."""
        found = _TIME.match(self._before)
        return None if found is None else int(found[1])

    def __iter__(self) -> Iterator[str]:
        kinds = self._kinds
        for line in self._lines:
            if len(line) > 1:
                self._before, self._now = self._now, line
            if kinds is None:
                yield line
                continue
            start = line.find(_KIND_KEY)
            kind = line[start + len(_KIND_KEY) : start + 24].partition('"')[0]
            # The parser rejects a line without the key or with a kind that does not exist, and reports a truncated
            # line. So it must see them.
            is_other = start >= 0 and kind in ALL_FIELDS and kind not in kinds
            yield "" if is_other and _is_whole(line) else line


def _is_whole(line: str) -> bool:
    """Whether a line ends like a record. This does not parse the line, which would take as long as to read it."""
    last = line.rstrip()[-2:]
    return last[1:] == "}" and last[0] in _LAST and next_record_start(line) < 0
