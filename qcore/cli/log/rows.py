"""The lines that `qcore log` prints: one for each entry, and one for each thing that is wrong or changes."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from qcore.cli.log.entry_text import describe_entry, describe_membership, describe_version
from qcore.cli.options import OutputFormat
from qcore.cli.output import as_json, csv_header, csv_rows
from qcore.core.entry import Entry
from qcore.core.version import ClusterVersion
from qcore.display import printable
from qcore.storage.live.log_reader import StoredLog

#: Characters of an entry that a table shows.
_SHOWN_CHARS: Final = 120
_UNLIMITED: Final = 1 << 62
_FIELDS: Final = ("index", "term", "time", "kind", "what")
#: Only an index has no term and no time.
_TABLE_LINE: Final = "{:>8}  {:>5}  {:<24}  {:<10}  {}"


class LogPrinter:
    """Prints rows in one format, each without delay.

    Args:
        output: the format.
        full: a table shows the whole text of an entry. The other formats always do.
    """

    def __init__(self, output: OutputFormat, *, full: bool) -> None:
        self._output = output
        self._limit = _UNLIMITED if full or output is not OutputFormat.table else _SHOWN_CHARS
        #: Name of the state machine, as far as the snapshot and the entries name it.
        self._machine = ""

    def header(self, log: StoredLog) -> None:
        """Print whose log it is and what it covers, then the names of the columns."""
        if log.snapshot is not None:
            self._machine = log.snapshot.meta.version.machine
        facts = _facts(log)
        if self._output is OutputFormat.json:
            self._line(as_json({"kind": "log", **facts}))
        elif self._output is OutputFormat.csv:
            csv_header(_FIELDS)
            sys.stdout.flush()
        else:
            for name, value in facts.items():
                shown = "-" if value is None else printable(str(value), _UNLIMITED)
                self._line(f"{name.replace('_', ' '):<21}{shown}")
            self._line("")
            self._line(_TABLE_LINE.format(*(name.upper() for name in _FIELDS)))

    def entry(self, entry: Entry) -> None:
        """Print an entry."""
        what = describe_entry(entry, self._machine)
        if entry.kind == "version":
            self._machine = _machine_of(entry) or self._machine
        text = what if entry.kind == "access" else entry.data  # without a password hash
        data = {"time_us": entry.time_us, "clock_us": entry.clock_us, "data": text}
        if entry.user:
            data["user"] = entry.user
            what = f"{what} (user {entry.user})"
        self._row(_Row(entry.index, entry.term, time_text(entry.time_us), entry.kind, what), data)

    def note(self, index: int, kind: str, what: str) -> None:
        """Print something that is not an entry: damage, or a change of the log."""
        self._row(_Row(index, None, None, kind, what), {})

    def _row(self, row: _Row, data: dict[str, object]) -> None:
        values = (row.index, row.term, row.time, row.kind, row.what)
        if self._output is OutputFormat.json:
            self._line(as_json({**dict(zip(_FIELDS, values, strict=True)), **data}))
            return
        what = printable(row.what, self._limit)
        if self._output is OutputFormat.csv:
            csv_rows(_FIELDS, [dict(zip(_FIELDS, (*values[:-1], what), strict=True))])
            sys.stdout.flush()
        else:
            shown = ["" if value is None else str(value) for value in (*values[:-1], what)]
            self._line(_TABLE_LINE.format(*shown).rstrip())

    @staticmethod
    def _line(text: str) -> None:
        print(text, flush=True)


@dataclass(slots=True, frozen=True)
class _Row:
    index: int
    term: int | None
    time: str | None
    kind: str
    what: str


def time_text(time_us: int) -> str:
    """A time of the log in UTC; as a number if it is outside the range of the calendar."""
    try:
        moment = datetime.fromtimestamp(time_us / 1e6, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{time_us} us"
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _facts(log: StoredLog) -> dict[str, int | str | None]:
    state, snapshot = log.state, log.snapshot
    meta = None if snapshot is None else snapshot.meta
    return {
        "node_id": log.identity.node_id,
        "cluster_id": log.identity.cluster_id,
        "term": state.term,
        "voted_for": state.voted_for,
        "first_index": state.first_index,
        "last_index": state.last_index,
        "commit_index": state.commit,
        "snapshot_index": None if meta is None else meta.last_included_index,
        "snapshot_term": None if meta is None else meta.last_included_term,
        "snapshot_bytes": None if snapshot is None else snapshot.size,
        "snapshot_version": None if meta is None else describe_version(meta.version),
        "configuration": None if log.membership is None else describe_membership(log.membership),
    }


def _machine_of(entry: Entry) -> str | None:
    try:
        return ClusterVersion.from_json(entry.data).machine
    except ValueError:
        return None
