"""`TextBuilder`: builds a large text from parts and never holds it twice."""

from __future__ import annotations

from collections.abc import Generator


class TextBuilder:
    """Builds a text from parts, in steps of bounded cost.

    `"".join(parts)` holds everything twice, and takes long for a large text. Here the text grows in place: CPython
    extends a string that only one local variable refers to (`unicode_concatenate`), and the system moves its pages
    instead of copying them. Another interpreter gives the same result more slowly.
    """

    __slots__ = ("_grow", "length")

    def __init__(self) -> None:
        self.length = 0  # in characters
        self._grow = _grow()
        next(self._grow)

    def add(self, part: str) -> None:
        """Append a part."""
        self.length += len(part)
        self._grow.send(part)

    def build(self) -> str:
        """The whole text, without copying it. Nothing can be added after that."""
        try:
            self._grow.send(None)
        except StopIteration as end:
            text: str = end.value
            return text
        raise AssertionError  # pragma: no cover  # the generator ends when it receives None


def _grow() -> Generator[None, str | None, str]:
    text = ""  # only in this local variable: a second reference would make every part copy the whole text
    while True:
        part = yield
        if part is None:
            return text
        text += part
