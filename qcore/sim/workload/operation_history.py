"""`OperationHistory`: the operations of all clients, of which a long run keeps only the newest as objects.

An hour at 50 writes/s has 180,000 operations. An object takes about 490 bytes, so older operations go to an anonymous
temporary file, in compressed blocks. Only this module writes a file during a run, and nothing in the run depends on it.
"""

from __future__ import annotations

import pickle
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import fields
from itertools import accumulate, chain, pairwise
from typing import IO, Final, overload

from qcore.sim.workload.operations import ClientOperation

#: The newest operations, which always stay objects. A shorter run is kept as a plain list.
RECENT_OPERATIONS: Final = 20_000
#: Operations of one block.
BLOCK: Final = 1024

_NAMES: Final = tuple(field.name for field in fields(ClientOperation) if field.name != "then")
_INVOKE: Final = _NAMES.index("invoke_us")
#: Stored as the difference from the time of invocation, because small numbers are compressed better.
_TIMES: Final = tuple(_NAMES.index(name) for name in ("return_us", "served_us", "deadline_us"))

#: Where `then` belongs among the fields.
_THEN: Final = [field.name for field in fields(ClientOperation)].index("then")


class OperationHistory(Sequence[ClientOperation]):
    """The operations of all clients, in the order in which they began. Read it like a list.

    An old operation is made again from the file whenever it is read: equal, except that `then` is None, but not the
    same object. An operation that is still in progress is never stored, because it changes.

    Args:
        recent: the number of the newest operations that stay objects.
        block: the number of operations that are stored together.
    """

    def __init__(self, recent: int = RECENT_OPERATIONS, block: int = BLOCK) -> None:
        self._block = block
        self._most = recent + block
        self._recent: list[ClientOperation] = []
        self._stored: list[_Block] = []
        self._file = _SpillFile()
        self._highest_acknowledged = 0
        #: The block that was read last, and its operations.
        self._read: tuple[int, list[ClientOperation]] = -1, []

    def append(self, operation: ClientOperation) -> None:
        """Add an operation that begins."""
        self._recent.append(operation)
        if len(self._recent) >= self._most:
            self._store_oldest()

    @property
    def highest_acknowledged(self) -> int:
        """The highest log index of an acknowledged write; 0 without one."""
        objects = chain(self._recent, *(block.kept.values() for block in self._stored))
        found = max((op.index for op in objects if op.is_acknowledged_write), default=0)
        return max(self._highest_acknowledged, found)

    def __len__(self) -> int:
        return len(self._stored) * self._block + len(self._recent)

    def __iter__(self) -> Iterator[ClientOperation]:
        number = 0
        while number < len(self._stored):
            yield from self._operations_of(number)
            number += 1
        yield from self._recent

    @overload
    def __getitem__(self, position: int) -> ClientOperation: ...
    @overload
    def __getitem__(self, position: slice) -> list[ClientOperation]: ...
    def __getitem__(self, position: int | slice) -> ClientOperation | list[ClientOperation]:
        if isinstance(position, slice):
            return [self[each] for each in range(*position.indices(len(self)))]
        size = len(self)
        at = position + size if position < 0 else position
        if not 0 <= at < size:
            raise IndexError(f"operation {position} of {size}")
        number, offset = divmod(at, self._block)
        if number < len(self._stored):
            return self._operations_of(number)[offset]
        return self._recent[at - len(self._stored) * self._block]

    def _store_oldest(self) -> None:
        oldest = self._recent[: self._block]
        self._recent = self._recent[
            self._block :
        ]  # a new list, because a reader may iterate over the old one
        kept = {offset: op for offset, op in enumerate(oldest) if op.outcome is None}
        for op in oldest:
            if op.outcome is not None and op.is_acknowledged_write:
                self._highest_acknowledged = max(self._highest_acknowledged, op.index)
        try:
            packed = _pack(oldest)
        except (pickle.PicklingError, TypeError, AttributeError):  # values of a user's own class
            kept = dict(enumerate(oldest))
            self._stored.append(_Block(None, kept))
            return
        self._stored.append(_Block(self._file.add(packed), kept))

    def _operations_of(self, number: int) -> list[ClientOperation]:
        if self._read[0] != number:
            block = self._stored[number]
            if block.place is None:
                return list(block.kept.values())
            operations = _unpack(self._file.read(block.place))
            for offset, operation in block.kept.items():
                operations[offset] = operation
            self._read = number, operations
        return self._read[1]


class _Block:
    """One stored block.

    Attributes:
        place: where its bytes are; None if they are all in `kept`.
        kept: the operations that stay objects, by their place in the block.
    """

    __slots__ = ("kept", "place")

    def __init__(self, place: _Place | None, kept: dict[int, ClientOperation]) -> None:
        self.place = place
        self.kept = kept


#: Offset and length in the file, or the bytes themselves.
_Place = tuple[int, int] | bytes


class _SpillFile:
    """A temporary file without a name. It ends with this object. A full disk costs memory instead."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._end = 0

    def add(self, content: bytes) -> _Place:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # it stays open as long as this object
            self._file.seek(self._end)
            if self._file.write(content) != len(content):
                return content
        except OSError:
            return content
        place = self._end, len(content)
        self._end += len(content)
        return place

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()

    def read(self, place: _Place) -> bytes:
        if isinstance(place, bytes):
            return place
        assert self._file is not None, "the place is in the file"
        self._file.seek(place[0])
        return self._file.read(place[1])


def _pack(operations: Sequence[ClientOperation]) -> bytes:
    columns = [[getattr(op, name) for op in operations] for name in _NAMES]
    invoked = columns[_INVOKE]
    for position in _TIMES:
        columns[position] = [
            time - begin for time, begin in zip(columns[position], invoked, strict=True)
        ]
    columns[_INVOKE] = [invoked[0], *(later - earlier for earlier, later in pairwise(invoked))]
    return zlib.compress(pickle.dumps(columns), 1)


def _unpack(packed: bytes) -> list[ClientOperation]:
    # The bytes are those that `_pack` made.
    columns = pickle.loads(zlib.decompress(packed))
    invoked = list(accumulate(columns[_INVOKE]))
    columns[_INVOKE] = invoked
    for position in _TIMES:
        columns[position] = [
            after + begin for after, begin in zip(columns[position], invoked, strict=True)
        ]
    columns.insert(_THEN, [None] * len(invoked))
    return [ClientOperation(*row) for row in zip(*columns, strict=True)]
