"""Remembers which servers the command has asked: what they answer may be senseless, or meant to harm."""

from __future__ import annotations

from collections.abc import Sequence


class Asked:
    """The servers that the command of this process has asked.

    Attributes:
        endpoints: their addresses; empty as long as it has asked none.
    """

    endpoints: tuple[str, ...] = ()

    @classmethod
    def begin(cls) -> None:
        """A command begins."""
        cls.endpoints = ()

    @classmethod
    def add(cls, endpoints: Sequence[str]) -> None:
        """The command asks these servers."""
        cls.endpoints = tuple(dict.fromkeys((*cls.endpoints, *endpoints)))
