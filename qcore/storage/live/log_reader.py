"""Reads a node's log and snapshot while the node may be running, without a lock and without a change.

Each call reads one moment of the files, for a few milliseconds. The node never waits for it. If the node changed the
files meanwhile, and what was read is not sound, the call reads again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from qcore.core.entry import Entry, Membership, SnapshotMeta
from qcore.core.log.disk_errors import log_corrupt
from qcore.errors import ConfigError, LogCorrupt, StorageError
from qcore.storage.interface import Identity
from qcore.storage.io_errors import error_from_os
from qcore.storage.live.page_view import FrameIndex, PageView
from qcore.storage.live.table_rows import PageError, Row, Table, table_roots
from qcore.storage.sqlite.checksums import (
    decode_entries,
    decode_meta,
    fields_checksum,
    part_checksum,
)
from qcore.storage.sqlite.log_rows import CLOCK_BYTES, HAS_CLOCK, KIND_CODES, Column, StoredState
from qcore.storage.sqlite.sqlite_storage import DATABASE_FILE

#: Entries, and bytes of entries, that one moment reads.
BATCH_ENTRIES: Final = 512
_BATCH_BYTES: Final = 4 << 20
#: How often a moment is read again before it counts as damaged. Between two attempts the node gets time to finish.
_ATTEMPTS: Final = 8
_PAUSE_S: Final = 0.02
_OLD_SNAPSHOT_COLUMNS: Final = 6

_T = TypeVar("_T")


@dataclass(slots=True, frozen=True)
class StoredSnapshot:
    """What a stored snapshot covers, and how large its text is.

    Attributes:
        size: bytes of the text.
        checksums: of the parts that hold the text, 4 bytes each; the text itself if `parts` is 0.
    """

    meta: SnapshotMeta
    size: int
    parts: int
    checksums: bytes


@dataclass(slots=True, frozen=True)
class StoredLog:
    """What one moment shows besides the entries.

    Attributes:
        membership: the configuration of the newest entry that has one, else that of the snapshot; None without both.
    """

    identity: Identity
    state: StoredState
    snapshot: StoredSnapshot | None
    membership: Membership | None


@dataclass(slots=True)
class Batch:
    """Consecutive entries of one moment, and what is wrong among them.

    Attributes:
        state: where the log begins and ends at that moment.
        before: checksum of the entry before the first one that was asked for; None if that entry is not there.
        entries: the sound ones, each with its checksum, which covers all entries before it.
        damage: (index, text) of each entry that is missing or was changed.
        next_index: the index after the last entry that was read; more follow if it is at most `state.last_index`.
    """

    state: StoredState
    before: int | None = None
    entries: list[tuple[Entry, int]] = field(default_factory=list)
    damage: list[tuple[int, str]] = field(default_factory=list)
    next_index: int = 1


class LogReader:
    """Reads the log in one data directory.

    Raises:
        ConfigError: the directory is missing, or holds no log.
        StorageError: it cannot be read.
    """

    def __init__(self, directory: Path) -> None:
        self._path = (directory / DATABASE_FILE).absolute()
        self._index = FrameIndex()
        self._incarnation: Column = None
        self._identity = Identity(0, None)
        try:
            if not directory.exists():
                raise ConfigError(f"{directory} does not exist: give a node's data directory")
            if not directory.is_dir():
                raise ConfigError(f"{directory} is not a directory: give a node's data directory")
            if not self._path.exists():
                raise ConfigError(
                    f"{directory} is not a node's data directory: it has no {DATABASE_FILE}. Give the directory that "
                    "`qcore node start --data-dir` names"
                )
        except OSError as error:
            raise error_from_os(error, f"read {directory}") from error

    def describe(self, *, with_snapshot: bool = True) -> StoredLog:
        """Whose log it is, the hard state and the snapshot.

        Args:
            with_snapshot: whether to read what the snapshot covers; without it, the rest can be read although the
                snapshot is damaged.

        Raises:
            LogCorrupt: one of them is damaged.
            StorageError: the files cannot be read, or are gone.
        """
        if with_snapshot:
            return self._moment(self._describe)
        return self._moment(
            lambda pages, tables: self._describe(pages, tables, with_snapshot=False)
        )

    def read(self, first: int, last: int, limit: int = BATCH_ENTRIES) -> Batch:
        """Read entries from index `first` through `last`, at most `limit`.

        Damaged entries are part of the result. The log may begin later and end earlier: see `Batch.state`.

        Raises:
            LogCorrupt: the hard state is damaged.
            StorageError: the files cannot be read, or are gone.
        """
        return self._moment(lambda pages, tables: self._read(pages, tables, first, last, limit))

    def checksum_at(self, index: int) -> int | None:
        """The checksum that is stored with an entry, which covers all entries before it; None if it is not there."""

        def read(pages: PageView, tables: dict[str, int]) -> int | None:
            return self._checksum_at(pages, tables, index)

        return self._moment(read)

    def snapshot_parts(self, snapshot: StoredSnapshot) -> Iterator[str]:
        """The text of a snapshot in parts, each verified and read at its own moment.

        Raises:
            LogCorrupt: a part is damaged.
            StorageError: the node has replaced the snapshot by a newer one; or the files cannot be read.
        """
        if not snapshot.parts:
            yield snapshot.checksums.decode()
            return
        after = 0
        for position in range(snapshot.parts):

            def read(pages: PageView, tables: dict[str, int]) -> tuple[int, str]:
                return self._part(pages, tables, snapshot, position, after)  # noqa: B023 - called in this turn of the loop

            after, text = self._moment(read)
            yield text

    def _moment(self, read: Callable[[PageView, dict[str, int]], _T]) -> _T:
        """Read one moment, again if the result is unsound and the node may have changed the files meanwhile."""
        verify = False
        for attempt in range(_ATTEMPTS):
            time.sleep(_PAUSE_S * attempt)
            try:
                with PageView(self._path, self._index, verify=verify) as pages:
                    result, failure = self._attempt(pages, read)
                    if failure is None:
                        return result  # type: ignore[return-value]  # it is None only with a failure
                    if not pages.changed():  # no other process is writing
                        if verify:
                            break
                        verify = True  # a crash may have left an unfinished transaction
            except LogCorrupt as error:
                result, failure = None, error
        if result is not None:
            return result  # it says itself what is damaged
        assert failure is not None
        raise failure

    def _attempt(
        self, pages: PageView, read: Callable[[PageView, dict[str, int]], _T]
    ) -> tuple[_T | None, LogCorrupt | None]:
        """The result, and why it may be unsound."""
        try:
            tables = table_roots(pages.page)
            self._identity = self._read_identity(pages, tables)
            result = read(pages, tables)
        except LogCorrupt as error:
            return None, error
        except (PageError, KeyError, UnicodeDecodeError) as error:
            return None, log_corrupt(self._path, "the tables", f"unreadable: {error}")
        if isinstance(result, Batch) and result.damage:
            return result, log_corrupt(self._path, "the log", result.damage[0][1])
        return result, None

    def _read_identity(self, pages: PageView, tables: dict[str, int]) -> Identity:
        """Whose log it is. Its incarnation must stay the same."""
        rows = [row.columns() for row in Table(pages.page, tables["meta"]).rows()]
        if len(rows) != 1:
            raise log_corrupt(self._path, "table 'meta'", f"has {len(rows)} rows, must have 1")
        _, node_id, cluster_id, incarnation, checksum = rows[0]
        if (
            fields_checksum(node_id, cluster_id, incarnation) != checksum
            or not isinstance(node_id, int)
            or not (cluster_id is None or isinstance(cluster_id, str))
        ):
            raise log_corrupt(self._path, "the identity in table 'meta'", "its checksum is wrong")
        self._incarnation = self._incarnation or incarnation
        if incarnation != self._incarnation:
            raise StorageError(
                f"{self._path} was removed and created again while it was read: begin again"
            )
        return Identity(node_id, cluster_id)

    def _describe(
        self, pages: PageView, tables: dict[str, int], *, with_snapshot: bool = True
    ) -> StoredLog:
        state = self._state(pages, tables)
        snapshot = self._snapshot(pages, tables, state) if with_snapshot else None
        newest = self._newest_membership(pages, tables)
        if newest is None and snapshot is not None:
            newest = snapshot.meta.membership
        return StoredLog(self._identity, state, snapshot, newest)

    def _newest_membership(self, pages: PageView, tables: dict[str, int]) -> Membership | None:
        """The configuration in the newest entry that has one. A damaged entry is left to `read`, which reports it."""
        newest = None
        for row in Table(pages.page, tables["log"]).rows():
            with suppress(PageError):
                kind = row.first_columns(3)[2]
                if isinstance(kind, int) and kind & (HAS_CLOCK - 1) == KIND_CODES["membership"]:
                    newest = row
        if newest is None:
            return None
        with suppress(ValueError):
            _, _, kind, _, data, _ = newest.columns()
            if isinstance(data, bytes) and isinstance(kind, int):
                return Membership.from_json(data[CLOCK_BYTES if kind & HAS_CLOCK else 0 :].decode())
        return None

    def _state(self, pages: PageView, tables: dict[str, int]) -> StoredState:
        rows = [row.columns() for row in Table(pages.page, tables["state"]).rows()]
        if len(rows) != 1:
            raise log_corrupt(self._path, "table 'state'", f"has {len(rows)} rows, must have 1")
        return StoredState.from_row(self._path, rows[0][1:])

    def _snapshot(
        self, pages: PageView, tables: dict[str, int], state: StoredState
    ) -> StoredSnapshot | None:
        rows = [row.columns() for row in Table(pages.page, tables["snapshot"]).rows()]
        if len(rows) != state.has_snapshot:
            raise log_corrupt(self._path, "the snapshot", f"{len(rows)} found")
        if not rows:
            return None
        if len(rows[0]) == _OLD_SNAPSHOT_COLUMNS:
            raise StorageError(
                f"{self._path} has the layout of a program before 0.1.0: start the node once, which converts it"
            )
        _, index, term, time_us, membership, number, data, checksum = rows[0]
        what = f"the snapshot through entry {index!r}"
        if fields_checksum(index, term, time_us, membership, number, data) != checksum or not (
            isinstance(index, int)
            and isinstance(term, int)
            and isinstance(time_us, int)
            and isinstance(membership, bytes)
            and isinstance(number, int)
            and isinstance(data, bytes)
        ):
            raise log_corrupt(self._path, what, "its checksum is wrong")
        try:
            meta = decode_meta(index, term, time_us, membership.decode())
        except ValueError as error:
            raise log_corrupt(self._path, what, f"unreadable: {error}") from error
        size = len(data)
        if number:
            rows_of_parts = Table(pages.page, tables["snapshot_part"]).rows()
            size = sum(size for key, _, size in map(_part_head, rows_of_parts) if key == index)
        return StoredSnapshot(meta, size, number, data)

    def _read(
        self, pages: PageView, tables: dict[str, int], first: int, last: int, limit: int
    ) -> Batch:
        state = self._state(pages, tables)
        first = max(first, state.first_index)
        last = min(last, state.last_index, first + limit - 1)
        before = self._checksum_before(pages, tables, state, first)
        batch = Batch(state, before, next_index=first)
        if first > last:
            return batch
        table = Table(pages.page, tables["log"])
        size = 0
        for row in table.rows(first):
            if row.rowid > last or size >= _BATCH_BYTES:
                break
            if row.rowid < batch.next_index:
                continue  # a damaged page names a row twice
            if row.rowid > batch.next_index:
                self._missing(batch, row.rowid - 1, table)
                before = None
            size += row.size
            before = self._add(batch, row, before)
            batch.next_index = row.rowid + 1
        if size < _BATCH_BYTES and batch.next_index <= last:
            self._missing(batch, last, table)
            before = None
        if batch.next_index > state.last_index and before not in (None, state.chain):
            batch.damage.append((state.last_index, "it is not the one last written"))
        return batch

    def _add(self, batch: Batch, row: Row, before: int | None) -> int | None:
        """Verify an entry and add it, or what is wrong with it. Returns its checksum; None if it has none."""
        index = row.rowid
        try:
            _, *columns, checksum = row.columns()
        except (PageError, ValueError) as error:
            batch.damage.append((index, str(error)))
            return None
        if not isinstance(checksum, int):
            batch.damage.append((index, "its checksum is missing"))
            return None
        if before is None:
            batch.damage.append(
                (index, "it cannot be verified, because the entry before it is damaged")
            )
            return checksum
        try:
            stored = (index, *columns, checksum)
            (entry,), _ = decode_entries(self._path, [stored], index, before)
        except (LogCorrupt, ValueError):
            batch.damage.append((index, "it is not what was written: its checksum is wrong"))
        else:
            batch.entries.append((entry, checksum))
        return checksum

    def _missing(self, batch: Batch, through: int, table: Table) -> None:
        """Note that the entries from the next one through this one are not there."""
        reason = next(iter(table.bad_pages.values()), "")
        text = f"it is missing ({reason})" if reason else "it is missing"
        if through > batch.next_index:
            text = f"{text}, and so are all through entry {through}"
        batch.damage.append((batch.next_index, text))
        batch.next_index = through + 1

    def _checksum_before(
        self, pages: PageView, tables: dict[str, int], state: StoredState, index: int
    ) -> int | None:
        if index <= state.first_index:
            return state.base_chain
        return self._checksum_at(pages, tables, index - 1)

    def _checksum_at(self, pages: PageView, tables: dict[str, int], index: int) -> int | None:
        row = next(Table(pages.page, tables["log"]).rows(index), None)
        if row is None or row.rowid != index:
            return None
        checksum = row.columns()[-1]
        return checksum if isinstance(checksum, int) else None

    def _part(
        self,
        pages: PageView,
        tables: dict[str, int],
        snapshot: StoredSnapshot,
        position: int,
        after: int,
    ) -> tuple[int, str]:
        """The row id and the text of one part."""
        index = snapshot.meta.last_included_index
        stored = self._snapshot_row(pages, tables)
        if len(stored) < 7 or stored[1] != index or stored[6] != snapshot.checksums:
            raise StorageError(
                f"{self._path}: the node replaced the snapshot through entry {index} while it was read: begin again"
            )
        expected = snapshot.checksums[4 * position : 4 * position + 4]
        what = f"the snapshot through entry {index}"
        for row in Table(pages.page, tables["snapshot_part"]).rows(after + 1):
            key, rowid, _ = _part_head(row)
            if key != index:
                continue  # of another snapshot
            data = row.columns()[-1]
            if isinstance(data, bytes) and part_checksum(data) == expected:
                return rowid, data.decode()
            raise log_corrupt(
                self._path, what, f"part {position + 1} is not the one that was written"
            )
        raise log_corrupt(self._path, what, f"{position} of {snapshot.parts} parts are left")

    def _snapshot_row(self, pages: PageView, tables: dict[str, int]) -> tuple[Column, ...]:
        row = next(Table(pages.page, tables["snapshot"]).rows(), None)
        return () if row is None else row.columns()


def _part_head(row: Row) -> tuple[Column, int, int]:
    """The snapshot to which a part belongs, its row id, and its bytes."""
    _, key = row.first_columns(2)
    return key, row.rowid, row.last_size()
