"""Corrupted messages: a message that changed on its way, and the checksum by which its receiver finds that out."""

from __future__ import annotations

import dataclasses
import zlib
from dataclasses import dataclass
from random import Random


@dataclass(slots=True, frozen=True)
class CorruptFrame:
    """A message that a link has corrupted.

    Attributes:
        payload: the message as it arrives.
        checksum: the checksum of the message as it was sent.
    """

    payload: object
    checksum: int

    @property
    def is_intact(self) -> bool:
        """The check of every receiver: whether the checksum is that of the message."""
        return checksum_of(self.payload) == self.checksum


def checksum_of(payload: object) -> int:
    """The checksum of a message."""
    return zlib.crc32(_text(payload).encode())


def _text(value: object) -> str:
    """All of a message as text. Its `repr` may leave out what logs must not show."""
    if dataclasses.is_dataclass(value):
        parts = [_text(getattr(value, each.name)) for each in dataclasses.fields(value)]
        return f"{type(value).__name__}({','.join(parts)})"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_text, value))}]"
    return repr(value)


def corrupt(payload: object, rng: Random, *, between_nodes: bool) -> CorruptFrame:
    """Corrupt a message.

    Args:
        payload: the message.
        rng: draws the change.
        between_nodes: change one value within the message: a bit of a number, or a letter of a text. A message of a
            client refers to the client's operation, which must not change, so the damage is in its checksum.
    """
    checksum = checksum_of(payload)
    places = _places(payload) if between_nodes else []
    if not places:
        return CorruptFrame(payload, checksum ^ 1)
    return CorruptFrame(_changed(payload, rng.choice(places), rng), checksum)


def _places(value: object) -> list[tuple[str | int, ...]]:
    """The paths of all numbers and texts within a message."""
    if isinstance(value, bool | int | str):
        return [()] if value != "" else []
    parts: list[tuple[str | int, object]] = []
    if dataclasses.is_dataclass(value):
        parts = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    elif isinstance(value, list | tuple):
        parts = list(enumerate(value))
    return [(step, *rest) for step, part in parts for rest in _places(part)]


def _changed(value: object, path: tuple[str | int, ...], rng: Random) -> object:
    """A copy with the value at a path changed."""
    if not path:
        return _damaged(value, rng)
    step, *rest = path
    if isinstance(value, list | tuple):
        parts = list(value)
        assert isinstance(step, int)
        parts[step] = _changed(parts[step], tuple(rest), rng)
        return parts if isinstance(value, list) else tuple(parts)
    assert isinstance(step, str)
    part = _changed(getattr(value, step), tuple(rest), rng)
    return dataclasses.replace(value, **{step: part})  # type: ignore[type-var]  # `_places` found a dataclass


def _damaged(value: object, rng: Random) -> object:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value ^ (1 << rng.randrange(4))
    assert isinstance(value, str)
    position = rng.randrange(len(value))
    letter = chr(ord(value[position]) ^ 1)
    return value[:position] + letter + value[position + 1 :]
