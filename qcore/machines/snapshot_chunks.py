"""Converts a snapshot between lines of JSON and chunks of bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

#: Characters in a chunk, roughly: a chunk ends with the line that reaches this size.
CHUNK_CHARS = 64 * 1024


def to_chunks(lines: Iterable[str]) -> Iterator[str]:
    """Join lines (without their newlines) into chunks of about `CHUNK_CHARS` characters."""
    pending: list[str] = []
    size = 0
    for line in lines:
        pending.append(line)
        size += len(line) + 1
        if size >= CHUNK_CHARS:
            yield "\n".join(pending) + "\n"
            pending, size = [], 0
    if pending:
        yield "\n".join(pending) + "\n"


def to_lines(chunks: Iterable[str]) -> Iterator[str]:
    """Inverse of `to_chunks`. The chunks may have been joined or cut anywhere on the way."""
    rest: list[str] = []
    for chunk in chunks:
        # Not splitlines(), which also splits at U+2028 and others. JSON strings may contain these.
        first, *others = chunk.split("\n")
        rest.append(first)
        if others:
            yield "".join(rest)
            yield from others[:-1]
            rest = [others[-1]]
    if last := "".join(rest):
        yield last
