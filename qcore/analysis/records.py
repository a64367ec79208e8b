"""Traces as input: from a file, from lines or from records, one or several, whole or only some kinds."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

from qcore.errors import ConfigError
from qcore.trace import (
    RECORD_FIELDS,
    RECORDS_MISSING_FAULT,
    TRUNCATED_NOTE,
    TraceRecord,
    next_record_start,
    parse_trace,
)

#: A trace file's path, the lines of a trace, or its records.
TraceSource = Path | str | Iterable[str] | Iterable[TraceRecord]

#: What tells who led when, and under which faults: a small part of a trace.
LEADERSHIP_KINDS: Final = frozenset({"run", "up", "down", "role", "config", "fault", "violation"})

_KIND_KEY: Final = '"kind":"'
#: What stands before the end of a record: that of a text, a list, a number or `null`.
_LAST: Final = frozenset('"]l0123456789')
_TIME: Final = re.compile(r'\{"t_us":(\d+),')


def load(source: TraceSource, *, kinds: Collection[str] | None = None) -> list[TraceRecord]:
    """The records of a trace, in time.

    Where records are missing, because their file took them too slowly or a line was cut short, a fault
    `RECORDS_MISSING_FAULT`
    begins with the last record before, and ends with the first one after.

    Args:
        source: a path, lines (as `TraceWriter.lines()` gives them), or records.
        kinds: keep these kinds only. Other lines are not even parsed: of a simulated run
            nine tenths are messages, so this is much faster.

    Raises:
        ConfigError: the file cannot be read, a line is not a record, or a kind does not exist.
    """
    if kinds is not None:
        unknown = sorted(set(kinds) - set(RECORD_FIELDS))
        if unknown:
            raise ConfigError(f"no such kind of trace record: {', '.join(unknown)}")
    if isinstance(source, Path | str):
        try:
            # What is not UTF-8 is no record either: the parser says in which line.
            with open(source, encoding="utf-8", errors="replace") as stream:
                records = _parse(stream, kinds)
        except OSError as error:
            raise ConfigError(f"cannot read the trace {source}: {error.strerror}") from None
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from None
    else:
        items = list(source)
        records = [item for item in items if isinstance(item, TraceRecord)]
        records = list(_with_gaps(records))
        records += _parse([item for item in items if isinstance(item, str)], kinds)
    if kinds is None:
        return records
    return [record for record in records if record.kind in kinds]


def merge(*sources: TraceSource, kinds: Collection[str] | None = None) -> list[TraceRecord]:
    """One trace from several, for example one a node, in the order of time."""
    records = [record for source in sources for record in load(source, kinds=kinds)]
    return sorted(records, key=attrgetter("t_us"))


def _parse(lines: Iterable[str], kinds: Collection[str] | None) -> list[TraceRecord]:
    chosen = _Lines(lines, kinds)
    return list(_with_gaps(parse_trace(chosen), chosen.time_before))


def _with_gaps(
    records: Iterable[TraceRecord], time_before: Callable[[], int | None] = lambda: None
) -> Iterator[TraceRecord]:
    """The records, with stretches in the place of the notes that some are missing.

    Args:
        records: of one trace, in its order.
        time_before: the time of the line before the record just read, which may be of a kind that is not read.
    """
    last_us: int | None = None
    nodes: list[int] = []  # that wrote the trace, if a real one did
    unended: TraceRecord | None = None
    for record in records:
        if unended is not None:
            yield replace(unended, t_us=record.t_us)
            unended = None
        if record.kind == "run":
            nodes = record.fields["nodes"] if len(record.fields["nodes"]) == 1 else []
        if not _says_missing(record.kind, record.fields):
            last_us = record.t_us
            yield record
            continue
        before_us = next(us for us in (time_before(), last_us, record.t_us) if us is not None)
        cells = {**record.fields, "nodes": record.fields["nodes"] or nodes}
        is_cut = cells["note"] == TRUNCATED_NOTE
        begin_us = before_us if is_cut else min(before_us, record.t_us)
        yield replace(record, t_us=begin_us, fields={**cells, "phase": "begin"})
        end = replace(record, fields={**cells, "phase": "end"})
        if is_cut:
            unended = end  # nobody wrote down when that was
        else:
            yield end


def _says_missing(kind: str, cells: Mapping[str, Any]) -> bool:
    return kind == "fault" and cells["fault"] == RECORDS_MISSING_FAULT and cells["phase"] == "act"


class _Lines:
    """Lines for the parser. Those of other kinds become empty, which it skips, so that line numbers stay right.

    Args:
        lines: of a trace.
        kinds: what to read; None: all.
    """

    def __init__(self, lines: Iterable[str], kinds: Collection[str] | None) -> None:
        self._lines = lines
        self._kinds = kinds
        self._before = self._now = ""

    def time_before(self) -> int | None:
        """The time in the line before the one that was read last, if it has any."""
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
            # A line without the key, or with a kind that does not exist, is for the parser to refuse, and one that
            # was cut short for it to say so.
            is_other = start >= 0 and kind in RECORD_FIELDS and kind not in kinds
            yield "" if is_other and _is_whole(line) else line


def _is_whole(line: str) -> bool:
    """Whether a line ends as records do: without parsing it, which would take as long as to read it."""
    last = line.rstrip()[-2:]
    return last[1:] == "}" and last[0] in _LAST and next_record_start(line) < 0
