"""`CompressedText`: a large text that is kept compressed in memory, and read part by part.

The text of a snapshot may be hundreds of megabytes, and a node always holds the newest one. The text is compressed
block by block, so that a step compresses or decompresses a bounded part of it. The compressed form never leaves the
memory, and its size decides nothing: another version of zlib may compress otherwise.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

#: Characters in a block. Compressing one takes about 0.25 ms, decompressing less.
BLOCK_CHARS: Final = 64 * 1024
#: The fastest level. Higher ones take several times as long, and save little on the text of a state.
_LEVEL: Final = 1


class CompressedText:
    """An immutable text that is compressed in memory. `TextBuilder` makes it.

    `len(text)` is in characters. `text[start:end]` is a `str`, and takes time in proportion to its length. `str(text)`
    is the whole text, which needs that much memory. It equals the `str` of the same characters. Readers may be in
    several threads.

    Args:
        blocks: of `BLOCK_CHARS` characters each, made by `compress`.
        rest: the characters after the last block.
    """

    __slots__ = ("_blocks", "_last_read", "_rest")

    def __init__(self, blocks: tuple[bytes, ...], rest: str) -> None:
        self._blocks = blocks
        self._rest = rest
        # The number and text of the block that was read last: readers go forward in parts smaller than a block. It is
        # one tuple, so that a thread never sees the number of one block with the text of another.
        self._last_read: tuple[int, str] = (len(blocks), rest)

    def __len__(self) -> int:
        return len(self._blocks) * BLOCK_CHARS + len(self._rest)

    def __getitem__(self, part: slice) -> str:
        """The characters of a slice without a step.

        Raises:
            TypeError: it is not such a slice.
        """
        if not _is_plain_slice(part):
            raise TypeError(f"a part of a compressed text is text[start:end], not {part!r:.100}")
        start, end, _ = part.indices(len(self))
        found: list[str] = []
        while start < end:
            number, offset = divmod(start, BLOCK_CHARS)
            found.append(self._block(number)[offset : offset + end - start])
            start += len(found[-1])
        return "".join(found)

    def index(self, character: str, start: int) -> int:
        """The position of the first such character from `start` on.

        Raises:
            ValueError: there is none.
        """
        while start < len(self):
            number, offset = divmod(start, BLOCK_CHARS)
            found = self._block(number).find(character, offset)
            if found >= 0:
                return number * BLOCK_CHARS + found
            start = (number + 1) * BLOCK_CHARS
        raise ValueError(f"{character!r} not found")

    def __str__(self) -> str:
        return self[:]

    def __repr__(self) -> str:
        return f"<compressed text of {len(self)} characters: {self[:40]!r}...>"

    def __eq__(self, other: object) -> bool:
        if other is self:
            return True
        if not isinstance(other, str | CompressedText):
            return NotImplemented
        if len(other) != len(self):
            return False
        return all(
            self[start : start + BLOCK_CHARS] == other[start : start + BLOCK_CHARS]
            for start in range(0, len(self), BLOCK_CHARS)
        )

    # It would have to be the hash of the equal `str`, so of the whole text.
    __hash__ = None  # type: ignore[assignment]  # the way to make a class unhashable

    def __reduce__(self) -> tuple[type[CompressedText], tuple[tuple[bytes, ...], str]]:
        """What makes a copy. A compiled object has no `__dict__`, which Python would copy."""
        return CompressedText, (self._blocks, self._rest)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> dict[str, object]:
        """Let pydantic, which the core does not import, write this as a text. A custom storage may use it."""
        return {
            "type": "str",
            "serialization": {"type": "function-plain", "function": str},
        }

    def _block(self, number: int) -> str:
        if number == len(self._blocks):
            return self._rest
        last, text = self._last_read
        if last != number:
            text = _decompress(self._blocks[number])
            self._last_read = (number, text)
        return text


#: The text of a snapshot: a `str` if it is small, or if a storage loaded it as one. Both have `len`, slices without a
#: step, `==` and `str`.
SnapshotText = str | CompressedText


def compress(block: str) -> bytes:
    """Compress one block of a `CompressedText`."""
    # surrogatepass: a storage or a connection that writes the text reports a lone surrogate; keeping it must not fail.
    return zlib.compress(block.encode("utf-8", "surrogatepass"), _LEVEL)


def _is_plain_slice(part: object) -> bool:
    return isinstance(part, slice) and part.step in (None, 1)


def _decompress(block: bytes) -> str:
    return zlib.decompress(block).decode("utf-8", "surrogatepass")


def text_parts(text: SnapshotText, start: int = 0, chars: int = BLOCK_CHARS) -> Iterator[str]:
    """The text from character `start` on, in parts of `chars` characters; the last may be shorter."""
    for at in range(start, len(text), chars):
        yield text[at : at + chars]


def text_checksum(text: SnapshotText) -> int:
    """The CRC-32 of the text as UTF-8, encoded part by part.

    Raises:
        UnicodeEncodeError: it has a lone surrogate.
    """
    checksum = 0
    for part in text_parts(text):
        checksum = zlib.crc32(part.encode(), checksum)
    return checksum
