"""Reads the rows of a SQLite table from its pages: one B-tree, in the order of the row ids.

The format is documented at https://www.sqlite.org/fileformat2.html#b_tree_pages . Pages may be damaged, or belong to
two transactions, so nothing that they hold is believed: a page that makes no sense is skipped and noted, and every walk
ends. The caller verifies the checksums of the rows.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from qcore.storage.sqlite.database import PAGE_SIZE
from qcore.storage.sqlite.log_rows import Column

Pages = Callable[[int], bytes]

_TABLE_INTERIOR: Final = 5
_TABLE_LEAF: Final = 13
_FILE_HEADER_BYTES: Final = 100
_MAX_LOCAL: Final = PAGE_SIZE - 35
_MIN_LOCAL: Final = (PAGE_SIZE - 12) * 32 // 255 - 23
_OVERFLOW_BYTES: Final = PAGE_SIZE - 4
#: Serial type -> bytes of a number.
_INTEGER_BYTES: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


class PageError(ValueError):
    """A page does not hold what it must."""


@dataclass(slots=True)
class Table:
    """One table.

    Args:
        pages: returns the content of a page.
        root: the page at which the table begins.

    Attributes:
        bad_pages: the pages that were skipped, with the reason.
    """

    pages: Pages
    root: int
    bad_pages: dict[int, str] = field(default_factory=dict)

    def rows(self, first: int = -(2**63)) -> Iterator[Row]:
        """The rows whose id is at least `first`, in order. The pages of a row are read when the row is."""
        return self._walk(self.root, first, set())

    def _walk(self, number: int, first: int, above: set[int]) -> Iterator[Row]:
        """Walk a page and all below it. `above` has the interior pages that were walked: none is walked twice."""
        try:
            kind, cells, page = _cells(self.pages(number), number)
            if number in above:
                raise PageError(f"page {number} is part of a loop")
        except (PageError, IndexError, struct.error) as error:
            self.bad_pages[number] = str(error)
            return
        if kind == _TABLE_LEAF:
            for offset in cells:
                try:
                    row = self._row(page, offset)
                except (PageError, IndexError, struct.error) as error:
                    self.bad_pages[number] = str(error)
                    continue
                if row.rowid >= first:
                    yield row
            return
        above.add(number)
        for child, last in _children(page, cells, number):
            if last is None or last >= first:
                yield from self._walk(child, first, above)

    def _row(self, page: bytes, offset: int) -> Row:
        size, offset = _varint(page, offset)
        unsigned, offset = _varint(page, offset)
        rowid = unsigned - 2**64 if unsigned >= 2**63 else unsigned
        if size <= _MAX_LOCAL:
            return Row(self.pages, rowid, size, _part(page, offset, size), 0)
        local = _MIN_LOCAL + (size - _MIN_LOCAL) % _OVERFLOW_BYTES
        if local > _MAX_LOCAL:
            local = _MIN_LOCAL
        content = _part(page, offset, local)
        (overflow,) = struct.unpack_from(">I", page, offset + local)
        return Row(self.pages, rowid, size, content, overflow)


@dataclass(slots=True)
class Row:
    """One row. Its columns are read when they are asked for.

    Attributes:
        rowid: the value of the column that is the table's integer primary key, which is None in `columns`.
        size: bytes of the row.
    """

    _pages: Pages
    rowid: int
    size: int
    _local: bytes
    _overflow: int

    def columns(self) -> tuple[Column, ...]:
        """All values.

        Raises:
            PageError: the row makes no sense.
        """
        try:
            content = self._content()
            types, offset = _types(content)
            values: list[Column] = []
            for serial_type in types:
                value, offset = _value(content, serial_type, offset)
                values.append(value)
            return tuple(values)
        except (IndexError, struct.error, UnicodeDecodeError) as error:
            raise PageError(f"row {self.rowid} is unreadable: {error}") from error

    def first_columns(self, count: int) -> list[Column]:
        """The first values, which the row's own page must hold.

        Raises:
            PageError: the row makes no sense.
        """
        try:
            types, offset = _types(self._local)
            values: list[Column] = []
            for serial_type in types[:count]:
                value, offset = _value(self._local, serial_type, offset)
                values.append(value)
        except (IndexError, struct.error, UnicodeDecodeError) as error:
            raise PageError(f"row {self.rowid} is unreadable: {error}") from error
        if len(values) != count:
            raise PageError(f"row {self.rowid} has too few columns")
        return values

    def last_size(self) -> int:
        """Bytes of the last value, a text or bytes, without reading it.

        Raises:
            PageError: the row makes no sense.
        """
        try:
            return max(0, (_types(self._local)[0][-1] - 12) // 2)
        except IndexError as error:
            raise PageError(f"row {self.rowid} is unreadable: {error}") from error

    def _content(self) -> bytes:
        pieces, left, number = [self._local], self.size - len(self._local), self._overflow
        seen: set[int] = set()
        while left > 0:
            page = self._pages(number) if number and number not in seen else b""
            if len(page) != PAGE_SIZE:
                raise PageError(f"row {self.rowid} is cut short: page {number} is missing")
            seen.add(number)
            pieces.append(page[4 : 4 + min(left, _OVERFLOW_BYTES)])
            left -= _OVERFLOW_BYTES
            (number,) = struct.unpack_from(">I", page)
        return b"".join(pieces)


def table_roots(pages: Pages) -> dict[str, int]:
    """Table -> the page at which it begins.

    Raises:
        PageError: the list of tables makes no sense.
    """
    schema = Table(pages, 1)
    found: dict[str, int] = {}
    for row in schema.rows():
        match row.columns():
            case ("table", str() as name, _, int() as root, _):
                found[name] = root
    if schema.bad_pages:
        raise PageError(f"the list of tables is damaged: {next(iter(schema.bad_pages.values()))}")
    return found


def _cells(page: bytes, number: int) -> tuple[int, list[int], bytes]:
    """The kind of a page, the offsets of its cells, and its content."""
    if len(page) != PAGE_SIZE:
        raise PageError(f"page {number} is missing")
    start = _FILE_HEADER_BYTES if number == 1 else 0
    kind = page[start]
    if kind not in (_TABLE_INTERIOR, _TABLE_LEAF):
        raise PageError(f"page {number} is not part of a table")
    (count,) = struct.unpack_from(">H", page, start + 3)
    first = start + (12 if kind == _TABLE_INTERIOR else 8)
    return kind, list(struct.unpack_from(f">{count}H", page, first)), page


def _children(page: bytes, cells: list[int], number: int) -> Iterator[tuple[int, int | None]]:
    """Each child page, and the largest row id in it; None for the last child."""
    for offset in cells:
        if offset + 5 <= PAGE_SIZE:
            (child,) = struct.unpack_from(">I", page, offset)
            try:
                last, _ = _varint(page, offset + 4)
            except IndexError:
                continue
            yield child, last
    start = _FILE_HEADER_BYTES if number == 1 else 0
    (child,) = struct.unpack_from(">I", page, start + 8)
    yield child, None


def _part(page: bytes, offset: int, size: int) -> bytes:
    content = page[offset : offset + size]
    if len(content) != size:
        raise PageError("a cell exceeds its page")
    return content


def _varint(content: bytes, offset: int) -> tuple[int, int]:
    value = 0
    for count in range(8):
        byte = content[offset + count]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, offset + count + 1
    return value << 8 | content[offset + 8], offset + 9


def _types(content: bytes) -> tuple[list[int], int]:
    """The serial types of a row's columns, and where its values begin."""
    size, offset = _varint(content, 0)
    types: list[int] = []
    while offset < size:
        serial_type, offset = _varint(content, offset)
        types.append(serial_type)
    if not types:
        raise PageError("a row has no columns")
    return types, size


def _value(content: bytes, serial_type: int, offset: int) -> tuple[Column, int]:
    match serial_type:
        case 0:
            return None, offset
        case 8 | 9:
            return serial_type - 8, offset
        case 7:
            return struct.unpack_from(">d", content, offset)[0], offset + 8
        case 10 | 11:
            raise PageError("a column has no known type")
    if serial_type < 8:
        size = _INTEGER_BYTES[serial_type]
        return int.from_bytes(_part(content, offset, size), signed=True), offset + size
    size = (serial_type - 12) // 2
    data = _part(content, offset, size)
    return (data if serial_type % 2 == 0 else data.decode()), offset + size
