"""The hash of the entries of one interval of the log, in their order.

Every applied entry is hashed, which costs about 0.5 us. Entries are hashed in blocks, because that costs less.
Blocks begin at fixed places, so the hash depends on the entries only. Members of one cluster compare it: a change of
what is hashed needs new apply rules.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import Final

from qcore.core.entry import Entry
from qcore.replica.access.access_records import redacted

#: Entries in a block, the last of an interval excepted. They stay in memory until the block is full.
BLOCK_ENTRIES: Final = 64
_DIGEST_BYTES: Final = 16
_NUMBERS: Final = [struct.Struct(f"<{4 * length}Q") for length in range(BLOCK_ENTRIES + 1)]


class LogHash:
    """The hash of consecutive entries, of which the first is the first of an interval."""

    def __init__(self) -> None:
        self._blocks = blake2b(digest_size=_DIGEST_BYTES)
        self._block: list[Entry] = []

    def add(self, entry: Entry) -> None:
        """The next entry."""
        self._block.append(entry)
        if len(self._block) == BLOCK_ENTRIES:
            self._blocks.update(_bytes_of(self._block))
            self._block = []

    def digest(self) -> str:
        """The hash of all entries until now."""
        if not self._block:
            return self._blocks.hexdigest()
        whole = self._blocks.copy()
        whole.update(_bytes_of(self._block))
        return whole.hexdigest()


def _bytes_of(block: list[Entry]) -> bytes:
    # A recording holds no password hashes, and has to replay to the same digests.
    data = [redacted(entry.data) if entry.kind == "access" else entry.data for entry in block]
    numbers = [entry.term for entry in block]
    numbers += [entry.time_us for entry in block]
    numbers += [entry.clock_us for entry in block]
    numbers += map(len, data)
    try:
        head = _NUMBERS[len(block)].pack(*numbers)
    except struct.error:  # a damaged entry may hold any number
        head = repr(numbers).encode()
    kinds = " ".join([entry.kind for entry in block])
    users = [entry.user for entry in block]
    named = repr(users) if any(users) else ""
    return head + f"{kinds}\0{named}\0{''.join(data)}".encode("utf-8", "surrogatepass")
