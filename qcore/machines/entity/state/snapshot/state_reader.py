"""Reads the whole state of the entity store from the lines of `state_lines`: its records, and what is staged."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Annotated, Final, Literal

from pydantic import Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from qcore.errors import StoreError
from qcore.machines.entity.state.entity_records import Records
from qcore.machines.entity.state.field_values import optional_id_from_json
from qcore.machines.entity.state.snapshot.entity_snapshot import STAGED_MARK
from qcore.machines.entity.state.snapshot.snapshot_reader import SnapshotReader
from qcore.machines.entity.state.snapshot.staged import Staged
from qcore.machines.entity.state.wire.value_json import STRICT, EntityIdJson
from qcore.release import unknown_format

_Count = Annotated[int, Field(ge=0)]


@with_config(STRICT)
class _Header(TypedDict):
    format: Literal["qcore-entities"]
    version: Literal[3]
    upload: str
    began_ns: int
    next_part: _Count
    size: _Count
    last: EntityIdJson | None


_header: Final[TypeAdapter[_Header]] = TypeAdapter(_Header)
_NEWEST_VERSION: Final = 3
#: How a header of any version begins.
_VERSION: Final = re.compile(r'\{"format":"qcore-entities","version":(\d{1,9}),')
#: How a header of version 3 begins.
_VERSION_3: Final = '{"format":"qcore-entities","version":3,'


def _check_version(first: str) -> None:
    """Reject a snapshot of a newer format. Whatever else is wrong with the line is found later.

    Raises:
        StoreError: its version is newer.
    """
    found = _VERSION.match(first)
    if found is not None and int(found[1]) > _NEWEST_VERSION:
        raise StoreError(f"restore: the snapshot {unknown_format(int(found[1]), _NEWEST_VERSION)}")


class StateReader:
    """Inverse of `state_lines`, step by step.

    Attributes:
        records: the state, complete at the end of `read`.
        staged: what is staged.
    """

    def __init__(self) -> None:
        self.records = Records()
        self.staged: Staged | None = None

    def read(self, lines: Iterable[str]) -> Iterator[None]:
        """Read everything, a bounded number of lines before each item.

        Raises:
            StoreError: a line is missing, extra or malformed; names the line.
        """
        rest = iter(lines)
        # The lines that have been read and are not staged: at most one.
        live = [line for line in (next(rest, None),) if line is not None]
        if live:
            _check_version(live[0])
        if live and live[0].startswith(_VERSION_3):
            yield from self._read_staged(live.pop(), rest, live)
        reader = SnapshotReader()
        yield from reader.read(chain(live, rest))
        self.records = reader.records

    def _read_staged(self, first: str, rest: Iterator[str], live: list[str]) -> Iterator[None]:
        try:
            header = _header.validate_json(first)
        except ValidationError as error:
            raise StoreError(f"restore: line 1 of the snapshot is malformed: {error}") from error
        staged = Staged(header["upload"], header["began_ns"])
        staged.next_part, staged.size = header["next_part"], header["size"]
        staged.last = optional_id_from_json(header["last"])
        reader = SnapshotReader()
        yield from reader.read(_marked(rest, live))
        staged.records = reader.records
        self.staged = staged


def _marked(lines: Iterator[str], live: list[str]) -> Iterator[str]:
    """Yield the staged lines without their mark. Puts the line behind them into `live`."""
    for line in lines:
        if not line.startswith(STAGED_MARK):
            live.append(line)
            return
        yield line[len(STAGED_MARK) :]
