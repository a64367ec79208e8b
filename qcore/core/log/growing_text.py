"""How to put a large text together without ever holding it twice."""

from __future__ import annotations

from collections.abc import Generator


class TextBuilder:
    """A text that is put together from parts, in steps of bounded cost.

    `"".join(parts)` holds everything twice, and for a large text takes long. Here the text grows in place: CPython
    extends a string that only one local variable refers to (`unicode_concatenate`), and the system moves
    its pages rather than copy them. On another interpreter the result is the same, and slower.
    """

    __slots__ = ("_grow", "length")

    def __init__(self) -> None:
        self.length = 0  # characters so far
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
        raise AssertionError("the generator ends when it is told to")


def _grow() -> Generator[None, str | None, str]:
    text = ""  # in a local variable, and there alone: else every part would copy all that came before it
    while True:
        part = yield
        if part is None:
            return text
        text += part
