"""What the tables need of a trace: a few kinds as records, and columns of the frequent kinds."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final, Protocol

from qcore.analysis.records import TraceSource, compact_records, opened
from qcore.trace import ALL_FIELDS, CompactTrace, TraceRecord

#: The kinds that show roles, faults and watches. Nine tenths of the records of a run are of other kinds.
_RARE_KINDS: Final = frozenset(
    {"run", "up", "down", "role", "config", "fault", "violation", "watch"}
)


class TraceView(Protocol):
    """A trace, or some kinds of it."""

    def rare(self) -> Sequence[TraceRecord]:
        """At least the records of the rare kinds, in the order of time; all records if roles depend on all."""
        ...

    def columns(self, kind: str, *names: str) -> Iterator[tuple[Sequence[Any], ...]]:
        """The columns with these names, for parts of the records of one kind, in order."""
        ...


class RecordView:
    """Records in a list."""

    def __init__(self, records: Sequence[TraceRecord]) -> None:
        self._records = records
        self._rows: dict[str, list[tuple[Any, ...]]] = {}
        for t_us, kind, node, values in records:
            self._rows.setdefault(kind, []).append((t_us, node, *values))

    def rare(self) -> Sequence[TraceRecord]:
        return self._records

    def columns(self, kind: str, *names: str) -> Iterator[tuple[Sequence[Any], ...]]:
        if kind in self._rows:
            columns = dict(
                zip(
                    ("t_us", "node", *ALL_FIELDS[kind]),
                    zip(*self._rows[kind], strict=True),
                    strict=True,
                )
            )
            yield tuple(columns[name] for name in names)


class CompactView:
    """A compact trace, of which only the necessary columns are decoded.

    Args:
        trace: the trace.
        kinds: the kinds to read; None means all.
    """

    def __init__(self, trace: CompactTrace, kinds: Collection[str] | None) -> None:
        self._trace = trace
        self._kinds = kinds

    def rare(self) -> Sequence[TraceRecord]:
        rare = _RARE_KINDS if self._kinds is None else _RARE_KINDS.intersection(self._kinds)
        records = compact_records(self._trace, rare)
        if any(record.kind == "run" and len(record.fields["nodes"]) > 1 for record in records):
            return records
        # A real node that was killed has no record of it. Its last record of any kind shows when it stopped.
        return compact_records(self._trace, self._kinds)

    def columns(self, kind: str, *names: str) -> Iterator[tuple[Sequence[Any], ...]]:
        if self._kinds is None or kind in self._kinds:
            yield from self._trace.columns(kind, *names)


def view(source: TraceSource, kinds: Collection[str] | None) -> TraceView:
    """View a trace.

    Args:
        source: a path, lines, records, a compact trace, or a writer that keeps its records.
        kinds: only these kinds; None means all.

    Raises:
        ConfigError: the trace cannot be read, or a kind does not exist.
    """
    content = opened(source, kinds)
    if isinstance(content, CompactTrace):
        return CompactView(content, kinds)
    return RecordView(content)
