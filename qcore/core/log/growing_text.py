"""`TextBuilder`: builds a large text from parts, and never holds all of it uncompressed."""

from __future__ import annotations

from qcore.core.log.compressed_text import BLOCK_CHARS, CompressedText, SnapshotText, compress


class TextBuilder:
    """Builds a text from parts, in steps of bounded cost: each compresses what its part completes."""

    __slots__ = ("_blocks", "_rest", "_rest_length")

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._rest: list[str] = []  # after the last block
        self._rest_length = 0

    @property
    def length(self) -> int:
        """In characters."""
        return len(self._blocks) * BLOCK_CHARS + self._rest_length

    def add(self, part: str) -> None:
        """Append a part."""
        self._rest.append(part)
        self._rest_length += len(part)
        if self._rest_length < BLOCK_CHARS:
            return
        text = "".join(self._rest)
        whole = self._rest_length - self._rest_length % BLOCK_CHARS
        for start in range(0, whole, BLOCK_CHARS):
            self._blocks.append(compress(text[start : start + BLOCK_CHARS]))
        self._rest = [text[whole:]]
        self._rest_length -= whole

    def build(self) -> SnapshotText:
        """The whole text: a `str` if it is shorter than a block. Nothing may be added after that."""
        rest = "".join(self._rest)
        return CompressedText(tuple(self._blocks), rest) if self._blocks else rest
